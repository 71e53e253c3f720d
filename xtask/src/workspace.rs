//! Where things are in the repository.

use std::env;
use std::path::{Path, PathBuf};

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
