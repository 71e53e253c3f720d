//! What a handler can see: the message, its coordinates, the attempt, the application's states.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::extract::MissingState;
use crate::context::{Context, HeadersOrchestrator};
use crate::message::{Headers, Offset, Partition, RawMessage, Timestamp, TopicPartition};
#[cfg(feature = "schema-registry")]
use crate::payload::WriterSchema;
use crate::payload::{Format, HandlerPayloads};
use crate::publisher::Publisher;
use crate::store::ordering::FencingToken;
use crate::telemetry::HandlerTelemetry;

/// What a handler can count on: the application's values that handlers take as `State<S>`, one for
/// each type, and whether its messages have fencing tokens.
#[derive(Default, Clone)]
pub struct StateMap {
    values: HashMap<TypeId, (&'static str, Arc<dyn Any + Send + Sync>)>,
    is_ordered: bool,
}

impl StateMap {
    /// Return what an ordered handler can count on: the same, and fencing tokens.
    #[must_use]
    pub fn for_ordered(&self) -> Self {
        Self {
            is_ordered: true,
            ..self.clone()
        }
    }

    /// Say whether messages have fencing tokens.
    #[must_use]
    pub const fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    /// Put a value in; one of the same type is replaced.
    pub fn insert<S: Send + Sync + 'static>(&mut self, state: S) {
        self.values
            .insert(TypeId::of::<S>(), (type_name::<S>(), Arc::new(state)));
    }

    /// Look a value up.
    ///
    /// # Errors
    /// There is none of this type; the error names those that are there.
    pub fn get<S: Send + Sync + 'static>(&self) -> Result<&S, MissingState> {
        self.values
            .get(&TypeId::of::<S>())
            .and_then(|(_, value)| value.downcast_ref())
            .ok_or_else(|| self.missing(type_name::<S>()))
    }

    /// Return the names of the types that are there, in order.
    #[must_use]
    pub fn type_names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.values.values().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names
    }

    fn missing(&self, wanted: &'static str) -> MissingState {
        MissingState::NotGiven {
            wanted,
            present: self.type_names(),
        }
    }
}

impl fmt::Debug for StateMap {
    /// Shows the types only: states hold clients and secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.values.values().map(|(name, _)| name))
            .finish()
    }
}

/// What is the same for all messages of a handler.
#[derive(Debug, Clone)]
pub struct HandlerScope {
    /// The handler's id.
    pub handler_id: Arc<str>,
    /// Its consumer group.
    pub group_id: Arc<str>,
    /// The application's states.
    pub states: Arc<StateMap>,
    /// Publishes over the handler's connection.
    pub publisher: Publisher,
    /// Takes the context of messages from their headers.
    pub headers: Arc<HeadersOrchestrator>,
    /// How payloads are read.
    pub payloads: HandlerPayloads,
    /// What is recorded about it; `None` if nothing is.
    pub(crate) telemetry: Option<Arc<HandlerTelemetry>>,
}

/// What one call of a handler for a single message can see. Extractors read from it.
#[derive(Debug, Clone, Copy)]
pub struct MessageContext<'a> {
    scope: &'a Arc<HandlerScope>,
    message: &'a RawMessage,
    attempt: u32,
    fencing_token: Option<FencingToken>,
    /// The payload after the steps of the pipeline, if there are any.
    opened: Option<&'a [u8]>,
    /// The schema by which the payload was written, if it names one of a registry.
    #[cfg(feature = "schema-registry")]
    written_by: Option<&'a WriterSchema>,
}

impl<'a> MessageContext<'a> {
    /// Put a context together; `attempt` counts from 1.
    #[must_use]
    pub const fn new(scope: &'a Arc<HandlerScope>, message: &'a RawMessage, attempt: u32) -> Self {
        Self {
            scope,
            message,
            attempt,
            fencing_token: None,
            opened: None,
            #[cfg(feature = "schema-registry")]
            written_by: None,
        }
    }

    /// Say under which lease on its aggregate the message is handled.
    #[must_use]
    pub const fn fenced(self, token: FencingToken) -> Self {
        Self {
            fencing_token: Some(token),
            ..self
        }
    }

    /// Return the token of the lease under which the message is handled; only ordered handlers have one.
    #[must_use]
    pub const fn fencing_token(&self) -> Option<FencingToken> {
        self.fencing_token
    }

    /// Return the message as it came.
    #[must_use]
    pub const fn message(&self) -> &'a RawMessage {
        self.message
    }

    /// Say what the steps of the pipeline made of the payload.
    #[must_use]
    pub(crate) const fn opened(self, payload: &'a [u8]) -> Self {
        Self {
            opened: Some(payload),
            ..self
        }
    }

    /// Say by which schema the payload was written.
    #[cfg(feature = "schema-registry")]
    #[must_use]
    pub(crate) const fn with_schema(self, schema: &'a WriterSchema) -> Self {
        Self {
            written_by: Some(schema),
            ..self
        }
    }

    /// Return by which schema the payload was written.
    #[cfg(feature = "schema-registry")]
    pub(crate) const fn written_by(&self) -> Option<&'a WriterSchema> {
        self.written_by
    }

    /// Return the payload as the steps of the pipeline left it, to be decoded; `None` is a tombstone. The
    /// record's own bytes are [`RawMessage::payload`]. Extractors, which run later, see those here too.
    #[must_use]
    pub fn payload(&self) -> Option<&'a [u8]> {
        self.opened.or_else(|| self.message.payload())
    }

    /// Return the format that the payload is in.
    #[must_use]
    pub fn format(&self) -> Format {
        self.scope
            .payloads
            .of(self.message.topic())
            .format_of(self.message)
    }

    /// Return how often the message has been tried, this time included: 1 is the first.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Return what is the same for all messages of the handler.
    #[must_use]
    pub const fn scope(&self) -> &'a Arc<HandlerScope> {
        self.scope
    }

    /// Return the message's coordinates, to keep.
    #[must_use]
    pub fn meta(&self) -> Meta {
        Meta {
            message: self.message.clone(),
            scope: Arc::clone(self.scope),
            attempt: self.attempt,
        }
    }

    /// Take the context from the message's headers.
    #[must_use]
    pub fn restore(&self) -> Context {
        self.scope.headers.restore(self.message)
    }
}

/// What one call of a batch handler can see beside its messages.
#[derive(Debug, Clone, Copy)]
pub struct BatchContext<'a> {
    scope: &'a Arc<HandlerScope>,
    partition: &'a TopicPartition,
    attempt: u32,
}

impl<'a> BatchContext<'a> {
    /// Put a context together; `attempt` counts from 1.
    #[must_use]
    pub const fn new(scope: &'a Arc<HandlerScope>, partition: &'a TopicPartition, attempt: u32) -> Self {
        Self {
            scope,
            partition,
            attempt,
        }
    }

    /// Return what is the same for all messages of the handler.
    #[must_use]
    pub const fn scope(&self) -> &'a Arc<HandlerScope> {
        self.scope
    }

    /// Return the partition that all messages of the batch come from.
    #[must_use]
    pub const fn partition(&self) -> &'a TopicPartition {
        self.partition
    }

    /// Return how often this batch has been tried, this time included: 1 is the first.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }
}

/// A message's coordinates: topic, partition, offset, time, key, attempt and group.
///
/// As an extractor:
///
/// ```
/// use athomic_core::handler::Meta;
///
/// async fn on_paid(payment: serde_json::Value, meta: Meta) {
///     println!("{}[{}]@{}: {payment}", meta.topic(), meta.partition(), meta.offset());
/// }
/// ```
#[derive(Clone)]
pub struct Meta {
    message: RawMessage,
    scope: Arc<HandlerScope>,
    attempt: u32,
}

impl Meta {
    /// Return the topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.message.topic()
    }

    /// Return the partition's number.
    #[must_use]
    pub fn partition(&self) -> Partition {
        self.message.partition()
    }

    /// Return the offset within the partition.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.message.offset()
    }

    /// Return the message's time, if the log keeps one.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.message.timestamp()
    }

    /// Return the key's bytes; `None` is a null key.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.message.key()
    }

    /// Return how often the message has been tried, this time included: 1 is the first.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Return the consumer group.
    #[must_use]
    pub fn group_id(&self) -> &str {
        &self.scope.group_id
    }

    /// Collect the headers. Allocates.
    #[must_use]
    pub fn headers(&self) -> Headers {
        self.message.headers()
    }

    /// Take the context from the headers: for the messages of a batch, each of which has its own. A handler
    /// of single messages runs in that of its message, see [`Context::current`].
    #[must_use]
    pub fn context(&self) -> Context {
        self.scope.headers.restore(&self.message)
    }
}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meta")
            .field("message", &self.message)
            .field("group_id", &self.scope.group_id)
            .field("attempt", &self.attempt)
            .finish()
    }
}

/// A decoded payload with its [`Meta`]: for handlers, and for each element of a batch.
#[derive(Debug, Clone)]
pub struct Message<T> {
    payload: T,
    meta: Meta,
}

impl<T> Message<T> {
    /// Put payload and coordinates together.
    pub const fn new(payload: T, meta: Meta) -> Self {
        Self { payload, meta }
    }

    /// Return the payload.
    pub const fn payload(&self) -> &T {
        &self.payload
    }

    /// Return the coordinates.
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Take payload and coordinates apart.
    pub fn into_parts(self) -> (T, Meta) {
        (self.payload, self.meta)
    }
}

impl<T> Deref for Message<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.payload
    }
}
