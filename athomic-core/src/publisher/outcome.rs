//! What became of a message that was published.

use crate::delay::Bucket;
use crate::message::Timestamp;
use crate::transport::Delivery;

/// A message was published: all in-sync replicas have it, or the delay store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishingOutcome {
    /// It stands in its topic.
    Direct(Delivery),
    /// It waits in a delay topic and is published to its own topic when it is due.
    Delayed {
        /// The delay topic.
        bucket: Bucket,
        /// When it is due, by the clock of who published it.
        due: Timestamp,
        /// Where it stands in the delay topic.
        delivery: Delivery,
    },
    /// It waits in the delay store (`redis_sorted_set`) and is published to its own topic when it is due.
    Scheduled {
        /// When it is due, by the store's clock. Of a message that waited already under its id, when that one is.
        due: Timestamp,
    },
}

impl PublishingOutcome {
    /// Return where the record stands that was written; `None` if the message waits in a store.
    #[must_use]
    pub fn delivery(&self) -> Option<&Delivery> {
        match self {
            Self::Direct(delivery) | Self::Delayed { delivery, .. } => Some(delivery),
            Self::Scheduled { .. } => None,
        }
    }

    /// Say whether the message waits to be due.
    #[must_use]
    pub fn is_delayed(&self) -> bool {
        matches!(self, Self::Delayed { .. } | Self::Scheduled { .. })
    }
}
