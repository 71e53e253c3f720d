//! How a message says by which schema of a registry it was written.
//!
//! ```text
//! prefix    00 | id (4, big-endian) | indexes | payload      before the payload
//! header    01 | GUID (16) | indexes                         in `__value_schema_id`, the payload as it is
//! ```
//!
//! The indexes are Protocol Buffers': which of the schema's messages it is.
//!
//! Either may stand in either place. No payload of the formats that are read so begins with 00 or 01: not JSON, not
//! Avro's single objects, and not Protocol Buffers, which have no field 0. So a topic may have both kinds of messages.

use std::fmt;

use uuid::Uuid;

use super::RegistryError;
use crate::message::RawMessage;
use crate::payload::Format;

/// The header in which serializers write the schema of a value.
pub(super) const VALUE_SCHEMA_ID: &str = "__value_schema_id";

const NUMBER: u8 = 0;
const GUID: u8 = 1;

/// By which a registry knows a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum SchemaId {
    /// Its number in this registry.
    Number(u32),
    /// The same in all registries.
    Guid(Uuid),
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(id) => write!(f, "schema {id}"),
            Self::Guid(guid) => write!(f, "schema {guid}"),
        }
    }
}

/// What a message says of its schema.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wire<'p> {
    pub(super) id: SchemaId,
    /// Which of the schema's messages it is, in Protocol Buffers.
    pub(super) indexes: Option<MessageIndexes>,
    /// The payload behind it.
    pub(super) payload: &'p [u8],
}

/// Return what a message says of its schema; `None` if it does not name one.
pub(super) fn read<'p>(
    format: Format,
    message: &RawMessage,
    payload: &'p [u8],
) -> Result<Option<Wire<'p>>, RegistryError> {
    if let Some(header) = message.header(VALUE_SCHEMA_ID) {
        let wire = read_id(header).and_then(|(id, rest)| read_indexes(format, id, rest));
        return match wire {
            Some(Wire {
                payload: [],
                id,
                indexes,
            }) => Ok(Some(Wire { id, indexes, payload })),
            _ => Err(RegistryError::malformed(format!(
                "the header `{VALUE_SCHEMA_ID}` has {} bytes that name no schema of {format}",
                header.len()
            ))),
        };
    }
    if !matches!(payload.first(), Some(&(NUMBER | GUID))) {
        return Ok(None);
    }
    let (id, rest) = read_id(payload)
        .ok_or_else(|| RegistryError::malformed("the payload ends within its schema's id"))?;
    let wire = read_indexes(format, id, rest);
    wire.map(Some)
        .ok_or_else(|| RegistryError::malformed(format!("{id} is followed by no indexes of a message")))
}

/// Read an id; return what stands behind it.
fn read_id(bytes: &[u8]) -> Option<(SchemaId, &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    match *kind {
        NUMBER => {
            let (id, rest) = rest.split_first_chunk()?;
            Some((SchemaId::Number(u32::from_be_bytes(*id)), rest))
        }
        GUID => {
            let (id, rest) = rest.split_first_chunk()?;
            Some((SchemaId::Guid(Uuid::from_bytes(*id)), rest))
        }
        _ => None,
    }
}

/// How deep a message may stand within others.
const MOST_INDEXES: usize = 6;

/// Which message of a file it is: its place among the messages, then among those within it, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MessageIndexes {
    places: [u16; MOST_INDEXES],
    count: usize,
}

impl MessageIndexes {
    pub(super) fn places(&self) -> impl Iterator<Item = usize> + '_ {
        self.places[..self.count].iter().map(|place| usize::from(*place))
    }
}

/// As in `[1, 0]`.
impl fmt::Display for MessageIndexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.places[..self.count]).finish()
    }
}

/// Read the indexes of a message, where the format has them: their count and each of them, as zigzag numbers. A count of
/// zero stands for the first message.
fn read_indexes(format: Format, id: SchemaId, bytes: &[u8]) -> Option<Wire<'_>> {
    if format != Format::Protobuf {
        let indexes = None;
        return Some(Wire {
            id,
            indexes,
            payload: bytes,
        });
    }
    let mut payload = bytes;
    let count = usize::from(number(&mut payload)?);
    let mut places = [0; MOST_INDEXES];
    for place in places.get_mut(..count)? {
        *place = number(&mut payload)?;
    }
    let count = count.max(1);
    Some(Wire {
        id,
        indexes: Some(MessageIndexes { places, count }),
        payload,
    })
}

/// Read a zigzag number of at most three bytes that is not negative.
fn number(bytes: &mut &[u8]) -> Option<u16> {
    let mut number = 0_u32;
    for shift in [0, 7, 14] {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let is_negative = number & 1 == 1;
            return u16::try_from(number >> 1).ok().filter(|_| !is_negative);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Option<(&[usize], &[u8])>) {
        let wire = read_indexes(Format::Protobuf, SchemaId::Number(1), bytes);
        let found = wire.map(|wire| {
            let places: Vec<_> = wire.indexes.unwrap().places().collect();
            (places, wire.payload)
        });
        assert_eq!(found, expected.map(|(places, rest)| (places.to_vec(), rest)));
    }

    #[test]
    fn indexes_are_read_in_the_short_form_and_the_long_one() {
        check(&[0, 9], Some((&[0], &[9])));
        check(&[2, 0, 9], Some((&[0], &[9])));
        check(&[4, 2, 0], Some((&[1, 0], &[])));
        check(&[2, 0x80, 0x02], Some((&[128], &[])));
    }

    #[test]
    fn indexes_that_are_none_are_refused() {
        for bytes in [
            &[][..],
            &[2],
            &[1],
            &[2, 1],
            &[14, 0, 0, 0, 0, 0, 0, 0],
            &[2, 0x80, 0x80, 0x80, 1],
        ] {
            check(bytes, None);
        }
    }
}
