//! The clock of a store in memory. It follows tokio's, so that tests can pause it, and can be set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::time::Instant;

use crate::message::Timestamp;

/// The time of a store. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct StoreClock {
    /// Nothing for a clock that only moves by hand.
    began: Option<Instant>,
    /// Microseconds since the Unix epoch when it began, moved by hand.
    base: Arc<AtomicI64>,
}

impl Default for StoreClock {
    fn default() -> Self {
        Self::starting_at(Timestamp::now().as_millis() * 1000)
    }
}

impl StoreClock {
    /// Make a clock that shows so many microseconds since the Unix epoch now.
    #[must_use]
    pub fn starting_at(micros: i64) -> Self {
        Self {
            began: Some(Instant::now()),
            base: Arc::new(AtomicI64::new(micros)),
        }
    }

    /// Make a clock that shows so many microseconds since the Unix epoch until it is [shifted](Self::shift),
    /// so that several stores can be shown the very same time.
    #[must_use]
    pub fn stopped_at(micros: i64) -> Self {
        Self {
            began: None,
            base: Arc::new(AtomicI64::new(micros)),
        }
    }

    /// Move the clock by microseconds, backwards too, as an operator or a failover may.
    pub fn shift(&self, micros: i64) {
        self.base.fetch_add(micros, Ordering::Relaxed);
    }

    /// Return microseconds since the Unix epoch.
    #[must_use]
    pub fn micros(&self) -> i64 {
        let passed = self.began.map_or(0, |began| began.elapsed().as_micros());
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        self.base.load(Ordering::Relaxed).saturating_add(passed)
    }

    /// Return milliseconds since the Unix epoch.
    #[must_use]
    pub fn millis(&self) -> i64 {
        self.micros().div_euclid(1000)
    }
}
