//! Whether and when a failed message is tried again. Stage 8 of 9, before the dead letters.
//!
//! Decides only; the lane waits and tries. Retries are in place: the lane (a partition, or a key)
//! stands still meanwhile, so no later message of it overtakes.

mod backoff;
mod stages;

pub use backoff::Backoff;
pub(crate) use backoff::jittered;
#[cfg(feature = "testing")]
pub(crate) use backoff::seed_jitter;
pub use stages::Stages;

use std::time::Duration;

use crate::outcome::{FailureContext, RetryWish};
use crate::settings::{BackoffKind, DlqSettings};

/// How often and how fast a failed message is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// How often a message is tried in all; 1 is no retry.
    pub max_attempts: u32,
    /// How long it waits between attempts.
    pub backoff: Backoff,
    /// Which failures are tried again at all, where the handler does not say so itself.
    pub retry_on: Stages,
}

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// Try again after this time.
    RetryAfter(Duration),
    /// Hand it to the dead-letter handler.
    GiveUp,
    /// Settle it: the handler wants nothing to come of its failure.
    Ignore,
}

impl RetryPolicy {
    /// Decide on a failure.
    #[must_use]
    pub fn decide(&self, failure: &FailureContext) -> RetryDecision {
        match failure.wish {
            RetryWish::Ignore => RetryDecision::Ignore,
            RetryWish::Never => RetryDecision::GiveUp,
            _ if failure.attempt >= self.max_attempts => RetryDecision::GiveUp,
            RetryWish::ByPolicy if !self.retry_on.contains(failure.stage) => RetryDecision::GiveUp,
            RetryWish::After(_) | RetryWish::ByPolicy => RetryDecision::RetryAfter(self.delay(failure)),
        }
    }

    /// Return how long a message waits for its next attempt.
    #[must_use]
    pub fn delay(&self, failure: &FailureContext) -> Duration {
        match failure.wish {
            RetryWish::After(delay) => delay,
            RetryWish::ByPolicy | RetryWish::Never | RetryWish::Ignore => self.backoff.delay(failure.attempt),
        }
    }
}

impl From<&DlqSettings> for RetryPolicy {
    fn from(settings: &DlqSettings) -> Self {
        Self {
            max_attempts: settings.max_attempts.get(),
            backoff: Backoff {
                first: settings.retry.min_delay,
                longest: settings.retry.max_delay,
                factor: match settings.retry.backoff {
                    BackoffKind::Fixed => 1.0,
                    BackoffKind::Exponential => settings.retry.factor,
                },
                jitter: settings.retry.jitter,
            },
            retry_on: settings.retry.retry_on,
        }
    }
}
