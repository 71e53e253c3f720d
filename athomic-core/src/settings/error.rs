//! What can be wrong with the settings, and where.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::panic::Location;
use std::path::PathBuf;
use std::sync::Arc;

/// Loading the settings failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A settings file exists, or was asked for by name, and cannot be read.
    #[error("cannot read settings file `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The settings were read and are wrong; every fault is listed.
    #[error("{}", Report(faults))]
    Invalid {
        /// What is wrong: lowest layer first, then by line. Never empty.
        faults: Vec<Fault>,
    },
    /// A key was asked for that does not exist.
    #[error("no settings key is called `{key}`{}", suggestion(nearest.as_deref()))]
    UnknownKey {
        /// The key that was asked for.
        key: String,
        /// The known key that is closest to it.
        nearest: Option<String>,
    },
}

impl SettingsError {
    /// Return whether trying again, with nothing changed, can help: it cannot.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        false
    }

    /// Return the faults of [`SettingsError::Invalid`]; empty for the others.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        match self {
            Self::Invalid { faults } => faults,
            _ => &[],
        }
    }
}

/// One thing that is wrong: the key, the place, the problem.
///
/// As a warning it does not stop the start. `Display` gives all of it in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The full path of the key, such as `integration.messaging.provider.backend`; none if the fault
    /// concerns a whole file.
    pub key: Option<String>,
    /// Where it was written.
    pub origin: Origin,
    /// What is wrong.
    pub problem: Problem,
}

impl Fault {
    pub(crate) fn new(key: impl Into<String>, origin: &Origin, problem: Problem) -> Self {
        Self {
            key: Some(key.into()),
            origin: origin.clone(),
            problem,
        }
    }

    pub(super) fn of_source(origin: &Origin, problem: Problem) -> Self {
        Self {
            key: None,
            origin: origin.clone(),
            problem,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if let Some(key) = &self.key {
            write!(f, "`{key}`: ")?;
        }
        write!(f, "{}", self.problem)
    }
}

/// What is wrong with a key or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The file is not TOML at this place.
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// No key has this name.
    UnknownKey {
        /// The known name that is closest to it.
        nearest: Option<String>,
    },
    /// `[x]` and `[default.x]` of one file both set the key.
    SetTwice {
        /// The other place.
        other: Origin,
    },
    /// The value is of another type than the key.
    WrongType {
        /// What the key takes.
        expected: &'static str,
        /// What was written.
        found: &'static str,
    },
    /// The value is none of those that the key takes.
    UnknownValue {
        /// What was written.
        value: String,
        /// What the key takes.
        accepted: Vec<&'static str>,
        /// The accepted value that is closest.
        nearest: Option<&'static str>,
    },
    /// The key or section belongs to a part of athomic that does not exist yet, so it would be ignored.
    NotBuilt,
    /// The value belongs to a part of athomic that does not exist yet, so it would be ignored.
    ValueNotBuilt {
        /// What was written.
        value: String,
        /// What the key takes today.
        accepted: Vec<&'static str>,
    },
    /// The value is out of range, or contradicts another one.
    Invalid {
        /// What is wrong, and how to mend it.
        reason: Cow<'static, str>,
    },
    /// A required value is missing.
    Missing {
        /// Why it is required.
        reason: Cow<'static, str>,
    },
    /// A secret cannot be fetched from where the settings say it is.
    SecretUnavailable {
        /// Why not; never the secret.
        reason: String,
    },
    /// The profile is defined in no settings file.
    UnknownProfile {
        /// The defined profile that is closest.
        nearest: Option<String>,
    },
    /// An old or foreign word was accepted for another one.
    ReadAs {
        /// What was written.
        written: &'static str,
        /// How it was understood.
        meaning: &'static str,
    },
}

impl Problem {
    pub(crate) fn invalid(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid {
            reason: reason.into(),
        }
    }

    pub(super) fn missing(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Missing {
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { message } => write!(f, "not valid TOML: {message}"),
            Self::UnknownKey { nearest } => write!(f, "unknown key{}", suggestion(nearest.as_deref())),
            Self::SetTwice { other } => {
                write!(
                    f,
                    "set twice for every profile, the other time at {other}; keep one of the two"
                )
            }
            Self::WrongType { expected, found } => write!(f, "expected {expected}, found {found}"),
            Self::UnknownValue {
                value,
                accepted,
                nearest,
            } => {
                write!(
                    f,
                    "`{value}` is not one of {}{}",
                    listed(accepted),
                    suggestion(*nearest)
                )
            }
            Self::NotBuilt => f.write_str("is not built yet; remove it"),
            Self::ValueNotBuilt { value, accepted } => {
                write!(f, "`{value}` is not built yet; use {}", listed(accepted))
            }
            Self::Invalid { reason } => f.write_str(reason),
            Self::Missing { reason } => write!(f, "missing: {reason}"),
            Self::SecretUnavailable { reason } => f.write_str(reason),
            Self::UnknownProfile { nearest } => {
                write!(
                    f,
                    "no settings file defines this profile{}",
                    suggestion(nearest.as_deref())
                )
            }
            Self::ReadAs { written, meaning } => write!(f, "`{written}` is read as `{meaning}`"),
        }
    }
}

/// The place that a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// The default built into athomic.
    BuiltIn,
    /// A settings file, or a text given to [`Loader::text`](super::Loader::text).
    File {
        /// The path or name, as it was given.
        name: Arc<str>,
        /// The line, from 1; 0 for the file as a whole.
        line: usize,
        /// The column in characters, from 1; 0 for the file as a whole.
        column: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: Arc<str>,
    },
    /// The program itself.
    Code {
        /// Where the program called [`Loader::set`](super::Loader::set) or
        /// [`Loader::profile`](super::Loader::profile); none if a field was changed after loading.
        location: Option<&'static Location<'static>>,
    },
}

impl Origin {
    pub(super) fn whole_file(name: &Arc<str>) -> Self {
        Self::File {
            name: Arc::clone(name),
            line: 0,
            column: 0,
        }
    }

    pub(super) fn variable(name: &str) -> Self {
        Self::Environment {
            variable: name.into(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in default"),
            Self::File { name, line: 0, .. } => f.write_str(name),
            Self::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Self::Environment { variable } => write!(f, "environment variable {variable}"),
            Self::Code {
                location: Some(location),
            } => {
                write!(f, "code at {}:{}", location.file(), location.line())
            }
            Self::Code { location: None } => f.write_str("code"),
        }
    }
}

/// All faults, one a line.
struct Report<'a>(&'a [Fault]);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [fault] => return write!(f, "the settings are wrong: {fault}"),
            faults => write!(f, "the settings have {} faults:", faults.len())?,
        }
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

fn listed(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
