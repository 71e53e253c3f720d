//! Each message handled once. Stage 5 of 9, between decode and the handler.
//!
//! A handler with idempotency has a `Guard`. It acquires a message's key before the handler runs, has a
//! `Keeper` renew it meanwhile, confirms it when the handler succeeded, and releases it
//! when it failed. What is a duplicate is acknowledged without running; what another one handles, or what
//! the store gives no answer about, waits and is asked for again.
//!
//! Invariants:
//! - A key is confirmed after the handler and before the message is settled, and released before an attempt
//!   that follows.
//! - Nothing is settled because of an unknown outcome: only a mark makes a duplicate.
//! - Whatever becomes of the store, messages are repeated at worst and never lost.

mod counts;
mod guard;
mod keeper;
mod key;
pub(crate) mod resolve;

pub use counts::{IdempotencyCounts, IdempotencyMonitor};
pub(crate) use guard::{Entry, Guard, Held, Once};
pub(crate) use key::key_of;

use std::time::Duration;

/// How a handler's messages are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdempotencyPolicy {
    /// How long a handled message is remembered, from when it was confirmed.
    pub ttl: Duration,
    /// After what time a message may be handled by another if the process that handles it dies. Renewed each
    /// third of it while the handler runs.
    pub lock_timeout: Duration,
}

impl Default for IdempotencyPolicy {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(86_400),
            lock_timeout: Duration::from_secs(10),
        }
    }
}
