//! A schema of the registry, ready to read by.

use std::fmt;

use super::client::Told;
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
    /// Nothing that is read here, by the registry's word for it.
    Other(String),
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
            other => Kind::Other(other.to_owned()),
        };
        Ok(Self { id, subjects, kind })
    }

    /// Return it as Avro's.
    pub(in crate::payload) fn avro(&self) -> Result<&WrittenBy, String> {
        match &self.kind {
            Kind::Avro(schema) => Ok(schema),
            Kind::Other(kind) => Err(format!("{self} is one of {kind} and not of Avro")),
        }
    }

    #[cfg(test)]
    pub(super) fn named(id: SchemaId) -> Self {
        Self {
            id,
            subjects: Vec::new(),
            kind: Kind::Other(String::new()),
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
