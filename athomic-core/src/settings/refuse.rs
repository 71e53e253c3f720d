//! Refuse what the schema knows and no runtime answers: accepted and ignored would be worse.

use std::collections::BTreeMap;

use super::error::{Fault, Origin, Problem};
use super::schema::{self, ORJSON, PLANNED, Planned, Spec};
use super::tree::{self, Entry, Node, Table, join_all};

/// What [`refuse`] finds.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    /// One fault for each section and source, however many keys of the section were written there.
    pub(super) faults: Vec<Fault>,
    /// Old words that were understood.
    pub(super) notes: Vec<Fault>,
}

/// Find what would have an effect and is not built yet.
///
/// What only says how things are anyway is let through, and so is a section with `enabled = false`.
pub(super) fn refuse(root: &Table) -> Refusal {
    let mut faults = BTreeMap::new();
    let mut notes = Vec::new();
    let mut visit = |part: &Planned, path: &[String], entry: &Entry| {
        let (section, below) = path.split_at(part.depth());
        if part.takes_format(below) && entry.node.shown().contains(&tree::quoted(ORJSON)) {
            let problem = Problem::ReadAs {
                written: ORJSON,
                meaning: "json",
            };
            notes.push(Fault::new(join_all(path), &entry.origin, problem));
        }
        if (part.idle)(&join_all(below), &entry.node) || switched_off(root, section) {
            return;
        }
        let fault = explained(path, section, entry);
        let place = (fault.key.clone(), source(&fault.origin));
        let first = faults.entry(place).or_insert_with(|| fault.clone());
        if line(&fault.origin) < line(&first.origin) {
            *first = fault;
        }
    };
    walk(schema::spec(), &mut Vec::new(), root, &mut visit);
    Refusal {
        faults: faults.into_values().collect(),
        notes,
    }
}

fn explained(path: &[String], section: &[String], entry: &Entry) -> Fault {
    let reason = match path.last().map(String::as_str) {
        Some("fernet_key") => {
            "athomic does not use Fernet: it names neither key nor algorithm in the message; remove it"
        }
        Some("metrics_protection_enabled" | "allow_metrics_ips") => {
            "the port for metrics asks nobody who he is: leave `observability.exporter_host` at loopback, or put \
             something before it that does, and remove it"
        }
        Some("room_ttl_seconds") => {
            "messages that wait never expire: their aggregate would wait for them for ever; remove it, or set \
             `state_ttl_seconds`, after which an idle aggregate is forgotten"
        }
        _ => return Fault::new(join_all(section), &entry.key, Problem::NotBuilt),
    };
    Fault::new(join_all(path), &entry.key, Problem::invalid(reason))
}

fn source(origin: &Origin) -> String {
    match origin {
        Origin::File { name, .. } => name.to_string(),
        other => other.to_string(),
    }
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
fn walk(
    spec: &Spec,
    path: &mut Vec<String>,
    table: &Table,
    visit: &mut dyn FnMut(&Planned, &[String], &Entry),
) {
    for (name, entry) in table {
        path.push(name.clone());
        match (spec.child(name), &entry.node) {
            (Some(Spec::Planned(index)), _) => visit(&PLANNED[*index], path, entry),
            (Some(inner @ Spec::Table { .. }), Node::Table(table)) => walk(inner, path, table, visit),
            (Some(Spec::List(inner)), Node::List(items)) => {
                for (index, item) in items.iter().enumerate() {
                    path.push(index.to_string());
                    if let Node::Table(table) = &item.node {
                        walk(inner, path, table, visit);
                    }
                    path.pop();
                }
            }
            _ => {}
        }
        path.pop();
    }
}
