//! `doc`: the API documentation; a broken link is an error.

use anyhow::Result;

use crate::process;
use crate::workspace::{cargo, every_feature, packages};

/// Build the documentation of all libraries.
pub(crate) fn doc() -> Result<()> {
    let mut doc = cargo();
    doc.args(["doc", "--workspace", "--no-deps", "--exclude", "xtask"]);
    let libraries: Vec<_> = packages()?
        .into_iter()
        .filter(|package| package.name != "xtask")
        .collect();
    process::run(
        doc.args(every_feature(&libraries))
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}
