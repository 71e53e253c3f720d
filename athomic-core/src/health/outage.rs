//! Since when something fails that is asked again and again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Since when something has given no good answer, and what came of it the last time: for probes.
#[derive(Debug, Default)]
pub(crate) struct Outage(Mutex<Option<(Instant, String)>>);

impl Outage {
    /// Take note that it failed.
    pub(crate) fn note(&self, error: String) {
        let mut outage = self.lock();
        let began = outage.as_ref().map_or_else(Instant::now, |(began, _)| *began);
        *outage = Some((began, error));
    }

    /// Take note that it answered.
    pub(crate) fn end(&self) {
        *self.lock() = None;
    }

    /// Say whether it fails at present.
    pub(crate) fn is_on(&self) -> bool {
        self.lock().is_some()
    }

    /// Return for how long it has failed, and why; `None` if it does not.
    pub(crate) fn lasting(&self, now: Instant) -> Option<(Duration, String)> {
        let outage = self.lock();
        outage
            .as_ref()
            .map(|(began, error)| (now - *began, error.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
