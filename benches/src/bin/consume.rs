//! How fast do annotated handlers consume, beside loops written by hand over the same client?
//!
//! ```text
//! cargo xtask bench consume [--json] [--rounds 5] [--messages 1000000] [--sweep] [--embedded]
//! ```
//!
//! `docs/benchmarks.md` tells the method and the figures.

use anyhow::{Context as _, Result, bail};
use athomic_bench::allocations::Counting;
use athomic_bench::case::{Case, Run, Source};
use athomic_bench::{report, rounds, sweep, topic};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> Result<()> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    if let Some(run) = arguments.run()? {
        println!("{}", serde_json::to_string(&run.here()?)?);
        return Ok(());
    }
    let bootstrap = arguments.bootstrap()?;
    if let Some(bootstrap) = &bootstrap {
        provide_topic(bootstrap)?;
    }
    let variants = if arguments.sweep {
        sweep::variants()
    } else {
        let cases = if arguments.embedded {
            Case::EMBEDDED
        } else {
            Case::KAFKA
        };
        cases
            .iter()
            .map(|case| (*case, arguments.tuning.clone()))
            .collect()
    };
    let results = rounds::run(
        &variants,
        bootstrap.as_deref(),
        arguments.messages,
        arguments.rounds,
    )?;
    report::print(&report::lines(&variants, &results), arguments.json)?;
    Ok(())
}

fn provide_topic(bootstrap: &str) -> Result<()> {
    let (name, messages) = (topic::NAME, topic::MESSAGES);
    match topic::provide(bootstrap)? {
        Some(time) => eprintln!(
            "filled `{name}` with {messages} messages in {:.1} s",
            time.as_secs_f64()
        ),
        None => eprintln!("`{name}` has its {messages} messages"),
    }
    Ok(())
}

/// The command line: of the bench itself, or, with `--case`, of one of its children.
#[derive(Default)]
struct Arguments {
    json: bool,
    sweep: bool,
    embedded: bool,
    rounds: usize,
    messages: u64,
    case: Option<String>,
    bootstrap: Option<String>,
    group: Option<String>,
    tuning: Vec<(String, String)>,
}

impl Arguments {
    fn parse(words: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut words = words.into_iter();
        let mut arguments = Self {
            rounds: 5,
            messages: topic::MESSAGES,
            ..Self::default()
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("`{word}` needs a value"));
            match word.as_str() {
                "--json" => arguments.json = true,
                "--sweep" => arguments.sweep = true,
                "--embedded" => arguments.embedded = true,
                "--rounds" => arguments.rounds = value()?.parse()?,
                "--messages" => arguments.messages = value()?.parse()?,
                "--case" => arguments.case = Some(value()?),
                "--bootstrap" => arguments.bootstrap = Some(value()?),
                "--group" => arguments.group = Some(value()?),
                "--set" => {
                    let value = value()?;
                    let (name, value) = value.split_once('=').context("say `--set name=value`")?;
                    arguments.tuning.push((name.to_owned(), value.to_owned()));
                }
                _ => bail!(
                    "`{word}` is unknown; the bench takes --json, --rounds, --messages, --sweep, --embedded, --set"
                ),
            }
        }
        if arguments.rounds == 0 || !(1..=topic::MESSAGES).contains(&arguments.messages) {
            bail!(
                "there is at least one round, of 1 to {} messages",
                topic::MESSAGES
            );
        }
        Ok(arguments)
    }

    /// Return what a child is to do.
    fn run(&self) -> Result<Option<Run>> {
        let Some(name) = &self.case else {
            return Ok(None);
        };
        let source = match (&self.bootstrap, &self.group) {
            _ if self.embedded => Source::Embedded,
            (Some(bootstrap), Some(group)) => Source::Kafka {
                bootstrap: bootstrap.clone(),
                group: group.clone(),
            },
            _ => bail!("a case needs `--bootstrap` and `--group`, or `--embedded`"),
        };
        Ok(Some(Run {
            case: Case::named(name).with_context(|| format!("there is no case `{name}`"))?,
            source,
            messages: self.messages,
            tuning: self.tuning.clone(),
        }))
    }

    /// Return where Kafka is, if it is wanted.
    fn bootstrap(&self) -> Result<Option<String>> {
        if self.embedded {
            return Ok(None);
        }
        let bootstrap = std::env::var("KAFKA_BOOTSTRAP");
        let bootstrap =
            bootstrap.context("KAFKA_BOOTSTRAP is not set; `cargo xtask bench consume` sets it")?;
        Ok(Some(bootstrap))
    }
}
