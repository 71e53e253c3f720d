//! Payload pipelines: where their lists may stand, and what of them is read.

use super::*;

const LISTS: &str = "\
[integration.messaging.payload]
max_decoded_bytes = 1000
[[integration.messaging.payload.pipeline]]
step = 'serializer'
settings = { backend = 'msgpack' }
[[integration.messaging.payload.pipeline]]
step = 'compression'
settings = { level = 3 }
[integration.messaging.payload.topics.'orders.v1']
pipeline = [{ step = 'serializer' }]
[[integration.messaging.handler_tuning]]
handler_id = 'a'
payload.pipeline = [{ step = 'serializer', settings.backend = 'raw' }]
";

#[test]
fn lists_stand_for_all_topics_for_one_and_for_a_handler() {
    let messaging = loaded(loader(LISTS)).settings.messaging;
    let names = |pipeline: &PipelineSettings| {
        let steps = pipeline.steps.iter();
        steps.map(|step| step.step.clone()).collect::<Vec<_>>()
    };
    let payload = &messaging.payload;
    assert_eq!(payload.max_decoded_bytes.get(), 1000);
    let all = payload.pipeline.as_ref().unwrap();
    assert_eq!(names(all), ["serializer", "compression"]);
    assert_eq!(all.steps[1].settings["level"], "3");
    assert_eq!(names(&payload.topics["orders.v1"]), ["serializer"]);
    let tuned = messaging.handler_tuning[0].pipeline.as_ref().unwrap();
    assert_eq!(tuned.steps[0].settings["backend"], "raw");
}

#[test]
fn values_of_steps_are_explained() {
    let settings = loaded(loader(LISTS)).settings;
    let explained = |key: &str| settings.explain(key).unwrap().to_string();
    assert_eq!(
        explained("integration.messaging.payload.pipeline.1.settings.level"),
        "integration.messaging.payload.pipeline.1.settings.level = \"3\"\n  from settings.toml:8:22"
    );
    assert!(explained("integration.messaging.payload.pipeline.1.step").contains("\"compression\""));
}

#[test]
fn a_step_without_a_name_and_one_with_a_secret_are_faults() {
    check_faults(
        "[[integration.messaging.payload.pipeline]]\nsettings = { api_secret = 'canary' }",
        &[
            "settings.toml:1:1: `integration.messaging.payload.pipeline.0.step`: missing: an item of the pipeline \
             names its step, such as \"serializer\"",
            "settings.toml:2:27: `integration.messaging.payload.pipeline.0.settings.api_secret`: settings of steps are \
             shown, so they hold no secrets; keys stand in `security.crypto`, other secrets are for the code that \
             registers the step",
        ],
    );
}

#[test]
fn steps_may_be_given_by_the_environment() {
    let list = "ATHOMIC_INTEGRATION__MESSAGING__PAYLOAD__PIPELINE__";
    let variables = [
        ("0__STEP", "serializer"),
        ("1__STEP", "compression"),
        ("1__SETTINGS__MIN_BYTES", "64"),
    ];
    let variables = variables.map(|(name, value)| (format!("{list}{name}"), value));
    let variables = variables.each_ref().map(|(name, value)| (name.as_str(), *value));
    let pipeline = loaded(with_variables("", &variables))
        .settings
        .messaging
        .payload
        .pipeline
        .unwrap();
    assert_eq!(pipeline.steps[1].settings["min_bytes"], "64");
}

#[test]
fn keys_are_fetched_only_for_pipelines_that_encrypt() {
    let keys = "[security.crypto]\nactive_key = 'a'\nkeys = [{ id = 'a', secret = { env = 'NOT_SET' } }]\n";
    check_warnings(loader(keys), &[]);
    let encrypting = format!("{keys}[integration.messaging.payload]\npipeline = [{{ step = 'crypto' }}]");
    check_faults(
        &encrypting,
        &["settings.toml:3:21: `security.crypto.keys.0.secret`: environment variable NOT_SET is not set"],
    );
}
