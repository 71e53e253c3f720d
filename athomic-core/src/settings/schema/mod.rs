//! The table of all settings keys: the one place that says what exists.
//!
//! [`SECTIONS`] lists what athomic understands today, each key with its kind, default and text; the
//! reference file, the messages and the matching of environment variables come from it. [`PLANNED`] lists
//! the rest of the schema, so that such a key is called "not built yet" and not "unknown".

mod circuit_breaker;
mod idempotency;
mod keys;
mod lineage;
mod ordering;
mod payload;
mod planned;
mod schema_registry;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::choice::Words;
use super::tree::Step;

pub(super) use keys::{
    CONNECTIONS, CONSUMER, CRYPTO, IDEMPOTENCY, IDEMPOTENCY_STORE, KVSTORES, LINEAGE, ORDERING, PAYLOAD,
    PRODUCER, REPUBLISHER, SCHEMA_REGISTRY, SECTIONS, SECURITY, STORAGE, TUNING,
};
pub(super) use planned::{ORJSON, PLANNED, Planned};

/// The top-level tables that are sections; every other top-level table is a profile.
pub(super) const ROOTS: [&str; 13] = [
    "app",
    "integration",
    "database",
    "resilience",
    "observability",
    "lineage",
    "security",
    "storage",
    "serializer",
    "schema_registry",
    "context",
    "lifecycle",
    "console",
];

/// A table of the settings file, and its keys.
pub(super) struct Section {
    /// Where the table may stand. `*` is any name, `[]` any item of a list. The first place is the one
    /// that the reference file shows; where handlers or connections are concerned, keys that are missing at
    /// the others are inherited from it.
    pub(super) paths: &'static [&'static str],
    /// What the section is about.
    pub(super) doc: &'static str,
    /// The keys.
    pub(super) keys: &'static [Key],
}

/// A settings key.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) preset: Preset,
    pub(super) doc: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    TextList,
    Boolean,
    Integer,
    /// An integer or one of a few words, kept as text.
    IntegerOr(&'static [&'static str]),
    Number,
    /// Milliseconds, a whole number.
    Milliseconds,
    /// Seconds, with or without fractions.
    Seconds,
    /// One of a few words.
    Choice(Words),
    /// Text, or the place where it is kept.
    Secret,
    /// A table of options of the client library: any name, any plain value.
    Options,
    /// A plain value, kept as text.
    Scalar,
}

impl Kind {
    /// Say what the key takes, for messages.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Text | Self::Choice(_) => "text",
            Self::TextList => "a list of texts",
            Self::Boolean => "true or false",
            Self::Integer => "an integer",
            Self::IntegerOr(_) => "an integer or text",
            Self::Number => "a number",
            Self::Milliseconds => "an integer of milliseconds",
            Self::Seconds => "a number of seconds",
            Self::Secret => "text, { env = \"NAME\" } or { file = \"PATH\" }",
            Self::Options => "a table of options",
            Self::Scalar => "text, a number or a boolean",
        }
    }

    /// Say what the key takes, its words included, for documentation.
    pub(super) fn described(self) -> String {
        match self {
            Self::Choice(words) => words.accepted().join(" | "),
            Self::IntegerOr(words) => format!("an integer | {}", words.join(" | ")),
            other => other.expected().to_owned(),
        }
    }

    /// Return whether the key takes text, so that an environment variable need not be quoted.
    pub(super) fn is_text(self) -> bool {
        matches!(
            self,
            Self::Text | Self::Choice(_) | Self::IntegerOr(_) | Self::Secret | Self::Scalar
        )
    }
}

/// What holds if a key is not set.
pub(super) enum Preset {
    /// This value, as TOML.
    Is(&'static str),
    /// Nothing; the text is an example, as TOML.
    Unset(&'static str),
}
/// The schema as a tree, in which a path is followed name by name.
#[derive(Debug)]
pub(super) enum Spec {
    /// A table with known names, or with any name, or both.
    Table {
        names: BTreeMap<&'static str, Spec>,
        any: Option<Box<Spec>>,
    },
    /// A list of such items.
    List(Box<Spec>),
    /// A key that is understood.
    Value(Kind),
    /// A key that is not built yet, by its place in [`PLANNED`].
    Planned(usize),
}

static SPEC: LazyLock<Spec> = LazyLock::new(|| {
    let mut root = Spec::table();
    for section in SECTIONS {
        for path in section.paths {
            for key in section.keys {
                root.insert(path.split('.').chain([key.name]), Spec::of(key.kind));
            }
        }
    }
    for (index, part) in PLANNED.iter().enumerate() {
        if part.keys.is_empty() {
            root.insert(part.path.split('.'), Spec::Planned(index));
        }
        for key in part.keys {
            root.insert(part.path.split('.').chain(key.split('.')), Spec::Planned(index));
        }
    }
    root
});

/// Return the schema as a tree.
pub(super) fn spec() -> &'static Spec {
    &SPEC
}

impl Spec {
    fn table() -> Self {
        Self::Table {
            names: BTreeMap::new(),
            any: None,
        }
    }

    fn of(kind: Kind) -> Self {
        match kind {
            Kind::TextList => Self::List(Box::new(Self::Value(Kind::Text))),
            Kind::Options => Self::Table {
                names: BTreeMap::new(),
                any: Some(Box::new(Self::Value(Kind::Scalar))),
            },
            other => Self::Value(other),
        }
    }

    fn insert(&mut self, path: impl IntoIterator<Item = &'static str>, leaf: Self) {
        let mut spec = self;
        for name in path {
            if name == "[]" && matches!(spec, Self::Table { .. }) {
                *spec = Self::List(Box::new(Self::table()));
            }
            spec = match spec {
                Self::Table { any, .. } if name == "*" => any.get_or_insert_with(|| Box::new(Self::table())),
                Self::Table { names, .. } => names.entry(name).or_insert_with(Self::table),
                Self::List(item) => item,
                Self::Value(_) | Self::Planned(_) => return,
            };
        }
        *spec = leaf;
    }

    /// Return the names that may stand here, for suggestions.
    pub(super) fn names(&self) -> Vec<&'static str> {
        match self {
            Self::Table { names, .. } => names.keys().copied().collect(),
            _ => Vec::new(),
        }
    }

    /// Return what may stand under `name`.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Table { names, any } => names.get(name).or(any.as_deref()),
            Self::List(item) => name.parse::<usize>().is_ok().then_some(item),
            Self::Value(_) | Self::Planned(_) => None,
        }
    }

    /// Tell tables from lists on the way along a path.
    pub(super) fn steps(&self, path: &[String]) -> Vec<Step> {
        let mut spec = Some(self);
        let step = |name: &String| {
            let item = if matches!(spec, Some(Self::List(_))) {
                name.parse().ok()
            } else {
                None
            };
            spec = spec.and_then(|spec| spec.child(name));
            item.map_or_else(|| Step::Name(name.clone()), Step::Item)
        };
        path.iter().map(step).collect()
    }

    /// Follow a whole path.
    pub(super) fn at(&self, path: &[String]) -> Option<&Self> {
        path.iter().try_fold(self, |spec, name| spec.child(name))
    }
}

/// Return the table's entry for a key, whichever of its places `path` names.
pub(super) fn key_at(path: &[String]) -> Option<&'static Key> {
    let (name, place) = path.split_last()?;
    let stands_at = |pattern: &&str| {
        let mut pattern = pattern.split('.');
        let fits = |name: &String| match pattern.next() {
            Some("*") => true,
            Some("[]") => name.parse::<usize>().is_ok(),
            other => other == Some(name.as_str()),
        };
        place.iter().all(fits) && pattern.next().is_none()
    };
    let mut sections = SECTIONS
        .iter()
        .filter(|section| section.paths.iter().any(stands_at));
    sections.find_map(|section| section.keys.iter().find(|key| key.name == name))
}

/// A settings key, for documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyDoc {
    /// The full path; `*` stands for a name of the user's choice, `[]` for any item of a list.
    pub path: String,
    /// What it takes.
    pub takes: String,
    /// The default as TOML; none if there is none.
    pub default: Option<&'static str>,
    /// A value as TOML to show in documentation: the default, if there is one.
    pub example: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// What its section is for.
    pub section: &'static str,
}

/// List every key that the settings understand today, in the order of the reference file.
pub fn keys() -> impl Iterator<Item = KeyDoc> {
    SECTIONS
        .iter()
        .flat_map(|section| section.keys.iter().map(|key| document(section, key)))
}

fn document(section: &Section, key: &Key) -> KeyDoc {
    let (default, example) = match key.preset {
        Preset::Is(default) => (Some(default), default),
        Preset::Unset(example) => (None, example),
    };
    KeyDoc {
        path: format!("{}.{}", section.paths[0], key.name),
        takes: key.kind.described(),
        default,
        example,
        doc: key.doc,
        section: section.doc,
    }
}
