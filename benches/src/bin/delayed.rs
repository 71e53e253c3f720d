//! How many delayed messages does the republisher pass on, and how late do they arrive?
//!
//! ```text
//! cargo xtask bench delayed [CASE...]
//! ```
//!
//! `docs/benchmarks.md` tells the method and the figures.

use anyhow::{Context as _, Result};
use athomic_bench::delayed::{Case, named};

fn main() -> Result<()> {
    let bootstrap = std::env::var("KAFKA_BOOTSTRAP");
    let bootstrap = bootstrap.context("KAFKA_BOOTSTRAP is not set (`cargo xtask bench delayed` does)")?;
    let redis = std::env::var("REDIS_URL");
    let redis = redis.context("REDIS_URL is not set (`cargo xtask bench delayed` does)")?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let cases = words.iter().map(|word| named(word)).collect::<Result<Vec<_>>>()?;
    let cases = if cases.is_empty() {
        Case::ALL.to_vec()
    } else {
        cases
    };
    println!("case          messages  messages/s  late by (median, 99th percentile, ms)");
    for case in cases {
        let arrivals = case.run(&bootstrap, &redis)?;
        println!(
            "{:<12} {:>9}  {:>10.0}  {:>8.0} {:>8.0}",
            case.name(),
            case.messages(),
            arrivals.rate(),
            arrivals.late(0.5),
            arrivals.late(0.99)
        );
    }
    Ok(())
}
