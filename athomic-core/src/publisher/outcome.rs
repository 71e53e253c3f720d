//! What became of a message that was published.

use crate::delay::Bucket;
use crate::message::Timestamp;
use crate::transport::Delivery;

/// A message was published: all in-sync replicas have it.
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
}

impl PublishingOutcome {
    /// Return where the record stands that was written.
    #[must_use]
    pub fn delivery(&self) -> &Delivery {
        match self {
            Self::Direct(delivery) | Self::Delayed { delivery, .. } => delivery,
        }
    }

    /// Say whether the message waits to be due.
    #[must_use]
    pub fn is_delayed(&self) -> bool {
        matches!(self, Self::Delayed { .. })
    }
}
