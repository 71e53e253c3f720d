//! The repository: where things are, and which packages and features there are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::process;

/// The package that applications depend on.
pub(crate) const FACADE: &str = "athomic";

/// The package of the runtime.
pub(crate) const CORE: &str = "athomic-core";

/// A member of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Without `default`, and without those that build a C library from source.
    pub(crate) features: Vec<String>,
    /// The same as `features`, for those that do.
    pub(crate) vendored: Vec<String>,
    pub(crate) rust_version: Option<String>,
}

impl Package {
    /// Whether something it depends on compiles C, with default features: then the crate `cc` is there.
    pub(crate) fn needs_c(&self) -> Result<bool> {
        let mut tree = cargo();
        tree.args([
            "tree",
            "--quiet",
            "--package",
            &self.name,
            "--prefix",
            "none",
            "--format",
            "{p}",
        ]);
        Ok(process::stdout(&mut tree)?
            .lines()
            .any(|line| line.starts_with("cc v")))
    }
}

/// The root of the checkout.
///
/// Cargo tells the manifest folder when it runs xtask; a binary started by hand knows where it was built.
pub(crate) fn root() -> PathBuf {
    let xtask = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&xtask)
        .parent()
        .expect("xtask is a folder of the workspace")
        .to_owned()
}

/// The folder of the servers: always the workspace's own, wherever `CARGO_TARGET_DIR` points,
/// so that two checkouts which share build results do not share servers.
pub(crate) fn services_dir() -> PathBuf {
    root().join("target/services")
}

/// Where tools are installed that no package manager brings. CI keeps the folder between runs.
pub(crate) fn tools_dir() -> PathBuf {
    env::var_os("ATHOMIC_TOOLS").map_or_else(|| root().join("target/tools"), PathBuf::from)
}

/// `cargo` in the root folder.
pub(crate) fn cargo() -> Command {
    in_root(env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from))
}

/// A command in the root folder.
///
/// What Cargo told xtask about xtask is kept from it: a build script that watches one of these
/// variables would run again at each change between `cargo` and `cargo xtask`.
pub(crate) fn in_root(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// All members, as Cargo sees them.
pub(crate) fn packages() -> Result<Vec<Package>> {
    let mut metadata = cargo();
    metadata.args(["metadata", "--no-deps", "--format-version", "1"]);
    read_packages(&process::stdout(&mut metadata)?)
}

/// Arguments that select every feature of these packages, vendored builds excepted.
///
/// The same for every chore, so that each finds the other's build results.
pub(crate) fn every_feature(packages: &[Package]) -> Vec<String> {
    feature_arguments(packages, |package| package.features.clone())
}

/// Arguments that select, besides the default features, only what tests need.
pub(crate) fn testing_features(packages: &[Package]) -> Vec<String> {
    let testing = |package: &Package| {
        package
            .features
            .iter()
            .filter(|name| *name == "testing")
            .cloned()
            .collect()
    };
    feature_arguments(packages, testing)
}

fn feature_arguments(packages: &[Package], select: impl Fn(&Package) -> Vec<String>) -> Vec<String> {
    let of = |package: &Package| {
        let name = package.name.clone();
        select(package)
            .into_iter()
            .map(move |feature| format!("{name}/{feature}"))
    };
    let features: Vec<String> = packages.iter().flat_map(of).collect();
    if features.is_empty() {
        Vec::new()
    } else {
        vec!["--features".to_owned(), features.join(",")]
    }
}

fn read_packages(json: &str) -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Member>,
    }
    #[derive(Deserialize)]
    struct Member {
        name: String,
        rust_version: Option<String>,
        features: std::collections::BTreeMap<String, Vec<String>>,
    }

    let metadata: Metadata =
        serde_json::from_str(json).context("cannot read what `cargo metadata` printed")?;
    let package = |member: Member| {
        let names = member.features.into_keys().filter(|name| name != "default");
        let (vendored, features) = names.partition(|name| name.ends_with("-vendored"));
        Package {
            name: member.name,
            features,
            vendored,
            rust_version: member.rust_version,
        }
    };
    Ok(metadata.packages.into_iter().map(package).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{"packages": [
        {"name": "athomic", "rust_version": "1.88", "features": {
            "default": [], "kafka": [], "kafka-tls-vendored": ["kafka"]}},
        {"name": "athomic-core", "rust_version": null, "features": {"testing": [], "zstd": []}}
    ]}"#;

    #[test]
    fn vendored_features_are_kept_apart() {
        let packages = read_packages(METADATA).unwrap();
        assert_eq!(packages[0].features, ["kafka"]);
        assert_eq!(packages[0].vendored, ["kafka-tls-vendored"]);
        assert_eq!(packages[0].rust_version.as_deref(), Some("1.88"));
    }

    #[test]
    fn features_are_named_with_their_package() {
        let packages = read_packages(METADATA).unwrap();
        assert_eq!(
            every_feature(&packages),
            [
                "--features",
                "athomic/kafka,athomic-core/testing,athomic-core/zstd"
            ]
        );
        assert_eq!(
            testing_features(&packages),
            ["--features", "athomic-core/testing"]
        );
        assert_eq!(testing_features(&packages[..1]), [""; 0]);
    }
}
