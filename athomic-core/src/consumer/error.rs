//! What ends a consumer, by the names of the reference.

use crate::transport::TransportError;

/// A consumer ended because it could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumeError {
    /// The broker could not be reached, or refused the connection.
    #[error("handler `{handler}`: no connection")]
    Connection {
        /// The handler, with its place in the source.
        handler: String,
        /// Which connection, and why.
        #[source]
        source: MessagingConnectionError,
    },
    /// The client cannot go on with the group as a whole.
    #[error("handler `{handler}`: cannot consume")]
    Group {
        /// The handler, with its place in the source.
        handler: String,
        /// Why.
        #[source]
        source: TransportError,
    },
    /// A partition cannot be read.
    #[error("handler `{handler}`: cannot read {partition}")]
    Partition {
        /// The handler, with its place in the source.
        handler: String,
        /// The partition.
        partition: crate::message::TopicPartition,
        /// Why.
        #[source]
        source: Box<TransportError>,
    },
    /// The ordering store refuses, or returned what cannot be read.
    #[error("handler `{handler}`: cannot keep the order of its messages")]
    Ordering {
        /// The handler, with its place in the source.
        handler: String,
        /// Why.
        #[source]
        source: crate::store::StoreError,
    },
    /// The idempotency store refuses, or is not fit.
    #[error(
        "handler `{handler}`: cannot remember which messages were handled; look at `resilience.idempotency.kvstore`"
    )]
    Idempotency {
        /// The handler, with its place in the source.
        handler: String,
        /// Why.
        #[source]
        source: crate::store::StoreError,
    },
    /// The ordering store has lost what it knew. What is not committed is read again.
    #[error("handler `{handler}`: the ordering store has lost its state")]
    OrderingStateLost {
        /// The handler, with its place in the source.
        handler: String,
    },
    /// Messages were done after another process had been given their aggregates, so that they do not count.
    /// What is not committed is read again.
    #[error(
        "handler `{handler}`: another process was given aggregates before the ordering store knew what was done of them"
    )]
    OrderingOvertaken {
        /// The handler, with its place in the source.
        handler: String,
    },
    /// A lane ended by a fault of athomic itself.
    #[error("handler `{handler}`: the lane of {partition} panicked; please report this")]
    LanePanicked {
        /// The handler, with its place in the source.
        handler: String,
        /// The partition.
        partition: crate::message::TopicPartition,
    },
}

impl ConsumeError {
    /// Say whether consuming again may succeed without anybody changing anything.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Connection { source, .. } => source.is_retriable(),
            Self::Group { source, .. } => source.is_retriable(),
            Self::Partition { source, .. } => source.is_retriable(),
            Self::Ordering { source, .. } | Self::Idempotency { source, .. } => source.is_retriable(),
            Self::OrderingStateLost { .. } | Self::OrderingOvertaken { .. } => true,
            Self::LanePanicked { .. } => false,
        }
    }

    /// Say whether the broker refused who we are or what we want.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Connection { source, .. } => source.0.is_refusal(),
            Self::Group { source, .. } => source.is_refusal(),
            Self::Partition { source, .. } => source.is_refusal(),
            Self::Ordering { source, .. } | Self::Idempotency { source, .. } => {
                matches!(source, crate::store::StoreError::Refused { .. })
            }
            Self::OrderingStateLost { .. } | Self::OrderingOvertaken { .. } | Self::LanePanicked { .. } => {
                false
            }
        }
    }

    pub(crate) fn group(handler: String, source: TransportError) -> Self {
        match MessagingConnectionError::try_from(source) {
            Ok(source) => Self::Connection { handler, source },
            Err(source) => Self::Group { handler, source },
        }
    }
}

/// There is no connection to the broker: it cannot be reached, or does not let us in.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct MessagingConnectionError(TransportError);

impl MessagingConnectionError {
    /// Say whether connecting again may succeed without anybody changing anything.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        self.0.is_retriable()
    }
}

impl TryFrom<TransportError> for MessagingConnectionError {
    type Error = TransportError;

    fn try_from(error: TransportError) -> Result<Self, TransportError> {
        match error {
            TransportError::Unreachable { .. } | TransportError::Authentication { .. } => Ok(Self(error)),
            other => Err(other),
        }
    }
}

/// What a handler's attribute and settings say cannot be consumed like that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("handler `{handler}`: {problem}; {remedy}")]
pub struct InvalidConsumerConfigurationError {
    /// The handler, with its place in the source.
    pub handler: String,
    /// What is wrong.
    pub problem: String,
    /// What to change, and where.
    pub remedy: String,
}

impl From<crate::handler::HandlerConflict> for InvalidConsumerConfigurationError {
    fn from(conflict: crate::handler::HandlerConflict) -> Self {
        let (handler, problem, remedy) = conflict.into_parts();
        Self {
            handler,
            problem,
            remedy,
        }
    }
}
