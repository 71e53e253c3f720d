//! A schema of a registry, and what it is to the types that read by it.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use apache_avro::Schema;
use serde::de::DeserializeOwned;

use super::{BoxError, Header, Reader, Schemas, evolution, header_of, references};
use crate::payload::registry::WriterSchema;

/// A schema of a registry.
pub(in crate::payload) struct WrittenBy {
    schema: Schema,
    header: Header,
    /// How each type reads by it, found out when the type first does.
    ways: RwLock<BTreeMap<TypeId, Way>>,
}

/// How a type reads what was written by a schema.
#[derive(Clone)]
enum Way {
    /// By the type's own reader at this place: the schema is the type's own, or among its `WRITTEN_BY`.
    Known(usize),
    /// Brought to the type's own schema; this one has the names of the type's fields.
    Fitted(Arc<Schema>),
    /// Not at all.
    Differs(Arc<str>),
}

impl std::fmt::Debug for WrittenBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WrittenBy")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl WrittenBy {
    /// Parse a schema, with those that it refers to.
    pub(in crate::payload) fn parse<'t>(
        schema: &str,
        others: impl Iterator<Item = &'t str>,
    ) -> Result<Self, BoxError> {
        let mut schema = serde_json::from_str(schema)?;
        let others: Vec<_> = others.map(serde_json::from_str).collect::<Result<_, _>>()?;
        if !others.is_empty() {
            references::written_out(&mut schema, &others);
        }
        let schema = Schema::parse(&schema)?;
        Ok(Self {
            header: header_of(&schema),
            schema,
            ways: RwLock::default(),
        })
    }

    /// Return how a type reads by it.
    fn way_of(&self, type_id: TypeId, schemas: &Schemas) -> Way {
        let known = self
            .ways
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&type_id)
            .cloned();
        known.unwrap_or_else(|| {
            let way = schemas.way(self);
            let mut ways = self.ways.write().unwrap_or_else(PoisonError::into_inner);
            ways.entry(type_id).or_insert(way).clone()
        })
    }
}

impl Schemas {
    /// Read what was written by a schema of a registry.
    pub(super) fn read_by<T: DeserializeOwned>(
        &'static self,
        writer: &WriterSchema,
        type_id: TypeId,
        datum: &[u8],
    ) -> Result<T, BoxError> {
        let read = match writer.avro()?.way_of(type_id, self) {
            Way::Known(place) => self.readers[place].1.read(datum),
            Way::Fitted(schema) => {
                let reader = Reader::new(&schema, Some(self.own()));
                reader
                    .map_err(BoxError::from)
                    .and_then(|reader| reader.read(datum))
            }
            Way::Differs(what) => Err(what.to_string().into()),
        };
        read.map_err(|error| format!("it was written by {writer}: {error}").into())
    }

    fn way(&self, written_by: &WrittenBy) -> Way {
        if let Some(place) = self.place_of(&written_by.header) {
            return Way::Known(place);
        }
        match evolution::fitted(&written_by.schema, self.own()) {
            Ok(schema) => Way::Fitted(Arc::new(schema)),
            Err(what) => Way::Differs(what.into()),
        }
    }

    /// Return the type's own schema.
    fn own(&self) -> &'static Schema {
        self.readers[0].1.schema
    }
}
