//! `RawMessage`: one message, in place in the batch that the client fetched.

use std::fmt;
use std::sync::Arc;

use super::{Headers, Offset, Partition, Timestamp, TopicPartition};

/// Messages of one partition, fetched together, in the memory of the client that fetched them.
///
/// # Contract
/// - All messages are of [`partition`](Self::partition), in rising order of their offsets, which
///   may have holes.
/// - The accessors borrow; they neither copy nor fail. `index` is below [`len`](Self::len).
/// - The memory is given back when the last reference to the batch is dropped, on any thread.
pub trait RecordBatch: Send + Sync + 'static {
    /// Return the partition that all messages of the batch come from.
    fn partition(&self) -> &TopicPartition;
    /// Return how many messages there are; never 0.
    fn len(&self) -> usize;
    /// Return the offset of a message.
    fn offset(&self, index: usize) -> Offset;
    /// Return the key of a message; `None` is a null key.
    fn key(&self, index: usize) -> Option<&[u8]>;
    /// Return the payload of a message; `None` is a null payload, a tombstone.
    fn payload(&self, index: usize) -> Option<&[u8]>;
    /// Return the time of a message, if the log keeps one.
    fn timestamp(&self, index: usize) -> Option<Timestamp>;
    /// Collect the headers of a message. The one accessor that allocates, so it is called only
    /// when somebody asks for headers.
    fn headers(&self, index: usize) -> Headers;
    /// Return the value of the last header of this name of a message, if it is not null; does not
    /// allocate.
    fn header(&self, index: usize, name: &str) -> Option<&[u8]>;
    /// Say whether the batch is empty; it never is.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A message as it came from the broker: bytes, headers and coordinates, not decoded.
///
/// It refers to its place in a fetched batch, so a clone is a reference count, and the batch's
/// memory lives as long as the longest-lived of its messages. As an extractor it gives a handler
/// everything there is:
///
/// ```
/// use athomic_core::message::{OwnedRecord, RawMessage, TopicPartition};
///
/// let message = RawMessage::from_record(TopicPartition::new("orders", 3), OwnedRecord::new(17, "{}"));
/// assert_eq!((message.topic(), message.partition(), message.offset()), ("orders", 3, 17));
/// assert_eq!(message.payload(), Some(b"{}".as_slice()));
/// assert_eq!(message.key(), None);
/// ```
#[derive(Clone)]
pub struct RawMessage {
    batch: Arc<dyn RecordBatch>,
    index: usize,
}

impl RawMessage {
    /// Refer to the message at `index` of a batch.
    ///
    /// # Panics
    /// If the batch has no such message.
    #[must_use]
    pub fn new(batch: Arc<dyn RecordBatch>, index: usize) -> Self {
        assert!(
            index < batch.len(),
            "a batch of {} messages has no message {index}",
            batch.len()
        );
        Self { batch, index }
    }

    /// Make a message that stands alone, for tests and for messages that no broker delivered.
    #[must_use]
    pub fn from_record(partition: TopicPartition, record: super::OwnedRecord) -> Self {
        Self::new(Arc::new(super::OwnedBatch::new(partition, vec![record])), 0)
    }

    /// Return the topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.batch.partition().topic
    }

    /// Return the partition's number.
    #[must_use]
    pub fn partition(&self) -> Partition {
        self.batch.partition().partition
    }

    /// Return topic and partition.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        self.batch.partition()
    }

    /// Return the offset within the partition.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.batch.offset(self.index)
    }

    /// Return the key; `None` is a null key, which differs from an empty one.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.batch.key(self.index)
    }

    /// Return the payload; `None` is a null payload, which a compacted topic reads as a deletion.
    #[must_use]
    pub fn payload(&self) -> Option<&[u8]> {
        self.batch.payload(self.index)
    }

    /// Return the message's time, if the log keeps one.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.batch.timestamp(self.index)
    }

    /// Collect the headers: in order, with repeated names and null values. Allocates.
    #[must_use]
    pub fn headers(&self) -> Headers {
        self.batch.headers(self.index)
    }

    /// Return the value of the last header of this name, if it is not null. Does not allocate.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.batch.header(self.index, name)
    }

    /// Return the length of key and payload in bytes: what a message weighs in limits.
    #[must_use]
    pub fn size(&self) -> usize {
        self.key().map_or(0, <[u8]>::len) + self.payload().map_or(0, <[u8]>::len)
    }

    /// Go to the next message of the batch; `false` at its end. Lanes walk a batch with it, so
    /// that a batch costs one reference count and not one a message.
    pub(crate) fn advance(&mut self) -> bool {
        let more = self.index + 1 < self.batch.len();
        self.index += usize::from(more);
        more
    }
}

impl fmt::Debug for RawMessage {
    /// Shows the coordinates only: payloads may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.topic_partition(), self.offset())
    }
}
