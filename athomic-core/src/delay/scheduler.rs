//! The scheduler: puts messages with a delay into a store.
//!
//! An entry is the record that a delay topic would have, envelope and signature included, in the frame in which
//! messages wait in rooms. Its name is made of what tells this wait of the message from all others: the message's
//! id, where it goes, and of a retry whose it is and which. So a schedule whose answer was lost is made again
//! without a second entry, and so is one of a handler that ran again; while retries of several groups, and one
//! after the other, wait beside each other.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::republisher::RepublishError;
use super::{Destinations, Envelope, Sealing};
use crate::dead_letter::headers::{RETRY_ATTEMPTS, RETRY_GROUP, RETRY_ORIGIN};
use crate::hex::hex;
use crate::message::{MESSAGE_ID, OwnedRecord, RawMessage, Timestamp, TopicPartition};
use crate::ordering::frame;
use crate::publisher::PublishError;
use crate::retry::Backoff;
use crate::settings::{RepublisherSettings, Settings};
use crate::store::StoreError;
use crate::store::delay::{DelayEntry, DueEntry, DynDelayStore};
use crate::store::ordering::Digest;
use crate::transport::{OutgoingMessage, TransportError};

/// What stands in the place of a delay topic's name for messages that wait in a store.
pub const DELAY_STORE: &str = "athomic.delayed";

/// For how long a store that does not answer, or cannot take it now, is asked again.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait before it is.
const ASK_AGAIN: Backoff = Backoff {
    first: Duration::from_millis(50),
    longest: Duration::from_secs(5),
    factor: 2.0,
    jitter: true,
};

/// A message is longer than what is published.
#[derive(Debug, thiserror::Error)]
#[error(
    "it has {bytes} bytes with its headers and its envelope, and {limit} may be published (`batch_max_bytes`)"
)]
struct TooLong {
    bytes: usize,
    limit: usize,
}

/// Has messages wait in a store, and reads them again. Cheap to clone.
#[derive(Clone)]
pub(crate) struct DelayScheduler {
    store: Arc<dyn DynDelayStore>,
    destinations: Destinations,
    sealing: Sealing,
    max_delay: Duration,
    /// What could not be published in the end is not taken.
    max_bytes: usize,
}

impl DelayScheduler {
    /// Schedule by the settings.
    pub(crate) fn new(store: Arc<dyn DynDelayStore>, settings: &Settings) -> Self {
        let republisher: &RepublisherSettings = &settings.messaging.republisher;
        let producers = settings.messaging.connections.values();
        let batch = producers.map(|connection| connection.producer.batch_max_bytes);
        Self {
            store,
            destinations: Destinations::new(
                &republisher.destinations,
                republisher.delay_topics.values().cloned(),
            ),
            sealing: Sealing::new(republisher),
            max_delay: republisher.max_delay,
            max_bytes: batch.max().unwrap_or(0).max(1_000_000),
        }
    }

    /// Return the store.
    pub(crate) fn store(&self) -> &Arc<dyn DynDelayStore> {
        &self.store
    }

    /// Have messages wait; return for each when it is due, by the store's clock.
    ///
    /// A call of unknown outcome is made again for a while, which makes no second entry as long as the first waits.
    pub(crate) async fn schedule(
        &self,
        messages: Vec<(OutgoingMessage, Duration)>,
        now: Timestamp,
    ) -> Vec<Result<Timestamp, PublishError>> {
        let mut topics = Vec::with_capacity(messages.len());
        let (mut results, mut entries) = (Vec::new(), Vec::new());
        for (message, delay) in messages {
            topics.push(message.topic.clone());
            let entry = self.entry(message, delay, now);
            results.push(entry.map(|entry| entries.push(entry)));
        }
        let mut due = self.ask(&entries).await.into_iter();
        let result = |(topic, result): (String, Result<(), PublishError>)| {
            result?;
            let due = due.next().expect("each entry has a result");
            due.map_err(|source| PublishError::Store { topic, source })
        };
        topics.into_iter().zip(results).map(result).collect()
    }

    async fn ask(&self, entries: &[DelayEntry]) -> Vec<Result<Timestamp, StoreError>> {
        if entries.is_empty() {
            return Vec::new();
        }
        let deadline = Instant::now() + PATIENCE;
        let mut results = self.store.schedule(entries).await;
        for failures in 1.. {
            let is_open =
                |result: &Result<_, StoreError>| matches!(result, Err(error) if error.is_retriable());
            let open: Vec<usize> = (0..results.len())
                .filter(|place| is_open(&results[*place]))
                .collect();
            if open.is_empty() || Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(ASK_AGAIN.delay(failures)).await;
            let again: Vec<_> = open.iter().map(|place| entries[*place].clone()).collect();
            for (place, result) in open.into_iter().zip(self.store.schedule(&again).await) {
                results[place] = result;
            }
        }
        results
    }

    /// Make the entry of a message.
    fn entry(
        &self,
        message: OutgoingMessage,
        delay: Duration,
        now: Timestamp,
    ) -> Result<DelayEntry, PublishError> {
        self.destinations.check(&message.topic)?;
        let topic = message.topic.clone();
        if delay > self.max_delay {
            let limit = format!(
                "is longer than `integration.messaging.republisher.max_delay_seconds` ({:?}) allows; raise it",
                self.max_delay
            );
            return Err(PublishError::DelayTooLong { topic, delay, limit });
        }
        let name = name_of(&message);
        let envelope = Envelope::new(&message, delay, now);
        let record = self.sealing.wrap(&envelope, message, DELAY_STORE);
        let digest = Digest::of(record.payload.as_deref());
        let record = OwnedRecord {
            offset: 0,
            key: record.key,
            payload: record.payload,
            headers: record.headers,
            timestamp: Some(now),
        };
        let record = RawMessage::from_record(TopicPartition::new(DELAY_STORE, 0), record);
        let frame = frame::encode(&record, digest, now);
        if frame.len() > self.max_bytes {
            let (bytes, limit) = (frame.len(), self.max_bytes);
            let source = TransportError::TooLarge {
                topic: topic.clone(),
                source: TooLong { bytes, limit }.into(),
            };
            return Err(PublishError::Transport { topic, source });
        }
        let name = name.unwrap_or_else(|| half(&Sha256::digest(&frame)));
        Ok(DelayEntry { name, delay, frame })
    }

    /// Read a message that was due: how it is to be published, or why it cannot be.
    pub(super) fn read(&self, due: &DueEntry) -> Result<OutgoingMessage, RepublishError> {
        let waited = frame::decode(&due.frame)?.message;
        let envelope = self.sealing.envelope_of(&waited)?;
        self.destinations.check(&envelope.destination)?;
        Ok(envelope.unwrap(&waited, waited.headers()))
    }

    /// Show a message that is given up: where it was to go if it may go there, so that it can be replayed; else
    /// in the store, as it waited.
    pub(super) fn show(&self, due: &DueEntry) -> RawMessage {
        let shown = self.read(due).unwrap_or_else(|_| as_it_waited(due));
        let place = TopicPartition::new(shown.topic, shown.partition.unwrap_or(0));
        let record = OwnedRecord {
            offset: place_of(&due.name),
            key: shown.key,
            payload: shown.payload,
            headers: shown.headers,
            timestamp: Some(due.due),
        };
        RawMessage::from_record(place, record)
    }
}

impl fmt::Debug for DelayScheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DelayScheduler")
            .field("store", &self.store.name())
            .finish_non_exhaustive()
    }
}

/// Return what stood in the store: a record, or else bytes that are none.
fn as_it_waited(due: &DueEntry) -> OutgoingMessage {
    let waited = frame::decode(&due.frame).ok().map(|waited| waited.message);
    let record = match &waited {
        Some(waited) => OutgoingMessage {
            key: waited.key().map(Bytes::copy_from_slice),
            payload: waited.payload().map(Bytes::copy_from_slice),
            headers: waited.headers(),
            ..OutgoingMessage::default()
        },
        None => OutgoingMessage {
            payload: Some(due.frame.clone()),
            ..OutgoingMessage::default()
        },
    };
    OutgoingMessage {
        topic: DELAY_STORE.to_owned(),
        ..record
    }
}

/// Name the wait of a message; `None` if nothing in it tells it from others.
fn name_of(message: &OutgoingMessage) -> Option<String> {
    let headers = &message.headers;
    let id = headers.get(MESSAGE_ID).or_else(|| headers.get(RETRY_ORIGIN))?;
    let retry = [RETRY_GROUP, RETRY_ATTEMPTS].map(|name| headers.get(name).unwrap_or_default());
    let mut hash = Sha256::new();
    for part in [message.topic.as_bytes(), id, retry[0], retry[1]] {
        // With its length, so that no two lists of parts are one text.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    Some(half(&hash.finalize()))
}

/// Write the first half of a hash as text.
fn half(hash: &[u8]) -> String {
    hex(&hash[..16])
}

/// Return what stands in the place of an offset in a dead letter: the same for the same entry.
fn place_of(name: &str) -> i64 {
    let digits = name.get(..15).unwrap_or_default();
    i64::from_str_radix(digits, 16).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Headers;

    fn named(topic: &str, headers: &[(&str, &str)]) -> Option<String> {
        let header = |all: Headers, (name, value): &(&str, &str)| all.with(*name, value.to_string());
        name_of(&OutgoingMessage {
            topic: topic.to_owned(),
            headers: headers.iter().fold(Headers::new(), header),
            ..OutgoingMessage::default()
        })
    }

    #[test]
    fn each_wait_of_a_message_has_a_name_of_its_own() {
        let first = |group, attempts| {
            let headers = [
                (MESSAGE_ID, "1"),
                (RETRY_GROUP, group),
                (RETRY_ATTEMPTS, attempts),
            ];
            named("t", &headers).expect("it has an id")
        };
        let names = [
            named("t", &[(MESSAGE_ID, "1")]).expect("it has an id"),
            named("u", &[(MESSAGE_ID, "1")]).expect("it has an id"),
            named("t", &[(MESSAGE_ID, "2")]).expect("it has an id"),
            first("g", "1"),
            first("g", "2"),
            first("h", "1"),
        ];
        for (place, name) in names.iter().enumerate() {
            assert_eq!(name.len(), 32);
            assert!(place_of(name) > 0);
            assert!(!names[..place].contains(name), "{place}");
        }
        assert_eq!(names[3], first("g", "1"));
        assert_eq!(named("t", &[]), None);
    }
}
