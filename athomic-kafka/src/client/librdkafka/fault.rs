//! What librdkafka reports, sorted by what can be done about it.

use std::fmt;

pub(crate) use rdkafka_sys::types::RDKafkaErrorCode as Code;

/// An error of librdkafka: its code, what the code means for us, and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) code: Code,
    pub(crate) text: String,
}

/// What an error code means for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum FaultKind {
    /// No connection, or none that answers.
    Unreachable,
    /// User, password or certificate refused.
    Authentication,
    /// Known, but not allowed.
    Forbidden,
    /// The topic or the partition does not exist.
    UnknownTopic,
    /// The topic was deleted, and another one of its name was made.
    TopicRecreated,
    /// The group has moved on without this member.
    Fenced,
    /// The offset is not in the log, and the settings say to stop.
    OffsetReset,
    /// There is no room in the client's queue.
    QueueFull,
    /// A setting that the client does not take.
    Settings,
    /// The client is being destroyed.
    Closed,
    /// Trouble in the cluster that passes.
    Passing,
    /// Everything else: asking again does not help.
    Lasting,
}

impl Fault {
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Self {
        Self {
            kind: kind_of(code),
            code,
            text: text.into(),
        }
    }

    /// Make a fault of a code with librdkafka's own description of it.
    pub(crate) fn of(code: Code) -> Self {
        Self::new(code, String::new())
    }

    /// Make the fault of a topic that is not the one of before.
    pub(super) fn topic_recreated(topic: &str) -> Self {
        Self {
            kind: FaultKind::TopicRecreated,
            code: Code::UnknownTopicId,
            text: format!("topic {topic} has another id"),
        }
    }

    /// Say whether the same request may succeed later without anybody changing anything.
    pub(crate) fn is_retriable(&self) -> bool {
        matches!(
            self.kind,
            FaultKind::Unreachable | FaultKind::Passing | FaultKind::QueueFull
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() {
            return write!(f, "{}", self.code);
        }
        write!(f, "{} ({:?})", self.text, self.code)
    }
}

impl std::error::Error for Fault {}

impl From<rdkafka::error::KafkaError> for Fault {
    fn from(error: rdkafka::error::KafkaError) -> Self {
        use rdkafka::error::KafkaError;
        match (error.rdkafka_error_code(), &error) {
            (Some(code), _) => Self::new(code, error.to_string()),
            // Without the value, which may be a secret.
            (None, KafkaError::ClientConfig(_, words, option, _)) => {
                Self::new(Code::InvalidArgument, format!("option `{option}`: {words}"))
            }
            (None, KafkaError::ClientCreation(words)) => Self::new(Code::InvalidArgument, words.as_str()),
            (None, _) => Self {
                kind: FaultKind::Lasting,
                code: Code::Fail,
                text: error.to_string(),
            },
        }
    }
}

fn kind_of(code: Code) -> FaultKind {
    match code {
        Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve | Code::BrokerNotAvailable => {
            FaultKind::Unreachable
        }
        Code::Authentication
        | Code::SSL
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState => FaultKind::Authentication,
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => FaultKind::Forbidden,
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicId => FaultKind::UnknownTopic,
        Code::UnknownMemberId
        | Code::IllegalGeneration
        | Code::RebalanceInProgress
        | Code::StaleMemberEpoch
        | Code::FencedMemberEpoch
        | Code::FencedInstanceId
        | Code::Fenced
        | Code::AssignmentLost => FaultKind::Fenced,
        Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => FaultKind::OffsetReset,
        Code::QueueFull => FaultKind::QueueFull,
        Code::InvalidArgument | Code::InvalidConfig | Code::UnknownProtocol => FaultKind::Settings,
        Code::BrokerDestroy | Code::DestroyBroker => FaultKind::Closed,
        code if passes(code) => FaultKind::Passing,
        _ => FaultKind::Lasting,
    }
}

fn passes(code: Code) -> bool {
    matches!(
        code,
        Code::OperationTimedOut
            | Code::TimedOutQueue
            | Code::MessageTimedOut
            | Code::RequestTimedOut
            | Code::WaitingForCoordinator
            | Code::InProgress
            | Code::PreviousInProgress
            | Code::WaitCache
            | Code::Retry
            | Code::ISRInsufficient
            | Code::NodeUpdate
            | Code::PollExceeded
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::ReplicaNotAvailable
            | Code::NetworkException
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::NotController
            | Code::KafkaStorageError
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
            | Code::FetchSessionIdNotFound
            | Code::InvalidFetchSessionEpoch
            | Code::ListenerNotFound
            | Code::EligibleLeadersNotAvailable
            | Code::UnstableOffsetCommit
            | Code::ThrottlingQuotaExceeded
            | Code::RebootstrapRequired
    )
}

/// Hand a line of librdkafka's own log on, at the level that it has there (syslog's).
pub(super) fn log_line(level: i32, facility: &str, line: &str) {
    match level {
        ..=3 => tracing::error!(target: "librdkafka", facility, "{line}"),
        4 => tracing::warn!(target: "librdkafka", facility, "{line}"),
        5..=6 => tracing::info!(target: "librdkafka", facility, "{line}"),
        _ => tracing::debug!(target: "librdkafka", facility, "{line}"),
    }
}
