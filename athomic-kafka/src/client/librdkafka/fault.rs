//! What librdkafka reports, sorted by what can be done about it.

use std::fmt;

pub(crate) use rdkafka_sys::types::RDKafkaErrorCode as Code;

use super::native::Distrust;

/// An error of librdkafka: its code, what the code means for us, and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) code: Code,
    pub(crate) text: String,
    /// Why the broker's certificate is refused, if it is and somebody has asked.
    distrust: Option<Distrust>,
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
    /// The record is larger than client or topic allow.
    TooLarge,
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
        let text = text.into();
        let kind = if alert_in(&text).is_some_and(is_about_certificates) {
            FaultKind::Authentication
        } else {
            kind_of(code)
        };
        Self {
            kind,
            code,
            text,
            distrust: None,
        }
    }

    /// Make a fault of a code with librdkafka's own description of it.
    pub(crate) fn of(code: Code) -> Self {
        Self::new(code, String::new())
    }

    /// Say whether the broker's certificate is refused.
    pub(super) fn is_distrust(&self) -> bool {
        self.code == Code::SSL && self.text.contains("certificate verify failed")
    }

    /// Add why the broker's certificate is refused.
    pub(super) fn because(mut self, distrust: Option<Distrust>) -> Self {
        self.distrust = distrust;
        self
    }

    /// Say what to look at when the broker refuses who we are, or we refuse who it is.
    pub(crate) fn remedy(&self) -> &'static str {
        match (self.code, alert_in(&self.text)) {
            (_, Some(alert::EXPIRED)) => "our certificate has expired: renew `security.certificate_file`",
            (_, Some(alert::UNKNOWN_AUTHORITY)) => {
                "the broker does not know the authority of our certificate: check `security.certificate_file`"
            }
            (_, Some(_)) => {
                "the broker wants a certificate that it trusts and that has not expired: check \
                 `security.certificate_file` and `security.key_file`"
            }
            _ if self.is_distrust() => remedy_of(self.distrust),
            (Code::UnsupportedSASLMechanism, _) => {
                "the broker does not take this `security.mechanism` on this port"
            }
            _ if self.text.contains("OAUTHBEARER token") => {
                "no token was given: check `security.oauth_token_url`, `security.oauth_client_id` and \
                 `security.oauth_client_secret`"
            }
            (Code::SSL, _) => "check `security.protocol` and the files in `security`",
            _ => "check `security.mechanism`, `security.username` and `security.password`",
        }
    }

    /// Make the fault of a topic that is not the one of before.
    pub(super) fn topic_recreated(topic: &str) -> Self {
        Self {
            kind: FaultKind::TopicRecreated,
            code: Code::UnknownTopicId,
            text: format!("topic {topic} has another id"),
            distrust: None,
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
            (Some(code), _) | (None, &KafkaError::AdminOp(code)) => Self::new(code, error.to_string()),
            // Without the value, which may be a secret.
            (None, KafkaError::ClientConfig(_, words, option, _)) => {
                Self::new(Code::InvalidArgument, format!("option `{option}`: {words}"))
            }
            (None, KafkaError::ClientCreation(words)) => Self::new(Code::InvalidArgument, words.as_str()),
            (None, _) => Self {
                kind: FaultKind::Lasting,
                code: Code::Fail,
                text: error.to_string(),
                distrust: None,
            },
        }
    }
}

/// Say what to do about a broker's certificate.
fn remedy_of(distrust: Option<Distrust>) -> &'static str {
    match distrust {
        Some(Distrust::UnknownAuthority) => {
            "the broker's certificate is of an authority that is not known here: add that authority's \
             certificate to `security.ca_file`"
        }
        Some(Distrust::Expired) => "the broker's certificate has expired: it is to be renewed at the broker",
        Some(Distrust::NotYetValid) => {
            "the broker's certificate is not valid yet: check the clocks here and where it was issued"
        }
        Some(Distrust::OtherHost) => {
            "the broker's certificate is for another host: name brokers in `bootstrap_servers`, and in the \
             brokers' `advertised.listeners`, as their certificates do"
        }
        Some(Distrust::Other) | None => {
            "the broker's certificate is not trusted: it must be of an authority in `security.ca_file`, \
             for the host in `bootstrap_servers`, and not expired"
        }
    }
}

/// TLS alerts by which a broker refuses our certificate; see RFC 8446, section 6.2.
mod alert {
    pub(super) const BAD_CERTIFICATE: u8 = 42;
    pub(super) const UNSUPPORTED: u8 = 43;
    pub(super) const REVOKED: u8 = 44;
    pub(super) const EXPIRED: u8 = 45;
    pub(super) const UNKNOWN: u8 = 46;
    pub(super) const UNKNOWN_AUTHORITY: u8 = 48;
    pub(super) const REQUIRED: u8 = 116;
}

fn is_about_certificates(number: u8) -> bool {
    matches!(
        number,
        alert::BAD_CERTIFICATE
            | alert::UNSUPPORTED
            | alert::REVOKED
            | alert::EXPIRED
            | alert::UNKNOWN
            | alert::UNKNOWN_AUTHORITY
            | alert::REQUIRED
    )
}

/// Find the TLS alert in librdkafka's words. With TLS 1.3 the broker looks at our certificate when we
/// take the handshake for done, so that the code only says that the connection broke.
fn alert_in(words: &str) -> Option<u8> {
    let (_, number) = words.split_once("SSL alert number ")?;
    let digits = number.split(|letter: char| !letter.is_ascii_digit()).next();
    digits?.parse().ok()
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
        Code::MessageSizeTooLarge => FaultKind::TooLarge,
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

#[cfg(test)]
mod tests {
    use rdkafka::error::KafkaError;

    use super::{Code, Distrust, Fault, FaultKind};

    #[test]
    fn a_refused_certificate_is_no_lost_connection() {
        let of = |words: &str| Fault::new(Code::BrokerTransportFailure, words);
        let words = "Receive failed: error:0A000412:SSL routines::sslv3 alert bad certificate: SSL alert number 42 (after 0ms)";
        assert_eq!(of(words).kind, FaultKind::Authentication);
        assert_eq!(of("Disconnected").kind, FaultKind::Unreachable);
        assert_eq!(of("SSL alert number 80").kind, FaultKind::Unreachable);
        assert!(of("SSL alert number 45").remedy().contains("has expired"));
    }

    #[test]
    fn a_broker_that_takes_long_is_asked_again() {
        for error in [KafkaError::AdminOp, KafkaError::MetadataFetch] {
            assert!(Fault::from(error(Code::OperationTimedOut)).is_retriable());
        }
    }

    #[test]
    fn what_to_look_at_depends_on_what_was_refused() {
        let check = |code, words: &str, expected: &str| {
            let remedy = Fault::new(code, words).remedy();
            assert!(remedy.contains(expected), "{remedy}");
        };
        check(
            Code::Authentication,
            "Invalid username or password",
            "`security.password`",
        );
        check(Code::SSL, "certificate verify failed", "`security.ca_file`");
        for (distrust, expected) in [
            (Distrust::UnknownAuthority, "`security.ca_file`"),
            (Distrust::Expired, "has expired"),
            (Distrust::NotYetValid, "not valid yet"),
            (Distrust::OtherHost, "for another host"),
        ] {
            let fault = Fault::new(Code::SSL, "certificate verify failed").because(Some(distrust));
            assert!(fault.remedy().contains(expected), "{}", fault.remedy());
        }
        check(Code::SSL, "wrong version number", "`security.protocol`");
        check(Code::UnsupportedSASLMechanism, "", "`security.mechanism`");
    }
}
