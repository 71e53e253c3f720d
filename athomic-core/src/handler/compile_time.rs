//! What generated code asks the compiler: nothing here runs.

use std::future::Future;

use super::Message;
use crate::message::{TopicNameError, check_topic_name};
use crate::payload::Nullable;

/// The topics of an attribute.
pub type Topics = &'static [&'static str];

/// The types that an attribute's `target_type` can be for a handler that takes `Payload`.
#[diagnostic::on_unimplemented(
    message = "`target_type` is `{Self}`, but the handler takes `{Payload}`",
    label = "not the type of the handler's first argument",
    note = "name the type of the first argument (the `T` of `Vec<T>` and `Message<T>`), or leave `target_type` out"
)]
pub trait TargetOf<Payload> {}

impl<T> TargetOf<T> for T {}

impl<T> TargetOf<Message<T>> for T {}

#[cfg(feature = "protobuf")]
mod protobuf {
    use super::{Message, ProtobufPayload, TargetOf};
    use crate::payload::Proto;

    impl<T> TargetOf<Proto<T>> for T {}

    impl<T> TargetOf<Message<Proto<T>>> for T {}

    impl<T> ProtobufPayload for Proto<T> {}
}

#[cfg(feature = "avro")]
mod avro {
    use super::{AvroPayload, Message, TargetOf};
    use crate::payload::Avro;

    impl<T> TargetOf<Avro<T>> for T {}

    impl<T> TargetOf<Message<Avro<T>>> for T {}

    impl<T> AvroPayload for Avro<T> {}
}

/// The payloads that `codec = "avro"` reads.
#[diagnostic::on_unimplemented(
    message = "`codec = \"avro\"` does not read `{Self}`",
    label = "not an Avro payload",
    note = "take an `Avro<T>`, for a `T` that implements `AvroSchema`; it is there with the feature `avro`"
)]
pub trait AvroPayload {}

impl<P: AvroPayload> AvroPayload for Message<P> {}

impl<P: AvroPayload> AvroPayload for Nullable<P> {}

/// Have the compiler check that the codec `avro` of an attribute reads the handler's payload.
pub const fn assert_avro<Payload: AvroPayload>() {}

/// The payloads that `codec = "protobuf"` reads.
#[diagnostic::on_unimplemented(
    message = "`codec = \"protobuf\"` does not read `{Self}`",
    label = "not a Protobuf payload",
    note = "take a `Proto<T>`, for a `T` that implements `prost::Message`; it is there with the feature `protobuf`"
)]
pub trait ProtobufPayload {}

impl<P: ProtobufPayload> ProtobufPayload for Message<P> {}

impl<P: ProtobufPayload> ProtobufPayload for Nullable<P> {}

/// Have the compiler check that the codec `protobuf` of an attribute reads the handler's payload.
pub const fn assert_protobuf<Payload: ProtobufPayload>() {}

/// Have the compiler check that an attribute's `target_type` is the handler's.
pub const fn assert_target<Target: TargetOf<Payload>, Payload>() {}

/// Have the compiler check that a handler's future is `Send`, and return it.
///
/// What comes back is `Send` by declaration, so that the check fails in this place only.
pub fn assert_send<F: Future + Send>(future: F) -> impl Future<Output = F::Output> + Send {
    future
}

/// Check the name of a topic that a constant holds, and return it.
///
/// # Panics
/// Kafka refuses the name. The panic is a compile error, since this is called for constants.
#[must_use]
#[track_caller]
pub const fn assert_topic(name: &'static str) -> &'static str {
    match check_topic_name(name) {
        Ok(()) => name,
        Err(TopicNameError::Empty) => panic!("topic is empty; use letters, digits, `.`, `_`, `-`"),
        Err(TopicNameError::Dots) => panic!("topic cannot be `.` or `..`"),
        Err(TopicNameError::IllegalCharacter) => {
            panic!("topic contains an illegal character; use letters, digits, `.`, `_`, `-`")
        }
        Err(TopicNameError::TooLong) => panic!("topic is too long; use 249 characters at most"),
    }
}

/// Check that no topic is listed twice, and return the list.
///
/// # Panics
/// One is. The panic is a compile error, since this is called for constants.
#[must_use]
#[track_caller]
pub const fn assert_distinct(topics: Topics) -> Topics {
    let mut i = 0;
    while i < topics.len() {
        let mut j = i + 1;
        while j < topics.len() {
            assert!(
                !same(topics[i], topics[j]),
                "a topic is listed twice; name each topic once"
            );
            j += 1;
        }
        i += 1;
    }
    topics
}

/// Compare strings; `==` is not for constant functions.
const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPICS: &[&str] = assert_distinct(&[assert_topic("a"), "ab", "b", ""]);

    #[test]
    fn lists_without_repetition_pass() {
        assert_eq!(TOPICS.len(), 4);
    }

    #[test]
    #[should_panic(expected = "a topic is listed twice")]
    fn repetitions_are_found() {
        let _ = assert_distinct(&["a", "b", "a"]);
    }

    #[test]
    #[should_panic(expected = "illegal character")]
    fn illegal_names_are_found() {
        let _ = assert_topic("a b");
    }
}
