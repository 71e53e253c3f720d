//! The examples run and do what they say. Each is built by Cargo and run as a program of its own.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::PathBuf;
use std::process::Command;

/// Build an example and return its program.
///
/// Cargo has built it already if all targets of the package were asked for; with `--test examples`
/// alone it has not, or holds an old one.
fn build(example: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "build",
            "--quiet",
            "--offline",
            "--package",
            "athomic",
            "--example",
            example,
        ])
        .arg("--target-dir")
        .arg(profile.parent().unwrap());
    match profile.file_name().unwrap().to_str().unwrap() {
        "debug" => {}
        profile => drop(cargo.args(["--profile", profile])),
    }
    if cfg!(feature = "kafka") {
        cargo.args(["--features", "kafka"]);
    }
    assert!(cargo.status().unwrap().success(), "`{cargo:?}` failed");
    profile.join("examples").join(example)
}

/// Take the settings that the environment of the test may hold out of a program's way.
fn without_settings(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let is_setting = name.to_str().is_some_and(|name| name.starts_with("ATHOMIC_"));
        if is_setting {
            command.env_remove(name);
        }
    }
    command
}

#[test]
fn the_quickstart_handles_and_commits_everything_and_ends() {
    let output = without_settings(build("quickstart")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    for id in 1..=12 {
        let billed = text
            .lines()
            .any(|line| line.starts_with(&format!("  billing     order {id}: ")));
        assert!(billed, "order {id} is missing:\n{text}");
    }
    for expected in [
        "order 5: the bank is busy, to be tried again",
        "order 5: cid pays 500 (partition 0, offset 1, attempt 2)",
        "order 9: nothing to bill, to the dead letters",
        "orders together",
        "billing     committed 12 of 12",
        "statistics  committed 12 of 12",
    ] {
        assert!(text.contains(expected), "`{expected}` is missing:\n{text}");
    }
    assert_eq!(errors, "", "nothing is logged unless asked for");
}
