//! The envelope: one header that says where a delayed message goes, and when.
//!
//! The record in the delay topic has the key, the payload and the headers that its destination will have.
//! The envelope is added as one header of JSON and taken away again, so that nothing is encoded twice or
//! copied into another form, a null payload stays one, and any Kafka tool shows what waits.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::message::{Headers, Partition, RawMessage, Timestamp, TopicNameError, check_topic_name};
use crate::transport::OutgoingMessage;

/// The header that holds the envelope. Reserved: a message that is published with a delay loses others of
/// this name.
pub const ENVELOPE: &str = "athomic-delay";

/// The header that holds the envelope's signature, where the settings have a key. Reserved, as [`ENVELOPE`] is.
pub const SIGNATURE: &str = "athomic-delay-signature";

/// The version that is written.
const VERSION: u32 = 1;

/// How long an envelope may be: a topic's longest name and a few numbers are far below.
const MAX_LENGTH: usize = 1024;

/// Where a delayed message goes, and when.
///
/// A record may come from anybody who may write to the delay topic, so everything in it is bounded when it
/// is read: the destination is checked against [`Destinations`](super::Destinations), the time is a
/// distance that is cut to the bucket's, the hops are limited by the settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Envelope {
    version: u32,
    /// The topic that the message is for.
    pub destination: String,
    /// The partition that was asked for; `None` leaves it to the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
    /// When it is due, in milliseconds since the Unix epoch, by the clock of who wrote the record.
    pub due: i64,
    /// When the record was written, by the same clock. Only the distance to `due` is believed: it is
    /// counted from the record's own time, which is the broker's where the topic says so.
    pub sent: i64,
    /// In how many buckets it has waited before this one.
    #[serde(default)]
    pub hops: u32,
}

/// The version alone: another one may have other fields.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// A record of a delay topic has no envelope that can be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedEnvelope {
    /// There is none.
    #[error("no header `{ENVELOPE}`")]
    Missing,
    /// There is more than one.
    #[error("more than one header `{ENVELOPE}`")]
    Repeated,
    /// It is too long.
    #[error("header `{ENVELOPE}` has {length} bytes; at most {MAX_LENGTH} are read")]
    TooLong {
        /// How long it is.
        length: usize,
    },
    /// It is not what it should be.
    #[error("header `{ENVELOPE}` cannot be read")]
    Unreadable(#[from] serde_json::Error),
    /// Its version is not known here.
    #[error("header `{ENVELOPE}` has version {version}; this program reads version {VERSION}")]
    UnknownVersion {
        /// The version.
        version: u32,
    },
    /// Its destination cannot be a topic.
    #[error("header `{ENVELOPE}` names no topic as the destination")]
    Destination(#[from] TopicNameError),
    /// It is not signed, and the settings ask for it.
    #[error("no header `{SIGNATURE}`, which `integration.messaging.republisher.envelope_key` asks for")]
    Unsigned,
    /// It is not signed by a key of ours, or was changed since.
    #[error("header `{SIGNATURE}` is not by the key of `integration.messaging.republisher.envelope_key`")]
    Forged,
    /// Its partition cannot be one.
    #[error("header `{ENVELOPE}` names partition {partition}")]
    Partition {
        /// The partition.
        partition: Partition,
    },
}

impl Envelope {
    /// Say where a message goes and when.
    #[must_use]
    pub fn new(message: &OutgoingMessage, delay: Duration, now: Timestamp) -> Self {
        let delay = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        Self {
            version: VERSION,
            destination: message.topic.clone(),
            partition: message.partition,
            due: now.as_millis().saturating_add(delay),
            sent: now.as_millis(),
            hops: 0,
        }
    }

    /// Read the envelope of a record.
    ///
    /// # Errors
    /// See [`MalformedEnvelope`].
    pub fn of(headers: &Headers) -> Result<Self, MalformedEnvelope> {
        let mut values = headers.iter().filter(|header| header.name == ENVELOPE);
        let Some(value) = values.next().and_then(|header| header.value.as_deref()) else {
            return Err(MalformedEnvelope::Missing);
        };
        if values.next().is_some() {
            return Err(MalformedEnvelope::Repeated);
        }
        let length = value.len();
        if length > MAX_LENGTH {
            return Err(MalformedEnvelope::TooLong { length });
        }
        let Version { version } = serde_json::from_slice(value)?;
        if version != VERSION {
            return Err(MalformedEnvelope::UnknownVersion { version });
        }
        let envelope: Self = serde_json::from_slice(value)?;
        check_topic_name(&envelope.destination)?;
        match envelope.partition {
            Some(partition) if partition < 0 => Err(MalformedEnvelope::Partition { partition }),
            _ => Ok(envelope),
        }
    }

    /// Return how long the message is to wait from when its record was written.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        let millis = self.due.saturating_sub(self.sent);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    /// Return when the message is due.
    #[must_use]
    pub const fn due(&self) -> Timestamp {
        Timestamp::from_millis(self.due)
    }

    /// Put a message into a delay topic.
    #[must_use]
    pub fn wrap(&self, mut message: OutgoingMessage, delay_topic: &str) -> OutgoingMessage {
        let json = serde_json::to_vec(self).expect("plain fields have a JSON form");
        message.headers.remove(ENVELOPE);
        message.headers.remove(SIGNATURE);
        message.headers.push(ENVELOPE, Some(Bytes::from(json)));
        OutgoingMessage {
            topic: delay_topic.to_owned(),
            // The key chooses, so that messages of a key wait in one partition, in their order.
            partition: None,
            ..message
        }
    }

    /// Make the message as it was given to the publisher; `headers` are those of its record.
    #[must_use]
    pub fn unwrap(&self, record: &RawMessage, mut headers: Headers) -> OutgoingMessage {
        headers.remove(ENVELOPE);
        headers.remove(SIGNATURE);
        OutgoingMessage {
            topic: self.destination.clone(),
            partition: self.partition,
            key: record.key().map(Bytes::copy_from_slice),
            payload: record.payload().map(Bytes::copy_from_slice),
            headers,
        }
    }

    /// Say where the message stands when it goes on to another bucket.
    #[must_use]
    pub fn next_hop(&self, remaining: Duration, now: Timestamp) -> Self {
        let remaining = i64::try_from(remaining.as_millis()).unwrap_or(i64::MAX);
        Self {
            due: now.as_millis().saturating_add(remaining),
            sent: now.as_millis(),
            hops: self.hops.saturating_add(1),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::{OwnedRecord, TopicPartition};

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn read(json: &str) -> Result<Envelope, MalformedEnvelope> {
        Envelope::of(&Headers::new().with(ENVELOPE, json.to_owned()))
    }

    #[test]
    fn a_message_comes_out_as_it_went_in() {
        let original = OutgoingMessage {
            topic: "orders".into(),
            partition: Some(3),
            key: Some(Bytes::from_static(b"\x00\xff")),
            payload: None,
            headers: Headers::new()
                .with("a", "1")
                .with_null("a")
                .with("a", "2")
                .with("b", ""),
        };
        let envelope = Envelope::new(&original, Duration::from_secs(90), NOW);
        let waiting = envelope.wrap(original.clone(), "delay-5m");
        assert_eq!((waiting.topic.as_str(), waiting.partition), ("delay-5m", None));
        let record = OwnedRecord {
            key: waiting.key,
            payload: waiting.payload,
            headers: waiting.headers,
            ..OwnedRecord::new(7, "")
        };
        let record = RawMessage::from_record(TopicPartition::new("delay-5m", 0), record);
        let found = Envelope::of(&record.headers()).unwrap();
        assert_eq!(found, envelope);
        assert_eq!(
            (found.due().as_millis(), found.remaining()),
            (1_090_000, Duration::from_secs(90))
        );
        assert_eq!(found.unwrap(&record, record.headers()), original);
    }

    #[test]
    fn an_envelope_among_the_headers_is_replaced() {
        let message = OutgoingMessage {
            topic: "orders".into(),
            headers: Headers::new().with(ENVELOPE, "forged").with("a", "1"),
            ..Default::default()
        };
        let envelope = Envelope::new(&message, Duration::from_secs(1), NOW);
        let waiting = envelope.wrap(message, "delay");
        assert_eq!(Envelope::of(&waiting.headers).unwrap(), envelope);
        assert_eq!(waiting.headers.len(), 2);
    }

    #[test]
    fn what_is_no_envelope_is_told_by_its_fault() {
        let message = |json: &str| read(json).unwrap_err().to_string();
        assert!(matches!(
            Envelope::of(&Headers::new()),
            Err(MalformedEnvelope::Missing)
        ));
        let null = Headers::new().with_null(ENVELOPE);
        assert!(matches!(Envelope::of(&null), Err(MalformedEnvelope::Missing)));
        let twice = Headers::new().with(ENVELOPE, "{}").with(ENVELOPE, "{}");
        assert!(matches!(Envelope::of(&twice), Err(MalformedEnvelope::Repeated)));
        assert!(message(&" ".repeat(1025)).contains("1025 bytes"));
        assert!(message("{").contains("cannot be read"));
        assert!(message(r#"{"version":2,"to":"x"}"#).contains("version 2"));
        let with = |fields: &str| format!(r#"{{"version":1,"due":1,"sent":0,{fields}}}"#);
        assert!(read(&with(r#""destination":"t""#)).is_ok());
        assert!(message(&with(r#""destination":"a b""#)).contains("names no topic"));
        assert!(message(&with(r#""destination":"t","partition":-1"#)).contains("partition -1"));
        assert!(message(&with(r#""destination":"t","extra":1"#)).contains("cannot be read"));
        assert!(message(&with(r#""destination":"t","hops":-1"#)).contains("cannot be read"));
    }

    #[test]
    fn a_time_that_lies_far_off_is_only_a_long_or_no_wait() {
        let waits = |due, sent| {
            let json = format!(r#"{{"version":1,"destination":"t","due":{due},"sent":{sent}}}"#);
            read(&json).unwrap().remaining()
        };
        assert_eq!(
            waits(i64::MAX, i64::MIN),
            Duration::from_millis(i64::MAX.unsigned_abs())
        );
        assert_eq!(waits(i64::MIN, i64::MAX), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_envelope_or_a_fault(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _no_panic = Envelope::of(&Headers::new().with(ENVELOPE, bytes));
        }

        #[test]
        fn any_numbers_are_taken_as_they_are(due in any::<i64>(), sent in any::<i64>(), hops in any::<u32>()) {
            let json = format!(r#"{{"version":1,"destination":"t","due":{due},"sent":{sent},"hops":{hops}}}"#);
            let envelope = read(&json).unwrap();
            let next = envelope.next_hop(envelope.remaining(), Timestamp::from_millis(sent));
            prop_assert!(next.hops >= hops);
        }
    }
}
