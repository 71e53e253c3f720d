use std::time::Duration;

use super::*;
use crate::handler::register::{ordered, subscribe};
use crate::ordering::{
    Durability, DurabilityRule, GapAction, GapRule, OnGap, OrderingOptions, OrderingPolicies,
};

const TUNING: &str = "[[integration.messaging.handler_tuning]]\nhandler_id = 'h'\n";

fn handler(policies: impl FnOnce(&mut OrderingOptions)) -> HandlerDefinition {
    ordered("orders.v1")
        .handler_id("h")
        .key(|number: &u64| *number)
        .sequence(|number: &u64| *number)
        .policies(policies)
        .handler(async |_: u64| {})
}

fn load(toml: &str) -> Settings {
    let loader = Settings::loader().text("settings.toml", toml);
    loader.environment([("", ""); 0]).load().unwrap().settings
}

fn policies(definition: &HandlerDefinition, toml: &str) -> OrderingPolicies {
    resolve(definition, &load(toml)).unwrap().unwrap().policies
}

fn check(definition: &HandlerDefinition, settings: &Settings, expected: &[(&str, &str, &str)]) {
    let faults = resolve(definition, settings).unwrap_err();
    let told: Vec<_> = faults
        .iter()
        .map(|fault| (fault.key.as_str(), fault.problem.as_str(), fault.remedy.as_str()))
        .collect();
    assert_eq!(told, expected);
    for fault in faults {
        assert_eq!(fault.handler, definition.to_string());
    }
}

#[test]
fn tuning_wins_over_the_attribute_and_that_over_the_settings() {
    let skip_after = |seconds| OnGap::After(Duration::from_secs(seconds), GapAction::Skip);
    let plain = handler(|_| {});
    let of_attribute = handler(|policies| {
        policies.gap_timeout = Some(Duration::from_secs(2));
        policies.buckets = Some(2);
    });
    let settings =
        "[integration.messaging.ordering]\non_gap = 'skip'\ngap_timeout_seconds = 1\nbuckets = 1\n";
    assert_eq!(policies(&plain, ""), OrderingPolicies::default());
    let check = |definition, tuning, expected| {
        let policies = policies(definition, &format!("{settings}{tuning}"));
        assert_eq!((policies.on_gap, policies.buckets), expected);
    };
    check(&plain, "", (skip_after(1), 1));
    check(&of_attribute, "", (skip_after(2), 2));
    let tuned = format!("{TUNING}ordering.gap_timeout_seconds = 3");
    check(&of_attribute, tuned.as_str(), (skip_after(3), 2));
    let others = tuned.replace("'h'", "'other'");
    check(&of_attribute, others.as_str(), (skip_after(2), 2));
}

#[test]
fn faults_name_the_key_where_it_was_written() {
    let definition = handler(|policies| {
        policies.on_gap = Some(GapRule::Act(GapAction::Halt));
        policies.session_ttl = Some(Duration::from_secs(1));
    });
    let settings = load(&format!("{TUNING}ordering.redis_ack_replicas = 1"));
    let tuned = "integration.messaging.handler_tuning.0.ordering.redis_ack_replicas";
    let problem = format!(
        "`{tuned}` (settings.toml:3:31) has no effect with `durability = \"kafka\"`, where nothing is lost with the store"
    );
    check(
        &definition,
        &settings,
        &[
            (
                "gap_timeout",
                "`gap_timeout` is missing: `on_gap = \"halt\"` needs it",
                "say after which time a sequence is given up, or set `on_gap = \"wait\"`",
            ),
            (tuned, &problem, "set `durability = \"redis\"`, or remove it"),
            (
                "session_ttl",
                "`session_ttl` is 1000 ms: a pause of the process or the network would cost it its aggregates",
                "set it to 3 s or more",
            ),
        ],
    );
}

#[test]
fn policies_of_handlers_that_are_not_ordered_are_refused() {
    let remedy = "remove it, or make it an ordered consumer (`#[ordered_consumer]`, `register::ordered`)";
    let plain = subscribe("orders.v1").handler_id("h").handler(async |_: u64| {});
    assert_eq!(resolve(&plain, &Settings::default()), Ok(None));
    let tuned = load(&format!("{TUNING}ordering.sticky = true"));
    let key = "integration.messaging.handler_tuning.0.ordering";
    check(
        &plain,
        &tuned,
        &[(
            key,
            &format!("`{key}` (settings.toml:1:1) has no effect: the handler is not ordered"),
            remedy,
        )],
    );
    let by_hand = subscribe("orders.v1")
        .handler_id("h")
        .options(|options| options.policies.buckets = Some(1))
        .handler(async |_: u64| {});
    check(
        &by_hand,
        &Settings::default(),
        &[(
            "policies",
            "policies of ordered consumption have no effect: it is not ordered",
            remedy,
        )],
    );
}

#[test]
fn the_store_is_there_and_switched_on() {
    let (plain, mut settings) = (handler(|_| {}), load("database.kvstore.orders.enabled = true"));
    let store = |settings| resolve(&plain, settings).unwrap().unwrap().store.name.clone();
    assert_eq!(store(&settings), "ordering");
    let tuned = load(&format!(
        "database.kvstore.orders.enabled = true\n{TUNING}ordering.kvstore = 'orders'"
    ));
    assert_eq!(store(&tuned), "orders");
    let key = "integration.messaging.ordering.kvstore";
    settings.kvstores.get_mut("ordering").unwrap().backend = StoreBackend::Redis;
    check(
        &plain,
        &settings,
        &[(
            key,
            "nobody says where its store `ordering` is",
            "set `database.kvstore.ordering.provider.uri`",
        )],
    );
    settings.kvstores.get_mut("ordering").unwrap().enabled = false;
    check(
        &plain,
        &settings,
        &[(
            key,
            "its store `ordering` is switched off",
            "set `database.kvstore.ordering.enabled = true`, or name another",
        )],
    );
    settings.messaging.ordering.kvstore = "none".to_owned();
    check(
        &plain,
        &settings,
        &[(
            key,
            "there is no store `none`",
            "add `database.kvstore.none`, or name another",
        )],
    );
}

#[test]
fn the_embedded_store_is_for_development() {
    let durable = handler(|policies| policies.durability = Some(DurabilityRule::Redis));
    let problem = "`durability = \"redis\"` commits messages that wait, and the embedded store `ordering` loses them with the process";
    let mut settings = Settings::default();
    let resolved = resolve(&durable, &settings).unwrap().unwrap();
    assert_eq!(resolved.caveats, [problem]);
    assert_ne!(resolved.policies.durability, Durability::Kafka);
    settings.profile = Some("production".to_owned());
    check(
        &durable,
        &settings,
        &[(
            "durability",
            problem,
            "set `database.kvstore.ordering.provider.backend = \"redis\"`, or `durability = \"kafka\"`",
        )],
    );
    settings.messaging.backend = Backend::Kafka;
    let resolved = resolve(&handler(|_| {}), &settings).unwrap().unwrap();
    assert_eq!(resolved.caveats.len(), 1);
    assert!(resolved.caveats[0].contains("keeps the order within this process only"));
    let redis = "[integration.messaging.provider]\nbackend = 'kafka'\n\
                 [database.kvstore.ordering.provider]\nbackend = 'redis'\nuri = 'redis://cache'";
    assert_eq!(resolve(&durable, &load(redis)).unwrap().unwrap().caveats, [""; 0]);
}
