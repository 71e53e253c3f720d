//! The consume path under everything that can go wrong at once, again and again, by seeds.
//!
//! Several applications share a group on the embedded broker, under a paused clock. Whenever one of
//! them talks to the outside the seed decides what becomes of it (`fate.rs`): it waits, it fails, it is
//! done and reported as failed; just then partitions are revoked, sessions lapse, processes vanish; and
//! others go first. A checker (`checker.rs`) sees what passes between the applications and the broker,
//! and what their handlers do.
//!
//! Runs of one seed are the same. A seed that fails says how to see it again, with all that happened.

#![expect(clippy::unwrap_used, reason = "the lint spares tests, but not what they call")]

use std::collections::BTreeSet;
use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

mod calls;
mod chance;
mod checker;
mod event;
mod fate;
mod handlers;
mod marks;
#[cfg(feature = "mutants")]
mod mutants;
mod ordered;
mod runner;
mod transport;
mod world;

use event::End;
use fate::{Kind, Point};
use handlers::Strategy;
use runner::run;

const SEEDS: u64 = 2_000;
const THREADS: u64 = 2;
/// After so many seeds that fail there is nothing new to learn.
const ENOUGH: usize = 10;

/// What many runs came to.
#[derive(Default)]
struct Summary {
    /// The first seeds that fail.
    failing: BTreeSet<u64>,
    /// Which kinds of trouble struck where.
    strikes: BTreeSet<(Point, Kind)>,
    /// How attempts at messages ended.
    ends: BTreeSet<(Strategy, End)>,
}

/// Run seeds on all threads.
fn run_all(seeds: u64) -> Summary {
    let (next, summary) = (AtomicU64::new(0), Mutex::<Summary>::default());
    let work = || {
        while summary.lock().unwrap().failing.len() < ENOUGH {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= seeds {
                return;
            }
            let report = run(seed);
            let mut summary = summary.lock().unwrap();
            summary.strikes.extend(report.strikes());
            summary.ends.extend(report.ends());
            if !report.violations.is_empty() {
                summary.failing.insert(seed);
            }
        }
    };
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
    summary.into_inner().unwrap()
}

/// Read a number from the environment.
fn given(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().expect("it is a number"))
}

/// Run one seed and print all that happens.
fn show(seed: u64) {
    let report = run(seed);
    println!("{}", report.trace());
    assert!(
        report.violations.is_empty(),
        "seed {seed}: {:#?}",
        report.violations
    );
}

#[test]
fn whatever_happens_nothing_is_lost_nothing_committed_early_and_keys_keep_their_order() {
    if let Some(seed) = given("ATHOMIC_SIMULATION_SEED") {
        return show(seed);
    }
    let seeds = given("ATHOMIC_SIMULATION_SEEDS").unwrap_or(SEEDS);
    let summary = run_all(seeds);
    if let Some(&first) = summary.failing.first() {
        panic!(
            "seeds {:?} fail; the first with {:#?}\nto see all that happens:\n\
            ATHOMIC_SIMULATION_SEED={first} cargo test -p athomic-core --features testing --test simulation whatever -- --nocapture",
            summary.failing,
            run(first).violations
        );
    }
    if seeds >= SEEDS {
        everything_happened(&summary);
    }
}

/// A fault that never strikes shows nothing.
fn everything_happened(summary: &Summary) {
    for point in Point::ALL {
        for kind in Kind::all(point) {
            assert!(summary.strikes.contains(&(point, kind)), "{kind:?} at {point:?}");
        }
    }
    for strategy in Strategy::ALL {
        for end in strategy.ends() {
            assert!(
                summary.ends.contains(&(strategy, end)),
                "{end:?} with {strategy:?}"
            );
        }
    }
}

#[test]
fn runs_of_a_seed_are_the_same() {
    const SOME: u64 = 48;
    let hashes: BTreeSet<_> = (0..SOME)
        .map(|seed| {
            let hash = run(seed).hash;
            assert_eq!(run(seed).hash, hash, "seed {seed}");
            hash
        })
        .collect();
    assert_eq!(hashes.len() as u64, SOME, "each seed has its own run");
}
