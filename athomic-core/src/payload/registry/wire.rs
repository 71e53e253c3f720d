//! How a message says by which schema of a registry it was written.
//!
//! ```text
//! prefix    00 | id (4, big-endian) | payload          before the payload
//! header    01 | GUID (16)                             in `__value_schema_id`, the payload as it is
//! ```
//!
//! Either may stand in either place. No payload of the formats that are read so begins with 00 or 01: not JSON, not
//! Avro's single objects, and not Protocol Buffers, which have no field 0. So a topic may have both kinds of messages.

use std::fmt;

use uuid::Uuid;

use super::RegistryError;
use crate::message::RawMessage;

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

/// Return by which schema a message was written, and the payload behind what says so; `None` if it does not say.
pub(super) fn read<'p>(
    message: &RawMessage,
    payload: &'p [u8],
) -> Result<Option<(SchemaId, &'p [u8])>, RegistryError> {
    if let Some(header) = message.header(VALUE_SCHEMA_ID) {
        return match read_id(header) {
            Some((id, [])) => Ok(Some((id, payload))),
            _ => Err(RegistryError::malformed(format!(
                "the header `{VALUE_SCHEMA_ID}` has {} bytes that are no schema's id",
                header.len()
            ))),
        };
    }
    if !matches!(payload.first(), Some(&(NUMBER | GUID))) {
        return Ok(None);
    }
    let read = read_id(payload).map(Some);
    read.ok_or_else(|| RegistryError::malformed("the payload ends within its schema's id"))
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
