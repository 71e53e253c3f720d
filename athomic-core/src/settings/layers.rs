//! Lay one layer over the other, each checked before.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::check::Checker;
use super::environment::Environment;
use super::error::{Fault, Origin, Problem};
use super::explain;
use super::load::{DEFAULT_PROFILE, Document, Form};
use super::raw::RawSettings;
use super::refuse::refuse;
use super::resolve::resolve;
use super::resolved::Settings;
use super::schema::{self, ROOTS, Spec};
use super::tree::{self, Entry, Node, Table, join_all};
use crate::nearest::nearest;

/// The layers so far, laid over one another.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// The active profile.
    profile: Option<(String, Origin)>,
    /// The profiles that the documents define.
    profiles: BTreeSet<String>,
    merged: Table,
    checker: Checker,
    /// What never stops the start.
    notes: Vec<Fault>,
    /// A document could not be parsed, so that what is missing says nothing.
    incomplete: bool,
}

impl Layers {
    pub(super) fn new(profile: Option<(String, Origin)>, faults: Vec<Fault>) -> Self {
        Self {
            profile,
            checker: Checker {
                faults,
                unknown: Vec::new(),
            },
            ..Self::default()
        }
    }

    pub(super) fn document(&mut self, document: &Document) {
        let table = match tree::parse(&document.name, &document.text) {
            Ok(table) => table,
            Err(faults) => {
                self.incomplete = true;
                return self.checker.faults.extend(faults);
            }
        };
        let split = self.split(table, document.form);
        let shared = self.both(split.bare, split.default);
        for layer in [Some(shared), split.profile].into_iter().flatten() {
            let checked = self.checker.fields(schema::spec(), "", layer);
            tree::merge(&mut self.merged, checked);
        }
    }

    /// Tell sections from profiles, and the active profile from the others.
    fn split(&mut self, table: Table, form: Form) -> Split {
        let active = self.profile.as_ref().map(|(name, _)| name.clone());
        let mut split = Split::default();
        if form == Form::OneProfile {
            self.profiles.extend(active.clone());
        }
        for (name, entry) in table {
            if ROOTS.contains(&name.as_str()) {
                split.bare.insert(name, entry);
            } else if form == Form::OneProfile && looks_like_a_profile(&entry.node) {
                let reason = format!("the file is of one profile; write its tables without `{name}.`");
                self.checker
                    .faults
                    .push(Fault::new(name, &entry.key, Problem::invalid(reason)));
            } else if form == Form::OneProfile {
                self.unknown_root(&name, &entry);
            } else if name == DEFAULT_PROFILE {
                split.default = self.profile_table(&name, entry).unwrap_or_default();
            } else if Some(&name) == active.as_ref() {
                split.profile = self.profile_table(&name, entry);
                self.profiles.insert(name);
            } else if looks_like_a_profile(&entry.node) {
                self.profiles.insert(name);
            } else {
                self.unknown_root(&name, &entry);
            }
        }
        split
    }

    fn profile_table(&mut self, name: &str, entry: Entry) -> Option<Table> {
        let Node::Table(table) = entry.node else {
            let problem = Problem::WrongType {
                expected: "a table",
                found: entry.node.type_name(),
            };
            self.checker.faults.push(Fault::new(name, &entry.origin, problem));
            return None;
        };
        Some(table)
    }

    fn unknown_root(&mut self, name: &str, entry: &Entry) {
        let known = ROOTS
            .into_iter()
            .chain([DEFAULT_PROFILE])
            .chain(self.profile.as_ref().map(|(name, _)| name.as_str()));
        let nearest = nearest(name, known).map(str::to_owned);
        self.checker
            .unknown
            .push(Fault::new(name, &entry.key, Problem::UnknownKey { nearest }));
    }

    /// Join the bare tables of a document with those under `default`; no key may be in both.
    fn both(&mut self, mut bare: Table, default: Table) -> Table {
        self.find_repeats("", &bare, &default);
        tree::merge(&mut bare, default);
        bare
    }

    fn find_repeats(&mut self, path: &str, bare: &Table, default: &Table) {
        for (name, entry) in default {
            let Some(other) = bare.get(name) else { continue };
            let path = tree::join(path, name);
            if let (Node::Table(bare), Node::Table(default)) = (&other.node, &entry.node) {
                self.find_repeats(&path, bare, default);
            } else {
                let problem = Problem::SetTwice {
                    other: other.key.clone(),
                };
                self.checker.faults.push(Fault::new(path, &entry.key, problem));
            }
        }
    }

    /// A profile that no document defines is a mistake if it looks like one that a document does define.
    pub(super) fn check_profile(&mut self) {
        let Some((name, origin)) = &self.profile else {
            return;
        };
        if self.profiles.contains(name) || self.incomplete {
            return;
        }
        let nearest = nearest(name, self.profiles.iter().map(String::as_str)).map(str::to_owned);
        let problem = Problem::UnknownProfile {
            nearest: nearest.clone(),
        };
        let fault = Fault::new(name.as_str(), origin, problem);
        if nearest.is_some() {
            self.checker.faults.push(fault)
        } else {
            self.notes.push(fault)
        }
    }

    pub(super) fn environment(&mut self, environment: &Environment) {
        let variables = environment.settings();
        for variable in &variables {
            if !variable.is_path() {
                let secret = names_a_secret(&self.merged, &variable.name);
                self.notes.extend(variable.near_miss().filter(|_| !secret));
                continue;
            }
            match variable.target(schema::spec(), &self.merged) {
                Ok((path, spec)) => self.put(&path, spec, variable.entry(spec)),
                Err(_) if names_a_secret(&self.merged, &variable.name) => {}
                Err(fault) => self.checker.unknown.push(*fault),
            }
        }
    }

    pub(super) fn overrides(&mut self, overrides: Vec<(String, Node, Origin)>) {
        for (key, node, origin) in overrides {
            let path = tree::parse_key(&key).unwrap_or_default();
            match schema::spec().at(&path) {
                Some(spec) if !path.is_empty() => self.put(&path, spec, Entry::new(node, &origin)),
                _ => {
                    let keys = schema::SECTIONS.iter().flat_map(|section| {
                        section
                            .keys
                            .iter()
                            .map(|key| tree::join(section.paths[0], key.name))
                    });
                    let keys: Vec<String> = keys.collect();
                    let nearest = nearest(&key, keys.iter().map(String::as_str)).map(str::to_owned);
                    self.checker
                        .faults
                        .push(Fault::new(key, &origin, Problem::UnknownKey { nearest }));
                }
            }
        }
    }

    fn put(&mut self, path: &[String], spec: &Spec, entry: Entry) {
        let key = join_all(path);
        let origin = entry.origin.clone();
        let Some(entry) = self.checker.entry(spec, &key, entry) else {
            return;
        };
        if let Err(problem) = tree::put(&mut self.merged, &schema::spec().steps(path), entry) {
            self.checker.faults.push(Fault::new(key, &origin, problem));
        }
    }

    /// Give what was laid together its meaning; with it come the warnings.
    ///
    /// # Errors
    ///
    /// Every fault of every step.
    pub(super) fn finish(mut self, environment: &Environment) -> Result<(Settings, Vec<Fault>), Vec<Fault>> {
        let Checker { mut faults, unknown } = std::mem::take(&mut self.checker);
        if self.profile.is_some() {
            faults.extend(unknown)
        } else {
            self.notes.extend(unknown)
        }
        let refusal = refuse(&self.merged);
        faults.extend(refusal.faults);
        self.notes.extend(refusal.notes);
        let settings = match resolve(
            &RawSettings::read(&self.merged),
            environment,
            self.profile.is_some(),
        ) {
            Ok(settings) if faults.is_empty() => settings,
            Ok(_) => return Err(faults),
            Err(found) => {
                let further = self.further(&faults, found);
                faults.extend(further);
                return Err(faults);
            }
        };
        let traces = Arc::new(explain::trace(&self.merged));
        let profile = self.profile.map(|(name, _)| name);
        Ok((
            Settings {
                profile,
                traces,
                ..settings
            },
            self.notes,
        ))
    }

    /// Return the faults that are not mere consequences: a key that was left out because it is wrong is not
    /// missing, and nothing is missing while a document cannot be parsed.
    fn further(&self, known: &[Fault], found: Vec<Fault>) -> Vec<Fault> {
        let known: BTreeSet<_> = known.iter().filter_map(|fault| fault.key.as_deref()).collect();
        let new = |fault: &Fault| fault.key.as_deref().is_none_or(|key| !known.contains(key));
        found
            .into_iter()
            .filter(|fault| !self.incomplete && new(fault))
            .collect()
    }
}

/// The top-level tables of a document, told apart.
#[derive(Debug, Default)]
struct Split {
    bare: Table,
    default: Table,
    profile: Option<Table>,
}

/// Return whether a top-level table that is no section can be a profile: it holds a section, or nothing.
///
/// Anything else, such as a misspelt section, would be skipped in silence.
fn looks_like_a_profile(node: &Node) -> bool {
    let Node::Table(table) = node else { return false };
    table.is_empty() || table.keys().any(|name| ROOTS.contains(&name.as_str()))
}

/// Return whether a secret is kept in this variable, so that it is no misspelt setting.
fn names_a_secret(table: &Table, variable: &str) -> bool {
    let names = |node: &Node| match node {
        Node::SecretIn(tree::SecretPlace::Environment(name)) => name == variable,
        Node::Table(table) => {
            let place = matches!(table.get("env").map(|entry| &entry.node), Some(Node::Text(name)) if name == variable);
            place || names_a_secret(table, variable)
        }
        Node::List(items) => items
            .iter()
            .filter_map(|item| item.node.as_table())
            .any(|table| names_a_secret(table, variable)),
        _ => false,
    };
    table.values().any(|entry| names(&entry.node))
}
