//! Why a message was not published.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use crate::consumer::MessagingConnectionError;
use crate::context::ContextError;
use crate::delay::ForbiddenDestination;
use crate::payload::{Format, SealError};
use crate::store::StoreError;
use crate::transport::{DeliveryState, TransportError};

/// Publishing a message failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic's name is empty.
    #[error("cannot publish: the topic's name is empty")]
    NoTopic,
    /// The payload has no form in the topic's format.
    #[error("cannot write the payload for topic `{topic}` in the format `{format}`")]
    Serialize {
        /// Where it should have gone.
        topic: String,
        /// The format.
        format: Format,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A step of the payload pipeline refuses the payload, or cannot do its part now. Nothing was sent.
    #[error("cannot write the payload for topic `{topic}`")]
    Payload {
        /// Where it should have gone.
        topic: String,
        /// Which step, and why.
        #[source]
        source: SealError,
    },
    /// The context in which it is published holds something that no message can carry.
    #[error("cannot put the context on a message for topic `{topic}`")]
    Context {
        /// Where it should have gone.
        topic: String,
        /// What is wrong with it.
        #[source]
        source: ContextError,
    },
    /// The settings do not say how to publish it.
    #[error("cannot publish to topic `{topic}` with a delay")]
    NotConfigured {
        /// Where it should have gone.
        topic: String,
        /// What is missing.
        #[source]
        source: StrategyNotConfigured,
    },
    /// The delay is longer than the delay topics allow.
    #[error("cannot publish to topic `{topic}`: a delay of {delay:?} {limit}")]
    DelayTooLong {
        /// Where it should have gone.
        topic: String,
        /// The delay.
        delay: Duration,
        /// What it is too long for, and what to change.
        limit: String,
    },
    /// Delayed messages may not go to this topic.
    #[error("cannot publish with a delay")]
    Forbidden(#[from] ForbiddenDestination),
    /// The broker cannot be reached, or does not let us in.
    #[error("cannot publish to topic `{topic}`: no connection")]
    Connection {
        /// Where it should have gone.
        topic: String,
        /// Whether it may have been written all the same.
        state: DeliveryState,
        /// Which connection, and why.
        #[source]
        source: Arc<MessagingConnectionError>,
    },
    /// There is no client to publish with; the message was not sent.
    #[error("cannot publish to topic `{topic}`: no publisher")]
    NotSent {
        /// Where it should have gone.
        topic: String,
        /// Why.
        #[source]
        source: Arc<TransportError>,
    },
    /// The store in which it was to wait did not take it, or did not say so.
    #[error("cannot publish to topic `{topic}` with a delay")]
    Store {
        /// Where it should have gone.
        topic: String,
        /// Why. What may pass was tried again for half a minute.
        #[source]
        source: StoreError,
    },
    /// The broker did not acknowledge.
    #[error("cannot publish to topic `{topic}`")]
    Transport {
        /// Where it should have gone.
        topic: String,
        /// Why, and whether the message may have been written.
        #[source]
        source: TransportError,
    },
}

/// The settings do not say how to publish with a delay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no strategy for delayed messages is configured for connection `{connection}`: name delay topics in \
     `integration.messaging.republisher.delay_topics`, such as `60 = \"platform.internal.delay-1m.v1\"`, and set \
     `integration.messaging.republisher.enabled = true` in one program; or have them wait in a store, \
     `delay_strategy_backend = \"redis_sorted_set\"`{}",
    if connection == crate::settings::DEFAULT_CONNECTION { "" } else {
        "; of named connections, only those to the republisher's servers have it"
    }
)]
pub struct StrategyNotConfigured {
    /// The connection that was to be published over.
    pub connection: String,
}

/// Why there is no client, for all messages of a call.
#[derive(Debug, Clone)]
pub(super) enum NoClient {
    Connection(Arc<MessagingConnectionError>),
    Other(Arc<TransportError>),
}

impl From<TransportError> for NoClient {
    fn from(error: TransportError) -> Self {
        match MessagingConnectionError::try_from(error) {
            Ok(error) => Self::Connection(Arc::new(error)),
            Err(error) => Self::Other(Arc::new(error)),
        }
    }
}

impl NoClient {
    pub(super) fn of(&self, topic: String) -> PublishError {
        match self {
            Self::Connection(source) => PublishError::Connection {
                topic,
                state: DeliveryState::NotWritten,
                source: Arc::clone(source),
            },
            Self::Other(source) => PublishError::NotSent {
                topic,
                source: Arc::clone(source),
            },
        }
    }
}

impl PublishError {
    pub(super) fn sending(topic: String, source: TransportError) -> Self {
        let state = match &source {
            TransportError::Delivery { state, .. } => *state,
            TransportError::UnknownTopic { .. }
            | TransportError::Forbidden { .. }
            | TransportError::Authentication { .. }
            | TransportError::Settings { .. } => DeliveryState::NotWritten,
            _ => DeliveryState::Unknown,
        };
        match MessagingConnectionError::try_from(source) {
            Ok(source) => Self::Connection {
                topic,
                state,
                source: Arc::new(source),
            },
            Err(source) => Self::Transport { topic, source },
        }
    }

    /// Return the kind of the error, as the attribute `error.type` of telemetry has it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NoTopic => "no_topic",
            Self::Serialize { .. } => "serialize",
            Self::Payload { .. } => "payload",
            Self::Context { .. } => "context",
            Self::NotConfigured { .. } => "not_configured",
            Self::DelayTooLong { .. } => "delay_too_long",
            Self::Forbidden(_) => "forbidden_destination",
            Self::Connection { .. } => "connection",
            Self::NotSent { .. } => "not_sent",
            Self::Store { .. } => "store",
            Self::Transport { .. } => "transport",
        }
    }

    /// Say whether publishing the same message again can help.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::NoTopic
            | Self::Serialize { .. }
            | Self::Context { .. }
            | Self::NotConfigured { .. }
            | Self::DelayTooLong { .. }
            | Self::Forbidden(_) => false,
            Self::Payload { source, .. } => source.is_retriable(),
            Self::Connection { source, .. } => source.is_retriable(),
            Self::NotSent { source, .. } => source.is_retriable(),
            Self::Store { source, .. } => source.is_retriable(),
            Self::Transport { source, .. } => source.is_retriable(),
        }
    }

    /// Say whether the message is larger than its topic takes.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        let too_large = |source: &TransportError| matches!(source, TransportError::TooLarge { .. });
        matches!(self, Self::Transport { source, .. } if too_large(source))
    }

    /// Say whether another message, to another topic, might be published: the fault lies with this one or
    /// its topic, and not with the connection.
    #[must_use]
    pub fn is_about_the_message(&self) -> bool {
        match self {
            Self::Connection { .. } | Self::NotSent { .. } | Self::Store { .. } => false,
            Self::Transport { source, .. } => match source {
                TransportError::Delivery { retriable, .. } => !retriable,
                TransportError::UnknownTopic { .. }
                | TransportError::Forbidden { .. }
                | TransportError::TooLarge { .. } => true,
                _ => false,
            },
            _ => true,
        }
    }

    /// Say whether the message may stand in the log in spite of the error.
    #[must_use]
    pub fn delivery_state(&self) -> DeliveryState {
        match self {
            Self::Connection { state, .. }
            | Self::Transport {
                source: TransportError::Delivery { state, .. },
                ..
            } => *state,
            Self::Transport {
                source:
                    TransportError::UnknownTopic { .. }
                    | TransportError::Forbidden { .. }
                    | TransportError::TooLarge { .. }
                    | TransportError::Settings { .. },
                ..
            } => DeliveryState::NotWritten,
            Self::Store {
                source: StoreError::Refused { .. } | StoreError::Unfit { .. },
                ..
            } => DeliveryState::NotWritten,
            Self::Transport { .. } | Self::Store { .. } => DeliveryState::Unknown,
            _ => DeliveryState::NotWritten,
        }
    }
}
