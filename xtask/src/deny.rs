//! `deny`: licences, banned and foreign crates, and known vulnerabilities, by cargo-deny.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::process;
use crate::workspace::{cargo, in_root, tools_dir};

const VERSION: &str = "0.20.2";

/// Run all checks of `deny.toml`. The advisory database comes over the network: without it that
/// one check is skipped, and says so.
pub(crate) fn deny() -> Result<()> {
    let program = provide()?;
    let deny = || in_root(&program);
    process::run(deny().args(["check", "licenses", "bans", "sources"]))?;
    if !process::succeeds(deny().args(["fetch", "db"])) {
        eprintln!(
            "warning: SKIPPED the check for known vulnerabilities: the advisory database cannot be fetched"
        );
        return Ok(());
    }
    process::run(deny().args(["check", "advisories"]))
}

/// Find cargo-deny, or build it. Unoptimised: it runs for seconds, and optimising takes minutes.
fn provide() -> Result<PathBuf> {
    let dir = tools_dir();
    let candidates = [dir.join("bin/cargo-deny"), PathBuf::from("cargo-deny")];
    if let Some(found) = candidates.into_iter().find(is_known_version) {
        return Ok(found);
    }
    let build = dir.join("build");
    let mut install = cargo();
    install.args([
        "install",
        "cargo-deny",
        "--locked",
        "--debug",
        "--version",
        VERSION,
    ]);
    install.arg("--root").arg(&dir).arg("--target-dir").arg(&build);
    process::run(
        install
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_PROFILE_DEV_STRIP", "symbols"),
    )?;
    std::fs::remove_dir_all(build)?;
    Ok(dir.join("bin/cargo-deny"))
}

fn is_known_version(program: &PathBuf) -> bool {
    process::output(Command::new(program).arg("--version")).is_some_and(|printed| printed.contains(VERSION))
}
