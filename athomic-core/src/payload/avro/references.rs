//! A schema that refers to others is written out, so that it stands for itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// What a name may stand for without being defined.
const PRIMITIVES: [&str; 8] = [
    "null", "boolean", "int", "long", "float", "double", "bytes", "string",
];

/// Put the types of other schemas where a schema names them first.
pub(super) fn written_out(schema: &mut Value, others: &[Value]) {
    let mut known = BTreeMap::new();
    others.iter().for_each(|other| collect(other, "", &mut known));
    Writer {
        known: &known,
        defined: BTreeSet::new(),
    }
    .write(schema, "");
}

/// Return a type's full name and its namespace, if it has a name.
fn name_of(definition: &Map<String, Value>, around: &str) -> Option<(String, String)> {
    let kind = definition.get("type")?.as_str()?;
    if !matches!(kind, "record" | "error" | "enum" | "fixed") {
        return None;
    }
    let name = definition.get("name")?.as_str()?;
    let namespace = definition.get("namespace").and_then(Value::as_str);
    let full = full_name(name, namespace.unwrap_or(around));
    let namespace = full.rsplit_once('.').map_or("", |(namespace, _)| namespace);
    Some((full.clone(), namespace.to_owned()))
}

fn full_name(name: &str, around: &str) -> String {
    match name.strip_prefix('.') {
        Some(name) => name.to_owned(),
        None if name.contains('.') || around.is_empty() => name.to_owned(),
        None => format!("{around}.{name}"),
    }
}

/// Write a full name so that it means the same wherever it stands.
fn anywhere(full: &str) -> String {
    if full.contains('.') {
        full.to_owned()
    } else {
        format!(".{full}")
    }
}

/// Gather all types with names.
fn collect(schema: &Value, around: &str, known: &mut BTreeMap<String, Value>) {
    match schema {
        Value::Array(variants) => variants
            .iter()
            .for_each(|variant| collect(variant, around, known)),
        Value::Object(definition) => {
            let name = name_of(definition, around);
            let within = name.as_ref().map_or(around, |(_, namespace)| namespace.as_str());
            for part in parts(definition) {
                collect(part, within, known);
            }
            if let Some((full, _)) = &name {
                let mut definition = definition.clone();
                definition.insert("name".to_owned(), anywhere(full).into());
                definition.remove("namespace");
                known.entry(full.clone()).or_insert(Value::Object(definition));
            }
        }
        _ => {}
    }
}

/// The schemas within one.
fn parts(definition: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    let fields = definition.get("fields").and_then(Value::as_array);
    let fields = fields.into_iter().flatten().filter_map(|field| field.get("type"));
    let inner = ["type", "items", "values"].map(|name| definition.get(name));
    fields.chain(inner.into_iter().flatten())
}

struct Writer<'k> {
    known: &'k BTreeMap<String, Value>,
    defined: BTreeSet<String>,
}

impl Writer<'_> {
    fn write(&mut self, schema: &mut Value, around: &str) {
        match schema {
            Value::String(name) if !PRIMITIVES.contains(&name.as_str()) => {
                let full = full_name(name, around);
                let Some(definition) = self.known.get(&full) else {
                    return;
                };
                if self.defined.contains(&full) {
                    *schema = anywhere(&full).into();
                } else {
                    *schema = definition.clone();
                    self.write(schema, around);
                }
            }
            Value::Array(variants) => variants
                .iter_mut()
                .for_each(|variant| self.write(variant, around)),
            Value::Object(definition) => {
                let mut within = around.to_owned();
                if let Some((full, namespace)) = name_of(definition, around) {
                    if !self.defined.insert(full.clone()) {
                        *schema = anywhere(&full).into();
                        return;
                    }
                    within = namespace;
                } else if let Some(inner) = definition.get_mut("type") {
                    let is_complex = inner.as_str().is_some_and(|kind| matches!(kind, "array" | "map"));
                    if !is_complex {
                        self.write(inner, around);
                    }
                }
                for name in ["items", "values"] {
                    if let Some(inner) = definition.get_mut(name) {
                        self.write(inner, &within);
                    }
                }
                let fields = definition.get_mut("fields").and_then(Value::as_array_mut);
                for field in fields.into_iter().flatten() {
                    if let Some(inner) = field.get_mut("type") {
                        self.write(inner, &within);
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use apache_avro::Schema;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(mut schema: Value, others: &[Value], expected: &Value) {
        written_out(&mut schema, others);
        assert_eq!(schema, *expected);
        Schema::parse(&schema).unwrap();
    }

    #[test]
    fn a_type_is_written_out_where_it_is_named_first() {
        let money = json!({"type": "record", "name": "Money", "namespace": "shop", "fields": [
            {"name": "cents", "type": "long"},
            {"name": "currency", "type": {"type": "enum", "name": "Currency", "symbols": ["EUR"]}}
        ]});
        let paid = json!({"type": "record", "name": "Paid", "namespace": "shop", "fields": [
            {"name": "net", "type": ["null", "Money"]},
            {"name": "all", "type": {"type": "array", "items": "shop.Money"}},
            {"name": "in", "type": "Currency"}
        ]});
        let written = json!({"type": "record", "name": "shop.Money", "fields": [
            {"name": "cents", "type": "long"},
            {"name": "currency", "type": {"type": "enum", "name": "Currency", "symbols": ["EUR"]}}
        ]});
        let expected = json!({"type": "record", "name": "Paid", "namespace": "shop", "fields": [
            {"name": "net", "type": ["null", written]},
            {"name": "all", "type": {"type": "array", "items": "shop.Money"}},
            {"name": "in", "type": "shop.Currency"}
        ]});
        check(paid, &[money], &expected);
    }

    #[test]
    fn a_type_without_a_namespace_stays_without_one() {
        let money = json!({"type": "fixed", "name": "Money", "size": 8});
        let schema = |first: Value, second: &str| {
            json!({"type": "record", "name": "Paid", "namespace": "shop", "fields": [
                {"name": "net", "type": first},
                {"name": "gross", "type": second}
            ]})
        };
        let written = json!({"type": "fixed", "name": ".Money", "size": 8});
        check(
            schema(".Money".into(), ".Money"),
            &[money],
            &schema(written, ".Money"),
        );
    }

    #[test]
    fn what_nobody_knows_is_left_to_the_parser() {
        let mut schema = json!({"type": "array", "items": "Unknown"});
        written_out(&mut schema, &[]);
        assert!(Schema::parse(&schema).is_err());
    }
}
