//! Each mistake made on purpose is found by the simulation.

use athomic_core::mutant::{Mutant, activate};

use crate::handlers::Strategy;
use crate::runner::run;

/// In so many seeds each of them is found, most of them in the first few. Half of the seeds are of ordered
/// handlers, half of all others.
const SEEDS: u64 = 6_000;

fn first_find(mutant: Mutant) -> Option<(u64, String)> {
    activate(Some(mutant));
    let mut seeds =
        (0..SEEDS).filter(|seed| (Strategy::of(*seed) == Strategy::Ordered) == mutant.is_of_order());
    let found = seeds.find_map(|seed| Some((seed, run(seed).violations.into_iter().next()?)));
    activate(None);
    found
}

#[test]
fn mistakes_made_on_purpose_are_found() {
    let mut missed = Vec::new();
    let one = std::env::var("ATHOMIC_SIMULATION_MUTANT").ok();
    let is_wanted = |mutant: &Mutant| one.as_ref().is_none_or(|one| *one == format!("{mutant:?}"));
    for mutant in Mutant::ALL.into_iter().filter(is_wanted) {
        match first_find(mutant) {
            Some((seed, violation)) => println!("{mutant:?}: seed {seed}: {violation}"),
            None => missed.push(mutant),
        }
    }
    assert!(missed.is_empty(), "{missed:?} are not found in {SEEDS} seeds");
}
