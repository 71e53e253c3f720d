//! Ctrl-C, SIGTERM and SIGHUP become an ordinary error, so that guards run on the way out.
//!
//! The first signal is noticed at the next [`check`]; a second one ends xtask at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

static SEEN: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// The error that stands for a signal.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted by a signal")
    }
}

impl std::error::Error for Interrupted {}

/// Start listening for signals.
pub(crate) fn install() -> Result<()> {
    let seen = SEEN.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // The order matters: the first signal must not yet see the flag that it sets itself.
        flag::register_conditional_shutdown(signal, 130, Arc::clone(seen)).context("signal handler")?;
        flag::register(signal, Arc::clone(seen)).context("signal handler")?;
    }
    Ok(())
}

/// Fail with [`Interrupted`] once a signal has come.
pub(crate) fn check() -> Result<(), Interrupted> {
    match SEEN.get() {
        Some(seen) if seen.load(Ordering::Relaxed) => Err(Interrupted),
        _ => Ok(()),
    }
}

/// Sleep between two looks at something.
#[expect(
    clippy::disallowed_methods,
    reason = "the ban protects async code; xtask has none"
)]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
