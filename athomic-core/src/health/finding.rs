//! What can be said about a consumer's health.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::message::{Offset, TopicPartition};

/// What a finding means for the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Severity {
    /// Worth knowing; all is at work.
    Notice,
    /// It cannot do its work now, and a restart would not change that.
    NotReady,
    /// It will not do its work again without a restart.
    Dead,
}

/// Something to be said about a consumer, with how long it has been so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finding {
    /// It has not heard from its group yet, or not since its session was lost.
    Joining {
        /// How long.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        lasting: Duration,
        /// Why it could not join the last time it tried.
        error: Option<String>,
    },
    /// No broker can be reached.
    BrokerDown {
        /// How long.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        lasting: Duration,
        /// What the client said last.
        error: Option<String>,
    },
    /// The broker does not take its commits.
    CommitsFail {
        /// How long.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        lasting: Duration,
        /// What came of the last one.
        error: String,
    },
    /// A partition cannot be read.
    CannotRead {
        /// The partition.
        #[serde(serialize_with = "text")]
        partition: TopicPartition,
        /// How long.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        lasting: Duration,
        /// What came of the last attempt.
        error: String,
    },
    /// A partition is not read because as much is in flight as may be.
    BackPressure {
        /// The partition.
        #[serde(serialize_with = "text")]
        partition: TopicPartition,
        /// How long.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        lasting: Duration,
        /// How many messages are in flight.
        in_flight: usize,
    },
    /// An execution of the handler has been going on for longer than `max_poll_interval_ms`.
    HandlerStuck {
        /// The partition.
        #[serde(serialize_with = "text")]
        partition: TopicPartition,
        /// The message; the first one of a batch.
        offset: Offset,
        /// How long.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        lasting: Duration,
    },
    /// The handler has kept its thread for longer than `max_poll_interval_ms` without awaiting anything.
    HandlerBlocks {
        /// The partition.
        #[serde(serialize_with = "text")]
        partition: TopicPartition,
        /// How long, at least.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        lasting: Duration,
    },
    /// The store that keeps the order of its messages is not heard.
    OrderingStoreDown {
        /// The store, by its name in the settings, with its address.
        store: String,
        /// Where the settings have it.
        key: String,
        /// How long.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        lasting: Duration,
        /// What came of the last call.
        error: String,
    },
    /// The store that remembers which messages were handled gives no answer: they wait.
    IdempotencyStoreDown {
        /// The store, by its name in the settings.
        store: String,
        /// How long.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        lasting: Duration,
        /// What came of the last call.
        error: String,
    },
    /// Its circuit breaker lets nothing run, or only a few messages to try: too many failed.
    CircuitOpen {
        /// How long.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        lasting: Duration,
        /// How many messages had failed when it opened.
        failed: u32,
        /// Of how many.
        total: u32,
    },
    /// The store in which delayed messages wait gives no answer: what is due waits on.
    DelayStoreDown {
        /// The store, by its name in the settings, with its address.
        store: String,
        /// How long.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        lasting: Duration,
        /// What came of the last call.
        error: String,
    },
    /// Its dead letters are not acknowledged: what failed waits, and what waits behind it.
    DeadLettersFail {
        /// How long none got through.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        lasting: Duration,
        /// How many are on their way.
        waiting: usize,
        /// What came of the last attempt.
        error: String,
    },
    /// The group is not served any more.
    Unserved {
        /// How long.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        lasting: Duration,
    },
}

impl Finding {
    /// Return what it means for the application.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::BackPressure { .. } => Severity::Notice,
            Self::Joining { .. }
            | Self::BrokerDown { .. }
            | Self::CommitsFail { .. }
            | Self::CannotRead { .. }
            | Self::DeadLettersFail { .. }
            | Self::DelayStoreDown { .. }
            | Self::OrderingStoreDown { .. }
            | Self::IdempotencyStoreDown { .. }
            | Self::CircuitOpen { .. } => Severity::NotReady,
            Self::HandlerStuck { .. } | Self::HandlerBlocks { .. } | Self::Unserved { .. } => Severity::Dead,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let because =
            |error: &Option<String>| error.as_ref().map_or_else(String::new, |it| format!(": {it}"));
        match self {
            Self::Joining { lasting, error } => {
                write!(
                    f,
                    "joining its group for {} s{}",
                    lasting.as_secs(),
                    because(error)
                )
            }
            Self::BrokerDown { lasting, error } => {
                write!(f, "no broker for {} s{}", lasting.as_secs(), because(error))
            }
            Self::CommitsFail { lasting, error } => {
                write!(f, "commits fail for {} s: {error}", lasting.as_secs())
            }
            Self::CannotRead {
                partition,
                lasting,
                error,
            } => write!(f, "cannot read {partition} for {} s: {error}", lasting.as_secs()),
            Self::BackPressure {
                partition,
                lasting,
                in_flight,
            } => write!(
                f,
                "does not read {partition} for {} s: {in_flight} messages are in flight",
                lasting.as_secs()
            ),
            Self::HandlerStuck {
                partition,
                offset,
                lasting,
            } => write!(
                f,
                "the handler has been running for {} s with {partition} at offset {offset}",
                lasting.as_secs()
            ),
            Self::HandlerBlocks { partition, lasting } => write!(
                f,
                "the handler blocks its thread for {} s with {partition}: it awaits nothing",
                lasting.as_secs()
            ),
            Self::OrderingStoreDown {
                store,
                key,
                lasting,
                error,
            } => write!(
                f,
                "its ordering store `{store}`, set by `{key}`, is not heard for {} s: {error}",
                lasting.as_secs()
            ),
            Self::IdempotencyStoreDown {
                store,
                lasting,
                error,
            } => write!(
                f,
                "its idempotency store `{store}` gives no answer for {} s: {error}",
                lasting.as_secs()
            ),
            Self::CircuitOpen {
                lasting,
                failed,
                total,
            } => write!(
                f,
                "paused by its circuit breaker since {} s: {failed} of {total} messages had failed",
                lasting.as_secs()
            ),
            Self::DelayStoreDown {
                store,
                lasting,
                error,
            } => write!(
                f,
                "the store of delayed messages `{store}` gives no answer for {} s: {error}",
                lasting.as_secs()
            ),
            Self::DeadLettersFail {
                lasting,
                waiting,
                error,
            } => write!(
                f,
                "cannot write its dead letters for {} s ({waiting} wait): {error}",
                lasting.as_secs()
            ),
            Self::Unserved { lasting } => write!(f, "its group is not served for {} s", lasting.as_secs()),
        }
    }
}

fn seconds<S: Serializer>(lasting: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(lasting.as_secs_f64())
}

fn text<S: Serializer>(partition: &TopicPartition, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(partition)
}
