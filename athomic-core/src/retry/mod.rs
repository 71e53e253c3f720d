//! Whether and when a failed message is tried again. Stage 8 of 9, before the dead letters.
//!
//! | mode | where a message waits for its next attempt |
//! |---|---|
//! | `in_place` | in its lane (a partition, or a key), which stands still: no later message of it overtakes |
//! | `delay_topic` | in a delay topic, from which its copy comes back when it is due; the lane goes on |
//! | `republish` | at the end of its topic, as a copy for its group alone (`redelivery.rs`); the lane goes on |
//!
//! Ordered handlers retry in place whatever the mode, and so do handlers that are ordered by key unless
//! `retry.order` is `release`.

mod backoff;
mod redelivery;
mod stages;

pub use backoff::Backoff;
#[cfg(feature = "testing")]
pub(crate) use backoff::seed_jitter;
pub(crate) use backoff::{jittered, random_number};
pub(crate) use redelivery::{Standing, republish};
pub use stages::Stages;

use std::time::Duration;

use crate::handler::RetryOptions;
use crate::outcome::{FailureContext, RetryWish};
use crate::settings::{BackoffKind, DlqSettings, RetryMode};

/// How often and how fast a failed message is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// How often a message is tried in all; 1 is no retry.
    pub max_attempts: u32,
    /// How long it waits between attempts.
    pub backoff: Backoff,
    /// Which failures are tried again at all, where the handler does not say so itself.
    pub retry_on: Stages,
    /// Where a message waits for its next attempt.
    pub mode: RetryMode,
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
    /// Decide by the settings of section `dlq` and by what is said of a handler.
    #[must_use]
    pub fn new(settings: &DlqSettings, options: &RetryOptions) -> Self {
        let retry = &settings.retry;
        Self {
            max_attempts: options.max_attempts.unwrap_or(settings.max_attempts.get()),
            backoff: Backoff {
                first: options.min_delay.unwrap_or(retry.min_delay),
                longest: options.max_delay.unwrap_or(retry.max_delay),
                factor: match options.backoff.unwrap_or(retry.backoff) {
                    BackoffKind::Fixed => 1.0,
                    BackoffKind::Exponential => retry.factor,
                },
                jitter: retry.jitter,
            },
            retry_on: options.retry_on.unwrap_or(retry.retry_on),
            mode: options.mode.unwrap_or(retry.mode),
        }
    }

    /// Decide on a failure.
    #[must_use]
    pub fn decide(&self, failure: &FailureContext) -> RetryDecision {
        match failure.wish {
            RetryWish::Ignore => RetryDecision::Ignore,
            RetryWish::Never => RetryDecision::GiveUp,
            RetryWish::Always => RetryDecision::RetryAfter(self.delay(failure)),
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
            RetryWish::ByPolicy | RetryWish::Always | RetryWish::Never | RetryWish::Ignore => {
                self.backoff.delay(failure.attempt)
            }
        }
    }
}

/// Of handlers of which nothing is said.
impl From<&DlqSettings> for RetryPolicy {
    fn from(settings: &DlqSettings) -> Self {
        Self::new(settings, &RetryOptions::new())
    }
}
