//! Batches that own their bytes: what the embedded broker and tests hand over.

use std::borrow::Borrow;

use bytes::Bytes;

use super::{Headers, Offset, RecordBatch, Timestamp, TopicPartition};

/// One message that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRecord {
    /// The place in the partition.
    pub offset: Offset,
    /// The key; `None` is a null key.
    pub key: Option<Bytes>,
    /// The payload; `None` is a tombstone.
    pub payload: Option<Bytes>,
    /// The headers.
    pub headers: Headers,
    /// The time of the record.
    pub timestamp: Option<Timestamp>,
}

impl OwnedRecord {
    /// Make a record with a payload and nothing else.
    pub fn new(offset: Offset, payload: impl Into<Bytes>) -> Self {
        Self {
            offset,
            key: None,
            payload: Some(payload.into()),
            headers: Headers::new(),
            timestamp: None,
        }
    }

    /// Set the key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }
}

/// A batch of messages that own their bytes, or that share them with somebody (`Arc<OwnedRecord>`).
#[derive(Debug)]
pub struct OwnedBatch<R = OwnedRecord> {
    partition: TopicPartition,
    records: Vec<R>,
}

impl<R: Borrow<OwnedRecord>> OwnedBatch<R> {
    /// Put records of one partition together.
    ///
    /// # Panics
    /// If there are none: a batch is never empty.
    #[must_use]
    pub fn new(partition: TopicPartition, records: Vec<R>) -> Self {
        assert!(!records.is_empty(), "a batch holds at least one record");
        Self { partition, records }
    }

    fn record(&self, index: usize) -> &OwnedRecord {
        self.records[index].borrow()
    }
}

impl<R: Borrow<OwnedRecord> + Send + Sync + 'static> RecordBatch for OwnedBatch<R> {
    fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    fn len(&self) -> usize {
        self.records.len()
    }

    fn offset(&self, index: usize) -> Offset {
        self.record(index).offset
    }

    fn key(&self, index: usize) -> Option<&[u8]> {
        self.record(index).key.as_deref()
    }

    fn payload(&self, index: usize) -> Option<&[u8]> {
        self.record(index).payload.as_deref()
    }

    fn timestamp(&self, index: usize) -> Option<Timestamp> {
        self.record(index).timestamp
    }

    fn headers(&self, index: usize) -> Headers {
        self.record(index).headers.clone()
    }

    fn header(&self, index: usize, name: &str) -> Option<&[u8]> {
        self.record(index).headers.get(name)
    }
}
