//! The application's context: request, tenant, user and what else the program wants to know everywhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Context;
use super::adapter::{ContextError, HeadersAdapter, Incoming};
use crate::message::Headers;
use crate::settings::ContextField;

/// The header with the application's context: a JSON object of the fields of `context.propagate`.
pub const CONTEXT: &str = "athomic-context";

/// How long a field may be, in bytes.
const MAX_TEXT: usize = 512;

/// How many features may be set, and how long their names and texts may be, in bytes.
const MAX_FLAGS: usize = 64;
const MAX_FLAG: usize = 128;

/// What a feature is set to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FeatureFlag {
    /// On or off.
    Switch(bool),
    /// One of several variants.
    Variant(String),
}

impl FeatureFlag {
    /// Say whether it is on; a variant is.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        !matches!(self, Self::Switch(false))
    }
}

impl From<bool> for FeatureFlag {
    fn from(on: bool) -> Self {
        Self::Switch(on)
    }
}

impl From<&str> for FeatureFlag {
    fn from(variant: &str) -> Self {
        Self::Variant(variant.to_owned())
    }
}

/// What the header holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    pub(super) texts: BTreeMap<ContextField, String>,
    pub(super) flags: BTreeMap<String, FeatureFlag>,
}

impl Fields {
    pub(super) fn text(&self, field: ContextField) -> Option<&str> {
        self.texts.get(&field).map(String::as_str)
    }
}

/// Takes the application's context from the header [`CONTEXT`] and puts it on messages.
///
/// Only the fields that `context.propagate` names are read and written. Texts are of 512 bytes at most and
/// hold no control characters; there are 64 features at most, set to `true`, `false` or a text.
#[derive(Debug)]
pub struct ContextAdapter {
    propagate: Vec<ContextField>,
}

impl ContextAdapter {
    /// Carry these fields.
    #[must_use]
    pub fn new(propagate: &[ContextField]) -> Self {
        Self {
            propagate: propagate.to_vec(),
        }
    }

    fn carries(&self, field: ContextField) -> bool {
        self.propagate.contains(&field)
    }
}

impl HeadersAdapter for ContextAdapter {
    fn names(&self) -> &[&str] {
        &[CONTEXT]
    }

    fn extract(&self, message: &Incoming<'_>, context: &mut Context) {
        let Some(json) = message.text(CONTEXT) else { return };
        let Ok(mut object) = serde_json::from_str::<serde_json::Map<String, Value>>(json) else {
            return message.malformed(CONTEXT, "is no JSON object");
        };
        for &field in &self.propagate {
            let name = field.as_str();
            match object.remove(name) {
                None | Some(Value::Null) => {}
                Some(Value::Object(flags)) if field == ContextField::FeatureFlags => {
                    take_flags(flags, message, context);
                }
                Some(Value::String(text)) if field != ContextField::FeatureFlags => {
                    match fault(&text, MAX_TEXT) {
                        None => drop(context.fields_mut().texts.insert(field, text)),
                        Some(reason) => message.malformed(name, &reason),
                    }
                }
                Some(_) => message.malformed(name, "is of the wrong type"),
            }
        }
    }

    fn inject(&self, context: &Context, headers: &mut Headers) -> Result<(), ContextError> {
        let Some(fields) = context.fields() else {
            return Ok(());
        };
        let mut object = BTreeMap::new();
        for (field, text) in fields.texts.iter().filter(|(field, _)| self.carries(**field)) {
            check(field.as_str(), text, MAX_TEXT)?;
            object.insert(field.as_str(), Value::from(text.as_str()));
        }
        if !fields.flags.is_empty() && self.carries(ContextField::FeatureFlags) {
            check_flags(&fields.flags)?;
            let flags = serde_json::to_value(&fields.flags).expect("names and plain values have a JSON form");
            object.insert(ContextField::FeatureFlags.as_str(), flags);
        }
        if !object.is_empty() {
            let json = serde_json::to_vec(&object).expect("texts have a JSON form");
            headers.set(CONTEXT, json);
        }
        Ok(())
    }
}

fn take_flags(flags: serde_json::Map<String, Value>, message: &Incoming<'_>, context: &mut Context) {
    let name = ContextField::FeatureFlags.as_str();
    for (place, (feature, value)) in flags.into_iter().enumerate() {
        if place == MAX_FLAGS {
            return message.malformed(name, "has more than 64 features");
        }
        let flag = match value {
            Value::Bool(on) => FeatureFlag::Switch(on),
            Value::String(variant) if fault(&variant, MAX_FLAG).is_none() => FeatureFlag::Variant(variant),
            _ => {
                message.malformed(name, "sets a feature to neither true, false nor a short text");
                continue;
            }
        };
        match fault(&feature, MAX_FLAG) {
            None => drop(context.fields_mut().flags.insert(feature, flag)),
            Some(reason) => message.malformed(name, &reason),
        }
    }
}

fn check_flags(flags: &BTreeMap<String, FeatureFlag>) -> Result<(), ContextError> {
    let name = ContextField::FeatureFlags.as_str();
    if flags.len() > MAX_FLAGS {
        return Err(ContextError::new(
            name,
            format!("has more than {MAX_FLAGS} features"),
        ));
    }
    for (feature, flag) in flags {
        check(name, feature, MAX_FLAG)?;
        if let FeatureFlag::Variant(variant) = flag {
            check(name, variant, MAX_FLAG)?;
        }
    }
    Ok(())
}

fn check(part: &str, text: &str, longest: usize) -> Result<(), ContextError> {
    fault(text, longest).map_or(Ok(()), |reason| Err(ContextError::new(part, reason)))
}

/// Say what is wrong with a text, if anything.
fn fault(text: &str, longest: usize) -> Option<String> {
    if text.len() > longest {
        Some(format!("has {} bytes; {longest} at most are carried", text.len()))
    } else if text.chars().any(char::is_control) {
        Some("holds a control character".to_owned())
    } else {
        None
    }
}
