//! `features`: each feature must build alone, since a user may choose it alone.

use anyhow::{Context as _, Result};

use crate::process;
use crate::workspace::{self, CORE, FACADE, Package, cargo};

/// Check the facade and the core without features, with each one, and with all of them.
///
/// Vendored features build a C library from source, which takes minutes: only on request.
pub(crate) fn features(vendored: bool) -> Result<()> {
    let packages = workspace::packages()?;
    for name in [CORE, FACADE] {
        let package = packages.iter().find(|package| package.name == name);
        check_each(
            package.with_context(|| format!("there is no package `{name}`"))?,
            vendored,
        )?;
    }
    Ok(())
}

fn check_each(package: &Package, vendored: bool) -> Result<()> {
    selections(package, vendored)
        .iter()
        .try_for_each(|features| check(&package.name, features))
}

/// Clippy rather than `cargo check`: the same work, but it can refuse warnings of our own packages
/// (an import that only one feature uses, say) without building the others anew.
fn check(package: &str, features: &str) -> Result<()> {
    eprintln!(
        "{package}: {}",
        if features.is_empty() {
            "no features"
        } else {
            features
        }
    );
    let mut clippy = cargo();
    clippy.args([
        "clippy",
        "--quiet",
        "--package",
        package,
        "--no-default-features",
        "--features",
        features,
    ]);
    process::run(clippy.args(["--", "-D", "warnings"]))
}

fn selections(package: &Package, vendored: bool) -> Vec<String> {
    let mut selections = vec![String::new()];
    selections.extend(package.features.iter().cloned());
    if package.features.len() > 1 {
        selections.push(package.features.join(","));
    }
    if vendored {
        selections.extend(package.vendored.iter().cloned());
    }
    selections
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(features: &[&str], vendored: bool, expected: &[&str]) {
        let package = Package {
            name: "p".into(),
            features: features.iter().map(ToString::to_string).collect(),
            vendored: vec!["tls-vendored".into()],
            rust_version: None,
        };
        assert_eq!(selections(&package, vendored), expected);
    }

    #[test]
    fn none_each_and_all_are_checked() {
        check(&[], false, &[""]);
        check(&["a"], false, &["", "a"]);
        check(&["a", "b"], false, &["", "a", "b", "a,b"]);
        check(&["a"], true, &["", "a", "tls-vendored"]);
    }
}
