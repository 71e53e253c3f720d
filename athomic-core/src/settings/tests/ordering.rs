//! Ordered consumption and its stores.

use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::ordering::{
    CompleteMode, Durability, FirstSequence, FirstSequenceRule, GapAction, GapRule, OnGap, OnLate, OnPoison,
    OnRegression, OrderingOptions, OrderingPolicies,
};

const SECTION: &str = "[integration.messaging.ordering]\n";
const KEY: &str = "`integration.messaging.ordering";

fn policies(lines: &str) -> OrderingPolicies {
    load(&format!("{SECTION}{lines}")).messaging.ordering.policies
}

/// The fault for one line of the section, of which the value is wrong.
fn check(line: &str, expected: &str) {
    let key = line.split(" = ").next().unwrap_or_default();
    let column = key.len() + 4;
    let expected = format!("settings.toml:2:{column}: {KEY}.{key}`: {expected}");
    check_faults(&format!("{SECTION}{line}"), &[&expected]);
}

#[test]
fn every_policy_can_be_set() {
    let settings = load(
        "[integration.messaging.ordering]\n\
         kvstore = 'orders'\nfirst_sequence = 'first_seen'\nfirst_seen_settle_ms = 250\n\
         on_gap = 'dlq'\ngap_timeout_seconds = 1.5\non_late = 'drop'\non_regression = 'halt'\n\
         on_poison = 'dlq_sequence'\nmax_deliveries = 3\nroom_max_messages = 10\nroom_max_bytes = 20\n\
         bucket_max_messages = 30\nbucket_max_bytes = 40\nbuckets = 16384\ndurability = 'redis'\n\
         redis_ack_replicas = 2\nredis_ack_fsync = true\ncomplete = 'pipelined'\nsession_ttl_ms = 3000\n\
         state_ttl_seconds = 86400\nsticky = false\n[database.kvstore.orders.provider]\nbackend = 'memory'",
    );
    assert_eq!(settings.messaging.ordering.kvstore, "orders");
    let expected = OrderingPolicies {
        first_sequence: FirstSequence::FirstSeen {
            settle: Duration::from_millis(250),
        },
        on_gap: OnGap::After(Duration::from_millis(1500), GapAction::DeadLetter),
        on_late: OnLate::Drop,
        on_regression: OnRegression::Halt,
        on_poison: OnPoison::DlqSequence,
        max_deliveries: NonZeroU32::new(3).unwrap(),
        room_max_messages: 10,
        room_max_bytes: 20,
        bucket_max_messages: 30,
        bucket_max_bytes: 40,
        buckets: 16_384,
        durability: Durability::Redis {
            replicas: 2,
            fsync: true,
        },
        complete: CompleteMode::Pipelined,
        session_ttl: Duration::from_secs(3),
        state_ttl: Some(Duration::from_secs(86_400)),
        sticky: false,
    };
    assert_eq!(settings.messaging.ordering.policies, expected);
}

#[test]
fn the_first_sequence_is_a_number_or_a_word() {
    let first = |written: &str| policies(&format!("first_sequence = {written}")).first_sequence;
    assert_eq!(first("0"), FirstSequence::Exact(0));
    assert_eq!(first("'hook'"), FirstSequence::Hook);
    let largest = u64::MAX.to_string();
    assert_eq!(first(&format!("'{largest}'")), FirstSequence::Exact(u64::MAX));
    let settle = Duration::from_secs(5);
    assert_eq!(first("'first_seen'"), FirstSequence::FirstSeen { settle });
    let key = "ATHOMIC_INTEGRATION__MESSAGING__ORDERING__FIRST_SEQUENCE";
    for (value, expected) in [("7", FirstSequence::Exact(7)), ("hook", FirstSequence::Hook)] {
        let settings = loaded(with_variables("", &[(key, value)])).settings;
        assert_eq!(settings.messaging.ordering.policies.first_sequence, expected);
    }
    let neither = "is neither a sequence (0 or more) nor `first_seen` or `hook`";
    check(
        "first_sequence = 'first-sen'",
        &format!("`first-sen` {neither}; did you mean `first_seen`?"),
    );
    check("first_sequence = -1", &format!("`-1` {neither}"));
    check(
        "first_sequence = 1.5",
        "expected an integer or text, found a number",
    );
}

#[test]
fn hold_and_wait_are_one_word() {
    assert_eq!(policies("on_gap = 'hold'"), policies("on_gap = 'wait'"));
    check(
        "on_gap = 'skipp'",
        "`skipp` is not one of `wait`, `hold`, `skip`, `dlq`, `halt`; did you mean `skip`?",
    );
    check(
        "on_poison = 'dlq'",
        "`dlq` is not one of `dlq_and_continue`, `dlq_sequence`, `halt`",
    );
}

#[test]
fn policies_that_contradict_each_other_are_refused_in_one_report() {
    check_faults(
        &format!(
            "{SECTION}on_gap = 'skip'\nfirst_seen_settle_ms = 10\nredis_ack_replicas = 1\nredis_ack_fsync = true\n\
             room_max_messages = 7\nbucket_max_messages = 6"
        ),
        &[
            &format!(
                "settings.toml:2:10: {KEY}.gap_timeout_seconds`: missing: `on_gap = \"skip\"` needs it; \
                 say after which time a sequence is given up, or set `on_gap = \"wait\"`"
            ),
            &format!(
                "settings.toml:3:24: {KEY}.first_seen_settle_ms`: has no effect with `first_sequence = 1`; \
                 set `first_sequence = \"first_seen\"`, or remove it"
            ),
            &format!(
                "settings.toml:4:22: {KEY}.redis_ack_replicas`: has no effect with `durability = \"kafka\"`, \
                 where nothing is lost with the store; set `durability = \"redis\"`, or remove it"
            ),
            &format!(
                "settings.toml:5:19: {KEY}.redis_ack_fsync`: has no effect with `durability = \"kafka\"`, \
                 where nothing is lost with the store; set `durability = \"redis\"`, or remove it"
            ),
            &format!(
                "settings.toml:6:21: {KEY}.room_max_messages`: is 7, which is more than its bucket takes \
                 (`bucket_max_messages` is 6); lower it, or raise the bucket's"
            ),
        ],
    );
    check(
        "gap_timeout_seconds = 30",
        "has no effect with `on_gap = \"wait\"`, which waits for ever; say what is to be done then by \
         `on_gap` (`skip`, `dlq` or `halt`), or remove it",
    );
    check_faults(
        &format!("{SECTION}on_gap = 'halt'\ngap_timeout_seconds = 0"),
        &[&format!(
            "settings.toml:3:23: {KEY}.gap_timeout_seconds`: is 0, and then `on_gap = \"halt\"` never does \
             anything; set a time, or `on_gap = \"wait\"`"
        )],
    );
}

#[test]
fn numbers_of_ordered_consumption_are_in_range() {
    for key in [
        "max_deliveries",
        "room_max_messages",
        "room_max_bytes",
        "bucket_max_messages",
        "bucket_max_bytes",
    ] {
        check(&format!("{key} = 0"), "must be between 1 and 2147483647");
    }
    check("buckets = 0", "must be between 1 and 16384");
    check("buckets = 16385", "must be between 1 and 16384");
    check("redis_ack_replicas = -1", "must be between 0 and 1000");
    check(
        "session_ttl_ms = 2999",
        "is 2999 ms: a pause of the process or the network would cost it its aggregates; set it to 3 s or more",
    );
    check(
        "gap_timeout_seconds = -1",
        "must be between 0 and 2147483647 seconds",
    );
}

#[test]
fn messages_that_wait_do_not_expire() {
    let reason = "messages that wait never expire: their aggregate would wait for them for ever; remove it, \
                  or set `state_ttl_seconds`, after which an idle aggregate is forgotten";
    check_faults(
        &format!("{SECTION}room_ttl_seconds = 86400"),
        &[&format!("settings.toml:2:1: {KEY}.room_ttl_seconds`: {reason}")],
    );
    check_faults(
        "[[integration.messaging.handler_tuning]]\nhandler_id = 'h'\nordering.room_ttl_seconds = 1",
        &[&format!(
            "settings.toml:3:10: `integration.messaging.handler_tuning.0.ordering.room_ttl_seconds`: {reason}"
        )],
    );
}

#[test]
fn a_handler_is_tuned_key_by_key() {
    let settings = load(
        "[[integration.messaging.handler_tuning]]\nhandler_id = 'h'\n\
         ordering = { on_gap = 'hold', session_ttl_ms = 4000, kvstore = 'ordering' }",
    );
    let tuning = &settings.messaging.handler_tuning[0].ordering;
    let expected = OrderingOptions {
        on_gap: Some(GapRule::Wait),
        session_ttl: Some(Duration::from_secs(4)),
        ..OrderingOptions::new()
    };
    assert_eq!(
        (&tuning.policies, tuning.kvstore.as_deref()),
        (&expected, Some("ordering"))
    );
    let explained = settings
        .explain("integration.messaging.handler_tuning.0.ordering.session_ttl_ms")
        .unwrap();
    assert_eq!(
        explained.to_string().lines().next(),
        Some("integration.messaging.handler_tuning.0.ordering.session_ttl_ms = 4000")
    );
    let differences: Vec<_> = settings
        .differences()
        .into_iter()
        .map(|difference| difference.key)
        .collect();
    let tuned = [
        "handler_id",
        "ordering.kvstore",
        "ordering.on_gap",
        "ordering.session_ttl_ms",
    ];
    assert_eq!(
        differences,
        tuned.map(|key| format!("integration.messaging.handler_tuning.0.{key}"))
    );
    let variable = (
        "ATHOMIC_INTEGRATION__MESSAGING__HANDLER_TUNING__0__ORDERING__FIRST_SEQUENCE",
        "hook",
    );
    let tuned = "[[integration.messaging.handler_tuning]]\nhandler_id = 'h'";
    let settings = loaded(with_variables(tuned, &[variable])).settings;
    let options = settings.messaging.handler_tuning[0].ordering.policies;
    assert_eq!(options.first_sequence, Some(FirstSequenceRule::Hook));
    check_faults(
        &format!("{tuned}\nordering.buckets = 0\nordering.on_late = 'halt'"),
        &[
            "settings.toml:3:20: `integration.messaging.handler_tuning.0.ordering.buckets`: must be between 1 and 16384",
            "settings.toml:4:20: `integration.messaging.handler_tuning.0.ordering.on_late`: `halt` is not one of `dlq`, `drop`",
        ],
    );
}

const REDIS: &str = "[database.kvstore.ordering.provider]\nbackend = 'redis'\n";

#[test]
fn the_embedded_store_is_there_unless_another_is_named() {
    let stores = load("").kvstores;
    assert_eq!(stores.keys().collect::<Vec<_>>(), ["ordering"]);
    assert_eq!(stores["ordering"], KvStoreSettings::new("ordering"));
    let stores = load(&format!(
        "{REDIS}uri = 'rediss://u:p@cache:6379/0'\n[database.kvstore.other]\nenabled = false\nnamespace = 'shop'"
    ))
    .kvstores;
    assert_eq!(stores["ordering"].backend, StoreBackend::Redis);
    assert_eq!(
        stores["ordering"].uri,
        Some(Secret::new("rediss://u:p@cache:6379/0"))
    );
    let other = &stores["other"];
    assert_eq!((other.enabled, other.namespace.as_str()), (false, "shop"));
}

#[test]
fn stores_that_are_named_exist() {
    check(
        "kvstore = 'orderign'",
        "there is no store `orderign`; add `database.kvstore.orderign`; did you mean `ordering`?",
    );
    check_faults(
        "[[integration.messaging.handler_tuning]]\nhandler_id = 'h'\nordering.kvstore = 'x'",
        &[
            "settings.toml:3:20: `integration.messaging.handler_tuning.0.ordering.kvstore`: \
           there is no store `x`; add `database.kvstore.x`",
        ],
    );
}

#[test]
fn the_address_of_a_store_is_checked_and_never_shown() {
    let uri = "`database.kvstore.ordering.provider.uri`";
    check_faults(
        REDIS.trim_end(),
        &[&format!(
            "settings.toml:2:11: {uri}: missing: `backend = \"redis\"` needs it, such as \"redis://localhost:6379/0\""
        )],
    );
    let schemes = "must begin with one of `redis://`, `rediss://`, `redis-cluster://`, `rediss-cluster://`, \
                   `redis-sentinel://`, `rediss-sentinel://`, and name a server";
    for wrong in ["canary", "http://canary", "redis://"] {
        check_faults(
            &format!("{REDIS}uri = '{wrong}'"),
            &[&format!("settings.toml:3:7: {uri}: {schemes}")],
        );
    }
    let variable = loader(&format!("{REDIS}uri = {{ env = 'STORE' }}"));
    let loaded = loaded(variable.clone().environment([("STORE", "redis://:canary@cache")]));
    let store = &loaded.settings.kvstores["ordering"];
    assert_eq!(store.uri, Some(Secret::new("redis://:canary@cache")));
    let explanation = loaded.settings.explain("database.kvstore.ordering.provider.uri");
    let differences = loaded.settings.differences();
    let printed = format!("{loaded:?} {explanation:?} {differences:?}");
    assert!(!printed.contains("canary"), "{printed}");
    assert!(printed.contains("\\\"***\\\""), "{printed}");
    assert_eq!(
        faults(variable),
        [format!(
            "settings.toml:3:1: {uri}: environment variable STORE is not set"
        )]
    );
}

#[test]
fn a_store_that_is_not_used_needs_no_secret() {
    for unused in [
        "backend = 'memory'",
        "backend = 'redis'\n[database.kvstore.ordering]\nenabled = false",
    ] {
        let provider = "[database.kvstore.ordering.provider]\nuri = { env = 'STORE' }\n";
        let settings = load(&format!("{provider}{unused}"));
        assert_eq!(settings.kvstores["ordering"].uri, None);
    }
}

#[test]
fn in_a_profile_what_waits_is_not_committed_on_the_word_of_the_embedded_store() {
    let toml = format!("{SECTION}durability = 'redis'\n[p.app]\nname = 'x'");
    check_warnings(loader(&toml), &[]);
    assert_eq!(
        faults(loader(&toml).profile("p")),
        [format!(
            "settings.toml:2:14: {KEY}.durability`: `redis` commits messages that wait, and the embedded store \
             loses them with the process; set `database.kvstore.ordering.provider.backend = \"redis\"`, or use `kafka`"
        )]
    );
    let redis = format!("{toml}\n{REDIS}uri = 'redis://cache'");
    check_warnings(loader(&redis).profile("p"), &[]);
}
