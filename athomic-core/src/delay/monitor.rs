//! What a republisher has done, and what it has still to do.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::REPUBLISHER;
use crate::health::{ConsumerHealth, Finding, Outage};

/// What a republisher has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepublisherCounts {
    /// Messages that are at their destination.
    pub republished: u64,
    /// Messages that went on to another delay topic.
    pub passed_on: u64,
    /// Messages that were given up: malformed, not allowed, or not published in as many attempts as the
    /// dead-letter settings say.
    pub given_up: u64,
    /// Messages in the delay store, when it was looked at last; 0 for delay topics.
    pub waiting: u64,
    /// For how long the first of them had been due by then that nobody had taken; likewise.
    pub overdue: Duration,
}

/// Counts what a republisher does, and says how it does.
#[derive(Debug, Default)]
pub struct RepublisherMonitor {
    republished: AtomicU64,
    passed_on: AtomicU64,
    given_up: AtomicU64,
    waiting: AtomicU64,
    overdue_millis: AtomicU64,
    /// Calls of the store.
    pub(super) store: Outage,
    /// Publishing.
    pub(super) broker: Outage,
}

impl RepublisherMonitor {
    /// Return what has been done so far.
    #[must_use]
    pub fn counts(&self) -> RepublisherCounts {
        RepublisherCounts {
            republished: self.republished.load(Relaxed),
            passed_on: self.passed_on.load(Relaxed),
            given_up: self.given_up.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
            overdue: Duration::from_millis(self.overdue_millis.load(Relaxed)),
        }
    }

    pub(super) fn republished(&self) {
        self.republished.fetch_add(1, Relaxed);
    }

    pub(super) fn passed_on(&self) {
        self.passed_on.fetch_add(1, Relaxed);
    }

    pub(super) fn gave_up(&self) {
        self.given_up.fetch_add(1, Relaxed);
    }

    /// Take note of what a look at the store found.
    pub(super) fn saw(&self, waiting: u64, overdue: Duration) {
        self.waiting.store(waiting, Relaxed);
        let millis = u64::try_from(overdue.as_millis()).unwrap_or(u64::MAX);
        self.overdue_millis.store(millis, Relaxed);
    }

    /// Say how a republisher does whose messages wait in a store of this name.
    pub(crate) fn check(&self, store: &str) -> ConsumerHealth {
        let now = Instant::now();
        let down = self.store.lasting(now);
        let down = down.map(|(lasting, error)| Finding::DelayStoreDown {
            store: store.to_owned(),
            lasting,
            error,
        });
        let broker = self.broker.lasting(now);
        let broker = broker.map(|(lasting, error)| Finding::BrokerDown {
            lasting,
            error: Some(error),
        });
        ConsumerHealth {
            handler: REPUBLISHER.to_owned(),
            partitions: 0,
            findings: down.into_iter().chain(broker).collect(),
        }
    }
}
