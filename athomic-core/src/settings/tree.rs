//! Values as they were written, each with its place: what the layers are made of.
//!
//! Knows TOML and nothing of the keys. Layers are merged here: tables merge, everything else replaces.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Fault, Origin, Problem};
use super::secret::{MASK, Secret};

/// A table and what is in it.
pub(super) type Table = BTreeMap<String, Entry>;

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) node: Node,
    /// Where the value stands.
    pub(super) origin: Origin,
    /// Where its key stands.
    pub(super) key: Origin,
    /// Where the values stand that this one replaced, nearest layer first.
    pub(super) overridden: Vec<Origin>,
}

impl Entry {
    pub(super) fn new(node: Node, origin: &Origin) -> Self {
        Self {
            node,
            origin: origin.clone(),
            key: origin.clone(),
            overridden: Vec::new(),
        }
    }
}

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Table(Table),
    List(Vec<Entry>),
    Text(String),
    Integer(i128),
    Number(f64),
    Boolean(bool),
    Secret(Secret),
    SecretIn(SecretPlace),
    /// A value that no key takes; the text says what it is.
    Other(&'static str),
}

/// Where a secret is kept, if not in the settings themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SecretPlace {
    Environment(String),
    File(PathBuf),
}

impl Node {
    /// Name the type, for messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Table(_) => "a table",
            Self::List(_) => "a list",
            Self::Text(_) => "text",
            Self::Integer(_) => "an integer",
            Self::Number(_) => "a number",
            Self::Boolean(_) => "a boolean",
            Self::Secret(_) | Self::SecretIn(_) => "a secret",
            Self::Other(name) => name,
        }
    }

    pub(super) fn as_table(&self) -> Option<&Table> {
        match self {
            Self::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Write the value as TOML, secrets masked.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Table(table) => {
                let fields = table
                    .iter()
                    .map(|(name, entry)| format!("{} = {}", quoted_key(name), entry.node.shown()));
                format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
            }
            Self::List(items) => {
                let items = items.iter().map(|entry| entry.node.shown());
                format!("[{}]", items.collect::<Vec<_>>().join(", "))
            }
            Self::Text(text) => quoted(text),
            Self::Integer(integer) => integer.to_string(),
            Self::Number(number) => format!("{number:?}"),
            Self::Boolean(boolean) => boolean.to_string(),
            Self::Secret(_) | Self::SecretIn(_) => quoted(MASK),
            Self::Other(name) => (*name).to_owned(),
        }
    }
}

/// Parse a document.
///
/// # Errors
///
/// All syntax errors. Their messages never quote the text, which may hold secrets.
pub(super) fn parse(name: &Arc<str>, text: &str) -> Result<Table, Vec<Fault>> {
    let places = Places::new(name, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(places.table(document.get_ref()));
    }
    let fault = |error: toml::de::Error| {
        let origin = error
            .span()
            .map_or_else(|| Origin::whole_file(name), |span| places.at(span.start));
        Fault::of_source(
            &origin,
            Problem::Syntax {
                message: error.message().to_owned(),
            },
        )
    };
    let mut faults: Vec<Fault> = errors.into_iter().map(fault).collect();
    faults.sort_by_key(|fault| match fault.origin {
        Origin::File { line, column, .. } => (line, column),
        _ => (0, 0),
    });
    Err(faults)
}

/// Parse one value, as an environment variable holds it; none if it is not TOML.
pub(super) fn parse_value(text: &str, origin: &Origin) -> Option<Node> {
    let value = DeValue::parse(text).ok()?;
    Some(convert(value.get_ref(), &|_| origin.clone()))
}

/// Split a dotted key, in which parts may be quoted as in TOML; none if it is no key.
pub(super) fn parse_key(key: &str) -> Option<Vec<String>> {
    let text = format!("{key} = 0");
    let document = DeTable::parse(&text).ok()?;
    let mut path = Vec::new();
    let mut table = document.get_ref();
    loop {
        let mut fields = table.iter();
        let (name, value) = fields.next()?;
        if fields.next().is_some() {
            return None;
        }
        path.push(name.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            DeValue::Integer(_) => return Some(path),
            _ => return None,
        }
    }
}

/// Lay `upper` over `lower`: tables merge, everything else replaces.
pub(super) fn merge(lower: &mut Table, upper: Table) {
    for (name, entry) in upper {
        match lower.entry(name) {
            Slot::Vacant(slot) => {
                slot.insert(entry);
            }
            Slot::Occupied(mut slot) => merge_entry(slot.get_mut(), entry),
        }
    }
}

fn merge_entry(lower: &mut Entry, upper: Entry) {
    match (&mut lower.node, upper) {
        (
            Node::Table(below),
            Entry {
                node: Node::Table(above),
                ..
            },
        ) => merge(below, above),
        (_, mut upper) => {
            upper.overridden.push(lower.origin.clone());
            upper.overridden.append(&mut lower.overridden);
            *lower = upper;
        }
    }
}

/// One step on the way to a value.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Into a table.
    Name(String),
    /// Into a list.
    Item(usize),
}

/// Put `value` where `path` leads, making tables and the next item of a list on the way.
///
/// A table merges with what is there, everything else replaces it.
///
/// # Errors
///
/// The problem, if the path leads past the end of a list or into something that has no parts.
pub(super) fn put(table: &mut Table, path: &[Step], value: Entry) -> Result<(), Problem> {
    // The table is lent to an entry for the time, so that one function follows all steps.
    let mut root = Entry::new(Node::Table(std::mem::take(table)), &value.origin);
    let result = put_below(&mut root, path, value);
    if let Node::Table(filled) = root.node {
        *table = filled;
    }
    result
}

fn put_below(entry: &mut Entry, path: &[Step], value: Entry) -> Result<(), Problem> {
    let Some((step, rest)) = path.split_first() else {
        merge_fresh(entry, value);
        return Ok(());
    };
    let made = || Entry::new(Node::Table(Table::new()), &value.origin);
    if matches!((&entry.node, step), (Node::Table(table), Step::Item(_)) if table.is_empty()) {
        entry.node = Node::List(Vec::new());
    }
    match (&mut entry.node, step) {
        (Node::Table(table), Step::Name(name)) => {
            put_below(table.entry(name.clone()).or_insert_with(made), rest, value)
        }
        (Node::List(items), Step::Item(index)) => {
            let length = items.len();
            if *index == length {
                items.push(made());
            }
            let item = items.get_mut(*index).ok_or_else(|| {
                Problem::invalid(format!(
                    "the list has {length} items; the next one has the number {length}"
                ))
            })?;
            put_below(item, rest, value)
        }
        (other, Step::Name(_)) => Err(Problem::WrongType {
            expected: "a table",
            found: other.type_name(),
        }),
        (other, Step::Item(_)) => Err(Problem::WrongType {
            expected: "a list",
            found: other.type_name(),
        }),
    }
}

/// As [`merge_entry`], but a table that was only just made leaves no trace of having been replaced.
fn merge_fresh(entry: &mut Entry, value: Entry) {
    let fresh = matches!(&entry.node, Node::Table(table) if table.is_empty()) && entry.origin == value.origin;
    if fresh {
        *entry = value;
    } else {
        merge_entry(entry, value);
    }
}

/// Append `name` to a dotted path.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        quoted_key(name)
    } else {
        format!("{path}.{}", quoted_key(name))
    }
}

/// Join the parts of a dotted path.
pub(super) fn join_all(parts: &[String]) -> String {
    parts.iter().fold(String::new(), |path, name| join(&path, name))
}

fn quoted_key(name: &str) -> String {
    let bare = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// Write `text` as a TOML string.
pub(super) fn quoted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 2);
    shown.push('"');
    for letter in text.chars() {
        match letter {
            '"' => shown.push_str("\\\""),
            '\\' => shown.push_str("\\\\"),
            control if control.is_control() => shown.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => shown.push(other),
        }
    }
    shown.push('"');
    shown
}

/// Turns byte offsets of one text into lines and columns.
struct Places<'t> {
    name: &'t Arc<str>,
    text: &'t str,
    /// The offset at which each line begins.
    lines: Vec<usize>,
}

impl<'t> Places<'t> {
    fn new(name: &'t Arc<str>, text: &'t str) -> Self {
        let ends = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(offset, _)| offset + 1);
        Self {
            name,
            text,
            lines: std::iter::once(0).chain(ends).collect(),
        }
    }

    fn at(&self, offset: usize) -> Origin {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines[line - 1];
        let before = self
            .text
            .get(start..offset)
            .map_or(0, |text| text.chars().count());
        Origin::File {
            name: Arc::clone(self.name),
            line,
            column: before + 1,
        }
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        convert_table(table, &|offset| self.at(offset))
    }
}

fn convert_table(table: &DeTable<'_>, at: &dyn Fn(usize) -> Origin) -> Table {
    let field = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let name: &Spanned<std::borrow::Cow<'_, str>> = name;
        let node = convert(value.get_ref(), at);
        let key = at(name.span().start);
        // A table has no place of its own if it was opened by a header or a dotted key.
        let origin = if matches!(node, Node::Table(_)) {
            key.clone()
        } else {
            at(value.span().start)
        };
        (
            name.get_ref().to_string(),
            Entry {
                node,
                origin,
                key,
                overridden: Vec::new(),
            },
        )
    };
    table.iter().map(field).collect()
}

fn convert(value: &DeValue<'_>, at: &dyn Fn(usize) -> Origin) -> Node {
    match value {
        DeValue::String(text) => Node::Text(text.to_string()),
        DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix())
            .map_or(Node::Other("an integer out of range"), Node::Integer),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map_or(Node::Other("a number out of range"), Node::Number),
        DeValue::Boolean(boolean) => Node::Boolean(*boolean),
        DeValue::Datetime(_) => Node::Other("a date or time"),
        DeValue::Array(items) => {
            let item = |value: &Spanned<DeValue<'_>>| {
                Entry::new(convert(value.get_ref(), at), &at(value.span().start))
            };
            Node::List(items.iter().map(item).collect())
        }
        DeValue::Table(table) => Node::Table(convert_table(table, at)),
    }
}
