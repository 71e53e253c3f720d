//! The tables of parameters in the docs, written from the table of keys and compared with it.
//!
//! `UPDATE_DOCS=1 cargo test -p athomic-macros` writes them anew.

use std::fmt::Write;
use std::path::Path;

use crate::args::{Attribute, CIRCUIT_BREAKER_KEYS, IDEMPOTENCY_KEYS, Key, Need, RETRY_KEYS};

fn table<'a>(keys: impl Iterator<Item = &'a Key>, is_required: impl Fn(&Key) -> bool) -> String {
    let mut table = "| parameter | value | meaning | left out |\n|---|---|---|---|\n".to_owned();
    for key in keys {
        let default = if is_required(key) { "required" } else { key.default };
        let Key { name, kind, doc, .. } = key;
        writeln!(table, "| `{name}` | {kind} | {doc} | {default} |").unwrap();
    }
    table
}

fn tables(attribute: Attribute) -> String {
    let own = table(attribute.keys(), |key| key.need(attribute) == Need::Required);
    let idempotency = table(IDEMPOTENCY_KEYS.iter(), |_| false);
    let retry = table(
        RETRY_KEYS
            .iter()
            .filter(|key| key.need(attribute) != Need::Refused),
        |_| false,
    );
    let mut page =
        format!("{own}\nIn `idempotency_settings(..)`:\n\n{idempotency}\nIn `retry(..)`:\n\n{retry}");
    let breaker = CIRCUIT_BREAKER_KEYS
        .iter()
        .filter(|key| key.need(attribute) != Need::Refused);
    if breaker.clone().next().is_some() {
        let breaker = table(breaker, |_| false);
        write!(page, "\nIn `circuit_breaker(..)`:\n\n{breaker}").unwrap();
    }
    page
}

fn page() -> String {
    let mut page = "# Parameters of the attributes\n\n\
        Written from the tables of keys in `athomic-macros/src/args.rs` and `args/policies.rs`; a test compares them.\n\
        A parameter stands as `name = value`; what is left to the settings can be set there for each\n\
        handler too, and wins over the attribute.\n"
        .to_owned();
    for attribute in Attribute::ALL {
        write!(page, "\n## `#[{attribute}]`\n\n{}", tables(attribute)).unwrap();
    }
    page
}

fn check(path: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == expected,
        "{} is not up to date: run with UPDATE_DOCS=1",
        path.display()
    );
}

#[test]
fn the_docs_show_the_table_of_keys() {
    for attribute in Attribute::ALL {
        check(&format!("docs/{attribute}.md"), &tables(attribute));
    }
    check("../docs/attributes.md", &page());
}
