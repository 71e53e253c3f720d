//! `soak`: faults at random for as long as it is told.

use anyhow::Result;

use crate::process;
use crate::services;
use crate::workspace::cargo;

/// Build and run the soak test of `tests/e2e` on a cluster of its own.
///
/// Without a seed it takes another one each time, and prints it.
pub(crate) fn soak(minutes: u64, seed: Option<u64>) -> Result<()> {
    let test = ["test", "--package", "athomic-e2e", "--test", "soak"];
    process::run(cargo().args(test).args(["--no-run", "--quiet"]))?;
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    let mut run = cargo();
    run.args(test)
        .args(["--", "--nocapture"])
        .env("ATHOMIC_TEST_KAFKA_LIBS", services::kafka_libs()?)
        .env("ATHOMIC_SOAK_MINUTES", minutes.to_string())
        .env("ATHOMIC_SOAK_SEED", seed.to_string());
    process::run(&mut run)
}
