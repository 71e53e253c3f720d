//! The command line: words in, a [`Chore`] out.

use anyhow::{Result, bail};

/// What `cargo xtask help` prints.
pub(crate) const HELP: &str = "\
cargo xtask <chore>

  test [--embedded] [arguments of cargo test]
                    run every test, starting Kafka and Redis for it;
                    --embedded leaves out what needs a server or a C compiler
  lint              check formatting and run clippy
  doc               build the API documentation; a warning is an error
  features [--vendored]
                    check each feature alone; --vendored also those that build C libraries (minutes)
  msrv              check with the oldest Rust of the manifest
  deny              check licences, banned crates and known vulnerabilities
  bench <name> [arguments of the bench]
                    run a program of benches/, starting servers unless it needs none
                    or KAFKA_BOOTSTRAP is set
  valgrind          run the tests of the one crate with `unsafe` code under memcheck
  soak [--minutes N] [--seed S]
                    kill, hang and restart workers and brokers at random, ten minutes unless told
                    otherwise, and check that nothing was lost
  ci                all checks and tests, with a table of times

  services up       start Kafka 4.1 and Redis on free loopback ports and leave them running;
                    prints KEY=VALUE lines: export $(cargo xtask services up)
  services down     end them
  services status   print their addresses; fails when one does not run
  help              this list
";

/// One chore, with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chore {
    Help,
    Services(ServicesVerb),
    Test { embedded: bool, arguments: Vec<String> },
    Lint,
    Doc,
    Features { vendored: bool },
    Msrv,
    Deny,
    Bench { name: String, arguments: Vec<String> },
    Valgrind,
    Soak { minutes: u64, seed: Option<u64> },
    Ci,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ServicesVerb {
    Up,
    Down,
    Status,
}

/// Read the words after `cargo xtask`. Without any, the chore is [`Chore::Help`].
pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Chore> {
    let words: Vec<String> = words.into_iter().collect();
    let Some((name, rest)) = words.split_first() else {
        return Ok(Chore::Help);
    };
    match name.as_str() {
        "services" => services(rest),
        "test" => Ok(test(rest)),
        "features" => features(rest),
        "bench" => bench(rest),
        "soak" => soak(rest),
        _ if !rest.is_empty() && simple(name).is_ok() => bail!("`{name}` takes no arguments"),
        _ => simple(name),
    }
}

/// The chores without arguments.
fn simple(name: &str) -> Result<Chore> {
    match name {
        "help" | "-h" | "--help" => Ok(Chore::Help),
        "lint" => Ok(Chore::Lint),
        "doc" => Ok(Chore::Doc),
        "msrv" => Ok(Chore::Msrv),
        "deny" => Ok(Chore::Deny),
        "valgrind" => Ok(Chore::Valgrind),
        "ci" => Ok(Chore::Ci),
        _ => bail!("unknown chore `{name}`; `cargo xtask help` lists them"),
    }
}

fn test(words: &[String]) -> Chore {
    match words.split_first() {
        Some((first, rest)) if first == "--embedded" => Chore::Test {
            embedded: true,
            arguments: rest.to_vec(),
        },
        _ => Chore::Test {
            embedded: false,
            arguments: words.to_vec(),
        },
    }
}

fn features(words: &[String]) -> Result<Chore> {
    match as_strs(words)[..] {
        [] => Ok(Chore::Features { vendored: false }),
        ["--vendored"] => Ok(Chore::Features { vendored: true }),
        _ => bail!("`features` takes only `--vendored`"),
    }
}

fn bench(words: &[String]) -> Result<Chore> {
    let Some((name, arguments)) = words.split_first() else {
        bail!("say which bench: `cargo xtask bench <name>`");
    };
    Ok(Chore::Bench {
        name: name.clone(),
        arguments: arguments.to_vec(),
    })
}

fn soak(words: &[String]) -> Result<Chore> {
    let (mut minutes, mut seed) = (10, None);
    for pair in as_strs(words).chunks(2) {
        match *pair {
            ["--minutes", number] => minutes = number.parse()?,
            ["--seed", number] => seed = Some(number.parse()?),
            _ => bail!("`soak` takes `--minutes N` and `--seed S`"),
        }
    }
    Ok(Chore::Soak { minutes, seed })
}

fn services(words: &[String]) -> Result<Chore> {
    match as_strs(words)[..] {
        ["up"] => Ok(Chore::Services(ServicesVerb::Up)),
        ["down"] => Ok(Chore::Services(ServicesVerb::Down)),
        ["status"] => Ok(Chore::Services(ServicesVerb::Status)),
        _ => bail!("say `cargo xtask services up`, `down` or `status`"),
    }
}

fn as_strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    fn check_refused(line: &str, reason: &str) {
        let error = parse(line.split_whitespace().map(String::from)).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }

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
        check_refused("services", "services up");
        check_refused("services up now", "services up");
    }

    #[test]
    fn test_passes_its_arguments_on() {
        check(
            "test",
            Chore::Test {
                embedded: false,
                arguments: vec![],
            },
        );
        let arguments = strings(&["--test", "e2e", "--", "--nocapture"]);
        check(
            "test --embedded --test e2e -- --nocapture",
            Chore::Test {
                embedded: true,
                arguments,
            },
        );
        // Only the first word is ours.
        check(
            "test -- --embedded",
            Chore::Test {
                embedded: false,
                arguments: strings(&["--", "--embedded"]),
            },
        );
    }

    #[test]
    fn bench_needs_a_name() {
        let arguments = strings(&["--json"]);
        check(
            "bench consume --json",
            Chore::Bench {
                name: "consume".into(),
                arguments,
            },
        );
        check_refused("bench", "which bench");
    }

    #[test]
    fn soak_takes_two_numbers() {
        check(
            "soak",
            Chore::Soak {
                minutes: 10,
                seed: None,
            },
        );
        check(
            "soak --seed 7 --minutes 1",
            Chore::Soak {
                minutes: 1,
                seed: Some(7),
            },
        );
        check_refused("soak --minutes", "--minutes N");
        check_refused("soak --hours 2", "--minutes N");
        check_refused("soak --minutes long", "invalid digit");
    }

    #[test]
    fn features_takes_one_switch() {
        check("features", Chore::Features { vendored: false });
        check("features --vendored", Chore::Features { vendored: true });
        check_refused("features --all", "--vendored");
    }

    #[test]
    fn chores_without_arguments_refuse_them() {
        check("lint", Chore::Lint);
        check("ci", Chore::Ci);
        check_refused("ci fast", "`ci` takes no arguments");
    }

    #[test]
    fn an_unknown_chore_is_named() {
        check_refused("tset", "`tset`");
        check_refused("tset --all", "`tset`");
    }

    #[test]
    fn help_names_every_chore() {
        let chores = [
            "test", "lint", "doc", "features", "msrv", "deny", "bench", "valgrind", "soak", "ci", "services",
            "help",
        ];
        chores
            .iter()
            .for_each(|chore| assert!(HELP.contains(&format!("\n  {chore} ")), "{chore}"));
    }
}
