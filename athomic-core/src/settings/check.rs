//! Hold one layer against the schema: unknown names, wrong types, secrets.
//!
//! What passes is known to have the right shape, so that merging and reading need not look again. What
//! does not pass is reported and left out.

use super::error::{Fault, Origin, Problem};
use super::schema::{Kind, Spec};
use super::secret::Secret;
use super::tree::{Entry, Node, SecretPlace, Table, join};
use crate::nearest::nearest;

/// Collects what is wrong with the layers.
#[derive(Debug, Default)]
pub(super) struct Checker {
    /// What stops the start.
    pub(super) faults: Vec<Fault>,
    /// Unknown keys, which stop it only in a profile.
    pub(super) unknown: Vec<Fault>,
}

impl Checker {
    /// Return what is right of the fields of a table that stands at `path`; of a whole layer, with `""`.
    pub(super) fn fields(&mut self, spec: &Spec, path: &str, table: Table) -> Table {
        let mut checked = Table::new();
        for (name, entry) in table {
            let path = join(path, &name);
            let Some(inner) = spec.child(&name) else {
                let nearest = nearest(&name, spec.names()).map(str::to_owned);
                self.unknown
                    .push(Fault::new(path, &entry.key, Problem::UnknownKey { nearest }));
                continue;
            };
            if let Some(entry) = self.entry(inner, &path, entry) {
                checked.insert(name, entry);
            }
        }
        checked
    }

    /// Return a value that stands at `path`, in the form that the reader expects; none if it is wrong.
    pub(super) fn entry(&mut self, spec: &Spec, path: &str, entry: Entry) -> Option<Entry> {
        let Entry {
            node,
            origin,
            key,
            overridden,
        } = entry;
        let node = match (spec, node) {
            (Spec::Planned(_), node) => node,
            (Spec::Table { .. }, Node::Table(table)) => Node::Table(self.fields(spec, path, table)),
            (Spec::List(item), Node::List(items)) => Node::List(self.items(item, path, items)?),
            (Spec::Value(Kind::Secret), Node::Table(table)) => self.secret_place(path, &origin, &table)?,
            (spec, node) => match convert(spec, node) {
                Ok(node) => node,
                Err(problem) => {
                    self.faults.push(Fault::new(path, &origin, problem));
                    return None;
                }
            },
        };
        Some(Entry {
            node,
            origin,
            key,
            overridden,
        })
    }

    /// A list with a wrong item is left out as a whole: its other items would move to wrong numbers.
    fn items(&mut self, spec: &Spec, path: &str, items: Vec<Entry>) -> Option<Vec<Entry>> {
        let length = items.len();
        let mut checked = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            checked.extend(self.entry(spec, &format!("{path}.{index}"), item));
        }
        (checked.len() == length).then_some(checked)
    }

    fn secret_place(&mut self, path: &str, origin: &Origin, table: &Table) -> Option<Node> {
        let names: Vec<&str> = table.keys().map(String::as_str).collect();
        let text = |name: &str| match &table.get(name)?.node {
            Node::Text(text) => Some(text.clone()),
            _ => None,
        };
        let place = match names.as_slice() {
            ["env"] => text("env").map(SecretPlace::Environment),
            ["file"] => text("file").map(|file| SecretPlace::File(file.into())),
            ["key", "path"] => {
                let reason = "secrets by `path` and `key` are not built yet; use { env = \"NAME\" } or { file = \"PATH\" }";
                self.faults
                    .push(Fault::new(path, origin, Problem::invalid(reason)));
                return None;
            }
            _ => None,
        };
        if place.is_none() {
            let problem = Problem::WrongType {
                expected: Kind::Secret.expected(),
                found: "another table",
            };
            self.faults.push(Fault::new(path, origin, problem));
        }
        place.map(Node::SecretIn)
    }
}

/// Return the value in the form that the reader expects for its kind.
fn convert(spec: &Spec, node: Node) -> Result<Node, Problem> {
    let expected = match spec {
        Spec::Value(kind) => match convert_value(*kind, node) {
            Ok(node) => return Ok(node),
            Err(found) => {
                return Err(Problem::WrongType {
                    expected: kind.expected(),
                    found,
                });
            }
        },
        Spec::Table { .. } => "a table",
        Spec::List(item) if matches!(**item, Spec::Value(_)) => "a list of texts",
        Spec::List(_) => "a list of tables",
        Spec::Planned(_) => return Ok(node),
    };
    Err(Problem::WrongType {
        expected,
        found: node.type_name(),
    })
}

fn convert_value(kind: Kind, node: Node) -> Result<Node, &'static str> {
    match (kind, node) {
        (Kind::Secret, Node::Text(text)) => Ok(Node::Secret(Secret::new(text))),
        (Kind::Secret, node @ Node::Secret(_))
        | (Kind::Text | Kind::Choice(_) | Kind::IntegerOr(_) | Kind::Scalar, node @ Node::Text(_))
        | (Kind::Boolean, node @ Node::Boolean(_))
        | (Kind::Integer | Kind::Milliseconds, node @ Node::Integer(_))
        | (Kind::Number | Kind::Seconds, node @ Node::Number(_)) => Ok(node),
        #[expect(
            clippy::cast_precision_loss,
            reason = "a number that large is out of range anyway"
        )]
        (Kind::Number | Kind::Seconds, Node::Integer(integer)) => Ok(Node::Number(integer as f64)),
        (Kind::Scalar | Kind::IntegerOr(_), Node::Integer(integer)) => Ok(Node::Text(integer.to_string())),
        (Kind::Scalar, Node::Number(number)) => Ok(Node::Text(number.to_string())),
        (Kind::Scalar, Node::Boolean(boolean)) => Ok(Node::Text(boolean.to_string())),
        (_, node) => Err(node.type_name()),
    }
}
