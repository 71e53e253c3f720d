//! What the documents name exists, and what exists is documented.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// Read all Rust files of a folder.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &fs::read_to_string(path).unwrap();
        }
    }
    text
}

/// Say whether a name is defined in a source: an item, a field or a variant.
fn defines(source: &str, name: &str) -> bool {
    const ITEMS: [&str; 9] = [
        "fn", "struct", "enum", "trait", "mod", "type", "const", "static", "pub",
    ];
    source.match_indices(name).any(|(start, _)| {
        let is_part = |character: char| character.is_alphanumeric() || character == '_';
        let (before, after) = (&source[..start], &source[start + name.len()..]);
        let whole = !before.ends_with(is_part) && !after.starts_with(is_part);
        let line = before.rsplit('\n').next().unwrap_or_default().trim();
        let word = line.rsplit(|character: char| !is_part(character)).next();
        whole && (line.is_empty() || word.is_some_and(|word| ITEMS.contains(&word)))
    })
}

/// Return the rows of all tables of a page, cell by cell.
fn rows(page: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = page.lines().filter(|line| line.starts_with("| "));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
}

/// Return what stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn what_is_built_exists() {
    let crates = ["athomic-core", "athomic-macros", "athomic-kafka", "athomic-redis"];
    let sources = crates.map(|name| (name.replace('-', "_"), sources(&root().join(name).join("src"))));
    let keys: BTreeSet<String> = athomic::settings::keys().map(|key| key.path).collect();
    let attributes = read("docs/attributes.md");
    let page = read("docs/reference-map.md");
    let mut missing = Vec::new();
    for row in rows(&page) {
        let [reference, here, state] = row[..] else {
            panic!("three cells are wanted: {row:?}")
        };
        if reference == "reference" {
            continue;
        }
        let known = ["built", "later: ", "none: "]
            .iter()
            .any(|word| state.starts_with(word));
        assert!(
            known,
            "`{reference}` is neither built nor later nor none: {state}"
        );
        assert!(
            !state.starts_with("built") || here != "-",
            "`{reference}` is built, but where?"
        );
        for name in quoted(here).chain(quoted(state)) {
            let exists = if let Some((source, path)) = sources
                .iter()
                .find_map(|(name_of, source)| Some((source, name.strip_prefix(name_of.as_str())?)))
            {
                path.split("::").skip(1).all(|segment| defines(source, segment))
            } else if let Some(parameter) = name.strip_prefix("#[") {
                let (attribute, parameter) = parameter.trim_end_matches(")]").split_once('(').unwrap();
                let section = attributes
                    .split("\n## ")
                    .find(|section| section.contains(attribute));
                section.unwrap().contains(&format!("| `{parameter}` |"))
            } else if name.starts_with("integration.") {
                let below = format!("{name}.");
                let named = |key: &String| key == name || key.starts_with(&below);
                name == "integration.messaging.connections" || keys.iter().any(named)
            } else {
                true
            };
            if !exists {
                missing.push(name);
            }
        }
    }
    assert!(
        missing.is_empty(),
        "the reference map names what is not there: {missing:#?}"
    );
}

#[test]
fn every_parameter_of_the_attributes_is_in_the_docs_and_the_map() {
    let table = read("athomic-macros/src/args.rs");
    let names = table
        .lines()
        .filter_map(|line| line.trim().strip_prefix("name: \""));
    let names: BTreeSet<&str> = names.filter_map(|rest| rest.split('"').next()).collect();
    assert!(names.contains("topic"), "the table is read");
    let policies = read("athomic-macros/src/args/policies.rs");
    let policies = policies.split("    policy(\n        \"").skip(1);
    let policies: BTreeSet<&str> = policies.filter_map(|rest| rest.split('"').next()).collect();
    assert!(policies.contains("on_gap"), "the table of policies is read");
    let page = read("docs/attributes.md");
    let retry = read("athomic-macros/src/args/retry.rs");
    let retry = retry
        .lines()
        .filter_map(|line| line.trim().strip_prefix("name: \""));
    let retry: BTreeSet<&str> = retry.filter_map(|rest| rest.split('"').next()).collect();
    assert!(retry.contains("max_attempts"), "the table of retries is read");
    for name in names.iter().chain(&policies).chain(&retry) {
        assert!(
            page.contains(&format!("| `{name}` |")),
            "docs/attributes.md lacks `{name}`"
        );
    }
    let map = read("docs/reference-map.md");
    let ours = [
        "handler_id",
        "ordering",
        "crate",
        "enabled",
        "ttl",
        "lock_timeout",
        "retry",
        "codec",
        "encrypted",
    ];
    for name in names.iter().filter(|name| !ours.contains(name)) {
        let known = ["subscribe_to", "ordered_consumer"]
            .iter()
            .any(|attribute| map.contains(&format!("`#[{attribute}({name})]`")));
        assert!(known, "docs/reference-map.md lacks `{name}`");
    }
}

/// Read all Rust files that may have tests.
fn tests() -> String {
    let folders = [
        "athomic-core",
        "athomic-kafka",
        "athomic-macros",
        "athomic-redis",
        "tests",
    ];
    folders.map(|folder| sources(&root().join(folder))).concat()
}

fn has_function(source: &str, name: &str) -> bool {
    let followed_by = |next| source.contains(&format!("fn {name}{next}"));
    followed_by('(') || followed_by('<')
}

#[test]
fn tests_of_the_failures_exist() {
    let tests = tests();
    let page = read("docs/failures.md");
    let names = quoted(&page).filter(|name| name.matches('_').count() > 2 && !name.contains(' '));
    let missing: Vec<&str> = names.filter(|name| !has_function(&tests, name)).collect();
    assert!(
        missing.is_empty(),
        "docs/failures.md names what is not there: {missing:#?}"
    );
}

#[test]
fn files_and_tests_of_the_architecture_exist() {
    let page = read("ARCHITECTURE.md");
    let tests = tests();
    let (_, invariants) = page.split_once("\n## Invariants\n").unwrap();
    let (invariants, _) = invariants.split_once("\n## ").unwrap();
    let mut missing = Vec::new();
    for name in rows(&page).flatten().flat_map(quoted) {
        let is_file = name.contains('/') && !name.contains(' ');
        if is_file && !root().join(name).exists() {
            missing.push(name);
        }
    }
    for name in rows(invariants)
        .filter_map(|row| row.last().copied())
        .flat_map(quoted)
    {
        if !name.contains('/') && !has_function(&tests, name) {
            missing.push(name);
        }
    }
    assert!(
        missing.is_empty(),
        "ARCHITECTURE.md names what is not there: {missing:#?}"
    );
}

#[test]
fn links_lead_to_files_that_exist() {
    let pages = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "docs/benchmarks.md",
        "docs/context.md",
        "docs/delayed.md",
        "docs/failures.md",
        "docs/guide.md",
        "docs/idempotency.md",
        "docs/lineage.md",
        "docs/macros.md",
        "docs/ordered.md",
        "docs/payloads.md",
        "docs/queue.md",
        "docs/redis.md",
        "docs/retries.md",
        "docs/settings.md",
        "docs/telemetry.md",
        "docs/attributes.md",
        "docs/reference-map.md",
        "examples/orders/README.md",
    ];
    let mut missing = Vec::new();
    for page in pages {
        let folder = root().join(page).parent().unwrap().to_owned();
        let text = read(page);
        let targets = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next());
        for target in targets.filter(|target| !target.is_empty() && !target.starts_with("http")) {
            if !folder.join(target).exists() {
                missing.push(format!("{page}: {target}"));
            }
        }
    }
    assert!(missing.is_empty(), "links lead nowhere: {missing:#?}");
}

/// `UPDATE_DOCS=1 cargo test --test docs` writes the page anew.
#[test]
fn the_page_of_settings_is_what_the_table_of_keys_says() {
    let page = settings_page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root().join("docs/settings.md"), &page).unwrap();
    }
    assert!(
        read("docs/settings.md") == page,
        "docs/settings.md is not up to date: run with UPDATE_DOCS=1"
    );
}

fn settings_page() -> String {
    const BEGINNING: &str = "\
# Settings

Written from the table of keys in `athomic-core/src/settings/schema/`; a test compares the two. The rules of
reading stand in the module `athomic::settings`, and [reference.toml](../athomic-core/src/settings/reference.toml) is a
file with every key.

`connections.NAME.consumer`, `.producer` and `.security` below `integration.messaging` take the keys of the three sections
of these names.
An entry of `handler_tuning` may have a table `ordering` with the keys of `integration.messaging.ordering`, and one
`idempotency`,
and any other name may stand in the place of `ordering` in `database.kvstore.ordering`.
";
    let mut page = BEGINNING.to_owned();
    let mut current = String::new();
    for key in athomic::settings::keys() {
        let (section, name) = key.path.rsplit_once('.').unwrap();
        if section != current {
            current = section.to_owned();
            let about = key.section;
            page += &format!(
                "\n## `{section}`\n\n{about}\n\n| key | takes | default | meaning |\n|---|---|---|---|\n"
            );
        }
        let takes = key.takes.split(" | ").collect::<Vec<_>>().join(", ");
        let default = key
            .default
            .map_or_else(|| "-".to_owned(), |default| format!("`{default}`"));
        let doc = key.doc;
        page += &format!("| `{name}` | {takes} | {default} | {doc} |\n");
    }
    page
}

#[test]
fn every_name_of_telemetry_is_in_its_page() {
    let source = read("athomic-core/src/telemetry/names.rs");
    let page = read("docs/telemetry.md");
    let values = source.lines().filter_map(|line| {
        let (_, value) = line.trim().split_once(": &str = \"")?;
        value.strip_suffix("\";")
    });
    // Where they come from, and who records them: no names of what is recorded.
    let values: Vec<&str> = values
        .filter(|value| !value.starts_with("https:") && *value != "athomic")
        .collect();
    assert!(
        values.contains(&"messaging.process.duration"),
        "the names are read"
    );
    let listed: BTreeSet<&str> = quoted(&page).collect();
    let missing: Vec<&&str> = values.iter().filter(|value| !listed.contains(**value)).collect();
    assert!(missing.is_empty(), "docs/telemetry.md lacks {missing:?}");
}
