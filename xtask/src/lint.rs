//! `lint`: formatting and clippy.

use anyhow::Result;

use crate::process;
use crate::workspace::{cargo, every_feature, packages};

/// Both.
pub(crate) fn lint() -> Result<()> {
    format()?;
    clippy()
}

/// Check the formatting.
pub(crate) fn format() -> Result<()> {
    process::run(cargo().args(["fmt", "--all", "--check"]))
}

/// Run clippy over everything; a warning is an error.
pub(crate) fn clippy() -> Result<()> {
    let mut clippy = cargo();
    clippy
        .args(["clippy", "--workspace", "--all-targets"])
        .args(every_feature(&packages()?));
    process::run(clippy.args(["--", "-D", "warnings"]))
}
