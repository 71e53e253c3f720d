//! Rule 4: environment variables.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

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

#[test]
fn the_environment_of_the_process_is_read_unless_the_program_gives_another() {
    let loader = Settings::loader().text("settings.toml", "app.name = 'from the text'");
    assert_eq!(loaded(loader).settings.app.name, "from the text");
    let toml = "integration.messaging.provider.backend = 'kafka'\n\
                integration.messaging.security = { protocol = 'sasl_ssl', mechanism = 'PLAIN', username = 'u', \
                password = { env = 'CARGO_MANIFEST_DIR' } }";
    let settings = loaded(Settings::loader().text("settings.toml", toml)).settings;
    let password = settings.messaging.connections["default"]
        .security
        .password
        .clone();
    assert_eq!(password, Some(Secret::new(env!("CARGO_MANIFEST_DIR"))));
}
