//! What librdkafka reports, as the runtime's errors: with the connection, and what was being done.

use athomic_core::message::TopicPartition;
use athomic_core::transport::{DeliveryState, Subscription, TransportError};

use crate::client::librdkafka::{Code, Fault, FaultKind};

/// What is asked of the broker: for the words of errors, and for the right that it takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Task<'a> {
    LookAt(&'a str),
    LookAtTopics,
    LookAtSettings,
    CreateTopics,
    Join(&'a str),
    Consume(&'a [String]),
    ReadTopic(&'a str),
    Read(&'a TopicPartition),
    ReadOffsets(&'a str),
    Commit(&'a str),
    Leave(&'a str),
    MakePublisher,
    Write(&'a str),
    Flush,
}

impl Task<'_> {
    /// Return what is being done, as in "failed to ...".
    fn action(self) -> String {
        match self {
            Self::LookAt(topic) => format!("look at topic `{topic}`"),
            Self::LookAtTopics => "look at topics".to_owned(),
            Self::LookAtSettings => "look at the settings of topics".to_owned(),
            Self::CreateTopics => "create topics".to_owned(),
            Self::Join(group) => format!("join group `{group}`"),
            Self::Consume(topics) => format!("consume from {}", listed(topics)),
            Self::ReadTopic(topic) => format!("read topic `{topic}`"),
            Self::Read(partition) => format!("read {partition}"),
            Self::ReadOffsets(group) => format!("read the offsets of group `{group}`"),
            Self::Commit(group) => format!("commit offsets of group `{group}`"),
            Self::Leave(group) => format!("leave group `{group}`"),
            Self::MakePublisher => "make a publisher".to_owned(),
            Self::Write(topic) => format!("write to topic `{topic}`"),
            Self::Flush => "flush".to_owned(),
        }
    }

    /// Return the right that it takes, by Kafka's names of operations.
    fn needed(self) -> String {
        match self {
            Self::LookAt(topic) | Self::ReadTopic(topic) => format!("`Read` on topic `{topic}`"),
            Self::LookAtTopics => "`Read` on the topics".to_owned(),
            Self::LookAtSettings => "`DescribeConfigs` on the topics".to_owned(),
            Self::CreateTopics => "`Create` on the cluster or on the topics".to_owned(),
            Self::Join(group) | Self::Commit(group) | Self::Leave(group) => {
                format!("`Read` on group `{group}`")
            }
            Self::Consume(topics) => format!("`Read` on {} and on the group", listed(topics)),
            Self::Read(partition) => format!("`Read` on topic `{}`", partition.topic),
            Self::ReadOffsets(group) => format!("`Describe` on group `{group}` and on its topics"),
            Self::MakePublisher | Self::Flush => "`Write` on a topic".to_owned(),
            Self::Write(topic) => format!("`Write` on topic `{topic}`"),
        }
    }
}

/// A connection's name and addresses, for errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) connection: String,
    pub(crate) servers: String,
}

impl Endpoint {
    /// Turn a fault into an error, for what was being done.
    pub(crate) fn error(&self, task: Task<'_>, fault: Fault) -> TransportError {
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
                remedy: fault.remedy(),
                source: fault.into(),
            },
            FaultKind::Forbidden => TransportError::Forbidden {
                connection,
                action: task.action(),
                needed: task.needed(),
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
            | FaultKind::TooLarge
            | FaultKind::Passing
            | FaultKind::Lasting => TransportError::Other {
                action: task.action(),
                retriable,
                source: fault.into(),
            },
        }
    }

    /// An error of a member of a group as a whole; one that is about a topic or the group names it.
    pub(crate) fn consuming(&self, subscription: &Subscription, fault: Fault) -> TransportError {
        let topics = &subscription.topics;
        match (fault.kind, topic_in(topics, &fault.text)) {
            (FaultKind::UnknownTopic, Some(topic)) => TransportError::UnknownTopic { topic: topic.clone() },
            (FaultKind::TopicRecreated, Some(topic)) => {
                TransportError::TopicRecreated { topic: topic.clone() }
            }
            _ if fault.code == Code::GroupAuthorizationFailed => {
                self.error(Task::Join(&subscription.group_id), fault)
            }
            (_, Some(topic)) => self.error(Task::ReadTopic(topic), fault),
            (_, None) => self.error(Task::Consume(topics), fault),
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
            _ => self.error(Task::Read(partition), fault),
        }
    }

    /// An error of a record on its way out.
    pub(crate) fn publishing(&self, topic: &str, state: DeliveryState, fault: Fault) -> TransportError {
        match fault.kind {
            FaultKind::Authentication | FaultKind::Forbidden | FaultKind::Closed => {
                self.error(Task::Write(topic), fault)
            }
            FaultKind::UnknownTopic => TransportError::UnknownTopic {
                topic: topic.to_owned(),
            },
            FaultKind::TooLarge => TransportError::TooLarge {
                topic: topic.to_owned(),
                source: fault.into(),
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
    use athomic_core::transport::{DeliveryState, FetchOverrides, Subscription, TransportError};

    use super::{Endpoint, Task};
    use crate::client::librdkafka::{Code, Fault};

    fn endpoint() -> Endpoint {
        Endpoint {
            connection: "default".to_owned(),
            servers: "kafka:9092".to_owned(),
        }
    }

    fn subscription() -> Subscription {
        Subscription {
            topics: vec!["orders".to_owned(), "orders.v2".to_owned()],
            group_id: "shop".to_owned(),
            handler_id: "tests::handler".to_owned(),
            fetch: FetchOverrides::default(),
        }
    }

    #[test]
    fn codes_become_errors_that_say_what_can_be_done() {
        let of = |code| endpoint().error(Task::Flush, Fault::of(code));
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
        let words = "Subscribed topic not available: orders.v2: Broker: Unknown topic or partition";
        let error = endpoint().consuming(&subscription(), Fault::new(Code::UnknownTopicOrPartition, words));
        assert!(matches!(error, TransportError::UnknownTopic { topic } if topic == "orders.v2"));
    }

    #[test]
    fn a_missing_right_is_named() {
        let check = |error: TransportError, expected: &str| assert_eq!(error.to_string(), expected);
        let words = "Subscribed topic not available: orders.v2: Broker: Topic authorization failed";
        check(
            endpoint().consuming(&subscription(), Fault::new(Code::TopicAuthorizationFailed, words)),
            "not allowed to read topic `orders.v2` over connection `default`; its user needs `Read` on topic `orders.v2`",
        );
        check(
            endpoint().consuming(&subscription(), Fault::of(Code::GroupAuthorizationFailed)),
            "not allowed to join group `shop` over connection `default`; its user needs `Read` on group `shop`",
        );
        check(
            endpoint().error(Task::CreateTopics, Fault::of(Code::ClusterAuthorizationFailed)),
            "not allowed to create topics over connection `default`; its user needs `Create` on the cluster or on the topics",
        );
    }

    #[test]
    fn an_offset_that_is_gone_names_its_partition() {
        let partition = TopicPartition::new("orders", 3);
        let error = endpoint().reading(&partition, Fault::of(Code::AutoOffsetReset));
        assert!(matches!(error, TransportError::OffsetOutOfRange { partition: of } if of == partition));
    }

    #[test]
    fn a_record_that_is_too_large_is_told_from_others() {
        let fault = Fault::of(Code::MessageSizeTooLarge);
        let error = endpoint().publishing("orders", DeliveryState::NotWritten, fault);
        assert!(matches!(error, TransportError::TooLarge { topic, .. } if topic == "orders"));
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
