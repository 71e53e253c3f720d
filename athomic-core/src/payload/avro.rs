//! The format `avro`: payloads that are Avro data, each with the fingerprint of the schema that it was written by.
//!
//! What is written is Avro's single-object encoding: two bytes of mark, eight bytes of the schema's fingerprint
//! (CRC-64-AVRO), then the datum. So who reads knows the writer's schema from the message, if it is among those that
//! the type names, and Avro's rules of schema resolution make its own type of it. Bytes without the mark are refused:
//! nobody could tell by which schema they were written; unless they name it by its id in a schema registry, which is
//! `registered`.

mod bounds;
#[cfg(feature = "schema-registry")]
mod evolution;
#[cfg(feature = "schema-registry")]
mod references;
#[cfg(feature = "schema-registry")]
mod registered;

use std::any::TypeId;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use apache_avro::Schema;
use apache_avro::headers::{HeaderBuilder, RabinFingerprintHeader};
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema::ResolvedSchema;
use apache_avro::writer::datum::GenericDatumWriter;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::types::{Encode, Reads};
use super::{DecodeError, Format, Payload};
use crate::handler::MessageContext;
use crate::hex::hex;

#[cfg(feature = "schema-registry")]
pub(super) use self::registered::WrittenBy;

type BoxError = Box<dyn Error + Send + Sync>;

/// A type with its Avro schema, for [`Avro`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no Avro schema",
    label = "in an `Avro` it needs one",
    note = "write `impl AvroSchema for {Self}` with `const SCHEMA: &'static str = include_str!(\"..avsc\");`"
)]
pub trait AvroSchema {
    /// The schema by which values are written, and to which those of older ones are brought. JSON. The names of its
    /// records and enums are those of the types, or what `#[serde(rename = "..")]` makes of them.
    const SCHEMA: &'static str;

    /// The other schemas by which messages may have been written. Their fields go to those of
    /// [`SCHEMA`](Self::SCHEMA) by Avro's rules: by name, with defaults for what is missing. Other names of fields
    /// (`aliases`) are not followed here, and refused where there are older schemas; what is written by the schemas
    /// of a registry follows them.
    const WRITTEN_BY: &'static [&'static str] = &[];
}

/// A value in the format `avro`: a handler that takes an `Avro<T>` reads it, whatever its topics are written in by
/// default, and publishing one writes it. The schema is the type's own, see [`AvroSchema`]; it is checked when the
/// application is built.
///
/// Values are nested 128 deep at most. A null payload is refused: take `Nullable<Avro<T>>` to see tombstones.
///
/// ```
/// use athomic_core::handler::register::subscribe;
/// use athomic_core::payload::{Avro, AvroSchema};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Paid {
///     order: String,
///     cents: i64,
///     currency: String,
/// }
///
/// impl AvroSchema for Paid {
///     const SCHEMA: &'static str = r#"{"type": "record", "name": "Paid", "fields": [
///         {"name": "order", "type": "string"},
///         {"name": "cents", "type": "long"},
///         {"name": "currency", "type": "string", "default": "EUR"}
///     ]}"#;
///     // Before there was a currency.
///     const WRITTEN_BY: &'static [&'static str] = &[r#"{"type": "record", "name": "Paid", "fields": [
///         {"name": "order", "type": "string"},
///         {"name": "cents", "type": "long"}
///     ]}"#];
/// }
///
/// async fn on_paid(Avro(paid): Avro<Paid>) {
///     println!("{} paid {} cents of {}", paid.order, paid.cents, paid.currency);
/// }
///
/// let definition = subscribe("payments.v1").group_id("billing").handler(on_paid);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Avro<T>(pub T);

impl<T> Deref for Avro<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Avro<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> From<T> for Avro<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

#[diagnostic::do_not_recommend]
impl<T: AvroSchema + DeserializeOwned + Send + 'static> Payload for Avro<T> {
    type Target = T;

    const READS: Reads = Reads::Only(Format::Avro);

    fn decode(context: &MessageContext<'_>) -> Result<Self, DecodeError> {
        let target = std::any::type_name::<Self>();
        let bytes = context.payload().ok_or(DecodeError::null(target))?;
        let read = schemas_of::<T>().and_then(|schemas| {
            #[cfg(feature = "schema-registry")]
            if let Some(writer) = context.written_by() {
                return schemas.read_by(writer, TypeId::of::<T>(), bytes);
            }
            schemas.read(bytes)
        });
        read.map(Self).map_err(|source| DecodeError::Format {
            target,
            format: Format::Avro,
            source,
        })
    }

    fn check() -> Result<(), BoxError> {
        schemas_of::<T>().map(|_| ())
    }
}

impl<T: AvroSchema + Serialize + 'static> Encode for Avro<T> {
    const WRITES: Option<Format> = Some(Format::Avro);

    fn encode(&self, format: Format) -> Result<Vec<u8>, BoxError> {
        match format {
            Format::Avro => schemas_of::<T>()?.write(&self.0),
            other => {
                Err(format!("a value with an Avro schema is written in `avro`, not in `{other}`").into())
            }
        }
    }
}

/// Mark and fingerprint, as they stand before a datum.
type Header = [u8; 10];

/// What every datum of a single object begins with.
const MARK: &[u8] = &[0xc3, 0x01];

/// The schemas of a type, ready for use. They live as long as the program, as types do.
struct Schemas {
    header: Header,
    writer: GenericDatumWriter<'static>,
    /// For each schema by which a message may have been written, with its header, the type's own first.
    readers: Vec<(Header, Reader<'static>)>,
}

/// Reads what was written by one schema.
struct Reader<'s> {
    schema: &'s Schema,
    names: ResolvedSchema<'s>,
    reader: GenericDatumReader<'s>,
    /// Whether it has to be brought to another schema.
    resolves: bool,
}

type Found = Result<&'static Schemas, &'static str>;

thread_local! {
    /// What was asked for in this thread: most messages find their schemas without a lock.
    static FOUND: RefCell<BTreeMap<TypeId, Found>> = const { RefCell::new(BTreeMap::new()) };
}

/// The schemas of all types that were asked for.
static SCHEMAS: Mutex<BTreeMap<TypeId, Found>> = Mutex::new(BTreeMap::new());

/// Return the schemas of a type, parsed when they are first asked for.
fn schemas_of<T: AvroSchema + 'static>() -> Result<&'static Schemas, BoxError> {
    let id = TypeId::of::<T>();
    let parse = || {
        let mut all = SCHEMAS.lock().unwrap_or_else(PoisonError::into_inner);
        *all.entry(id).or_insert_with(|| {
            let parsed = Schemas::parse(T::SCHEMA, T::WRITTEN_BY);
            let leaked = parsed.map(|schemas| &*Box::leak(Box::new(schemas)));
            leaked.map_err(|error| &*error.to_string().leak())
        })
    };
    let found = FOUND.with_borrow_mut(|found| *found.entry(id).or_insert_with(parse));
    found.map_err(Into::into)
}

impl Schemas {
    fn parse(own: &str, others: &[&str]) -> Result<Self, BoxError> {
        if !others.is_empty() && serde_json::from_str(own).is_ok_and(|own| has_aliases(&own)) {
            return Err("fields in `SCHEMA` have `aliases`, which are not followed; read the older schema as a type of its own".into());
        }
        let own = parse(own).map_err(|error| format!("`SCHEMA` is no Avro schema: {error}"))?;
        let mut readers = vec![(header_of(own), Reader::new(own, None)?)];
        for (place, other) in others.iter().enumerate() {
            let wrong = |error: &dyn Error| format!("`WRITTEN_BY[{place}]` cannot be read: {error}");
            let written_by = parse(other).map_err(|error| wrong(&error))?;
            apache_avro::schema_compatibility::SchemaCompatibility::can_read(written_by, own)
                .map_err(|error| wrong(&error))?;
            readers.push((header_of(written_by), Reader::new(written_by, Some(own))?));
        }
        Ok(Self {
            header: readers[0].0,
            writer: GenericDatumWriter::builder(own).build()?,
            readers,
        })
    }

    fn write<T: Serialize>(&self, value: &T) -> Result<Vec<u8>, BoxError> {
        let mut bytes = self.header.to_vec();
        self.writer.write_ser(&mut bytes, value)?;
        Ok(bytes)
    }

    fn read<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, BoxError> {
        if !bytes.starts_with(MARK) {
            return Err("it does not begin as Avro's single objects do, with the bytes c3 01".into());
        }
        let (header, datum) = bytes
            .split_first_chunk::<10>()
            .ok_or("it ends within the schema's fingerprint")?;
        let place = self.place_of(header).ok_or_else(|| unknown(header))?;
        self.readers[place].1.read(datum)
    }

    /// Return which of the readers is for a schema.
    fn place_of(&self, header: &Header) -> Option<usize> {
        self.readers.iter().position(|(known, _)| known == header)
    }
}

fn unknown(header: &Header) -> String {
    let fingerprint = hex(&header[2..]);
    format!(
        "it was written by a schema that is not known, with the fingerprint {fingerprint}; add that one to `WRITTEN_BY`"
    )
}

/// Say whether fields have other names beside their own.
fn has_aliases(schema: &serde_json::Value) -> bool {
    match schema {
        serde_json::Value::Array(parts) => parts.iter().any(has_aliases),
        serde_json::Value::Object(parts) => {
            let fields = parts.get("fields").and_then(serde_json::Value::as_array);
            let renamed = |field: &serde_json::Value| field.get("aliases").is_some();
            fields.is_some_and(|fields| fields.iter().any(renamed)) || parts.values().any(has_aliases)
        }
        _ => false,
    }
}

fn parse(schema: &str) -> Result<&'static Schema, apache_avro::Error> {
    Ok(Box::leak(Box::new(Schema::parse_str(schema)?)))
}

fn header_of(schema: &Schema) -> Header {
    let header = RabinFingerprintHeader::from_schema(schema).build_header();
    header.try_into().unwrap_or_default()
}

impl<'s> Reader<'s> {
    fn new(schema: &'s Schema, to: Option<&'s Schema>) -> Result<Self, apache_avro::Error> {
        Ok(Self {
            schema,
            names: ResolvedSchema::new(schema)?,
            reader: GenericDatumReader::builder(schema)
                .maybe_reader_schema(to)
                .build()?,
            resolves: to.is_some(),
        })
    }

    fn read<T: DeserializeOwned>(&self, datum: &[u8]) -> Result<T, BoxError> {
        bounds::check(self.schema, self.names.get_names(), datum)?;
        let mut rest = datum;
        if self.resolves {
            let value = self.reader.read_value(&mut rest)?;
            return Ok(apache_avro::from_value(&value)?);
        }
        Ok(self.reader.read_deser(&mut rest)?)
    }
}

/// What is wrong with a datum, before anything is made of it.
type Fault = Cow<'static, str>;

#[cfg(test)]
mod tests;
