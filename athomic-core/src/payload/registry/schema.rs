//! A schema of the registry, ready to read by.

use std::fmt;

use super::client::Told;
use super::protobuf::{self, ProtoFile};
use super::wire::MessageIndexes;
use super::{RegistryError, SchemaId};
use crate::payload::avro::WrittenBy;

/// The schema by which a payload was written.
#[derive(Debug)]
pub(crate) struct WriterSchema {
    id: SchemaId,
    /// Under which subjects it stands; for messages.
    subjects: Vec<String>,
    kind: Kind,
}

/// What a schema is written in.
#[derive(Debug)]
enum Kind {
    Avro(WrittenBy),
    Protobuf(ProtoFile),
    /// Nothing that is read by its schema.
    Other,
}

impl WriterSchema {
    /// Make sense of what the registry told.
    pub(super) fn new(
        id: SchemaId,
        subjects: Vec<String>,
        told: Told,
        references: Vec<Told>,
    ) -> Result<Self, RegistryError> {
        let kind = match told.schema_type.as_deref().unwrap_or("AVRO") {
            "AVRO" => {
                let texts = references.iter().map(|reference| reference.schema.as_str());
                let parsed = WrittenBy::parse(&told.schema, texts);
                Kind::Avro(parsed.map_err(|error| RegistryError::unusable(id, error))?)
            }
            "PROTOBUF" => Kind::Protobuf(ProtoFile::read(&told.schema)),
            _ => Kind::Other,
        };
        Ok(Self { id, subjects, kind })
    }

    /// Return it as Avro's.
    pub(in crate::payload) fn avro(&self) -> Result<&WrittenBy, String> {
        match &self.kind {
            Kind::Avro(schema) => Ok(schema),
            _ => Err(format!("{self} is not one of Avro")),
        }
    }

    /// Check that one of its messages is the type that reads it, by its name.
    pub(super) fn check_message(
        &self,
        indexes: MessageIndexes,
        target: &'static str,
    ) -> Result<(), RegistryError> {
        let unusable = |reason: String| RegistryError::Unusable {
            schema: self.to_string(),
            reason,
        };
        let Kind::Protobuf(file) = &self.kind else {
            return Err(unusable("it is not one of Protocol Buffers".to_owned()));
        };
        let message = file.name_of(indexes);
        let message = message.ok_or_else(|| unusable(format!("it has no message {indexes}")))?;
        if protobuf::is_called(target, message) {
            return Ok(());
        }
        Err(unusable(format!(
            "its message {indexes} is called `{message}`, and the handler takes a `{target}`"
        )))
    }

    #[cfg(test)]
    pub(super) fn named(id: SchemaId) -> Self {
        Self {
            id,
            subjects: Vec::new(),
            kind: Kind::Other,
        }
    }
}

/// As in ``schema 7 (subject `orders-value`)``.
impl fmt::Display for WriterSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)?;
        match self.subjects.as_slice() {
            [] => Ok(()),
            subjects => write!(f, " (subject `{}`)", subjects.join("`, `")),
        }
    }
}
