//! A message in the making.

use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use uuid::{NoContext, Uuid};

use super::error::PublishError;
use crate::context::{Context, HeadersOrchestrator};
use crate::handler::Priority;
use crate::message::{Headers, MESSAGE_ID, Partition};
use crate::payload::{Encode, Format};
use crate::transport::OutgoingMessage;

/// A message to publish: topic, payload, key, headers, partition, delay, priority.
///
/// It gets an id, the header [`MESSAGE_ID`], unless it has one: copies that a retry, a delay or a crash
/// makes of it have the same.
#[derive(Debug)]
#[must_use = "a message goes nowhere until it is published"]
pub struct NewMessage {
    message: OutgoingMessage,
    delay: Duration,
    priority: Priority,
    /// What it carries in the place of the current context.
    context: Option<Context>,
    /// The format of the payload, which goes through the topic's steps; none if it is taken as it is.
    format: Option<Format>,
    /// A payload that could not be serialized; told when the message is published.
    fault: Option<Box<dyn Error + Send + Sync>>,
}

/// A message with all that a strategy needs.
pub(super) struct Finished {
    pub(super) message: OutgoingMessage,
    pub(super) delay: Duration,
    pub(super) format: Option<Format>,
}

impl NewMessage {
    /// Make a message whose payload is a value's JSON, whatever the topic's format is.
    /// [`Publisher::message`](super::Publisher::message) goes by the topic's.
    pub fn json<T: Serialize + ?Sized>(topic: impl Into<String>, payload: &T) -> Self {
        Self::new(topic, Format::Json, payload)
    }

    /// Make a message whose payload is a value in a format, whatever the topic's is; then it goes through the
    /// topic's other steps.
    pub fn new<T: Encode + ?Sized>(topic: impl Into<String>, format: Format, payload: &T) -> Self {
        let (payload, fault) = match payload.encode(format) {
            Ok(bytes) => (Some(Bytes::from(bytes)), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            fault,
            format: Some(format),
            ..Self::raw(topic, payload)
        }
    }

    /// Make a message whose payload is taken as it is, without any step of the topic's pipeline; `None` is a
    /// tombstone.
    pub fn raw(topic: impl Into<String>, payload: Option<Bytes>) -> Self {
        Self {
            message: OutgoingMessage {
                topic: topic.into(),
                payload,
                ..Default::default()
            },
            delay: Duration::ZERO,
            priority: Priority::Normal,
            context: None,
            format: None,
            fault: None,
        }
    }

    /// Set the key, by which the partition is chosen.
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.message.key = Some(key.into());
        self
    }

    /// Add a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.message.headers.push(name, Some(value.into()));
        self
    }

    /// Set all headers.
    pub fn headers(mut self, headers: Headers) -> Self {
        self.message.headers = headers;
        self
    }

    /// Choose the partition instead of leaving it to the key.
    pub fn partition(mut self, partition: Partition) -> Self {
        self.message.partition = Some(partition);
        self
    }

    /// Have it published after a delay, never earlier. With `kafka_topic_delay_strategy` it is late by at
    /// most the difference to its bucket's delay, with `kafka_cascade_delay_strategy` by the smallest
    /// bucket's, with `redis_sorted_set` by less than a second. Zero, the default, is at once.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Publish to `NAME.high` or `NAME.low` in the place of `NAME`.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Set the message's id in the place of a random one.
    pub fn message_id(mut self, id: impl Into<Bytes>) -> Self {
        self.message.headers.set_first(MESSAGE_ID, id);
        self
    }

    /// Return where it goes in the end, and how large its payload is.
    pub(super) fn target(&self) -> (String, usize) {
        let topic = self.message.topic.clone() + self.priority.suffix().unwrap_or_default();
        (topic, self.message.payload.as_ref().map_or(0, Bytes::len))
    }

    /// Have it carry this context in the place of [`Context::current`].
    pub fn context(mut self, context: Context) -> Self {
        self.context = Some(context);
        self
    }

    pub(super) fn finish(
        mut self,
        headers: &HeadersOrchestrator,
        ids: &mut Ids,
    ) -> Result<Finished, PublishError> {
        if self.message.topic.is_empty() {
            return Err(PublishError::NoTopic);
        }
        if let (Some(source), Some(format)) = (self.fault, self.format) {
            let topic = self.message.topic;
            return Err(PublishError::Serialize {
                topic,
                format,
                source,
            });
        }
        if let Some(suffix) = self.priority.suffix() {
            self.message.topic += suffix;
        }
        let context = self.context.unwrap_or_else(Context::current);
        if let Err(source) = headers.inject(&context, &mut self.message.headers) {
            let topic = self.message.topic;
            return Err(PublishError::Context { topic, source });
        }
        if self.message.headers.get(MESSAGE_ID).is_none() {
            // First: the bulk publisher of Kafka takes headers that are sorted, and other names come after.
            self.message.headers.set_first(MESSAGE_ID, ids.next());
        }
        Ok(Finished {
            message: self.message,
            delay: self.delay,
            format: self.format,
        })
    }
}

/// How long an id is as text.
const ID: usize = uuid::fmt::Hyphenated::LENGTH;
/// How many ids share their memory at most: a message that is kept keeps those of its neighbours.
const TOGETHER: usize = 64;

/// Makes ids that no other message has, for the messages of one call: UUIDs of version 7, which sort by time.
pub(super) struct Ids {
    /// How many will be asked for, as far as is known.
    left: usize,
    memory: BytesMut,
}

impl Ids {
    pub(super) fn new(count: usize) -> Self {
        Self {
            left: count,
            memory: BytesMut::new(),
        }
    }

    fn next(&mut self) -> Bytes {
        if self.memory.capacity() < ID {
            self.memory = BytesMut::with_capacity(ID * self.left.clamp(1, TOGETHER));
        }
        self.left = self.left.saturating_sub(1);
        // Without a context: what it would order within a millisecond costs a lock that all threads share.
        let id = Uuid::new_v7(uuid::Timestamp::now(NoContext));
        let mut text = Uuid::encode_buffer();
        let text = id.hyphenated().encode_lower(&mut text);
        self.memory.extend_from_slice(text.as_bytes());
        let is_last = self.memory.capacity() < 2 * ID;
        let id = if is_last {
            std::mem::take(&mut self.memory)
        } else {
            self.memory.split()
        };
        id.freeze()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Ids, TOGETHER};

    #[test]
    fn ids_are_uuids_and_no_two_are_equal() {
        // Fewer are foreseen than are taken.
        let mut ids = Ids::new(TOGETHER + 1);
        let made: BTreeSet<_> = (0..3 * TOGETHER).map(|_| ids.next()).collect();
        assert_eq!(made.len(), 3 * TOGETHER);
        for id in made {
            let id = std::str::from_utf8(&id).expect("it is text");
            let id = uuid::Uuid::parse_str(id).expect("it is a UUID");
            assert_eq!(id.get_version_num(), 7);
        }
    }
}
