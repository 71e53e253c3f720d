//! The environment layer: `ATHOMIC_` and a path, `__` between its names.
//!
//! Names are matched against the schema without regard to case, so that a variable cannot make a stray key.

use std::collections::BTreeMap;
use std::env::{self, VarError};

use super::error::{Fault, Origin, Problem};
use super::schema::{Kind, SECTIONS, Spec};
use super::tree::{Entry, Node, Table, parse_value};
use crate::nearest::nearest;

/// Names the active profile.
pub(super) const PROFILE: &str = "ATHOMIC_ENV";
/// Names the settings file.
pub(super) const FILE: &str = "ATHOMIC_SETTINGS_FILE";
const PREFIX: &str = "ATHOMIC_";

/// Where variables are looked up.
#[derive(Clone)]
pub(super) enum Environment {
    /// The environment of the process.
    Process,
    /// Variables that the program gave instead.
    Given(BTreeMap<String, String>),
}

impl Environment {
    /// Return a variable, if it is set to anything but nothing.
    ///
    /// # Errors
    ///
    /// The reason, if the value is not UTF-8.
    pub(super) fn get(&self, name: &str) -> Result<Option<String>, String> {
        let value = match self {
            Self::Given(variables) => variables.get(name).cloned(),
            Self::Process => match env::var(name) {
                Ok(value) => Some(value),
                Err(VarError::NotPresent) => None,
                Err(VarError::NotUnicode(_)) => {
                    return Err(format!("environment variable {name} is not UTF-8"));
                }
            },
        };
        Ok(value.filter(|value| !value.is_empty()))
    }

    /// Return the variables that may be settings, in the order in which they are applied: a list's items by
    /// number, a table before what is in it.
    pub(super) fn settings(&self) -> Vec<Variable> {
        let mut variables: Vec<Variable> = match self {
            Self::Given(variables) => variables
                .iter()
                .filter_map(|(name, value)| Variable::new(name, value))
                .collect(),
            Self::Process => env::vars_os()
                .filter_map(|(name, value)| Variable::new(name.to_str()?, &value.to_string_lossy()))
                .collect(),
        };
        variables.sort_by_cached_key(|variable| (variable.order(), variable.name.clone()));
        variables
    }
}

/// A variable that begins with `ATHOMIC_`.
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
    names: Vec<String>,
}

impl Variable {
    fn new(name: &str, value: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let path = upper.strip_prefix(PREFIX)?;
        let names = name[PREFIX.len()..].split("__").map(str::to_owned).collect();
        let ours = !path.is_empty() && upper != PROFILE && upper != FILE;
        ours.then(|| Self {
            name: name.to_owned(),
            value: value.to_owned(),
            names,
        })
    }

    fn order(&self) -> Vec<(Option<usize>, String)> {
        self.names
            .iter()
            .map(|name| (name.parse().ok(), name.to_ascii_lowercase()))
            .collect()
    }

    pub(super) fn origin(&self) -> Origin {
        Origin::variable(&self.name)
    }

    /// Return whether the variable can be meant as a path: it has at least two names.
    pub(super) fn is_path(&self) -> bool {
        self.names.len() > 1
    }

    /// Find the key that the variable means.
    ///
    /// # Errors
    ///
    /// The fault, if there is none.
    pub(super) fn target<'s>(
        &self,
        root: &'s Spec,
        tree: &Table,
    ) -> Result<(Vec<String>, &'s Spec), Box<Fault>> {
        let mut spec = root;
        let mut place = Some(tree);
        let mut path = Vec::new();
        for (index, name) in self.names.iter().enumerate() {
            if matches!(spec, Spec::Planned(_)) {
                path.push(name.to_ascii_lowercase());
                continue;
            }
            let Some((known, inner)) = matching(spec, name, place) else {
                return Err(Box::new(self.unknown(spec, index)));
            };
            place = place.and_then(|table| table.get(&known)?.node.as_table());
            path.push(known);
            spec = inner;
        }
        Ok((path, spec))
    }

    fn unknown(&self, spec: &Spec, index: usize) -> Fault {
        let nearest = nearest(&self.names[index], spec.names()).map(|name| {
            let mut names = self.names.clone();
            name.clone_into(&mut names[index]);
            format!("{PREFIX}{}", names.join("__").to_ascii_uppercase())
        });
        Fault::of_source(&self.origin(), Problem::UnknownKey { nearest })
    }

    /// Return the fault of a variable that is no path but looks as if one was meant; others are not ours.
    pub(super) fn near_miss(&self) -> Option<Fault> {
        let written = self.name.to_ascii_uppercase();
        let paths = SECTIONS.iter().flat_map(|section| {
            section
                .keys
                .iter()
                .map(|key| format!("{PREFIX}{}__{}", section.paths[0].replace('.', "__"), key.name))
        });
        let meant = paths
            .map(|path| path.to_ascii_uppercase())
            .find(|path| path.replace("__", "_") == written);
        let reserved = [&PROFILE[PREFIX.len()..], &FILE[PREFIX.len()..]];
        let meant = meant.or_else(|| nearest(&self.names[0], reserved).map(|name| format!("{PREFIX}{name}")));
        let problem = Problem::UnknownKey {
            nearest: Some(meant?),
        };
        Some(Fault::of_source(&self.origin(), problem))
    }

    /// Read the value: as TOML, or as text if it is none or the key takes text.
    pub(super) fn entry(&self, spec: &Spec) -> Entry {
        let origin = self.origin();
        let text = || Node::Text(self.value.clone());
        let node = match parse_value(&self.value, &origin) {
            Some(node @ (Node::Text(_) | Node::Table(_))) => node,
            _ if matches!(spec, Spec::Value(kind) if kind.is_text()) => text(),
            Some(node) => node,
            None => self.list(spec, &origin).unwrap_or_else(text),
        };
        Entry::new(node, &origin)
    }

    /// Read `a,b` as a list where a list of texts is expected.
    fn list(&self, spec: &Spec, origin: &Origin) -> Option<Node> {
        let Spec::List(item) = spec else { return None };
        let Spec::Value(Kind::Text) = **item else {
            return None;
        };
        let item = |text: &str| Entry::new(Node::Text(text.trim().to_owned()), origin);
        Some(Node::List(self.value.split(',').map(item).collect()))
    }
}

/// Find the name under `spec` that `written` means: case does not count, and a name that the user chose is
/// taken as the lower layers spell it.
fn matching<'s>(spec: &'s Spec, written: &str, place: Option<&Table>) -> Option<(String, &'s Spec)> {
    if let Spec::Table { names, any } = spec {
        if let Some((name, inner)) = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(written)) {
            return Some(((*name).to_owned(), inner));
        }
        let inner = any.as_deref()?;
        // Options of the client library have dots, which a shell does not allow in a variable.
        let dotted = matches!(inner, Spec::Value(_));
        let wanted = written.to_ascii_lowercase();
        let wanted = if dotted { wanted.replace('_', ".") } else { wanted };
        let existing = place.into_iter().flatten().map(|(name, _)| name);
        let existing = existing
            .into_iter()
            .find(|name| name.eq_ignore_ascii_case(&wanted));
        return Some((existing.cloned().unwrap_or(wanted), inner));
    }
    spec.child(written).map(|inner| (written.to_owned(), inner))
}
