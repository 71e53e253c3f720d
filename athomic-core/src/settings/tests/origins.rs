//! Differences and explanations.

use super::*;

#[test]
fn defaults_have_no_differences() {
    assert_eq!(Settings::default().differences(), []);
    let same =
        "[integration.messaging.consumer]\ncommit_interval_ms = 1000\n[integration.messaging.connections.x]";
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
