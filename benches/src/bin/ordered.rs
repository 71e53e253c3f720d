//! What does the order of aggregates cost, beside an unordered handler and beside the protocol done message
//! by message?
//!
//! ```text
//! cargo xtask bench ordered [CASE...] [--json] [--rounds 3] [--messages 400000] [--latency | --embedded]
//! ```
//!
//! It empties the Redis that `REDIS_URL` names. `docs/benchmarks.md` tells the method and the figures.

use anyhow::{Context as _, Result, bail};
use athomic_bench::allocations::Counting;
use athomic_bench::goal::Goal;
use athomic_bench::ordered::{self, Asking, Case};
use athomic_bench::topic;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> Result<()> {
    let (asking, child) = parse(std::env::args().skip(1))?;
    if let (true, [name]) = (asking.embedded, &asking.names[..]) {
        let case = Case::named(name).with_context(|| format!("there is no case `{name}`"))?;
        let measurement = ordered::embedded(&case, asking.messages)?;
        println!("{}", serde_json::to_string(&measurement)?);
        return Ok(());
    }
    if asking.latency {
        let figures = ordered::latency::here(&asking)?;
        figures.iter().for_each(|figures| println!("{figures}"));
        return Ok(());
    }
    if let Some((case, group)) = child {
        let case = Case::named(&case).with_context(|| format!("there is no case `{case}`"))?;
        println!(
            "{}",
            serde_json::to_string(&ordered::here(&case, &asking, &group)?)?
        );
        return Ok(());
    }
    let goals = ordered::ask(&asking)?;
    goals.iter().for_each(|goal| eprintln!("{goal}"));
    if !goals.iter().all(Goal::is_reached) {
        bail!("not all goals were reached; on a busy machine that says little");
    }
    Ok(())
}

/// Read the command line: of the bench itself, or, with `--case`, of one of its children and its group.
fn parse(words: impl IntoIterator<Item = String>) -> Result<(Asking, Option<(String, String)>)> {
    let mut words = words.into_iter();
    let mut asking = Asking {
        bootstrap: std::env::var("KAFKA_BOOTSTRAP").unwrap_or_default(),
        redis: std::env::var("REDIS_URL").unwrap_or_default(),
        rounds: 3,
        messages: topic::SCATTERED.messages,
        names: Vec::new(),
        tuning: Vec::new(),
        json: false,
        embedded: false,
        latency: false,
    };
    let (mut case, mut group) = (None, None);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("`{word}` needs a value"));
        match word.as_str() {
            "--json" => asking.json = true,
            "--embedded" => asking.embedded = true,
            "--latency" => asking.latency = true,
            "--rounds" => asking.rounds = value()?.parse()?,
            "--messages" => asking.messages = value()?.parse()?,
            "--bootstrap" => asking.bootstrap = value()?,
            "--redis" => asking.redis = value()?,
            "--case" => case = Some(value()?),
            "--group" => group = Some(value()?),
            "--set" => {
                let value = value()?;
                let (name, value) = value.split_once('=').context("say `--set name=value`")?;
                asking.tuning.push((name.to_owned(), value.to_owned()));
            }
            name if Case::named(name).is_some() => asking.names.push(word),
            _ => bail!(
                "`{word}` is unknown; the bench takes names of cases, --json, --latency, --embedded with one case, --rounds, --messages, --set"
            ),
        }
    }
    if asking.rounds == 0 || asking.messages == 0 {
        bail!("there is at least one round, and one message");
    }
    if !asking.embedded && (asking.bootstrap.is_empty() || asking.redis.is_empty()) {
        bail!("KAFKA_BOOTSTRAP and REDIS_URL are not set; `cargo xtask bench ordered` sets them");
    }
    Ok((asking, case.zip(group)))
}
