//! What can go wrong with a queue.

use crate::outcome::BoxError;

/// A queue cannot be consumed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The consumer runs already.
    #[error("the consumer runs already; shut it down first, or make another one")]
    AlreadyRunning,
    /// The URL of a backend cannot be used.
    #[error("no queue can be loaded: {reason}; {remedy}")]
    Url {
        /// Why, without what may be secret in it.
        reason: String,
        /// What to write.
        remedy: String,
    },
    /// The queue gives no answer, or not now. Retriable.
    #[error("queue `{queue}` gives no answer")]
    Unavailable {
        /// The queue's name.
        queue: String,
        /// What was said.
        #[source]
        source: BoxError,
    },
    /// The queue cannot be read as it is.
    #[error("queue `{queue}` cannot be read")]
    Failed {
        /// The queue's name.
        queue: String,
        /// What was said.
        #[source]
        source: BoxError,
    },
    /// The handler failed, and the consumer is to stop then. The event is not acknowledged.
    #[error("the handler failed with an event of queue `{queue}`")]
    Handler {
        /// The queue's name.
        queue: String,
        /// What it said.
        #[source]
        source: BoxError,
    },
}

impl QueueError {
    /// Say whether the same may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
