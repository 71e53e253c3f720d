//! Batches that own their bytes: what the embedded broker and tests hand over.

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

/// A batch of messages that own their bytes.
#[derive(Debug)]
pub struct OwnedBatch {
    partition: TopicPartition,
    records: Vec<OwnedRecord>,
}

impl OwnedBatch {
    /// Put records of one partition together.
    ///
    /// # Panics
    /// If there are none: a batch is never empty.
    #[must_use]
    pub fn new(partition: TopicPartition, records: Vec<OwnedRecord>) -> Self {
        assert!(!records.is_empty(), "a batch holds at least one record");
        Self { partition, records }
    }
}

impl RecordBatch for OwnedBatch {
    fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    fn len(&self) -> usize {
        self.records.len()
    }

    fn offset(&self, index: usize) -> Offset {
        self.records[index].offset
    }

    fn key(&self, index: usize) -> Option<&[u8]> {
        self.records[index].key.as_deref()
    }

    fn payload(&self, index: usize) -> Option<&[u8]> {
        self.records[index].payload.as_deref()
    }

    fn timestamp(&self, index: usize) -> Option<Timestamp> {
        self.records[index].timestamp
    }

    fn headers(&self, index: usize) -> Headers {
        self.records[index].headers.clone()
    }

    fn header(&self, index: usize, name: &str) -> Option<&[u8]> {
        self.records[index].headers.get(name)
    }
}
