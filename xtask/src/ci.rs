//! `ci`: all that a change must pass, cheapest first, with the time that each step took.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::{deny, doc, features, lint, msrv, test, valgrind};

/// Run every step; stop at the first that fails, naming it.
pub(crate) fn ci() -> Result<()> {
    let mut times = Times::default();
    let result = all(&mut times);
    eprint!("{}", times.table());
    println!("{}", result?);
    Ok(())
}

/// The order makes each step use what the one before it has built: clippy, docs and features share
/// the checked dependencies, the tests the compiled ones.
fn all(times: &mut Times) -> Result<test::Tally> {
    times.step("format", lint::format)?;
    times.step("clippy", lint::clippy)?;
    times.step("doc", doc::doc)?;
    times.step("features", || features::features(false))?;
    times.step("msrv", msrv::msrv)?;
    times.step("deny", deny::deny)?;
    let mut tally = times.step("test --embedded", || test::embedded(&[]))?;
    tally += times.step("test", || test::with_servers(&[]))?;
    if cfg!(target_os = "linux") {
        times.step("valgrind", valgrind::valgrind)?;
    }
    Ok(tally)
}

/// The steps so far.
#[derive(Debug, Default)]
struct Times(Vec<(&'static str, Duration, bool)>);

impl Times {
    fn step<T>(&mut self, name: &'static str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let result = step();
        self.0.push((name, start.elapsed(), result.is_ok()));
        result.with_context(|| format!("ci step `{name}` failed"))
    }

    fn table(&self) -> String {
        let mut table = String::from("\n");
        let mut row = |name: &str, time: Duration, remark: &str| {
            // Writing into a string cannot fail.
            writeln!(
                table,
                "{name:<16}{:>4} min {:>2} s  {remark}",
                time.as_secs() / 60,
                time.as_secs() % 60
            )
            .ok();
        };
        for (name, time, succeeded) in &self.0 {
            row(name, *time, if *succeeded { "ok" } else { "FAILED" });
        }
        row("total", self.0.iter().map(|(_, time, _)| *time).sum(), "");
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_is_named_and_timed() {
        let mut times = Times::default();
        times.step("format", || Ok(())).unwrap();
        let error = times
            .step("clippy", || -> Result<()> { anyhow::bail!("three warnings") })
            .unwrap_err();
        assert_eq!(format!("{error:#}"), "ci step `clippy` failed: three warnings");
        times.0[0].1 = Duration::from_secs(61);
        let table = times.table();
        assert!(table.contains("format             1 min  1 s  ok\n"), "{table}");
        assert!(
            table.contains("clippy             0 min  0 s  FAILED\n"),
            "{table}"
        );
        assert!(table.contains("total              1 min  1 s"), "{table}");
    }
}
