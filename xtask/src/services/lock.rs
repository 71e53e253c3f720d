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

/// Like [`operation`], for cleaning up after a signal.
pub(crate) fn operation_despite_signals(dir: &Path) -> Result<File> {
    acquire(dir, || Ok(()))
}

/// Count this process among the users of the servers while the file is open.
///
/// Call it under [`operation`].
pub(crate) fn join_users(dir: &Path) -> Result<File> {
    let file = open(dir, "users.lock")?;
    flock(&file, FlockOperation::LockShared)?;
    Ok(file)
}

/// Whether no other process uses the servers. Call it under [`operation`], when leaving.
pub(crate) fn is_last_user(users: &File) -> bool {
    flock(users, FlockOperation::NonBlockingLockExclusive).is_ok()
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
