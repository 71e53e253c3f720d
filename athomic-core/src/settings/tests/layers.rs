//! Rules 1 to 3: which layers there are and which wins.

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
    let file = folder.write(
        "production.toml",
        "[production.app]\nname = 'x'\n[appp]\nname = 'x'",
    );
    let file = file.display();
    assert_eq!(
        faults(folder.loader().profile("production")),
        [
            format!(
                "{file}:1:2: `production`: the file is of one profile; write its tables without `production.`"
            ),
            format!("{file}:3:2: `appp`: unknown key; did you mean `app`?"),
        ]
    );
}

#[test]
fn code_says_where_it_stands() {
    let found = faults(loader("").set("app.nmae", "x"));
    assert!(
        found[0].starts_with("code at ") && found[0].contains("layers.rs:"),
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
