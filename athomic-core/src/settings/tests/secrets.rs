//! Rule 6: secrets are found and never shown.

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
    assert!(faults(sasl("{ file = '/nowhere/password' }"))[0].contains("cannot read `/nowhere/password`"));
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
    let variables = [("PASSWORD", "canary")];
    let overridden = loader.clone().environment(variables).set("app.name", "canary");
    let value = SettingValue::from("canary");
    let printed = format!("{loader:?} {overridden:?} {value:?}");
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
