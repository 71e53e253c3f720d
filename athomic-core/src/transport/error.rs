//! What can go wrong between us and a broker.

use std::error::Error;

/// A boxed cause.
type Source = Box<dyn Error + Send + Sync>;

/// Whether a message that was not acknowledged may stand in the log all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// It was not written.
    NotWritten,
    /// It may have been written, perhaps more than once.
    Unknown,
}

/// An operation on the broker failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No broker could be reached. Retriable.
    #[error("cannot reach a broker of connection `{connection}` at {servers}")]
    Unreachable {
        /// The connection's name in the settings.
        connection: String,
        /// The addresses tried.
        servers: String,
        /// What the client said.
        #[source]
        source: Source,
    },
    /// The broker refused who we are: user, password or certificate. Not retriable.
    #[error("connection `{connection}` was refused: {remedy}")]
    Authentication {
        /// The connection's name in the settings.
        connection: String,
        /// What to look at, such as "check `security.username` and `security.password`".
        remedy: &'static str,
        /// What the client said.
        #[source]
        source: Source,
    },
    /// The certificates that the client has read were replaced on disk: whoever joins again reads the
    /// new ones. Retriable.
    #[error("the certificates of connection `{connection}` were replaced")]
    CertificatesReplaced {
        /// The connection's name in the settings.
        connection: String,
    },
    /// The broker knows us but does not allow this. Not retriable.
    #[error("not allowed to {action} over connection `{connection}`; its user needs {needed}")]
    Forbidden {
        /// The connection's name in the settings.
        connection: String,
        /// What was tried, such as "read topic `orders`".
        action: String,
        /// The right that is missing, such as "`Read` on topic `orders`".
        needed: String,
        /// What the client said.
        #[source]
        source: Source,
    },
    /// A topic does not exist. Not retriable by itself.
    #[error("topic `{topic}` does not exist")]
    UnknownTopic {
        /// The topic.
        topic: String,
    },
    /// A topic was deleted and another one of its name was made. What the group knew of the old one is
    /// void; consumers begin the new one at its oldest message, or end with this error if the settings
    /// say to stop.
    #[error("topic `{topic}` was deleted and made anew")]
    TopicRecreated {
        /// The topic.
        topic: String,
    },
    /// What was to be read next is not in the log: deleted by retention, or never there after a leader was
    /// lost. Consumers say so and go on where the settings say.
    #[error("{partition}: what was to be read next is not in the log; going on where auto_offset_reset says")]
    OffsetReset {
        /// The partition.
        partition: crate::message::TopicPartition,
    },
    /// The group has no offset in this partition, or one that is gone from the log, and the settings say
    /// to stop.
    #[error(
        "{partition}: the group has no offset that is in the log, and auto_offset_reset is \"fail\"; set it to \"earliest\" or \"latest\", or commit an offset for the group"
    )]
    OffsetOutOfRange {
        /// The partition.
        partition: crate::message::TopicPartition,
    },
    /// The group is being rebalanced or no longer has this member. A commit is not asked again:
    /// whoever owns the partition now reads on from the last one.
    #[error("the group no longer takes this from us: its membership has changed")]
    Fenced {
        /// What the client said.
        #[source]
        source: Source,
    },
    /// A message was not acknowledged in time or was refused.
    #[error("a message for topic `{topic}` was not acknowledged ({})", match state {
        DeliveryState::NotWritten => "it was not written",
        DeliveryState::Unknown => "it may have been written",
    })]
    Delivery {
        /// Where it should have gone.
        topic: String,
        /// Whether it may stand in the log.
        state: DeliveryState,
        /// Whether publishing it again can help.
        retriable: bool,
        /// What the client said.
        #[source]
        source: Source,
    },
    /// A message is larger than its topic takes; it was not written. Not retriable.
    #[error("a message for topic `{topic}` is larger than the topic takes")]
    TooLarge {
        /// Where it should have gone.
        topic: String,
        /// What the client said.
        #[source]
        source: Source,
    },
    /// A setting that the client refuses. Not retriable.
    #[error("connection `{connection}`: {message}")]
    Settings {
        /// The connection's name in the settings.
        connection: String,
        /// What is wrong and how to mend it.
        message: String,
    },
    /// The consumer or publisher was closed.
    #[error("closed")]
    Closed,
    /// Something else failed while doing what `action` says.
    #[error("failed to {action}")]
    Other {
        /// What was being done.
        action: String,
        /// Whether it can help to try again.
        retriable: bool,
        /// What the client said.
        #[source]
        source: Source,
    },
}

impl TransportError {
    /// Say whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::CertificatesReplaced { .. } => true,
            Self::Delivery { retriable, .. } | Self::Other { retriable, .. } => *retriable,
            Self::Authentication { .. }
            | Self::Forbidden { .. }
            | Self::UnknownTopic { .. }
            | Self::TopicRecreated { .. }
            | Self::OffsetReset { .. }
            | Self::OffsetOutOfRange { .. }
            | Self::Fenced { .. }
            | Self::TooLarge { .. }
            | Self::Settings { .. }
            | Self::Closed => false,
        }
    }

    /// Return the kind of the error, as the attribute `error.type` of telemetry has it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Authentication { .. } => "authentication",
            Self::CertificatesReplaced { .. } => "certificates_replaced",
            Self::Forbidden { .. } => "forbidden",
            Self::UnknownTopic { .. } => "unknown_topic",
            Self::TopicRecreated { .. } => "topic_recreated",
            Self::OffsetReset { .. } => "offset_reset",
            Self::OffsetOutOfRange { .. } => "offset_out_of_range",
            Self::Fenced { .. } => "fenced",
            Self::Delivery { .. } => "delivery",
            Self::TooLarge { .. } => "too_large",
            Self::Settings { .. } => "settings",
            Self::Closed => "closed",
            Self::Other { .. } => "other",
        }
    }

    /// Say whether the broker refused who we are or what we want: somebody has to change that, in the
    /// settings or on the broker.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Authentication { .. } | Self::Forbidden { .. })
    }
}
