//! The rules of reading, each stated by a test, and the agreement of table, reference file and types.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const NO_VARIABLES: [(&str, &str); 0] = [];

fn loader(toml: &str) -> Loader {
    Settings::loader()
        .text("settings.toml", toml)
        .environment(NO_VARIABLES)
}

fn load(toml: &str) -> Settings {
    loaded(loader(toml)).settings
}

fn loaded(loader: Loader) -> Loaded {
    loader.load().unwrap_or_else(|error| panic!("{error}"))
}

fn with_variables(toml: &str, variables: &[(&str, &str)]) -> Loader {
    loader(toml).environment(variables.iter().copied())
}

fn faults(loader: Loader) -> Vec<String> {
    match loader.load() {
        Ok(loaded) => panic!("loaded: {:?}", loaded.settings),
        Err(error) => error.faults().iter().map(ToString::to_string).collect(),
    }
}

fn check_faults(toml: &str, expected: &[&str]) {
    assert_eq!(faults(loader(toml)), expected, "{toml}");
}

fn check_warnings(loader: Loader, expected: &[&str]) {
    let warnings: Vec<_> = loaded(loader).warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, expected);
}

/// The fault for `line` in the consumer section.
fn check_consumer(line: &str, expected: &str) {
    let key = line.split(" = ").next().unwrap_or_default();
    let column = key.len() + 4;
    let expected = format!("settings.toml:2:{column}: `integration.messaging.consumer.{key}`: {expected}");
    check_faults(&format!("[integration.messaging.consumer]\n{line}"), &[&expected]);
}

/// A folder of its own for a test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("athomic-settings-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn loader(&self) -> Loader {
        Settings::loader().directory(&self.0).environment(NO_VARIABLES)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

mod layers {
    use super::*;

    const EVERY_LAYER: &str = "[app]\nname = 'bare'\n[production.app]\nname = 'profile'\n";

    fn name(loader: Loader) -> String {
        loaded(loader).settings.app.name
    }

    #[test]
    fn an_empty_project_runs_on_the_embedded_broker() {
        let folder = Folder::new("empty");
        let loaded = loaded(folder.loader());
        assert_eq!(loaded.settings, Settings::default());
        assert_eq!(loaded.settings.messaging.backend, Backend::Memory);
        assert_eq!((loaded.warnings.len(), loaded.sources.len()), (0, 0));
    }

    #[test]
    fn a_later_layer_wins() {
        let folder = Folder::new("layers");
        folder.write("settings.toml", EVERY_LAYER);
        let production = || folder.loader().profile("production");
        assert_eq!(name(folder.loader()), "bare");
        assert_eq!(name(production()), "profile");
        folder.write("production.toml", "[app]\nname = 'profile file'");
        assert_eq!(name(production()), "profile file");
        folder.write(".secrets.toml", "[default.app]\nname = 'secrets'");
        assert_eq!(name(production()), "secrets");
        let environment = || production().environment([("ATHOMIC_APP__NAME", "environment")]);
        assert_eq!(name(environment()), "environment");
        assert_eq!(name(environment().set("app.name", "code")), "code");
        assert_eq!(
            name(folder.loader()),
            "secrets",
            "another profile's file is not read"
        );
    }

    #[test]
    fn sources_are_listed_lowest_first() {
        let folder = Folder::new("sources");
        let main = folder.write("settings.toml", EVERY_LAYER);
        let secrets = folder.write(".secrets.toml", "");
        let expected = [main, secrets].map(|path| path.display().to_string());
        assert_eq!(loaded(folder.loader().profile("production")).sources, expected);
    }

    #[test]
    fn default_and_bare_tables_are_the_same_layer() {
        let settings = load("[default.app]\nname = 'a'\n[app]\nversion = '1'");
        assert_eq!(
            (settings.app.name.as_str(), settings.app.version.as_str()),
            ("a", "1")
        );
    }

    #[test]
    fn a_key_both_bare_and_under_default_shows_both_places() {
        check_faults(
            "[app]\nname = 'a'\nversion = '1'\n[default.app]\nname = 'b'",
            &[
                "settings.toml:5:1: `app.name`: set twice for every profile, the other time at \
               settings.toml:2:1; keep one of the two",
            ],
        );
    }

    #[test]
    fn the_profile_comes_from_the_environment_unless_code_names_one() {
        let variables = [("ATHOMIC_ENV", "production")];
        assert_eq!(name(with_variables(EVERY_LAYER, &variables)), "profile");
        assert_eq!(
            name(with_variables(EVERY_LAYER, &variables).profile("default")),
            "bare"
        );
        let settings = loaded(with_variables(EVERY_LAYER, &variables)).settings;
        assert_eq!(settings.profile.as_deref(), Some("production"));
        assert_eq!(load(EVERY_LAYER).profile, None);
    }

    #[test]
    fn the_file_comes_from_the_environment_unless_code_names_one() {
        let folder = Folder::new("file");
        let one = folder.write("one.toml", "[app]\nname = 'one'");
        let two = folder.write("two.toml", "[app]\nname = 'two'");
        let loader = || {
            folder
                .loader()
                .environment([("ATHOMIC_SETTINGS_FILE", one.display().to_string())])
        };
        assert_eq!(name(loader()), "one");
        assert_eq!(name(loader().file(two)), "two");
    }

    #[test]
    fn a_named_file_must_exist() {
        let folder = Folder::new("missing");
        let missing = folder.0.join("nowhere.toml");
        let variables = [("ATHOMIC_SETTINGS_FILE", missing.display().to_string())];
        for loader in [
            folder.loader().file(&missing),
            folder.loader().environment(variables),
        ] {
            let error = loader.load().unwrap_err();
            assert!(
                matches!(&error, SettingsError::Unreadable { path, .. } if *path == missing),
                "{error}"
            );
            assert!(std::error::Error::source(&error).is_some());
        }
    }

    #[test]
    fn tables_merge_and_lists_replace() {
        let settings = loaded(
            loader(
                "[integration.messaging.consumer]\nbootstrap_servers = ['a:1', 'b:1']\ngroup_id = 'g'\n\
                 [p.integration.messaging.consumer]\nbootstrap_servers = ['c:1']",
            )
            .profile("p"),
        )
        .settings;
        let consumer = &settings.messaging.connections["default"].consumer;
        assert_eq!(consumer.bootstrap_servers, ["c:1"]);
        assert_eq!(consumer.group_id.as_deref(), Some("g"));
    }

    #[test]
    fn a_profile_that_looks_misspelt_is_a_fault_and_an_undefined_one_a_warning() {
        let misspelt = faults(with_variables(EVERY_LAYER, &[("ATHOMIC_ENV", "prodcution")]));
        assert_eq!(
            misspelt,
            [
                "environment variable ATHOMIC_ENV: `prodcution`: no settings file defines this profile; \
              did you mean `production`?"
            ]
        );
        check_warnings(
            with_variables(EVERY_LAYER, &[("ATHOMIC_ENV", "staging")]),
            &["environment variable ATHOMIC_ENV: `staging`: no settings file defines this profile"],
        );
    }

    #[test]
    fn a_profile_has_a_plain_name_that_is_no_section() {
        for (profile, reason) in [
            ("app", "`app` is a section and cannot be a profile"),
            (
                "../x",
                "`../x` is no name for a profile; use letters, digits, `_` and `-`",
            ),
        ] {
            let found = faults(with_variables("", &[("ATHOMIC_ENV", profile)]));
            assert_eq!(found, [format!("environment variable ATHOMIC_ENV: {reason}")]);
        }
    }

    #[test]
    fn a_profile_file_holds_sections_only() {
        let folder = Folder::new("profile-file");
        let file = folder.write("production.toml", "[production.app]\nname = 'x'");
        let expected = format!(
            "{}:1:2: `production`: unknown key; did you mean `production`?",
            file.display()
        );
        let found = faults(folder.loader().profile("production"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with(&expected[..expected.len() - 30]),
            "{found:?}"
        );
    }

    #[test]
    fn code_says_where_it_stands() {
        let found = faults(loader("").set("app.nmae", "x"));
        assert!(
            found[0].starts_with("code at ") && found[0].contains("tests.rs:"),
            "{found:?}"
        );
        assert!(
            found[0].ends_with("`app.nmae`: unknown key; did you mean `app.name`?"),
            "{found:?}"
        );
    }

    #[test]
    fn code_sets_values_of_every_kind() {
        let settings = loaded(
            loader("")
                .set("integration.messaging.consumer.bootstrap_servers", ["a:1", "b:2"])
                .set(
                    "integration.messaging.consumer.librdkafka.\"socket.nagle.disable\"",
                    true,
                )
                .set(
                    "integration.messaging.connections.Reports.consumer.max_poll_records",
                    7_usize,
                )
                .set("integration.messaging.dlq.retry.factor", 3.5)
                .set("integration.messaging.security.protocol", "sasl_ssl")
                .set("integration.messaging.security.mechanism", "PLAIN")
                .set("integration.messaging.security.username", String::from("me"))
                .set("integration.messaging.security.password", Secret::new("canary")),
        )
        .settings;
        let connection = &settings.messaging.connections["default"];
        assert_eq!(connection.consumer.bootstrap_servers, ["a:1", "b:2"]);
        assert_eq!(connection.consumer.librdkafka["socket.nagle.disable"], "true");
        assert_eq!(connection.security.password, Some(Secret::new("canary")));
        assert_eq!(
            settings.messaging.connections["Reports"]
                .consumer
                .max_poll_records
                .get(),
            7
        );
        assert!((settings.messaging.dlq.retry.factor - 3.5).abs() < f64::EPSILON);
    }
}

mod variables {
    use super::*;

    const CONSUMER: &str = "ATHOMIC_INTEGRATION__MESSAGING__CONSUMER__";

    fn consumer(toml: &str, name: &str, value: &str) -> ConsumerSettings {
        let name = format!("{CONSUMER}{name}");
        let mut settings = loaded(with_variables(toml, &[(&name, value)])).settings;
        settings.messaging.connections.remove("default").unwrap().consumer
    }

    #[test]
    fn names_are_matched_without_case() {
        assert_eq!(consumer("", "GROUP_ID", "g").group_id.as_deref(), Some("g"));
        let settings = loaded(with_variables("", &[("athomic_App__nAME", "x")])).settings;
        assert_eq!(settings.app.name, "x");
    }

    #[test]
    fn values_are_toml_or_else_text() {
        assert_eq!(consumer("", "MAX_POLL_RECORDS", "7").max_poll_records.get(), 7);
        assert_eq!(
            consumer("", "GROUP_ID", "'quoted'").group_id.as_deref(),
            Some("quoted")
        );
        assert_eq!(
            consumer("", "GROUP_ID", "not toml").group_id.as_deref(),
            Some("not toml")
        );
        assert_eq!(
            consumer("", "BOOTSTRAP_SERVERS", "['a:1', 'b:2']").bootstrap_servers,
            ["a:1", "b:2"]
        );
    }

    #[test]
    fn a_key_that_takes_text_gets_text_as_it_was_written() {
        let settings = loaded(with_variables("", &[("ATHOMIC_APP__VERSION", "1.10")])).settings;
        assert_eq!(settings.app.version, "1.10");
    }

    #[test]
    fn a_list_of_texts_may_be_separated_by_commas() {
        assert_eq!(
            consumer("", "BOOTSTRAP_SERVERS", "a:1, b:2").bootstrap_servers,
            ["a:1", "b:2"]
        );
        assert_eq!(
            consumer("", "BOOTSTRAP_SERVERS", "a:1").bootstrap_servers,
            ["a:1"]
        );
    }

    #[test]
    fn items_of_lists_go_by_number() {
        let toml = "[integration.messaging.consumer]\nbootstrap_servers = ['a:1', 'b:1']";
        assert_eq!(
            consumer(toml, "BOOTSTRAP_SERVERS__1", "c:1").bootstrap_servers,
            ["a:1", "c:1"]
        );
        assert_eq!(
            consumer(toml, "BOOTSTRAP_SERVERS__2", "c:1").bootstrap_servers,
            ["a:1", "b:1", "c:1"]
        );
        let tuning = "ATHOMIC_INTEGRATION__MESSAGING__HANDLER_TUNING__";
        let variables = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
            .map(|index| (format!("{tuning}{index}__HANDLER_ID"), format!("h{index}")));
        let settings = loaded(loader("").environment(variables)).settings;
        assert_eq!(settings.messaging.handler_tuning[10].handler_id, "h10");
    }

    #[test]
    fn a_number_past_the_end_of_a_list_is_a_fault() {
        let name = format!("{CONSUMER}BOOTSTRAP_SERVERS__5");
        let toml = "[integration.messaging.consumer]\nbootstrap_servers = ['a:1']";
        assert_eq!(
            faults(with_variables(toml, &[(&name, "b:1")])),
            [format!(
                "environment variable {name}: `integration.messaging.consumer.bootstrap_servers.5`: \
                 the list has 1 items; the next one has the number 1"
            )]
        );
    }

    #[test]
    fn a_tuned_item_keeps_what_the_file_says() {
        let toml = "[[integration.messaging.handler_tuning]]\nhandler_id = 'h'\nconcurrency = 2";
        let name = "ATHOMIC_INTEGRATION__MESSAGING__HANDLER_TUNING__0__CONCURRENCY";
        let settings = loaded(with_variables(toml, &[(name, "9")])).settings;
        let tuning = &settings.messaging.handler_tuning[0];
        assert_eq!(
            (tuning.handler_id.as_str(), tuning.concurrency),
            ("h", NonZeroUsize::new(9))
        );
    }

    #[test]
    fn a_whole_table_may_be_given() {
        let variables = [(
            "ATHOMIC_INTEGRATION__MESSAGING__CONSUMER",
            "{ group_id = 'g', max_poll_records = 3 }",
        )];
        let settings = loaded(with_variables("", &variables)).settings;
        let consumer = &settings.messaging.connections["default"].consumer;
        assert_eq!(
            (consumer.group_id.as_deref(), consumer.max_poll_records.get()),
            (Some("g"), 3)
        );
    }

    #[test]
    fn connections_are_found_by_the_name_in_the_file() {
        let toml = "[integration.messaging.connections.Analytics.consumer]\nbootstrap_servers = ['a:1']";
        let name = "ATHOMIC_INTEGRATION__MESSAGING__CONNECTIONS__ANALYTICS__CONSUMER__GROUP_ID";
        let settings = loaded(with_variables(toml, &[(name, "g")])).settings;
        assert_eq!(
            settings.messaging.connections["Analytics"]
                .consumer
                .group_id
                .as_deref(),
            Some("g")
        );
        assert_eq!(settings.messaging.connections.len(), 2);
    }

    #[test]
    fn underscores_stand_for_dots_in_options_of_librdkafka() {
        let options = consumer("", "LIBRDKAFKA__SOCKET_NAGLE_DISABLE", "true").librdkafka;
        assert_eq!(
            options,
            BTreeMap::from([("socket.nagle.disable".to_owned(), "true".to_owned())])
        );
    }

    #[test]
    fn an_unknown_variable_gets_the_nearest_name() {
        check_warnings(
            with_variables("", &[("ATHOMIC_INTEGRATION__MESSAGING__CONSUMER__GRUOP_ID", "g")]),
            &[
                "environment variable ATHOMIC_INTEGRATION__MESSAGING__CONSUMER__GRUOP_ID: unknown key; \
               did you mean `ATHOMIC_INTEGRATION__MESSAGING__CONSUMER__GROUP_ID`?",
            ],
        );
    }

    #[test]
    fn single_underscores_are_noticed_and_foreign_variables_left_alone() {
        check_warnings(
            with_variables(
                "",
                &[
                    ("ATHOMIC_APP_NAME", "x"),
                    ("ATHOMIC_MACROS_DEBUG", "1"),
                    ("ATHOMICAPP__NAME", "x"),
                ],
            ),
            &["environment variable ATHOMIC_APP_NAME: unknown key; did you mean `ATHOMIC_APP__NAME`?"],
        );
    }

    #[test]
    fn a_variable_of_the_wrong_type_is_named() {
        let name = format!("{CONSUMER}MAX_POLL_RECORDS");
        assert_eq!(
            faults(with_variables("", &[(&name, "many")])),
            [format!(
                "environment variable {name}: `integration.messaging.consumer.max_poll_records`: \
                 expected an integer, found text"
            )]
        );
    }
}

mod faults {
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
             settings.toml:6:1: `console`: is not built yet; remove it\n  \
             settings.toml:4:22: `integration.messaging.consumer.commit_interval_ms`: \
             must be between 1 and 2147483647 milliseconds"
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
            &[
                "settings.toml:1:71: `integration.messaging.security.mechanism`: expected text, found an integer",
            ],
        );
    }
}

mod nonsense {
    use super::*;

    #[test]
    fn zero_is_refused_where_it_makes_no_sense() {
        for key in [
            "max_poll_records",
            "fetch_max_bytes",
            "max_in_flight_messages",
            "max_in_flight_bytes",
            "queued_max_kbytes",
        ] {
            check_consumer(&format!("{key} = 0"), "must be between 1 and 2147483647");
            check_consumer(&format!("{key} = -1"), "must be between 1 and 2147483647");
        }
        for key in ["commit_interval_ms", "session_timeout_ms"] {
            check_consumer(
                &format!("{key} = 0"),
                "must be between 1 and 2147483647 milliseconds",
            );
        }
        check_faults(
            "[integration.messaging.topics]\ndefault_partitions = 0\ndefault_replication = 40000\n\
             [lifecycle]\nshutdown_timeout_seconds = 0",
            &[
                "settings.toml:2:22: `integration.messaging.topics.default_partitions`: must be between 1 and 2147483647",
                "settings.toml:3:23: `integration.messaging.topics.default_replication`: must be between 1 and 32767",
                "settings.toml:5:28: `lifecycle.shutdown_timeout_seconds`: must be more than 0 seconds",
            ],
        );
    }

    #[test]
    fn a_handler_timeout_of_zero_is_none() {
        let consumer = |value: &str| {
            let settings = load(&format!(
                "integration.messaging.consumer.handler_timeout_ms = {value}"
            ));
            settings.messaging.connections["default"].consumer.handler_timeout
        };
        assert_eq!(consumer("0"), None);
        assert_eq!(consumer("250"), Some(Duration::from_millis(250)));
    }

    #[test]
    fn texts_and_servers_are_not_empty() {
        check_consumer("group_id = ' '", "must not be empty");
        check_consumer(
            "bootstrap_servers = []",
            "must name at least one broker, such as \"localhost:9092\"",
        );
        check_consumer(
            "bootstrap_servers = ['a:1,b:1']",
            "`a:1,b:1` is not `host:port`; write one broker per item of the list",
        );
    }

    #[test]
    fn times_that_contradict_each_other_are_refused() {
        check_consumer(
            "revoke_timeout_ms = 300000",
            "`revoke_timeout_ms` (300000) must be less than `max_poll_interval_ms` (300000), \
             or draining costs the membership",
        );
        check_consumer(
            "max_poll_interval_ms = 30000",
            "`session_timeout_ms` (45000) must not be more than `max_poll_interval_ms` (30000)",
        );
        check_faults(
            "integration.messaging.producer.delivery_timeout_ms = 1",
            &[
                "settings.toml:1:54: `integration.messaging.producer.delivery_timeout_ms`: \
               `delivery_timeout_ms` (1) must not be less than `linger_ms` (5)",
            ],
        );
    }

    #[test]
    fn the_session_timeout_is_the_brokers_with_its_own_protocol() {
        check_faults(
            "[integration.messaging.consumer]\ngroup_protocol = 'consumer'\nsession_timeout_ms = 6000",
            &[
                "settings.toml:3:22: `integration.messaging.consumer.session_timeout_ms`: with \
               `group_protocol = \"consumer\"` the broker decides (`group.consumer.session.timeout.ms`); remove it",
            ],
        );
    }

    #[test]
    fn the_retry_policy_makes_sense() {
        let retry = "[integration.messaging.dlq.retry]\n";
        let key = "`integration.messaging.dlq.retry";
        check_faults(
            &format!("{retry}min_delay_seconds = 9\nmax_delay_seconds = 1.5\nfactor = 0.5"),
            &[
                &format!("settings.toml:4:10: {key}.factor`: must be a number of at least 1"),
                &format!(
                    "settings.toml:2:21: {key}.min_delay_seconds`: `min_delay_seconds` (9) must not be more than `max_delay_seconds` (1.5)"
                ),
            ],
        );
        check_faults(
            &format!("{retry}factor = nan\nmin_delay_seconds = -1"),
            &[
                &format!(
                    "settings.toml:3:21: {key}.min_delay_seconds`: must be between 0 and 2147483647 seconds"
                ),
                &format!("settings.toml:2:10: {key}.factor`: must be a number of at least 1"),
            ],
        );
    }

    #[test]
    fn sasl_needs_all_its_parts() {
        let key = "`integration.messaging.security";
        let reason = "missing: `protocol = \"sasl_ssl\"` needs it";
        check_faults(
            "integration.messaging.security.protocol = 'sasl_ssl'",
            &["mechanism", "username", "password"]
                .map(|name| format!("settings.toml:1:43: {key}.{name}`: {reason}"))
                .each_ref()
                .map(String::as_str),
        );
    }

    #[test]
    fn identity_without_sasl_and_files_without_tls_are_refused() {
        let key = "`integration.messaging.security";
        check_faults(
            "[integration.messaging.security]\nmechanism = 'PLAIN'\nca_file = 'ca.pem'",
            &[
                &format!(
                    "settings.toml:2:13: {key}.mechanism`: has no effect with `protocol = \"plaintext\"`; use `sasl_ssl` or `sasl_plaintext`, or remove it"
                ),
                &format!(
                    "settings.toml:3:11: {key}.ca_file`: has no effect with `protocol = \"plaintext\"`; use `ssl` or `sasl_ssl`, or remove it"
                ),
            ],
        );
    }

    #[test]
    fn a_certificate_goes_with_its_key() {
        let key = "`integration.messaging.security";
        check_faults(
            "[integration.messaging.security]\nprotocol = 'ssl'\ncertificate_file = 'c.pem'",
            &[&format!(
                "settings.toml:3:20: {key}.key_file`: missing: `certificate_file` needs its key"
            )],
        );
        check_faults(
            "[integration.messaging.security]\nprotocol = 'ssl'\nkey_password = 'canary'",
            &[&format!(
                "settings.toml:3:16: {key}.key_file`: missing: `key_password` needs a key file"
            )],
        );
    }

    #[test]
    fn handlers_are_tuned_once_and_by_name() {
        check_faults(
            "[[integration.messaging.handler_tuning]]\nhandler_id = 'h'\n\
             [[integration.messaging.handler_tuning]]\nhandler_id = 'h'\n\
             [[integration.messaging.handler_tuning]]\nconcurrency = 0\npriority = 'high'",
            &[
                "settings.toml:4:14: `integration.messaging.handler_tuning.1.handler_id`: `h` is tuned already at settings.toml:1:1",
                "settings.toml:6:15: `integration.messaging.handler_tuning.2.concurrency`: must be between 1 and 2147483647",
                "settings.toml:7:12: `integration.messaging.handler_tuning.2.priority`: `high` is not built yet; use `normal`",
                "settings.toml:5:1: `integration.messaging.handler_tuning.2.handler_id`: missing: an entry names the handler that it tunes",
            ],
        );
    }

    #[test]
    fn a_handler_tuning_knows_its_place() {
        let settings = load(
            "[[integration.messaging.handler_tuning]]\nhandler_id = 'h'\nconcurrency = 25\npriority = 'normal'\npaused = true",
        );
        let tuning = &settings.messaging.handler_tuning[0];
        assert_eq!(tuning.handler_id, "h");
        assert_eq!(tuning.concurrency, NonZeroUsize::new(25));
        assert_eq!(
            (tuning.priority, tuning.paused),
            (Some(Priority::Normal), Some(true))
        );
        assert_eq!(tuning.origin.to_string(), "settings.toml:1:1");
    }
}

mod connections {
    use super::*;

    const TWO: &str = "
[integration.messaging.consumer]
bootstrap_servers = ['a:1']
group_id = 'g'
librdkafka.'x.y' = 1
[integration.messaging.security]
protocol = 'ssl'
[integration.messaging.connections.far.consumer]
bootstrap_servers = ['b:1']
librdkafka.'z' = 'on'
[integration.messaging.connections.tuned.producer]
linger_ms = 0
";

    #[test]
    fn a_named_connection_inherits_what_it_lacks() {
        let settings = load(TWO);
        let far = &settings.messaging.connections["far"];
        assert_eq!(far.name, "far");
        assert_eq!(far.consumer.bootstrap_servers, ["b:1"]);
        assert_eq!(far.consumer.group_id.as_deref(), Some("g"));
        assert_eq!(far.consumer.librdkafka.keys().collect::<Vec<_>>(), ["x.y", "z"]);
        let tuned = &settings.messaging.connections["tuned"];
        assert_eq!(
            (tuned.producer.linger, tuned.consumer.group_id.as_deref()),
            (Duration::ZERO, Some("g"))
        );
    }

    #[test]
    fn consumer_and_producer_share_servers_if_only_one_names_them() {
        let settings = load(TWO);
        let servers = |name: &str| {
            let connection = &settings.messaging.connections[name];
            (
                connection.consumer.bootstrap_servers.join(","),
                connection.producer.bootstrap_servers.join(","),
            )
        };
        assert_eq!(servers("default"), ("a:1".to_owned(), "a:1".to_owned()));
        assert_eq!(servers("far"), ("b:1".to_owned(), "b:1".to_owned()));
        assert_eq!(servers("tuned"), ("a:1".to_owned(), "a:1".to_owned()));
        let both = load(
            "[integration.messaging]\nconsumer.bootstrap_servers = ['a:1']\nproducer.bootstrap_servers = ['b:1']",
        );
        let connection = &both.messaging.connections["default"];
        assert_eq!(connection.producer.bootstrap_servers, ["b:1"]);
    }

    #[test]
    fn credentials_follow_the_servers() {
        let settings = load(TWO);
        let protocol = |name: &str| settings.messaging.connections[name].security.protocol;
        assert_eq!(protocol("default"), SecurityProtocol::Ssl);
        assert_eq!(protocol("tuned"), SecurityProtocol::Ssl);
        assert_eq!(protocol("far"), SecurityProtocol::Plaintext);
    }

    #[test]
    fn the_default_connection_is_set_in_one_place() {
        check_faults(
            "[integration.messaging.connections.default.consumer]\ngroup_id = 'g'",
            &[
                "settings.toml:1:36: `integration.messaging.connections.default`: the default connection is \
               `integration.messaging.consumer`, `producer` and `security`; set it there",
            ],
        );
    }
}

mod secrets {
    use super::*;

    const SASL: &str = "integration.messaging.provider.backend = 'kafka'\n[integration.messaging.security]\n\
                        protocol = 'sasl_ssl'\nmechanism = 'SCRAM-SHA-512'\nusername = 'u'\n";

    fn password(loader: Loader) -> Option<Secret> {
        loaded(loader).settings.messaging.connections["default"]
            .security
            .password
            .clone()
    }

    fn sasl(password: &str) -> Loader {
        loader(&format!("{SASL}password = {password}"))
    }

    #[test]
    fn a_secret_comes_from_text_environment_or_file() {
        let canary = Some(Secret::new("canary"));
        assert_eq!(password(sasl("'canary'")), canary);
        assert_eq!(
            password(sasl("{ env = 'PASSWORD' }").environment([("PASSWORD", "canary")])),
            canary
        );
        let folder = Folder::new("secret-file");
        let file = folder.write("password", "canary\n");
        assert_eq!(
            password(sasl(&format!("{{ file = '{}' }}", file.display()))),
            canary
        );
        let variable = ("ATHOMIC_INTEGRATION__MESSAGING__SECURITY__PASSWORD", "12345");
        assert_eq!(
            password(sasl("'x'").environment([variable])),
            Some(Secret::new("12345"))
        );
    }

    #[test]
    fn a_secret_that_cannot_be_fetched_is_a_fault() {
        let key = "`integration.messaging.security.password`: ";
        for (written, reason) in [
            ("{ env = 'PASSWORD' }", "environment variable PASSWORD is not set"),
            (
                "{ path = 'a', key = 'b' }",
                "secrets by `path` and `key` are not built yet; use { env = \"NAME\" } or { file = \"PATH\" }",
            ),
            (
                "{ vault = 'a' }",
                "expected text, { env = \"NAME\" } or { file = \"PATH\" }, found another table",
            ),
            ("''", "the secret is empty"),
            (
                "12345",
                "expected text, { env = \"NAME\" } or { file = \"PATH\" }, found an integer",
            ),
        ] {
            let found = faults(sasl(written));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with("settings.toml:6:"), "{found:?}");
            assert!(found[0].ends_with(&format!("{key}{reason}")), "{found:?}");
        }
        assert!(
            faults(sasl("{ file = '/nowhere/password' }"))[0].contains("cannot read `/nowhere/password`")
        );
    }

    #[test]
    fn the_embedded_broker_needs_no_secret() {
        let loader = sasl("{ env = 'PASSWORD' }").set("integration.messaging.provider.backend", "memory");
        assert_eq!(password(loader), None);
    }

    #[test]
    fn a_variable_that_holds_a_secret_is_no_misspelt_setting() {
        let variables = [
            ("ATHOMIC_APP_NAME", "canary"),
            ("ATHOMIC_KAFKA__PASSWORD", "canary"),
        ];
        check_warnings(
            sasl("{ env = 'ATHOMIC_APP_NAME' }").environment(variables),
            &["environment variable ATHOMIC_KAFKA__PASSWORD: unknown key"],
        );
    }

    #[test]
    fn secrets_are_never_printed() {
        let loader = sasl("'canary'").set("integration.messaging.security.key_file", "k");
        let printed = format!("{loader:?}").replace("password = 'canary'", "");
        assert!(!printed.contains("canary"), "{printed}");
        let error = loader.load().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"));
        let loaded = loaded(sasl("'canary'"));
        let differences: Vec<_> = loaded
            .settings
            .differences()
            .iter()
            .map(ToString::to_string)
            .collect();
        let explanation = loaded
            .settings
            .explain("integration.messaging.security.password")
            .unwrap();
        let printed = format!("{loaded:?} {loaded:#?} {differences:?} {explanation} {explanation:?}");
        assert!(!printed.contains("canary"), "{printed}");
        assert!(
            differences
                .iter()
                .any(|line| line.contains("security.password = \"***\"")),
            "{differences:?}"
        );
    }

    #[test]
    fn secrets_are_not_handed_to_librdkafka_as_options() {
        let found = faults(loader(
            "integration.messaging.consumer.librdkafka.'sasl.password' = 'canary'",
        ));
        assert_eq!(
            found,
            [
                "settings.toml:1:61: `integration.messaging.consumer.librdkafka.\"sasl.password\"`: an option with \
             a secret in it cannot be handed over as text; use the `security` section",
            ]
        );
    }
}

mod not_built {
    use super::*;

    fn check(toml: &str, expected: &str) {
        let found = faults(loader(toml));
        assert_eq!(found, [format!("settings.toml:{expected}; remove it")], "{toml}");
    }

    #[test]
    fn parts_without_a_runtime_are_refused_by_name() {
        let messaging = "integration.messaging";
        check(
            "[integration.messaging.republisher]\nenabled = true",
            &format!("2:1: `{messaging}.republisher`: is not built yet"),
        );
        check(
            "[integration.messaging.payload]\nmax_decoded_bytes = 1",
            &format!("2:1: `{messaging}.payload.max_decoded_bytes`: is not built yet"),
        );
        check(
            "[integration.messaging.dlq]\ntopic = 't'",
            &format!("2:1: `{messaging}.dlq.topic`: is not built yet"),
        );
        check(
            "[resilience.idempotency]\nenabled = true\ndefault_ttl_seconds = 1",
            "2:1: `resilience.idempotency`: is not built yet",
        );
        check(
            "[database.kvstore.ordering]\nenabled = true",
            "2:1: `database.kvstore.ordering`: is not built yet",
        );
        check(
            "[observability]\nexporter_enabled = true",
            "2:1: `observability`: is not built yet",
        );
        check(
            "[lineage]\nproducer.job_namespace = 'x'",
            "2:10: `lineage`: is not built yet",
        );
        check("console.enabled = true", "1:9: `console`: is not built yet");
    }

    #[test]
    fn words_without_a_runtime_are_refused_by_name() {
        check_faults(
            "[integration.messaging.dlq]\nstrategy = 'keep'\nretry.mode = 'delay_topic'",
            &[
                "settings.toml:2:12: `integration.messaging.dlq.strategy`: `keep` is not built yet; use `logging_only`",
                "settings.toml:3:14: `integration.messaging.dlq.retry.mode`: `delay_topic` is not built yet; use `in_place`",
            ],
        );
    }

    #[test]
    fn a_section_that_is_switched_off_does_no_harm() {
        check_warnings(
            loader("[console]\nenabled = false\nbind = '127.0.0.1:1'\n[lineage]\nenabled = false"),
            &[],
        );
        let merged = loader("[console]\nenabled = true\n[p.console]\nenabled = false").profile("p");
        check_warnings(merged, &[]);
    }

    #[test]
    fn saying_what_holds_anyway_does_no_harm() {
        check_warnings(
            loader(
                "[[integration.messaging.payload.pipeline]]\nstep = 'serializer'\nsettings.backend = 'json'\n\
                 [serializer]\nformat = 'json'\n[integration.messaging.dlq]\nindex_in_kv = false\n\
                 strategy = 'logging_only'\n[observability]\ntracing_enabled = false",
            ),
            &[],
        );
    }

    #[test]
    fn another_pipeline_is_refused() {
        let refused = "1:24: `integration.messaging.payload.pipeline`: is not built yet";
        for pipeline in [
            "[{ step = 'serializer', settings.backend = 'msgpack' }]",
            "[{ step = 'serializer' }, { step = 'crypto' }]",
            "[{ step = 'compression' }]",
            "[]",
        ] {
            let toml = format!("integration.messaging. payload.pipeline = {pipeline}");
            let found = faults(loader(&toml));
            assert_eq!(found.len(), 1);
            assert!(
                found[0].contains(refused.split(": ").nth(1).unwrap()),
                "{found:?}"
            );
        }
    }

    #[test]
    fn one_fault_per_section_and_file() {
        let folder = Folder::new("planned");
        let main = folder.write("settings.toml", "[console]\nenabled = true\nbind = 'x'\n");
        let own = folder.write("p.toml", "[console]\nauth = 'token'");
        let expected =
            [own, main].map(|path| format!("{}:2:1: `console`: is not built yet; remove it", path.display()));
        assert_eq!(faults(folder.loader().profile("p")), expected);
    }

    #[test]
    fn environment_and_code_are_refused_too() {
        let variables = [(
            "ATHOMIC_INTEGRATION__MESSAGING__PAYLOAD__PIPELINE__0__STEP",
            "crypto",
        )];
        assert_eq!(
            faults(with_variables("", &variables)),
            [
                "environment variable ATHOMIC_INTEGRATION__MESSAGING__PAYLOAD__PIPELINE__0__STEP: \
             `integration.messaging.payload.pipeline`: is not built yet; remove it",
            ]
        );
        let variables = [(
            "ATHOMIC_INTEGRATION__MESSAGING__REPUBLISHER__DELAY_TOPICS__60",
            "t",
        )];
        assert!(
            faults(with_variables("", &variables))[0]
                .contains("`integration.messaging.republisher`: is not built yet")
        );
        assert!(faults(loader("").set("console.enabled", true))[0].contains("`console`: is not built yet"));
    }

    #[test]
    fn unknown_names_in_a_planned_section_are_unknown() {
        check_warnings(
            loader("[console]\nenabled = false\nbnid = 'x'"),
            &["settings.toml:3:1: `console.bnid`: unknown key; did you mean `bind`?"],
        );
    }

    #[test]
    fn compatibility_words_are_noted_or_explained() {
        check_warnings(
            loader("serializer.format = 'orjson'"),
            &["settings.toml:1:21: `serializer.format`: `orjson` is read as `json`"],
        );
        check_faults(
            "security.crypto.fernet_key = 'canary'",
            &[
                "settings.toml:1:17: `security.crypto.fernet_key`: athomic does not use Fernet: it names neither key \
             nor algorithm in the message; remove it",
            ],
        );
    }
}

mod origins {
    use super::*;

    #[test]
    fn defaults_have_no_differences() {
        assert_eq!(Settings::default().differences(), []);
        let same = "[integration.messaging.consumer]\ncommit_interval_ms = 1000\n[integration.messaging.connections.x]";
        assert_eq!(load(same).differences(), []);
    }

    #[test]
    fn differences_name_key_value_and_place() {
        let mut settings = loaded(with_variables(
            "[integration.messaging.provider]\nbackend = 'kafka'\n[integration.messaging.consumer]\n\
                 bootstrap_servers = ['a:1']\nlibrdkafka.'x.y' = 3\nhandler_timeout_ms = 5\n\
                 [integration.messaging.connections.far.consumer]\ngroup_id = 'g'\n\
                 [[integration.messaging.handler_tuning]]\nhandler_id = 'h'",
            &[("ATHOMIC_LIFECYCLE__STARTUP_TIMEOUT_SECONDS", "1.5")],
        ))
        .settings;
        settings.app.version = "9".to_owned();
        let lines: Vec<_> = settings.differences().iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "app.version = \"9\" (code)",
                "integration.messaging.provider.backend = \"kafka\" (settings.toml:2:11)",
                "lifecycle.startup_timeout_seconds = 1.5 (environment variable ATHOMIC_LIFECYCLE__STARTUP_TIMEOUT_SECONDS)",
                "integration.messaging.consumer.bootstrap_servers = [\"a:1\"] (settings.toml:4:21)",
                "integration.messaging.consumer.handler_timeout_ms = 5 (settings.toml:6:22)",
                "integration.messaging.consumer.librdkafka.\"x.y\" = \"3\" (settings.toml:5:20)",
                "integration.messaging.producer.bootstrap_servers = [\"a:1\"] (settings.toml:4:21)",
                "integration.messaging.connections.far.consumer.group_id = \"g\" (settings.toml:8:12)",
                "integration.messaging.handler_tuning.0.handler_id = \"h\" (settings.toml:10:14)",
            ]
        );
    }

    #[test]
    fn explain_says_which_layer_won_over_which() {
        let settings = loaded(
            with_variables(
                "[app]\nname = 'a'\n[p.app]\nname = 'b'",
                &[("ATHOMIC_APP__NAME", "c")],
            )
            .profile("p"),
        )
        .settings;
        let explanation = settings.explain("app.name").unwrap();
        assert_eq!(
            explanation.to_string(),
            "app.name = \"c\"\n  from environment variable ATHOMIC_APP__NAME\n  \
             over settings.toml:4:8\n  over settings.toml:2:8"
        );
        assert_eq!(
            explanation.doc,
            "The name under which brokers and telemetry know the program."
        );
    }

    #[test]
    fn explain_knows_defaults_and_inheritance() {
        let settings =
            load("[integration.messaging.consumer]\ngroup_id = 'g'\n[integration.messaging.connections.far]");
        let explain = |key: &str| {
            let explanation = settings.explain(key).unwrap();
            (
                explanation.value.unwrap_or_default(),
                explanation.origin.to_string(),
            )
        };
        let expected = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
        assert_eq!(
            explain("integration.messaging.topics.auto_create"),
            expected("\"dev\"", "built-in default")
        );
        assert_eq!(
            explain("integration.messaging.consumer.client_id"),
            expected("", "built-in default")
        );
        let inherited = explain("integration.messaging.connections.far.consumer.group_id");
        assert_eq!(inherited, expected("\"g\"", "settings.toml:2:12"));
    }

    #[test]
    fn explain_refuses_unknown_keys_with_the_nearest() {
        let error = Settings::default().explain("app.nmae").unwrap_err();
        assert_eq!(
            error.to_string(),
            "no settings key is called `app.nmae`; did you mean `app.name`?"
        );
        assert!(Settings::default().explain("app").is_err());
        assert!(
            Settings::default()
                .explain("integration.messaging.connections.no.consumer.group_id")
                .is_err()
        );
        assert!(Settings::default().explain("").is_err());
    }
}

mod table {
    use super::super::raw::{
        RawApp, RawConsumer, RawDlq, RawLifecycle, RawProducer, RawProvider, RawRetry, RawSecurity,
        RawSwitch, RawTopics, RawTuning,
    };
    use super::super::schema::SECTIONS;
    use super::*;

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
                    None => format!("[{section}]"),
                };
                text += &format!("\n# {}\n{header}\n", key.section);
            }
            let words = if key.takes.contains('|') {
                format!(" {}", key.takes)
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
        let example = |line: &str| match line.strip_prefix('#') {
            Some(key) if !key.starts_with(' ') => key.to_owned(),
            _ => line.to_owned(),
        };
        let text: Vec<_> = REFERENCE.lines().map(example).collect();
        let variables = [("KAFKA_PASSWORD", "x")];
        let loader = with_variables(&text.join("\n"), &variables)
            .set("integration.messaging.security.protocol", "sasl_ssl");
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
            RawTuning::KEYS,
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
}

mod merging {
    use super::super::error::Origin;
    use super::super::tree::{Entry, Node, Table, merge};
    use super::*;

    /// Values by section and key.
    type Layer = BTreeMap<(u8, u8), i64>;

    fn layer() -> impl Strategy<Value = Layer> {
        prop::collection::btree_map((0..3_u8, 0..3_u8), any::<i64>(), 0..9)
    }

    fn table(layer: &Layer) -> Table {
        let mut root = Table::new();
        for ((section, key), value) in layer {
            let value = Entry::new(Node::Integer((*value).into()), &Origin::BuiltIn);
            let fields = Node::Table(Table::from([(key.to_string(), value)]));
            merge(
                &mut root,
                Table::from([(section.to_string(), Entry::new(fields, &Origin::BuiltIn))]),
            );
        }
        root
    }

    fn shown(root: Table) -> String {
        Node::Table(root).shown()
    }

    fn merged(mut lower: Table, upper: Table) -> Table {
        merge(&mut lower, upper);
        lower
    }

    proptest! {
        #[test]
        fn each_key_has_the_value_of_the_highest_layer_that_sets_it(layers in prop::collection::vec(layer(), 0..5)) {
            let merged = layers.iter().map(table).fold(Table::new(), merged);
            let model = layers.into_iter().fold(Layer::new(), |mut all, layer| { all.extend(layer); all });
            prop_assert_eq!(shown(merged), shown(table(&model)));
        }

        #[test]
        fn layers_may_be_merged_in_any_grouping(a in layer(), b in layer(), c in layer()) {
            let left = merged(merged(table(&a), table(&b)), table(&c));
            let right = merged(table(&a), merged(table(&b), table(&c)));
            prop_assert_eq!(shown(left), shown(right));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[a-z\\[\\]{}='\"#.\n 0-9]{0,60}") {
            let _ = loader(&text).load();
            let _ = with_variables("", &[("ATHOMIC_INTEGRATION__MESSAGING__CONSUMER", &text)]).load();
            let _ = Settings::default().explain(&text);
        }
    }
}
