//! How fast does a publisher publish, beside rdkafka's own `FutureProducer`?
//!
//! ```text
//! cargo xtask bench publish [--rounds 5] [--messages 500000]
//! ```
//!
//! `docs/benchmarks.md` tells the method and the figures.

use anyhow::{Context as _, Result, bail};
use athomic_bench::allocations::Counting;
use athomic_bench::goal::Goal;
use athomic_bench::measurement::Measurement;
use athomic_bench::publishing::{Case, PARTITIONS, TOPIC};
use athomic_bench::{child, statistics, topic};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The command line: of the bench itself, or, with `--case`, of one of its children.
struct Arguments {
    rounds: usize,
    messages: u64,
    case: Option<String>,
    bootstrap: String,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    if let Some(name) = &arguments.case {
        let case = Case::ALL.into_iter().find(|case| case.name() == name);
        let case = case.with_context(|| format!("there is no case `{name}`"))?;
        let measured = case.run(&arguments.bootstrap, arguments.messages)?;
        println!("{}", serde_json::to_string(&measured)?);
        return Ok(());
    }
    topic::create_if_missing(&arguments.bootstrap, TOPIC, PARTITIONS)?;
    let rounds = (0..arguments.rounds).map(|round| arguments.round(round));
    let rounds = rounds.collect::<Result<Vec<_>>>()?;
    print(&rounds);
    let goals = [
        Goal::at_least(
            "the throughput of `batches` to that of FutureProducer",
            median(&rounds, |round| {
                of(round, Case::Batches).rate() / of(round, Case::FutureProducer).rate()
            }),
            2.0,
        ),
        Goal::at_least(
            "the processor time of `batches` to that of `bulk`",
            median(&rounds, |round| {
                of(round, Case::Batches).cpu_per_million() / of(round, Case::Bulk).cpu_per_million()
            }),
            1.0,
        ),
    ];
    goals.iter().for_each(|goal| eprintln!("{goal}"));
    if !goals.iter().all(Goal::is_reached) {
        bail!("the goal was not reached; on a busy machine that says little");
    }
    Ok(())
}

impl Arguments {
    fn parse(words: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut words = words.into_iter();
        let mut arguments = Self {
            rounds: 5,
            messages: 500_000,
            case: None,
            bootstrap: std::env::var("KAFKA_BOOTSTRAP").unwrap_or_default(),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("`{word}` needs a value"));
            match word.as_str() {
                "--rounds" => arguments.rounds = value()?.parse()?,
                "--messages" => arguments.messages = value()?.parse()?,
                "--bootstrap" => arguments.bootstrap = value()?,
                "--case" => arguments.case = Some(value()?),
                _ => bail!("`{word}` is unknown; the bench takes --rounds and --messages"),
            }
        }
        if arguments.rounds == 0 || arguments.messages == 0 || arguments.bootstrap.is_empty() {
            bail!(
                "there is at least one round of one message, and KAFKA_BOOTSTRAP is set (`cargo xtask bench publish` does)"
            );
        }
        Ok(arguments)
    }

    /// Run all cases once, each in a process of its own; their order changes from round to round.
    fn round(&self, round: usize) -> Result<[Measurement; Case::ALL.len()]> {
        let mut measured = [None; Case::ALL.len()];
        for step in 0..Case::ALL.len() {
            let place = (round + step) % Case::ALL.len();
            let name = Case::ALL[place].name();
            let messages = self.messages.to_string();
            let words = [
                "--case",
                name,
                "--bootstrap",
                &self.bootstrap,
                "--messages",
                &messages,
            ];
            let result: Measurement = child::run(name, &words.map(str::to_owned))?;
            eprintln!(
                "round {} of {}: {name} {:.0} messages/s, {:.2} CPU s per million",
                round + 1,
                self.rounds,
                result.rate(),
                result.cpu_per_million()
            );
            measured[place] = Some(result);
        }
        Ok(measured.map(|result| result.expect("each case has its turn in a round")))
    }
}

type Round = [Measurement; Case::ALL.len()];

fn of(round: &Round, case: Case) -> Measurement {
    let place = Case::ALL.into_iter().position(|other| other == case);
    round[place.expect("it is one of all")]
}

fn median(rounds: &[Round], figure: impl Fn(&Round) -> f64) -> f64 {
    statistics::median(rounds.iter().map(figure).collect())
}

fn print(rounds: &[Round]) {
    println!("case             messages/s  to the first  CPU s per million  allocations  peak MB");
    for (place, case) in Case::ALL.into_iter().enumerate() {
        println!(
            "{:<16} {:>10.0}  {:>12.2}  {:>17.2}  {:>11.1}  {:>7.0}",
            case.name(),
            median(rounds, |round| round[place].rate()),
            median(rounds, |round| round[place].rate() / round[0].rate()),
            median(rounds, |round| round[place].cpu_per_million()),
            median(rounds, |round| round[place].allocations as f64
                / round[place].messages as f64),
            median(rounds, |round| round[place].peak_rss_mb),
        );
    }
}
