//! Why a message was not published.

use std::sync::Arc;

use crate::transport::{DeliveryState, TransportError};

/// Publishing a message failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic's name is empty.
    #[error("cannot publish: the topic's name is empty")]
    NoTopic,
    /// The payload has no JSON form.
    #[error("cannot write the payload for topic `{topic}` as JSON")]
    Serialize {
        /// Where it should have gone.
        topic: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// There is no connection to publish over; the message was not sent.
    #[error("cannot publish to topic `{topic}`: no publisher")]
    NotSent {
        /// Where it should have gone.
        topic: String,
        /// Why.
        #[source]
        source: Arc<TransportError>,
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

impl PublishError {
    pub(super) fn not_sent(topic: String, source: Arc<TransportError>) -> Self {
        Self::NotSent { topic, source }
    }

    pub(super) fn sending(topic: String, source: TransportError) -> Self {
        Self::Transport { topic, source }
    }

    /// Say whether publishing the same message again can help.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::NoTopic | Self::Serialize { .. } => false,
            Self::NotSent { source, .. } => source.is_retriable(),
            Self::Transport { source, .. } => source.is_retriable(),
        }
    }

    /// Say whether the message is larger than its topic takes.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        let too_large = |source: &TransportError| matches!(source, TransportError::TooLarge { .. });
        matches!(self, Self::Transport { source, .. } if too_large(source))
    }

    /// Say whether the message may stand in the log in spite of the error.
    #[must_use]
    pub fn delivery_state(&self) -> DeliveryState {
        match self {
            Self::Transport {
                source: TransportError::Delivery { state, .. },
                ..
            } => *state,
            Self::Transport {
                source:
                    TransportError::UnknownTopic { .. }
                    | TransportError::Forbidden { .. }
                    | TransportError::Authentication { .. }
                    | TransportError::TooLarge { .. }
                    | TransportError::Settings { .. },
                ..
            } => DeliveryState::NotWritten,
            Self::Transport { .. } => DeliveryState::Unknown,
            _ => DeliveryState::NotWritten,
        }
    }
}
