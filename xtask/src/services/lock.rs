//! Locks between xtasks that run at the same time. The system releases them when their holder dies.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, flock};

use crate::interrupt;

/// Wait until no other xtask starts or ends servers, and keep it so while the file is open.
pub(crate) fn operation(dir: &Path) -> Result<File> {
    acquire(dir, || Ok(interrupt::check()?))
}

fn acquire(dir: &Path, go_on: impl Fn() -> Result<()>) -> Result<File> {
    let file = open(dir, "lock")?;
    let mut told = false;
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        go_on()?;
        if !told {
            eprintln!("waiting for another xtask that starts or ends the servers");
            told = true;
        }
        interrupt::pause(Duration::from_millis(100));
    }
    Ok(file)
}

fn open(dir: &Path, name: &str) -> Result<File> {
    let path = dir.join(name);
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))
}
