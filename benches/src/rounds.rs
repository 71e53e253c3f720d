//! Cases in alternation, so that what slows the machine down for a while slows all of them.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::case::{Case, Run, Source};
use crate::child;
use crate::measurement::Measurement;

/// A case, and the changes to its settings.
pub type Variant = (Case, Vec<(String, String)>);

/// What each variant cost, by its place among them, one measurement a round.
pub type Results = BTreeMap<usize, Vec<Measurement>>;

/// Run all variants, round by round, each round in another order.
///
/// # Errors
/// A case fails.
pub fn run(variants: &[Variant], bootstrap: Option<&str>, messages: u64, rounds: usize) -> Result<Results> {
    let mut results = Results::new();
    for round in 0..rounds {
        for step in 0..variants.len() {
            let place = (step + round) % variants.len();
            let (case, tuning) = &variants[place];
            let run = Run {
                case: *case,
                source: source(bootstrap, *case)?,
                messages,
                tuning: tuning.clone(),
            };
            let measurement = run.apart()?;
            progress(round, rounds, &run, measurement);
            results.entry(place).or_default().push(measurement);
        }
    }
    Ok(results)
}

fn source(bootstrap: Option<&str>, case: Case) -> Result<Source> {
    let Some(bootstrap) = bootstrap else {
        return Ok(Source::Embedded);
    };
    Ok(Source::Kafka {
        bootstrap: bootstrap.to_owned(),
        // One for each run, so that each starts at the earliest message.
        group: child::new_group(case.name)?,
    })
}

fn progress(round: usize, rounds: usize, run: &Run, measurement: Measurement) {
    let tuning: Vec<_> = run
        .tuning
        .iter()
        .map(|(name, value)| format!(" {name}={value}"))
        .collect();
    eprintln!(
        "round {} of {rounds}: {}{} {:.0} messages/s, {:.2} CPU s",
        round + 1,
        run.case,
        tuning.concat(),
        measurement.rate(),
        measurement.cpu_seconds
    );
}
