//! A schema of somebody else's, compared with a type's own: whether its data can be brought to the type, by Avro's
//! rules of schema resolution.
//!
//! The library that decodes knows no other names of fields (`aliases`), and cuts a number that is too large for the
//! type. So the schemas are compared before anything is read, and the writer's fields get the names that they have in
//! the type: a datum has no names in it.

use std::collections::HashSet;

use apache_avro::Schema;
use apache_avro::schema::{
    Aliases, InnerDecimalSchema, Name, NamesRef, RecordSchema, ResolvedSchema, SchemaKind, UuidSchema,
};

/// Return the writer's schema with the names of the type's fields.
///
/// # Errors
/// What differs, where no rule helps.
pub(super) fn fitted(writer: &Schema, own: &Schema) -> Result<Schema, String> {
    let wrong = |error: apache_avro::Error| error.to_string();
    let (written, read) = (
        ResolvedSchema::new(writer).map_err(wrong)?,
        ResolvedSchema::new(own).map_err(wrong)?,
    );
    let mut comparison = Comparison {
        written: written.get_names(),
        read: read.get_names(),
        compared: HashSet::new(),
        renamed: Vec::new(),
        path: Vec::new(),
    };
    comparison.schemas(writer, own)?;
    let renamed = comparison.renamed;
    let mut fitted = writer.clone();
    if !renamed.is_empty() {
        rename(&mut fitted, &renamed);
    }
    Ok(fitted)
}

/// A field of a writer's record, and its name in the type.
struct Renamed {
    record: Name,
    place: usize,
    name: String,
}

struct Comparison<'s> {
    written: &'s NamesRef<'s>,
    read: &'s NamesRef<'s>,
    /// Pairs of types with names that were compared, or are being so.
    compared: HashSet<(Name, Name)>,
    renamed: Vec<Renamed>,
    /// The fields on the way.
    path: Vec<String>,
}

impl<'s> Comparison<'s> {
    fn schemas(&mut self, writer: &'s Schema, reader: &'s Schema) -> Result<(), String> {
        let (writer, reader) = (defined(writer, self.written)?, defined(reader, self.read)?);
        if let Schema::Union(union) = writer {
            let mut variants = union.variants().iter();
            return variants.try_for_each(|variant| self.schemas(variant, reader));
        }
        if let Schema::Union(union) = reader {
            let fits = (union.variants().iter()).any(|variant| self.fits(writer, variant));
            return if fits { Ok(()) } else { self.differ(writer, reader) };
        }
        if let (Some(written), Some(read)) = (writer.name(), reader.name()) {
            let by_alias = |aliases: &Aliases| {
                let mut aliases = aliases.iter().flatten();
                aliases.any(|alias| alias.name() == written.name())
            };
            if written.name() != read.name() && !aliases_of(reader).is_some_and(by_alias) {
                return self.differ(writer, reader);
            }
            if !self.compared.insert((written.clone(), read.clone())) {
                return Ok(());
            }
        }
        match (writer, reader) {
            (Schema::Record(writer), Schema::Record(reader)) => self.records(writer, reader),
            (Schema::Array(writer), Schema::Array(reader)) => self.schemas(&writer.items, &reader.items),
            (Schema::Map(writer), Schema::Map(reader)) => self.schemas(&writer.types, &reader.types),
            _ if is_promoted(writer, reader) => Ok(()),
            _ => self.differ(writer, reader),
        }
    }

    /// Compare with one variant of a union; nothing is left of that if it is another one.
    fn fits(&mut self, writer: &'s Schema, variant: &'s Schema) -> bool {
        let (compared, renamed, path) = (self.compared.clone(), self.renamed.len(), self.path.len());
        let fits = self.schemas(writer, variant).is_ok();
        if !fits {
            self.compared = compared;
            self.renamed.truncate(renamed);
            self.path.truncate(path);
        }
        fits
    }

    fn records(&mut self, writer: &'s RecordSchema, reader: &'s RecordSchema) -> Result<(), String> {
        for field in &reader.fields {
            let place_of = |name: &String| writer.fields.iter().position(|written| written.name == *name);
            let by_alias = || field.aliases.iter().find_map(place_of);
            self.path.push(field.name.clone());
            match place_of(&field.name).or_else(by_alias) {
                Some(place) => {
                    let written = &writer.fields[place];
                    if written.name != field.name {
                        self.renamed.push(Renamed {
                            record: writer.name.clone(),
                            place,
                            name: field.name.clone(),
                        });
                    }
                    self.schemas(&written.schema, &field.schema)?;
                }
                None if field.default.is_some() => {}
                None => {
                    return Err(format!(
                        "the field `{}` is not in it, and has no `default` in the type's schema",
                        self.path.join(".")
                    ));
                }
            }
            self.path.pop();
        }
        Ok(())
    }

    fn differ(&self, writer: &Schema, reader: &Schema) -> Result<(), String> {
        let (written, read) = (described(writer), described(reader));
        Err(match self.path.as_slice() {
            [] => format!("it is {written}, and the type is {read}"),
            path => format!(
                "the field `{}` is {written} in it, and {read} in the type",
                path.join(".")
            ),
        })
    }
}

/// Return what a name stands for.
fn defined<'s>(schema: &'s Schema, names: &NamesRef<'s>) -> Result<&'s Schema, String> {
    match schema {
        Schema::Ref { name } => {
            let named = names.get(name).copied();
            named.ok_or_else(|| format!("the type `{name}` is not defined"))
        }
        schema => Ok(schema),
    }
}

fn aliases_of(schema: &Schema) -> Option<&Aliases> {
    match schema {
        Schema::Record(record) => Some(&record.aliases),
        Schema::Enum(symbols) => Some(&symbols.aliases),
        Schema::Fixed(fixed) => Some(&fixed.aliases),
        _ => None,
    }
}

/// Say what a schema is, in a word and a name.
fn described(schema: &Schema) -> String {
    match (schema, schema.name()) {
        (Schema::Union(union), _) => {
            let variants: Vec<_> = union.variants().iter().map(described).collect();
            format!("one of {}", variants.join(", "))
        }
        (_, Some(name)) => format!("`{name}`"),
        (schema, None) => format!("`{:?}`", SchemaKind::from(schema)).to_lowercase(),
    }
}

/// What a schema is, whatever it means by it.
#[derive(PartialEq)]
enum Base {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum,
    Other,
}

fn base(schema: &Schema) -> Base {
    match schema {
        Schema::Null => Base::Null,
        Schema::Boolean => Base::Boolean,
        Schema::Int | Schema::Date | Schema::TimeMillis => Base::Int,
        Schema::Long
        | Schema::TimeMicros
        | Schema::TimestampMillis
        | Schema::TimestampMicros
        | Schema::TimestampNanos
        | Schema::LocalTimestampMillis
        | Schema::LocalTimestampMicros
        | Schema::LocalTimestampNanos => Base::Long,
        Schema::Float => Base::Float,
        Schema::Double => Base::Double,
        Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => Base::Bytes,
        Schema::String | Schema::Uuid(UuidSchema::String) => Base::String,
        Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
            Base::Fixed(fixed.size)
        }
        Schema::Decimal(decimal) => match &decimal.inner {
            InnerDecimalSchema::Bytes => Base::Bytes,
            InnerDecimalSchema::Fixed(fixed) => Base::Fixed(fixed.size),
        },
        Schema::Enum(_) => Base::Enum,
        _ => Base::Other,
    }
}

/// Say whether one may be read as the other.
fn is_promoted(writer: &Schema, reader: &Schema) -> bool {
    let (writer, reader) = (base(writer), base(reader));
    match (&writer, &reader) {
        (Base::Int, Base::Long | Base::Float | Base::Double)
        | (Base::Long, Base::Float | Base::Double)
        | (Base::Float, Base::Double)
        | (Base::Bytes, Base::String)
        | (Base::String, Base::Bytes) => true,
        (Base::Other, _) => false,
        _ => writer == reader,
    }
}

/// Give fields their names in the type.
fn rename(schema: &mut Schema, renamed: &[Renamed]) {
    match schema {
        Schema::Array(array) => rename(&mut array.items, renamed),
        Schema::Map(map) => rename(&mut map.types, renamed),
        Schema::Union(union) => {
            let mut variants = union.variants().to_vec();
            variants.iter_mut().for_each(|variant| rename(variant, renamed));
            if let Ok(with_names) = apache_avro::schema::UnionSchema::new(variants) {
                *union = with_names;
            }
        }
        Schema::Record(record) => {
            for field in &mut record.fields {
                rename(&mut field.schema, renamed);
            }
            for Renamed { place, name, .. } in renamed.iter().filter(|field| field.record == record.name) {
                if let Some(field) = record.fields.get_mut(*place) {
                    field.name.clone_from(name);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(text: &str) -> Schema {
        Schema::parse_str(text).unwrap()
    }

    fn record(fields: &str) -> Schema {
        schema(&format!(
            r#"{{"type": "record", "name": "R", "namespace": "n", "fields": [{fields}]}}"#
        ))
    }

    #[track_caller]
    fn check(writer: &Schema, own: &Schema, expected: &str) {
        let differs = fitted(writer, own).err().unwrap_or_default();
        assert_eq!(differs, expected);
    }

    #[test]
    fn what_can_be_brought_to_the_type_fits() {
        for (writer, own) in [
            ("int", "long"),
            ("int", "double"),
            ("long", "float"),
            ("float", "double"),
            ("string", "bytes"),
            ("bytes", "string"),
            ("null", "null"),
        ] {
            check(
                &schema(&format!("\"{writer}\"")),
                &schema(&format!("\"{own}\"")),
                "",
            );
        }
        check(&schema(r#"["null", "int"]"#), &schema(r#"["long", "null"]"#), "");
        check(&schema(r#""int""#), &schema(r#"["null", "long"]"#), "");
        check(
            &record(r#"{"name": "old", "type": "int"}"#),
            &record(r#"{"name": "a", "type": "int", "default": 1}"#),
            "",
        );
        let timestamp = schema(r#"{"type": "long", "logicalType": "timestamp-millis"}"#);
        check(&timestamp, &schema(r#""long""#), "");
    }

    #[test]
    fn what_differs_is_told_with_its_place() {
        check(
            &schema(r#""long""#),
            &schema(r#""int""#),
            "it is `long`, and the type is `int`",
        );
        check(
            &record(r#"{"name": "a", "type": "string"}"#),
            &record(r#"{"name": "a", "type": "int"}"#),
            "the field `a` is `string` in it, and `int` in the type",
        );
        check(
            &record(r#"{"name": "a", "type": ["null", "long"]}"#),
            &record(r#"{"name": "a", "type": "long"}"#),
            "the field `a` is `null` in it, and `long` in the type",
        );
        check(
            &record(""),
            &record(r#"{"name": "a", "type": "int"}"#),
            "the field `a` is not in it, and has no `default` in the type's schema",
        );
        let other = schema(r#"{"type": "record", "name": "Other", "fields": []}"#);
        check(&other, &record(""), "it is `Other`, and the type is `n.R`");
    }

    #[test]
    fn a_record_within_itself_is_compared_once() {
        let list = r#"{"name": "next", "type": ["null", "R"]}"#;
        check(&record(list), &record(list), "");
    }

    #[test]
    fn fields_get_the_names_of_the_type() {
        let writer = record(r#"{"name": "x", "type": "int"}, {"name": "was", "type": "int"}"#);
        let own = record(r#"{"name": "is", "aliases": ["was"], "type": "long"}"#);
        let Schema::Record(fitted) = fitted(&writer, &own).unwrap() else {
            panic!("it is a record");
        };
        let names: Vec<_> = fitted.fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["x", "is"]);
    }
}
