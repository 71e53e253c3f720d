//! Find the layers, check each, lay one over the other.
//!
//! Later wins: built-in defaults < `[default]` and bare tables < `[PROFILE]` < `PROFILE.toml` beside the
//! file < `.secrets.toml` < environment < code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check::Checker;
use super::environment::{self, Environment};
use super::error::{Fault, Origin, Problem, SettingsError};
use super::explain;
use super::raw::RawSettings;
use super::resolve::resolve;
use super::resolved::Settings;
use super::schema::{self, ORJSON, PLANNED, ROOTS, Spec};
use super::secret::Secret;
use super::tree::{self, Entry, Node, Table, join_all};
use crate::nearest::nearest;

const SETTINGS_FILE: &str = "settings.toml";
const SECRETS_FILE: &str = ".secrets.toml";
/// The profile of the tables that hold for every profile.
const DEFAULT_PROFILE: &str = "default";

/// Settings, and what there is to say about them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What looks wrong but does not stop the start, for the caller to log.
    pub warnings: Vec<Fault>,
    /// The files and texts that were read, lowest layer first.
    pub sources: Vec<String>,
}

/// Gathers the layers of the settings. Made by [`Settings::loader`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Loader {
    file: Option<PathBuf>,
    directory: PathBuf,
    texts: Vec<(Arc<str>, String)>,
    profile: Option<(String, Origin)>,
    environment: Environment,
    overrides: Vec<(String, Node, Origin)>,
}

impl Loader {
    pub(super) fn new() -> Self {
        Self {
            file: None,
            directory: PathBuf::new(),
            texts: Vec::new(),
            profile: None,
            environment: Environment::Process,
            overrides: Vec::new(),
        }
    }

    /// Read this settings file, whatever `ATHOMIC_SETTINGS_FILE` says. It must exist.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Read `settings.toml`, and the files beside it, in this folder instead of the working directory.
    pub fn directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.directory = path.into();
        self
    }

    /// Read this text as a settings file called `name`; of several, later ones win.
    ///
    /// No file is looked for then, unless [`file`](Self::file) names one: it comes after the texts.
    pub fn text(mut self, name: impl Into<Arc<str>>, toml: impl Into<String>) -> Self {
        self.texts.push((name.into(), toml.into()));
        self
    }

    /// Use this profile, whatever `ATHOMIC_ENV` says; `default` means none.
    #[track_caller]
    pub fn profile(mut self, name: impl Into<String>) -> Self {
        self.profile = Some((name.into(), code()));
        self
    }

    /// Use these environment variables instead of those of the process.
    pub fn environment<K, V>(mut self, variables: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<String>,
        V: Into<String>,
    {
        let variables = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        self.environment = Environment::Given(variables.collect());
        self
    }

    /// Set one key, over all other layers.
    ///
    /// The key is written with dots, as in `integration.messaging.provider.backend`; items of lists go by
    /// number. What is wrong with it shows in [`load`](Self::load).
    #[track_caller]
    pub fn set(mut self, key: impl Into<String>, value: impl Into<SettingValue>) -> Self {
        self.overrides.push((key.into(), value.into().0, code()));
        self
    }

    /// Read all layers and give them their meaning.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Unreadable`] if a file cannot be read; [`SettingsError::Invalid`] with everything
    /// that is wrong otherwise.
    pub fn load(self) -> Result<Loaded, SettingsError> {
        let mut layers = Layers::default();
        layers.profile = self.active_profile(&mut layers.checker.faults);
        let documents = self.documents(layers.profile.as_ref().map(|(name, _)| name.as_str()))?;
        let sources = documents
            .iter()
            .map(|document| document.name.to_string())
            .collect();
        for document in &documents {
            layers.document(document);
        }
        layers.check_profile();
        layers.environment(&self.environment);
        layers.overrides(self.overrides);
        let (settings, warnings) = layers.finish(&self.environment)?;
        Ok(Loaded {
            settings,
            warnings,
            sources,
        })
    }

    fn active_profile(&self, faults: &mut Vec<Fault>) -> Option<(String, Origin)> {
        let variable = Origin::variable(environment::PROFILE);
        let (name, origin) = match (&self.profile, self.environment.get(environment::PROFILE)) {
            (Some(profile), _) => profile.clone(),
            (None, Ok(name)) => (name?, variable),
            (None, Err(reason)) => {
                faults.push(Fault::of_source(&variable, Problem::invalid(reason)));
                return None;
            }
        };
        let plain = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
        let reason = if ROOTS.contains(&name.as_str()) {
            format!("`{name}` is a section and cannot be a profile")
        } else if name.is_empty() || !name.chars().all(plain) {
            format!("`{name}` is no name for a profile; use letters, digits, `_` and `-`")
        } else {
            return (name != DEFAULT_PROFILE).then_some((name, origin));
        };
        faults.push(Fault::of_source(&origin, Problem::invalid(reason)));
        None
    }

    /// Read everything that is in files or texts, lowest layer first.
    fn documents(&self, profile: Option<&str>) -> Result<Vec<Document>, SettingsError> {
        let texts = self.texts.iter().cloned();
        let mut documents: Vec<_> = texts
            .map(|(name, text)| Document {
                name,
                text,
                form: Form::Shared,
            })
            .collect();
        let Some((file, required)) = self.settings_file()? else {
            return Ok(documents);
        };
        documents.extend(read(&file, required, Form::Shared)?);
        if let Some(profile) = profile {
            let own = file.with_file_name(format!("{profile}.toml"));
            if own != file {
                documents.extend(read(&own, false, Form::OneProfile)?);
            }
        }
        documents.extend(read(&file.with_file_name(SECRETS_FILE), false, Form::Shared)?);
        Ok(documents)
    }

    /// Return the settings file and whether it must exist; none if only texts are read.
    fn settings_file(&self) -> Result<Option<(PathBuf, bool)>, SettingsError> {
        if let Some(file) = &self.file {
            return Ok(Some((file.clone(), true)));
        }
        if !self.texts.is_empty() {
            return Ok(None);
        }
        match self.environment.get(environment::FILE) {
            Ok(Some(file)) => Ok(Some((file.into(), true))),
            Ok(None) => Ok(Some((self.directory.join(SETTINGS_FILE), false))),
            Err(reason) => {
                let origin = Origin::variable(environment::FILE);
                let faults = vec![Fault::of_source(&origin, Problem::invalid(reason))];
                Err(SettingsError::Invalid { faults })
            }
        }
    }
}

/// A value for [`Loader::set`]: text, number, boolean, secret or a list.
#[derive(Clone, Debug)]
pub struct SettingValue(Node);

/// Say how a plain type becomes a value.
macro_rules! setting_value {
    ($($type:ty => |$value:ident| $node:expr;)*) => {$(
        impl From<$type> for SettingValue {
            fn from($value: $type) -> Self {
                Self($node)
            }
        }
    )*};
}

setting_value! {
    &str => |text| Node::Text(text.to_owned());
    String => |text| Node::Text(text);
    Secret => |secret| Node::Secret(secret);
    bool => |boolean| Node::Boolean(boolean);
    i32 => |integer| Node::Integer(integer.into());
    i64 => |integer| Node::Integer(integer.into());
    u16 => |integer| Node::Integer(integer.into());
    u32 => |integer| Node::Integer(integer.into());
    u64 => |integer| Node::Integer(integer.into());
    usize => |integer| Node::Integer(integer as i128);
    f64 => |number| Node::Number(number);
}

impl<T: Into<SettingValue>> From<Vec<T>> for SettingValue {
    fn from(items: Vec<T>) -> Self {
        let item = |item: T| Entry::new(item.into().0, &Origin::Code { location: None });
        Self(Node::List(items.into_iter().map(item).collect()))
    }
}

impl<T: Into<SettingValue>, const N: usize> From<[T; N]> for SettingValue {
    fn from(items: [T; N]) -> Self {
        Vec::from(items).into()
    }
}

/// A file or text.
#[derive(Debug)]
struct Document {
    name: Arc<str>,
    text: String,
    form: Form,
}

/// What the top-level tables of a document may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Sections, `default` and profiles.
    Shared,
    /// Sections only: the document belongs to one profile.
    OneProfile,
}

fn read(path: &Path, required: bool, form: Form) -> Result<Option<Document>, SettingsError> {
    let name: Arc<str> = path.display().to_string().into();
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Document { name, text, form })),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required => Ok(None),
        Err(source) => Err(SettingsError::Unreadable {
            path: path.to_owned(),
            source,
        }),
    }
}

#[track_caller]
fn code() -> Origin {
    Origin::Code {
        location: Some(Location::caller()),
    }
}

/// The layers so far, laid over one another.
#[derive(Debug, Default)]
struct Layers {
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
    fn document(&mut self, document: &Document) {
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
    fn check_profile(&mut self) {
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

    fn environment(&mut self, environment: &Environment) {
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

    fn overrides(&mut self, overrides: Vec<(String, Node, Origin)>) {
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

    fn finish(mut self, environment: &Environment) -> Result<(Settings, Vec<Fault>), SettingsError> {
        let mut faults = std::mem::take(&mut self.checker.faults);
        let unknown = std::mem::take(&mut self.checker.unknown);
        if self.profile.is_some() {
            faults.extend(unknown)
        } else {
            self.notes.extend(unknown)
        }
        Planning {
            faults: &mut faults,
            notes: &mut self.notes,
        }
        .check(&self.merged);
        let raw = RawSettings::read(&self.merged);
        let resolved = resolve(&raw, environment);
        let settings = match resolved {
            Ok(settings) if faults.is_empty() => settings,
            Ok(_) => return Err(SettingsError::Invalid { faults }),
            Err(found) => {
                let known: BTreeSet<_> = faults.iter().filter_map(|fault| fault.key.clone()).collect();
                // A key that was left out because it is wrong is not missing.
                let new = |fault: &Fault| fault.key.as_ref().is_none_or(|key| !known.contains(key));
                let complete = !self.incomplete;
                faults.extend(found.into_iter().filter(|fault| complete && new(fault)));
                return Err(SettingsError::Invalid { faults });
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

/// Refuses what is not built yet.
struct Planning<'a> {
    faults: &'a mut Vec<Fault>,
    notes: &'a mut Vec<Fault>,
}

impl Planning<'_> {
    fn check(&mut self, root: &Table) {
        // One fault for each section and source, however many keys of it were written there.
        let mut found = BTreeMap::new();
        walk(
            schema::spec(),
            &mut Vec::new(),
            root,
            &mut |index, path, entry| {
                let section = &path[..PLANNED[index].depth()];
                let source = match &entry.origin {
                    Origin::File { name, .. } => name.to_string(),
                    other => other.to_string(),
                };
                self.note_words(path, entry);
                let below = join_all(&path[section.len()..]);
                if (PLANNED[index].idle)(&below, &entry.node) || switched_off(root, section) {
                    return;
                }
                let fault = explained(path, section, entry);
                let slot = found
                    .entry((join_all(section), source))
                    .or_insert_with(|| fault.clone());
                if line(&fault.origin) < line(&slot.origin)
                    || matches!(fault.problem, Problem::Invalid { .. })
                {
                    *slot = fault;
                }
            },
        );
        self.faults.extend(found.into_values());
    }

    fn note_words(&mut self, path: &[String], entry: &Entry) {
        if entry.node.shown().contains(&tree::quoted(ORJSON)) {
            let problem = Problem::ReadAs {
                written: ORJSON,
                meaning: "json",
            };
            self.notes
                .push(Fault::new(join_all(path), &entry.origin, problem));
        }
    }
}

fn explained(path: &[String], section: &[String], entry: &Entry) -> Fault {
    if path.last().is_some_and(|name| name == "fernet_key") {
        let reason =
            "athomic does not use Fernet: it names neither key nor algorithm in the message; remove it";
        return Fault::new(join_all(path), &entry.key, Problem::invalid(reason));
    }
    Fault::new(join_all(section), &entry.key, Problem::NotBuilt)
}

fn line(origin: &Origin) -> usize {
    match origin {
        Origin::File { line, .. } => *line,
        _ => 0,
    }
}

/// Return whether the section says `enabled = false`, so that nothing in it has an effect.
fn switched_off(root: &Table, section: &[String]) -> bool {
    let table = section
        .iter()
        .try_fold(root, |table, name| table.get(name)?.node.as_table());
    let enabled = table
        .and_then(|table| table.get("enabled"))
        .map(|entry| &entry.node);
    matches!(enabled, Some(Node::Boolean(false)))
}

/// Visit every key that is not built yet.
fn walk(spec: &Spec, path: &mut Vec<String>, table: &Table, visit: &mut dyn FnMut(usize, &[String], &Entry)) {
    for (name, entry) in table {
        path.push(name.clone());
        match (spec.child(name), &entry.node) {
            (Some(Spec::Planned(index)), _) => visit(*index, path, entry),
            (Some(inner @ Spec::Table { .. }), Node::Table(table)) => walk(inner, path, table, visit),
            _ => {}
        }
        path.pop();
    }
}
