//! Which key a message has: the resolver's, its id, or its place in the log.

use crate::message::{MESSAGE_ID, RawMessage};
use crate::store::idempotency::IdempotencyKey;

/// Return the key of a message; `resolved` is what the handler's resolver says, if it has one.
///
/// What is empty names nothing: without this rule all messages with an empty id would be duplicates of each
/// other. The kinds of names are kept apart, so that none can be written to look like another kind.
pub(crate) fn key_of(message: &RawMessage, resolved: Option<&str>) -> IdempotencyKey {
    if let Some(resolved) = resolved.filter(|resolved| !resolved.is_empty()) {
        return IdempotencyKey::new(&format!("key:{resolved}"));
    }
    match message.header(MESSAGE_ID).filter(|id| !id.is_empty()) {
        // Ids are bytes to Kafka. What is no text is written in a way that no text is.
        Some(id) => match std::str::from_utf8(id) {
            Ok(id) => IdempotencyKey::new(&format!("id:{id}")),
            Err(_) => IdempotencyKey::new(&format!("bytes:{id:02x?}")),
        },
        None => IdempotencyKey::new(&place_of(message)),
    }
}

/// Name the record. With its time, since a topic that is made anew, or a log that was cut, has other records
/// at the same offsets, and those must not be taken for duplicates.
fn place_of(message: &RawMessage) -> String {
    let time = message.timestamp().map_or(-1, |time| time.as_millis());
    let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
    format!("at:{topic}-{partition}-{offset}-{time}")
}
