//! Find the layers, check each, lay one over the other.
//!
//! Later wins: built-in defaults < `[default]` and bare tables < `[PROFILE]` < `PROFILE.toml` beside the
//! file < `.secrets.toml` < environment < code.

use std::fmt;
use std::fs;
use std::io;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::environment::{self, Environment};
use super::error::{Fault, Origin, Problem, SettingsError};
use super::layers::Layers;
use super::resolved::Settings;
use super::schema::ROOTS;
use super::secret::Secret;
use super::tree::{Entry, Node};

const SETTINGS_FILE: &str = "settings.toml";
const SECRETS_FILE: &str = ".secrets.toml";
/// The profile of the tables that hold for every profile.
pub(super) const DEFAULT_PROFILE: &str = "default";

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
#[derive(Clone)]
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
        let (profile, faults) = match self.active_profile() {
            Ok(profile) => (profile, Vec::new()),
            Err(fault) => (None, vec![*fault]),
        };
        let documents = self.documents(profile.as_ref().map(|(name, _)| name.as_str()))?;
        let mut layers = Layers::new(profile, faults);
        let sources: Vec<String> = documents
            .iter()
            .map(|document| document.name.to_string())
            .collect();
        for document in &documents {
            layers.document(document);
        }
        layers.check_profile();
        layers.environment(&self.environment);
        layers.overrides(self.overrides);
        match layers.finish(&self.environment) {
            Ok((settings, mut warnings)) => {
                sort(&mut warnings, &sources);
                Ok(Loaded {
                    settings,
                    warnings,
                    sources,
                })
            }
            Err(mut faults) => {
                sort(&mut faults, &sources);
                Err(SettingsError::Invalid { faults })
            }
        }
    }

    /// Return the active profile and who named it.
    fn active_profile(&self) -> Result<Option<(String, Origin)>, Box<Fault>> {
        let variable = Origin::variable(environment::PROFILE);
        let refused = |origin: &Origin, reason: String| {
            Err(Box::new(Fault::of_source(origin, Problem::invalid(reason))))
        };
        let (name, origin) = match (&self.profile, self.environment.get(environment::PROFILE)) {
            (Some(profile), _) => profile.clone(),
            (None, Ok(Some(name))) => (name, variable),
            (None, Ok(None)) => return Ok(None),
            (None, Err(reason)) => return refused(&variable, reason),
        };
        let plain = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
        if ROOTS.contains(&name.as_str()) {
            refused(&origin, format!("`{name}` is a section and cannot be a profile"))
        } else if name.is_empty() || !name.chars().all(plain) {
            refused(
                &origin,
                format!("`{name}` is no name for a profile; use letters, digits, `_` and `-`"),
            )
        } else {
            Ok((name != DEFAULT_PROFILE).then_some((name, origin)))
        }
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

/// Names the layers without what is in them: texts, variables and overrides may hold secrets.
impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.texts.iter().map(|(name, _)| name).collect();
        let overrides: Vec<_> = self.overrides.iter().map(|(key, ..)| key).collect();
        f.debug_struct("Loader")
            .field("file", &self.file)
            .field("directory", &self.directory)
            .field("texts", &texts)
            .field("profile", &self.profile.as_ref().map(|(name, _)| name))
            .field("overrides", &overrides)
            .finish_non_exhaustive()
    }
}

/// A value for [`Loader::set`]: text, number, boolean, secret or a list.
#[derive(Clone)]
pub struct SettingValue(Node);

/// Says nothing of the value, which may be a password given as text.
impl fmt::Debug for SettingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SettingValue({})", self.0.type_name())
    }
}

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
pub(super) struct Document {
    pub(super) name: Arc<str>,
    pub(super) text: String,
    pub(super) form: Form,
}

/// What the top-level tables of a document may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
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

/// Bring faults into the order of the layers, and of the lines in each.
fn sort(faults: &mut [Fault], sources: &[String]) {
    faults.sort_by_key(|fault| match &fault.origin {
        Origin::BuiltIn => (0, 0, 0),
        Origin::File { name, line, column } => {
            let layer = sources.iter().position(|source| **source == **name);
            (1 + layer.unwrap_or(sources.len()), *line, *column)
        }
        Origin::Environment { .. } => (sources.len() + 2, 0, 0),
        Origin::Code { .. } => (sources.len() + 3, 0, 0),
    });
}

#[track_caller]
fn code() -> Origin {
    Origin::Code {
        location: Some(Location::caller()),
    }
}
