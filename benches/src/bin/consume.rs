//! How fast do annotated handlers consume, beside loops written by hand over the same client?
//!
//! ```text
//! cargo xtask bench consume [QUESTION...] [--json] [--rounds 5] [--messages 1000000] [--sweep] [--embedded]
//! ```
//!
//! `docs/benchmarks.md` tells the method and the figures.

use anyhow::{Context as _, Result, bail};
use athomic_bench::allocations::Counting;
use athomic_bench::case::{Case, Run, Source};
use athomic_bench::goal::Goal;
use athomic_bench::probe::{Setup, idle, in_flight, latency};
use athomic_bench::question::{self, Asking, Question};
use athomic_bench::{report, rounds, sweep, topic};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> Result<()> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    if let Some(report) = arguments.child()? {
        println!("{report}");
        return Ok(());
    }
    if arguments.embedded {
        return arguments.run_embedded();
    }
    let asking = arguments.asking()?;
    if arguments.sweep {
        question::measure(&sweep::variants(), arguments.messages, &asking)?;
        return Ok(());
    }
    let mut goals = Vec::new();
    for question in arguments.questions()? {
        goals.extend(question.ask(&asking)?);
    }
    goals.iter().for_each(|goal| eprintln!("{goal}"));
    if !goals.iter().all(Goal::is_reached) {
        bail!("not all goals were reached; on a busy machine that says little");
    }
    Ok(())
}

/// The cases that need no server; the baseline comes first.
const EMBEDDED: [Case; 4] = [Case::DECODE_LOOP, Case::SINGLE, Case::BATCH, Case::KEYED];

/// The command line: of the bench itself, or, with `--case`, of one of its children.
#[derive(Default)]
struct Arguments {
    json: bool,
    sweep: bool,
    embedded: bool,
    rounds: usize,
    messages: u64,
    names: Vec<String>,
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
            messages: topic::ORDERS.messages,
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
                name if !name.starts_with('-') => arguments.names.push(word),
                _ => bail!(
                    "`{word}` is unknown; the bench takes names of questions, --json, --rounds, --messages, --sweep, --embedded, --set"
                ),
            }
        }
        if arguments.rounds == 0 || !(1..=topic::ORDERS.messages).contains(&arguments.messages) {
            bail!(
                "there is at least one round, of 1 to {} messages",
                topic::ORDERS.messages
            );
        }
        Ok(arguments)
    }

    /// Do what a child is to do, if this is one, and return its report.
    fn child(&self) -> Result<Option<String>> {
        let Some(name) = &self.case else {
            return Ok(None);
        };
        let report = match name.as_str() {
            "idle" => serde_json::to_string(&idle::here(&self.setup()?)?),
            "latency" => serde_json::to_string(&latency::here(&self.setup()?)?),
            name => match in_flight::CASES.iter().find(|(case, ..)| *case == name) {
                Some((_, topic, _)) => serde_json::to_string(&in_flight::here(&self.setup()?, topic)?),
                None => serde_json::to_string(&self.run(name)?.here()?),
            },
        };
        Ok(Some(report?))
    }

    fn run(&self, name: &str) -> Result<Run> {
        let mut cases = Question::cases().chain(EMBEDDED);
        let source = if self.embedded {
            Source::Embedded
        } else {
            let Setup { bootstrap, group, .. } = self.setup()?;
            Source::Kafka { bootstrap, group }
        };
        Ok(Run {
            case: cases
                .find(|case| case.name == name)
                .with_context(|| format!("there is no case `{name}`"))?,
            source,
            messages: self.messages,
            tuning: self.tuning.clone(),
        })
    }

    fn setup(&self) -> Result<Setup> {
        let (Some(bootstrap), Some(group)) = (self.bootstrap.clone(), self.group.clone()) else {
            bail!("a case needs `--bootstrap` and `--group`, or `--embedded`");
        };
        Ok(Setup {
            bootstrap,
            group,
            tuning: self.tuning.clone(),
        })
    }

    fn run_embedded(&self) -> Result<()> {
        let variants = EMBEDDED.map(|case| (case, self.tuning.clone()));
        let results = rounds::run(&variants, None, self.messages, self.rounds)?;
        report::print(&report::lines(&variants, &results), self.json)?;
        Ok(())
    }

    fn asking(&self) -> Result<Asking> {
        let bootstrap = std::env::var("KAFKA_BOOTSTRAP");
        Ok(Asking {
            bootstrap: bootstrap
                .context("KAFKA_BOOTSTRAP is not set; `cargo xtask bench consume` sets it")?,
            rounds: self.rounds,
            messages: self.messages,
            tuning: self.tuning.clone(),
            json: self.json,
        })
    }

    /// Return what is asked: what was named, or everything.
    fn questions(&self) -> Result<Vec<Question>> {
        if self.names.is_empty() {
            return Ok(Question::ALL.to_vec());
        }
        let names: Vec<_> = Question::ALL.iter().map(|question| question.name).collect();
        let find = |name: &String| {
            Question::named(name)
                .with_context(|| format!("there is no question `{name}`; there are {}", names.join(", ")))
        };
        self.names.iter().map(find).collect()
    }
}
