//! Rule 5: unknown keys, wrong types, one report.

use super::*;

#[test]
fn unknown_keys_are_warnings_without_a_profile_and_faults_with_one() {
    let toml = "[integration.messaging.consumer]\ngroup = 'g'\ngruop_id = 'g'";
    let expected = [
        "settings.toml:2:1: `integration.messaging.consumer.group`: unknown key",
        "settings.toml:3:1: `integration.messaging.consumer.gruop_id`: unknown key; did you mean `group_id`?",
    ];
    check_warnings(loader(toml), &expected);
    let profile = format!("{toml}\n[p.app]\nname = 'x'");
    assert_eq!(faults(loader(&profile).profile("p")), expected);
}

#[test]
fn a_misspelt_section_is_not_taken_for_a_profile() {
    check_warnings(
        loader("[lifecycel]\nstartup_timeout_seconds = 1\n[staging.app]\nname = 'x'\n[empty]"),
        &["settings.toml:1:2: `lifecycel`: unknown key; did you mean `lifecycle`?"],
    );
}

#[test]
fn a_wrong_type_shows_line_column_and_key() {
    check_consumer("group_id = 7", "expected text, found an integer");
    check_consumer("max_poll_records = '7'", "expected an integer, found text");
    check_consumer(
        "commit_interval_ms = 1.5",
        "expected an integer of milliseconds, found a number",
    );
    check_consumer(
        "bootstrap_servers = 'a:1'",
        "expected a list of texts, found text",
    );
    check_consumer("librdkafka = 1", "expected a table, found an integer");
    check_faults(
        "[app]\nname = 2026-01-01\n[lifecycle]\nstartup_timeout_seconds = '60'",
        &[
            "settings.toml:2:8: `app.name`: expected text, found a date or time",
            "settings.toml:4:27: `lifecycle.startup_timeout_seconds`: expected a number of seconds, found text",
        ],
    );
    check_faults(
        "default = 1",
        &["settings.toml:1:11: `default`: expected a table, found an integer"],
    );
}

#[test]
fn columns_count_characters() {
    check_faults(
        "app = { version = '€', name = 1 }",
        &["settings.toml:1:31: `app.name`: expected text, found an integer"],
    );
}

#[test]
fn an_unknown_word_lists_the_known_ones() {
    check_faults(
        "integration.messaging.provider.backend = 'kafak'",
        &[
            "settings.toml:1:42: `integration.messaging.provider.backend`: `kafak` is not one of \
           `memory`, `kafka`; did you mean `kafka`?",
        ],
    );
}

#[test]
fn all_faults_come_in_one_report() {
    let error = loader(
        "[app]\nname = 1\n[integration.messaging.consumer]\ncommit_interval_ms = 0\n[console]\nenabled = true",
    )
    .load()
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the settings have 3 faults:\n  \
         settings.toml:2:8: `app.name`: expected text, found an integer\n  \
         settings.toml:4:22: `integration.messaging.consumer.commit_interval_ms`: \
         must be between 1 and 2147483647 milliseconds\n  \
         settings.toml:6:1: `console`: is not built yet; remove it"
    );
    assert!(!error.is_retriable());
}

#[test]
fn all_syntax_errors_are_shown_and_quote_nothing() {
    let found = faults(loader("[app]\nname = 'canary\n[lifecycle\n"));
    assert!(found.len() > 1, "{found:?}");
    assert!(found[0].starts_with("settings.toml:2:"), "{found:?}");
    assert!(
        found
            .iter()
            .all(|fault| fault.contains("not valid TOML") && !fault.contains("canary"))
    );
}

#[test]
fn a_broken_file_causes_no_further_faults() {
    let folder = Folder::new("broken");
    folder.write(
        "settings.toml",
        "[integration.messaging.security]\nprotocol = 'sasl_ssl'",
    );
    folder.write(
        ".secrets.toml",
        "[integration.messaging.security\npassword = 'canary'",
    );
    let found = faults(folder.loader());
    assert!(
        found.iter().all(|fault| fault.contains("not valid TOML")),
        "{found:?}"
    );
}

#[test]
fn a_wrong_value_is_not_missing_as_well() {
    check_faults(
        "integration.messaging.security = { protocol = 'sasl_ssl', mechanism = 1, username = 'u', password = 'p' }",
        &["settings.toml:1:71: `integration.messaging.security.mechanism`: expected text, found an integer"],
    );
}
