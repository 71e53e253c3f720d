//! Parts of the schema without a runtime are refused, never ignored.

use super::*;

fn check(toml: &str, expected: &str) {
    let found = faults(loader(toml));
    assert_eq!(found, [format!("settings.toml:{expected}; remove it")], "{toml}");
}

#[test]
fn parts_without_a_runtime_are_refused_by_name() {
    let messaging = "integration.messaging";
    check(
        "[integration.messaging.dlq]\nordered_mode = 'hold'",
        &format!("2:1: `{messaging}.dlq.ordered_mode`: is not built yet"),
    );
    check_faults(
        "[observability]\nmetrics.allow_metrics_ips = ['127.0.0.1']",
        &[
            "settings.toml:2:9: `observability.metrics.allow_metrics_ips`: the port for metrics asks nobody who he is: \
             leave `observability.exporter_host` at loopback, or put something before it that does, and remove it",
        ],
    );
    check("console.enabled = true", "1:9: `console`: is not built yet");
}

#[test]
fn a_section_that_is_switched_off_does_no_harm() {
    check_warnings(
        loader("[console]\nenabled = false\nbind = '127.0.0.1:1'\n[observability]\nenabled = false"),
        &[],
    );
    let merged = loader("[console]\nenabled = true\n[p.console]\nenabled = false").profile("p");
    check_warnings(merged, &[]);
}

#[test]
fn saying_what_holds_anyway_does_no_harm() {
    check_warnings(
        loader(
            "[serializer]\nformat = 'json'\n[integration.messaging.dlq]\n\
             strategy = 'logging_only'\n[observability]\ntracing_enabled = false",
        ),
        &[],
    );
}

#[test]
fn one_fault_per_section_and_file() {
    let folder = Folder::new("planned");
    let main = folder.write("settings.toml", "[console]\nenabled = true\nbind = 'x'\n");
    let own = folder.write("p.toml", "[console]\nauth = 'token'");
    let expected =
        [main, own].map(|path| format!("{}:2:1: `console`: is not built yet; remove it", path.display()));
    assert_eq!(faults(folder.loader().profile("p")), expected);
}

#[test]
fn environment_and_code_are_refused_too() {
    let variables = [("ATHOMIC_CONSOLE__AUTH", "token")];
    assert_eq!(
        faults(with_variables("", &variables)),
        ["environment variable ATHOMIC_CONSOLE__AUTH: `console`: is not built yet; remove it",]
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
