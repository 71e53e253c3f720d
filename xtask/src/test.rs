//! `test`: every test there is, with real servers or without.

use std::fmt;
use std::ops::AddAssign;
use std::process::Command;

use anyhow::Result;

use crate::process;
use crate::services::{self, Services};
use crate::workspace::{Package, cargo, every_feature, packages, testing_features};

/// How many tests there were, by their end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: usize,
    failed: usize,
    ignored: usize,
}

/// Run everything: the compile-fail cases, which are only themselves without features, and all else.
pub(crate) fn everything(arguments: &[String]) -> Result<Tally> {
    let mut tally = Tally::default();
    if arguments.is_empty() {
        tally += run_and_count(cargo().args(["test", "--package", "athomic", "--test", "ui"]))?;
    }
    tally += with_servers(arguments)?;
    Ok(tally)
}

/// Run all but the compile-fail cases, with the servers whose addresses the tests find in their environment.
pub(crate) fn with_servers(arguments: &[String]) -> Result<Tally> {
    let features = every_feature(&packages()?);
    let test = |first: &[&str]| {
        let mut test = cargo();
        test.args(["test", "--workspace"]).args(first).args(&features);
        test
    };
    // Built before the servers start: both together would be slower, and a build that fails needs none.
    process::run(test(&["--no-run", "--quiet"]).args(before_dashes(arguments)))?;
    let services = Services::start()?;
    let mut run = test(&["--no-fail-fast"]);
    run.args(arguments)
        .envs(services.environment().iter().map(|(name, value)| (name, value)));
    run_and_count(&mut run)
}

/// Run what needs no server and no C compiler.
pub(crate) fn embedded(arguments: &[String]) -> Result<Tally> {
    let (left_out, tested) = split(packages()?, Package::needs_c)?;
    let mut run = cargo();
    run.args(["test", "--workspace", "--no-fail-fast"]);
    for package in &left_out {
        eprintln!("left out, since it needs a C compiler: {}", package.name);
        run.args(["--exclude", &package.name]);
    }
    run.args(testing_features(&tested)).args(arguments);
    for name in services::VARIABLES {
        run.env_remove(name);
    }
    run_and_count(&mut run)
}

/// Part the packages into those to which the answer is yes, and the others.
fn split(
    packages: Vec<Package>,
    question: impl Fn(&Package) -> Result<bool>,
) -> Result<(Vec<Package>, Vec<Package>)> {
    let (mut yes, mut no) = (Vec::new(), Vec::new());
    for package in packages {
        if question(&package)? {
            yes.push(package)
        } else {
            no.push(package)
        }
    }
    Ok((yes, no))
}

fn run_and_count(command: &mut Command) -> Result<Tally> {
    let mut tally = Tally::default();
    let result = process::run_with_lines(command, |line| tally += read_result(line).unwrap_or_default());
    if result.is_err() {
        println!("{tally}"); // the caller prints it otherwise
    }
    result.map(|()| tally)
}

/// Arguments after `--` are for the test programs, which are not yet run.
fn before_dashes(arguments: &[String]) -> impl Iterator<Item = &String> {
    arguments.iter().take_while(|argument| *argument != "--")
}

/// Read the line with which a test program ends:
/// `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; ...`.
fn read_result(line: &str) -> Option<Tally> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |what: &str| {
        let part = numbers.split("; ").find_map(|part| part.strip_suffix(what))?;
        part.trim().parse().ok()
    };
    Some(Tally {
        passed: number("passed")?,
        failed: number("failed")?,
        ignored: number("ignored")?,
    })
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.ignored
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_test_programs_are_read() {
        let check = |line, expected| assert_eq!(read_result(line), expected, "{line}");
        let tally = |passed, failed, ignored| {
            Some(Tally {
                passed,
                failed,
                ignored,
            })
        };
        check(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s",
            tally(12, 0, 1),
        );
        check(
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
            tally(3, 2, 0),
        );
        check("test tests::result ... ok", None);
        check("running 12 tests", None);
    }

    #[test]
    fn tallies_add_up_and_print_on_one_line() {
        let mut sum = Tally {
            passed: 1,
            failed: 2,
            ignored: 3,
        };
        sum += Tally {
            passed: 10,
            failed: 0,
            ignored: 1,
        };
        assert_eq!(sum.to_string(), "11 passed, 2 failed, 4 skipped");
    }

    #[test]
    fn building_sees_no_arguments_of_the_tests() {
        let arguments = ["--test", "e2e", "--", "--nocapture"].map(String::from);
        assert_eq!(before_dashes(&arguments).collect::<Vec<_>>(), ["--test", "e2e"]);
    }
}
