//! Messages as they come from the broker: bytes, headers and coordinates, nothing decoded.
//!
//! Stage 1 of 9 gives these types to all later stages. A transport hands over whole
//! [`RecordBatch`]es, which own the client's memory; a [`RawMessage`] is a reference-counted place
//! in one of them, so that no byte of a payload is copied between the client and the decoder.

mod headers;
mod owned;
mod raw;
mod topic;

pub use headers::{Header, Headers, MESSAGE_ID, RESERVED};
pub use owned::{OwnedBatch, OwnedRecord};
pub use raw::{RawMessage, RecordBatch};
pub use topic::{MAX_TOPIC_LENGTH, TopicNameError, check_topic_name};

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The number of a partition within its topic, from 0.
pub type Partition = i32;

/// The place of a message within its partition, from 0.
pub type Offset = i64;

/// A partition of a topic. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: Partition,
}

impl TopicPartition {
    /// Name a partition of a topic.
    pub fn new(topic: impl Into<Arc<str>>, partition: Partition) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A partition and the offset of the next message to read from it, as committed to the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionOffset {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset of the first message that is not settled.
    pub offset: Offset,
}

/// A record's time in milliseconds since the Unix epoch, as the broker or the producer set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Take milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Return milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Return the present time of this machine.
    #[must_use]
    pub fn now() -> Self {
        SystemTime::now().into()
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(match time.duration_since(UNIX_EPOCH) {
            Ok(after) => millis(after),
            Err(before) => -millis(before.duration()),
        })
    }
}

/// The longest name that Kafka allows a topic.
const TOPIC_NAME_MAX: usize = 249;

/// Return what is wrong with a topic's name, if anything: Kafka allows letters, digits, `.`, `_` and
/// `-`, and 249 of them (`org.apache.kafka.common.internals.Topic`).
#[must_use]
pub const fn topic_name_fault(name: &str) -> Option<&'static str> {
    let bytes = name.as_bytes();
    if bytes.is_empty() {
        return Some("is empty");
    }
    if bytes.len() > TOPIC_NAME_MAX {
        return Some("is longer than 249 characters");
    }
    if matches!(bytes, b"." | b"..") {
        return Some("is `.` or `..`, which Kafka forbids");
    }
    let mut place = 0;
    while place < bytes.len() {
        if !(bytes[place].is_ascii_alphanumeric() || matches!(bytes[place], b'.' | b'_' | b'-')) {
            return Some("holds a character other than letters, digits, `.`, `_` and `-`");
        }
        place += 1;
    }
    None
}
