//! The command line: words in, a [`Chore`] out.

use anyhow::{Result, bail};

/// What `cargo xtask help` prints.
pub(crate) const HELP: &str = "\
cargo xtask <chore>

  services up       start Kafka 4.1 and Redis on free loopback ports and leave them running;
                    prints their addresses as KEY=VALUE lines
  services down     end them
  services status   print their addresses; fails when one is not running
  help              this list
";

/// One chore, with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chore {
    Help,
    Services(ServicesVerb),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ServicesVerb {
    Up,
    Down,
    Status,
}

/// Read the words after `cargo xtask`. Without any, the chore is [`Chore::Help`].
pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Chore> {
    let mut words = words.into_iter();
    let Some(name) = words.next() else {
        return Ok(Chore::Help);
    };
    let rest: Vec<String> = words.collect();
    match name.as_str() {
        "help" | "-h" | "--help" => Ok(Chore::Help),
        "services" => services(&rest).map(Chore::Services),
        _ => bail!("unknown chore `{name}`; `cargo xtask help` lists them"),
    }
}

fn services(words: &[String]) -> Result<ServicesVerb> {
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["up"] => Ok(ServicesVerb::Up),
        ["down"] => Ok(ServicesVerb::Down),
        ["status"] => Ok(ServicesVerb::Status),
        _ => bail!("say `cargo xtask services up`, `down` or `status`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Chore) {
        let words = line.split_whitespace().map(String::from);
        assert_eq!(parse(words).unwrap(), expected, "{line}");
    }

    #[test]
    fn no_word_means_help() {
        check("", Chore::Help);
        check("help", Chore::Help);
        check("--help", Chore::Help);
    }

    #[test]
    fn services_takes_exactly_one_verb() {
        check("services up", Chore::Services(ServicesVerb::Up));
        check("services down", Chore::Services(ServicesVerb::Down));
        check("services status", Chore::Services(ServicesVerb::Status));
        assert!(parse(["services".to_owned()]).is_err());
        assert!(parse(["services", "up", "now"].map(String::from)).is_err());
    }

    #[test]
    fn an_unknown_chore_is_named() {
        let error = parse(["tset".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("`tset`"), "{error}");
    }
}
