//! `msrv`: the oldest Rust that the manifest promises must build everything.

use anyhow::{Context as _, Result};

use crate::process;
use crate::workspace::{self, FACADE, Package, cargo, every_feature, in_root};

/// Check the workspace with the oldest Rust, installing it if rustup can.
pub(crate) fn msrv() -> Result<()> {
    let packages = workspace::packages()?;
    let toolchain = oldest_rust(&packages)?;
    if !(is_installed(&toolchain) || install(&toolchain)) {
        eprintln!("warning: NOT CHECKED with Rust {toolchain}: rustup cannot install it here.");
        eprintln!("warning: clippy looks for newer functions of the standard library instead.");
        return look_for_newer_functions(&packages);
    }
    let mut check = in_root("rustup");
    check
        .args(["run", &toolchain, "cargo", "check", "--workspace"])
        .args(every_feature(&packages));
    process::run(&mut check)
}

fn oldest_rust(packages: &[Package]) -> Result<String> {
    let facade = packages.iter().find(|package| package.name == FACADE);
    let version = facade.and_then(|package| package.rust_version.as_deref());
    Ok(full_version(
        version.context("the facade's manifest names no `rust-version`")?,
    ))
}

/// Toolchains are named by three numbers, manifests may give two.
fn full_version(version: &str) -> String {
    match version.matches('.').count() {
        1 => format!("{version}.0"),
        _ => version.to_owned(),
    }
}

fn is_installed(toolchain: &str) -> bool {
    process::succeeds(in_root("rustup").args(["run", toolchain, "rustc", "--version"]))
}

fn install(toolchain: &str) -> bool {
    eprintln!("installing Rust {toolchain}");
    let mut rustup = in_root("rustup");
    rustup.args([
        "toolchain",
        "install",
        toolchain,
        "--profile",
        "minimal",
        "--no-self-update",
    ]);
    process::run(&mut rustup).is_ok() && is_installed(toolchain)
}

fn look_for_newer_functions(packages: &[Package]) -> Result<()> {
    let mut clippy = cargo();
    clippy
        .args(["clippy", "--workspace"])
        .args(every_feature(packages));
    process::run(clippy.args(["--", "-A", "clippy::all", "-D", "clippy::incompatible_msrv"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_completed() {
        assert_eq!(full_version("1.88"), "1.88.0");
        assert_eq!(full_version("1.88.1"), "1.88.1");
    }
}
