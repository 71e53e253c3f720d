//! `valgrind`: the tests of `athomic-kafka` on real Kafka under memcheck, since that crate has the only
//! `unsafe` code. An access to memory that is freed, foreign or never written is an error.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process;
use crate::services::Services;
use crate::workspace::{cargo, every_feature, packages};

/// Leaks are not looked for: what a client leaves behind is freed on a thread that the end may overtake.
const MEMCHECK: &str = "valgrind -q --error-exitcode=9 --leak-check=no --num-callers=20";

/// Build and run them.
pub(crate) fn valgrind() -> Result<()> {
    if !process::is_installed("valgrind") {
        bail!("valgrind is not installed; on Debian: apt-get install valgrind");
    }
    let features = every_feature(&packages()?);
    // The whole workspace, so that what `test` has built is used again; only one package has this test.
    let test = |last: &str| {
        let mut test = cargo();
        test.args(["test", "--workspace", "--test", "kafka"])
            .args(&features);
        test.arg(last);
        test
    };
    process::run(&mut test("--no-run"))?;
    let services = Services::start()?;
    let mut run = test("--no-fail-fast");
    run.env(runner_variable()?, MEMCHECK)
        .envs(services.environment().iter().map(|(name, value)| (name, value)));
    process::run(&mut run)
}

/// The variable that names the program by which Cargo runs tests.
fn runner_variable() -> Result<String> {
    let described = process::output(Command::new("rustc").arg("-vV")).context("rustc does not run")?;
    let host = described.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(variable_of(
        host.context("rustc does not say for which host it is")?,
    ))
}

fn variable_of(host: &str) -> String {
    format!(
        "CARGO_TARGET_{}_RUNNER",
        host.to_uppercase().replace(['-', '.'], "_")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runner_is_that_of_the_host() {
        let expected = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER";
        assert_eq!(variable_of("x86_64-unknown-linux-gnu"), expected);
    }
}
