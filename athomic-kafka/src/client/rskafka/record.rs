//! What messages and errors are in rskafka.

use std::time::{SystemTime, UNIX_EPOCH};

use athomic_core::transport::{DeliveryState, OutgoingMessage};
use rskafka::chrono::DateTime;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::record::Record;
use rskafka::{BackoffError, ConnectionError};

use crate::client::librdkafka::{Code, Fault};

/// What a record has beside key, payload and headers, at most.
const OVERHEAD: usize = 24;
/// What a header has beside name and value, at most.
const HEADER_OVERHEAD: usize = 6;

/// Say whether rskafka can write a message as it is: its headers are a sorted map without null values.
pub(super) fn is_expressible(message: &OutgoingMessage) -> bool {
    let headers = || message.headers.iter();
    let is_sorted = headers()
        .zip(headers().skip(1))
        .all(|(first, second)| first.name < second.name);
    is_sorted && headers().all(|header| header.value.is_some())
}

/// Return about how many bytes a message takes in a request.
pub(super) fn size(message: &OutgoingMessage) -> usize {
    let bytes = |part: &Option<bytes::Bytes>| part.as_ref().map_or(0, |bytes| bytes.len());
    let headers = message.headers.iter();
    let headers = headers.map(|header| header.name.len() + bytes(&header.value) + HEADER_OVERHEAD);
    OVERHEAD + bytes(&message.key) + bytes(&message.payload) + headers.sum::<usize>()
}

/// Make the records of messages, all of now.
pub(super) fn records<'a>(messages: impl Iterator<Item = &'a OutgoingMessage>) -> Vec<Record> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    let timestamp = DateTime::from_timestamp_millis(millis).unwrap_or_default();
    let record = |message: &OutgoingMessage| Record {
        key: message.key.as_deref().map(<[u8]>::to_vec),
        value: message.payload.as_deref().map(<[u8]>::to_vec),
        headers: message
            .headers
            .iter()
            .map(|header| {
                let value = header.value.as_deref().unwrap_or_default();
                (header.name.to_string(), value.to_vec())
            })
            .collect(),
        timestamp,
    };
    messages.map(record).collect()
}

/// Why a request failed, in the words of the other client, which sorts faults by what can be done.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) fault: Fault,
    /// Whether the records may stand in the log.
    pub(super) state: DeliveryState,
    /// Whether another connection may help.
    pub(super) is_of_the_connection: bool,
}

impl Failure {
    /// A request was not answered in time.
    pub(super) fn timed_out() -> Self {
        Self {
            fault: Fault::new(Code::RequestTimedOut, "no answer in time"),
            state: DeliveryState::Unknown,
            is_of_the_connection: true,
        }
    }

    fn refused(code: Code, error: &Error) -> Self {
        Self {
            fault: Fault::new(code, error.to_string()),
            state: match code {
                // The leader has it, and cannot say whether it stays.
                Code::RequestTimedOut | Code::NotEnoughReplicasAfterAppend | Code::NetworkException => {
                    DeliveryState::Unknown
                }
                _ => DeliveryState::NotWritten,
            },
            is_of_the_connection: false,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::ServerError { protocol_error, .. } => Self::refused(code_of(*protocol_error), &error),
            Error::RetryFailed(BackoffError::DeadlineExceded { source, .. }) => {
                let last = source.downcast_ref().map(Self::of_last);
                Self {
                    // What happened to the attempts before the last is not told.
                    state: DeliveryState::Unknown,
                    ..last.unwrap_or_else(Self::timed_out)
                }
            }
            _ => Self::of_last(&error),
        }
    }
}

impl Failure {
    fn of_last(error: &Error) -> Self {
        let (code, state) = match error {
            Error::ServerError { protocol_error, .. } => {
                return Self::refused(code_of(*protocol_error), error);
            }
            Error::Connection(ConnectionError::SaslFailed(_)) => {
                (Code::SaslAuthenticationFailed, DeliveryState::NotWritten)
            }
            Error::Connection(_) => (Code::BrokerTransportFailure, DeliveryState::NotWritten),
            _ => (Code::BrokerTransportFailure, DeliveryState::Unknown),
        };
        Self {
            fault: Fault::new(code, error.to_string()),
            state,
            is_of_the_connection: true,
        }
    }
}

fn code_of(error: ProtocolError) -> Code {
    match error {
        ProtocolError::UnknownTopicOrPartition => Code::UnknownTopicOrPartition,
        ProtocolError::MessageTooLarge | ProtocolError::RecordListTooLarge => Code::MessageSizeTooLarge,
        ProtocolError::TopicAuthorizationFailed => Code::TopicAuthorizationFailed,
        ProtocolError::ClusterAuthorizationFailed => Code::ClusterAuthorizationFailed,
        ProtocolError::SaslAuthenticationFailed => Code::SaslAuthenticationFailed,
        ProtocolError::LeaderNotAvailable => Code::LeaderNotAvailable,
        ProtocolError::NotLeaderOrFollower
        | ProtocolError::FencedLeaderEpoch
        | ProtocolError::UnknownLeaderEpoch => Code::NotLeaderForPartition,
        ProtocolError::ReplicaNotAvailable
        | ProtocolError::BrokerNotAvailable
        | ProtocolError::KafkaStorageError => Code::ReplicaNotAvailable,
        ProtocolError::RequestTimedOut => Code::RequestTimedOut,
        ProtocolError::NetworkException => Code::NetworkException,
        ProtocolError::NotEnoughReplicas => Code::NotEnoughReplicas,
        ProtocolError::NotEnoughReplicasAfterAppend => Code::NotEnoughReplicasAfterAppend,
        _ => Code::Fail,
    }
}

#[cfg(test)]
mod tests {
    use athomic_core::message::Headers;

    use super::*;

    fn with(headers: Headers) -> OutgoingMessage {
        OutgoingMessage {
            topic: "t".to_owned(),
            headers,
            ..OutgoingMessage::default()
        }
    }

    #[test]
    fn what_a_sorted_map_would_change_is_not_expressible() {
        let check = |headers: Headers, expected| assert_eq!(is_expressible(&with(headers)), expected);
        check(Headers::new(), true);
        check(Headers::new().with("a", "1").with("b", ""), true);
        check(Headers::new().with("b", "1").with("a", "2"), false);
        check(Headers::new().with("a", "1").with("a", "2"), false);
        check(Headers::new().with_null("a"), false);
    }

    #[test]
    fn an_unknown_outcome_is_told_from_a_refusal() {
        let refused = |error| {
            Failure::from(Error::ServerError {
                protocol_error: error,
                error_message: None,
                request: rskafka::client::error::RequestContext::Topic("t".to_owned()),
                response: None,
                is_virtual: false,
            })
        };
        let check = |error, state, retriable| {
            let failure = refused(error);
            assert_eq!(
                (failure.state, failure.fault.is_retriable()),
                (state, retriable),
                "{error}"
            );
        };
        check(
            ProtocolError::NotLeaderOrFollower,
            DeliveryState::NotWritten,
            true,
        );
        check(
            ProtocolError::NotEnoughReplicasAfterAppend,
            DeliveryState::Unknown,
            true,
        );
        check(ProtocolError::RequestTimedOut, DeliveryState::Unknown, true);
        check(ProtocolError::MessageTooLarge, DeliveryState::NotWritten, false);
        check(
            ProtocolError::TopicAuthorizationFailed,
            DeliveryState::NotWritten,
            false,
        );
        check(ProtocolError::InvalidRecord, DeliveryState::NotWritten, false);
    }
}
