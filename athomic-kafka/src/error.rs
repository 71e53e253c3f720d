//! What librdkafka reports, as the runtime's errors: with the connection, and what was being done.

use athomic_core::message::TopicPartition;
use athomic_core::transport::{DeliveryState, TransportError};

use crate::client::librdkafka::{Fault, FaultKind};

/// A connection's name and addresses, for errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) connection: String,
    pub(crate) servers: String,
}

impl Endpoint {
    /// Turn a fault into an error, for what `action` says was being done.
    pub(crate) fn error(&self, action: impl Into<String>, fault: Fault) -> TransportError {
        let connection = self.connection.clone();
        let retriable = fault.is_retriable();
        match fault.kind {
            FaultKind::Unreachable => TransportError::Unreachable {
                connection,
                servers: self.servers.clone(),
                source: fault.into(),
            },
            FaultKind::Authentication => TransportError::Authentication {
                connection,
                source: fault.into(),
            },
            FaultKind::Forbidden => TransportError::Forbidden {
                connection,
                action: action.into(),
                source: fault.into(),
            },
            FaultKind::Fenced => TransportError::Fenced { source: fault.into() },
            FaultKind::Settings => TransportError::Settings {
                connection,
                message: fault.to_string(),
            },
            FaultKind::Closed => TransportError::Closed,
            FaultKind::UnknownTopic
            | FaultKind::TopicRecreated
            | FaultKind::OffsetReset
            | FaultKind::QueueFull
            | FaultKind::Passing
            | FaultKind::Lasting => TransportError::Other {
                action: action.into(),
                retriable,
                source: fault.into(),
            },
        }
    }

    /// An error of a consumer as a whole; one that is about a topic names it.
    pub(crate) fn consuming(&self, topics: &[String], fault: Fault) -> TransportError {
        let topic = topic_in(topics, &fault.text);
        match (fault.kind, topic) {
            (FaultKind::UnknownTopic, Some(topic)) => TransportError::UnknownTopic { topic: topic.clone() },
            (FaultKind::TopicRecreated, Some(topic)) => {
                TransportError::TopicRecreated { topic: topic.clone() }
            }
            (_, Some(topic)) => self.error(format!("read topic `{topic}`"), fault),
            (_, None) => self.error(format!("consume from {}", listed(topics)), fault),
        }
    }

    /// An error of one partition.
    pub(crate) fn reading(&self, partition: &TopicPartition, fault: Fault) -> TransportError {
        match fault.kind {
            FaultKind::OffsetReset => TransportError::OffsetOutOfRange {
                partition: partition.clone(),
            },
            FaultKind::UnknownTopic => TransportError::UnknownTopic {
                topic: partition.topic.as_ref().to_owned(),
            },
            FaultKind::TopicRecreated => TransportError::TopicRecreated {
                topic: partition.topic.as_ref().to_owned(),
            },
            _ => self.error(format!("read {partition}"), fault),
        }
    }

    /// An error of a record on its way out.
    pub(crate) fn publishing(&self, topic: &str, state: DeliveryState, fault: Fault) -> TransportError {
        match fault.kind {
            FaultKind::Authentication | FaultKind::Forbidden | FaultKind::Closed => {
                self.error(format!("write to topic `{topic}`"), fault)
            }
            FaultKind::UnknownTopic => TransportError::UnknownTopic {
                topic: topic.to_owned(),
            },
            _ => TransportError::Delivery {
                topic: topic.to_owned(),
                state,
                retriable: fault.is_retriable(),
                source: fault.into(),
            },
        }
    }
}

/// Find the topic that librdkafka's words are about; they have it between a colon or a blank and a
/// colon or a blank. The longest wins, as one name may be part of another.
fn topic_in<'a>(topics: &'a [String], words: &str) -> Option<&'a String> {
    let stands_in = |topic: &&String| {
        words
            .split([' ', ':', '"', ','])
            .any(|word| word == topic.as_str())
    };
    topics.iter().filter(stands_in).max_by_key(|topic| topic.len())
}

fn listed(topics: &[String]) -> String {
    let quoted: Vec<_> = topics.iter().map(|topic| format!("`{topic}`")).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use athomic_core::message::TopicPartition;
    use athomic_core::transport::{DeliveryState, TransportError};

    use super::Endpoint;
    use crate::client::librdkafka::{Code, Fault};

    fn endpoint() -> Endpoint {
        Endpoint {
            connection: "default".to_owned(),
            servers: "kafka:9092".to_owned(),
        }
    }

    #[test]
    fn codes_become_errors_that_say_what_can_be_done() {
        let of = |code| endpoint().error("try", Fault::of(code));
        assert!(matches!(
            of(Code::AllBrokersDown),
            TransportError::Unreachable { .. }
        ));
        assert!(matches!(
            of(Code::SaslAuthenticationFailed),
            TransportError::Authentication { .. }
        ));
        assert!(matches!(
            of(Code::Authentication),
            TransportError::Authentication { .. }
        ));
        assert!(matches!(
            of(Code::GroupAuthorizationFailed),
            TransportError::Forbidden { .. }
        ));
        for code in [
            Code::UnknownMemberId,
            Code::IllegalGeneration,
            Code::RebalanceInProgress,
            Code::StaleMemberEpoch,
            Code::FencedMemberEpoch,
            Code::FencedInstanceId,
        ] {
            assert!(matches!(of(code), TransportError::Fenced { .. }), "{code:?}");
        }
        assert!(of(Code::CoordinatorNotAvailable).is_retriable());
        assert!(!of(Code::InvalidGroupId).is_retriable());
    }

    #[test]
    fn an_unknown_topic_is_named() {
        let topics = ["orders".to_owned(), "orders.v2".to_owned()];
        let words = "Subscribed topic not available: orders.v2: Broker: Unknown topic or partition";
        let error = endpoint().consuming(&topics, Fault::new(Code::UnknownTopicOrPartition, words));
        assert!(matches!(error, TransportError::UnknownTopic { topic } if topic == "orders.v2"));
    }

    #[test]
    fn an_offset_that_is_gone_names_its_partition() {
        let partition = TopicPartition::new("orders", 3);
        let error = endpoint().reading(&partition, Fault::of(Code::AutoOffsetReset));
        assert!(matches!(error, TransportError::OffsetOutOfRange { partition: of } if of == partition));
    }

    #[test]
    fn a_record_that_was_not_acknowledged_says_whether_it_may_be_written() {
        let fault = Fault::of(Code::MessageTimedOut);
        let error = endpoint().publishing("orders", DeliveryState::Unknown, fault);
        assert!(error.is_retriable());
        assert!(matches!(
            error,
            TransportError::Delivery {
                state: DeliveryState::Unknown,
                ..
            }
        ));
    }
}
