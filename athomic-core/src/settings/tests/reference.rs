//! The table, the reference file, the mirror and the types agree.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::settings::raw::{
    RawApp, RawCircuitBreaker, RawConsumer, RawContext, RawCryptoKeys, RawDlq, RawIdempotencyKeys,
    RawIdempotencyStore, RawIdempotencyTuning, RawKey, RawLifecycle, RawLineageCollector, RawLineageKeys,
    RawLineageProducer, RawLineageStore, RawMetrics, RawObservability, RawOrdering, RawPayloadKeys,
    RawProducer, RawProvider, RawRepublisher, RawRetry, RawRetryTuning, RawSchemaRegistry, RawSecurity,
    RawStepKeys, RawStorage, RawStoreProvider, RawStoreSwitch, RawSwitch, RawTopics, RawTuning,
};
use crate::settings::schema::SECTIONS;

const HEADING: &str = "\
# Every settings key of athomic with its default; a key without one is commented out, with an example.
# A file names only what it changes. `[x]` and `[default.x]` hold for every profile, `[PROFILE.x]` for one.
";

/// Write the reference file from the table.
fn reference() -> String {
    let mut text = HEADING.to_owned();
    let mut last = String::new();
    for key in keys() {
        let (section, name) = key.path.rsplit_once('.').unwrap();
        if last != section {
            section.clone_into(&mut last);
            let header = match section.strip_suffix(".[]") {
                Some(list) => format!("#[[{list}]]"),
                // A table in the item that stands last.
                None if section.contains(".[].") => format!("#[{}]", section.replace(".[]", "")),
                None => format!("[{section}]"),
            };
            text += &format!("\n# {}\n{header}\n", key.section);
        }
        let words = if key.takes.contains('|') {
            format!(" One of: {}.", key.takes)
        } else {
            String::new()
        };
        let mark = if key.default.is_none() { "#" } else { "" };
        text += &format!("# {}{words}\n{mark}{name} = {}\n", key.doc, key.example);
    }
    text
}

/// To write the file anew after a change of the table, set `UPDATE_REFERENCE`.
#[test]
fn the_reference_file_is_what_the_table_says() {
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/settings/reference.toml");
        return fs::write(file, reference()).unwrap();
    }
    assert_eq!(REFERENCE, reference());
}

#[test]
fn the_reference_file_holds_the_defaults() {
    let loaded = loaded(loader(REFERENCE));
    assert_eq!(loaded.settings, Settings::default());
    assert_eq!(loaded.warnings, []);
}

#[test]
fn the_examples_in_the_reference_file_are_of_the_right_type() {
    // Each way to log in has keys of its own, which the other refuses.
    check_examples("SCRAM-SHA-512", &["oauth_", "token = "]);
    check_examples("OAUTHBEARER", &["username", "password"]);
}

fn check_examples(mechanism: &str, left_out: &[&str]) {
    let example = |line: &str| match line.strip_prefix('#') {
        Some(key) if !key.starts_with(' ') => key.to_owned(),
        _ => line.to_owned(),
    };
    let text: Vec<_> = REFERENCE
        .lines()
        .map(example)
        .filter(|line| !left_out.iter().any(|key| line.starts_with(key)))
        .collect();
    let variables = [
        ("KAFKA_PASSWORD", "x"),
        ("OAUTH_CLIENT_SECRET", "x"),
        ("ATHOMIC_KEY_2026_11", "x"),
        ("REGISTRY_PASSWORD", "x"),
        ("REGISTRY_TOKEN", "x"),
    ];
    let loader = with_variables(&text.join("\n"), &variables)
        .set("integration.messaging.security.mechanism", mechanism)
        .set("integration.messaging.security.protocol", "sasl_ssl")
        .set("integration.messaging.ordering.first_sequence", "first_seen")
        .set("lineage.store.backend", "composite");
    let loaded = loaded(loader);
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.settings.messaging.handler_tuning.len(), 1);
}

#[test]
fn the_table_states_the_defaults_of_the_types() {
    let values: BTreeMap<_, _> = Settings::default().values().into_iter().collect();
    for key in keys().filter(|key| !key.path.contains("[]")) {
        let value = values.get(&key.path).cloned().flatten();
        assert_eq!(value.as_deref(), key.default, "{}", key.path);
    }
    let known: BTreeSet<_> = keys().map(|key| key.path).collect();
    assert!(values.keys().all(|key| known.contains(key)));
}

#[test]
fn the_table_and_the_mirror_have_the_same_keys() {
    let mirrors = [
        RawApp::KEYS,
        RawSwitch::KEYS,
        RawProvider::KEYS,
        RawConsumer::KEYS,
        RawProducer::KEYS,
        RawSecurity::KEYS,
        RawTopics::KEYS,
        RawDlq::KEYS,
        RawRetry::KEYS,
        RawRepublisher::KEYS,
        RawOrdering::KEYS,
        RawTuning::KEYS,
        RawRetryTuning::KEYS,
        RawCircuitBreaker::KEYS,
        RawIdempotencyTuning::KEYS,
        RawPayloadKeys::KEYS,
        RawStepKeys::KEYS,
        RawCryptoKeys::KEYS,
        RawKey::KEYS,
        RawStorage::KEYS,
        RawSchemaRegistry::KEYS,
        RawStoreSwitch::KEYS,
        RawStoreProvider::KEYS,
        RawIdempotencyKeys::KEYS,
        RawIdempotencyStore::KEYS,
        RawStoreProvider::KEYS,
        RawContext::KEYS,
        RawLineageKeys::KEYS,
        RawLineageProducer::KEYS,
        RawLineageStore::KEYS,
        RawLineageCollector::KEYS,
        RawObservability::KEYS,
        RawMetrics::KEYS,
        RawLifecycle::KEYS,
    ];
    let sections = SECTIONS
        .iter()
        .map(|section| section.keys.iter().map(|key| key.name).collect::<Vec<_>>());
    assert_eq!(sections.collect::<Vec<_>>(), mirrors);
}

#[test]
fn every_key_has_a_sentence() {
    assert!(keys().all(|key| key.doc.ends_with('.') && key.section.ends_with('.')));
}
