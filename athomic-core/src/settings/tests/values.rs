//! Values that are out of range or contradict each other.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::*;
use crate::handler::Priority;

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
        "integration.messaging.producer = { delivery_timeout_ms = 1, linger_ms = 5 }",
        &[
            "settings.toml:1:58: `integration.messaging.producer.delivery_timeout_ms`: \
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
            &format!(
                "settings.toml:2:21: {key}.min_delay_seconds`: `min_delay_seconds` (9) must not be more than `max_delay_seconds` (1.5)"
            ),
            &format!("settings.toml:4:10: {key}.factor`: must be a number of at least 1"),
        ],
    );
    check_faults(
        &format!("{retry}min_delay_seconds = -1\nfactor = nan"),
        &[
            &format!(
                "settings.toml:2:21: {key}.min_delay_seconds`: must be between 0 and 2147483647 seconds"
            ),
            &format!("settings.toml:3:10: {key}.factor`: must be a number of at least 1"),
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
fn tokens_take_the_place_of_user_and_password() {
    let key = "`integration.messaging.security";
    let security = "[integration.messaging.security]\nprotocol = 'sasl_ssl'\nmechanism = 'OAUTHBEARER'\n";
    let needed = "missing: `mechanism = \"OAUTHBEARER\"` needs it";
    check_faults(
        &format!("{security}username = 'orders'"),
        &[
            &format!("settings.toml:3:13: {key}.oauth_token_url`: {needed}"),
            &format!("settings.toml:3:13: {key}.oauth_client_id`: {needed}"),
            &format!("settings.toml:3:13: {key}.oauth_client_secret`: {needed}"),
            &format!(
                "settings.toml:4:12: {key}.username`: has no effect with `mechanism = \"OAUTHBEARER\"`; remove it"
            ),
        ],
    );
    check_faults(
        "[integration.messaging.security]\nprotocol = 'sasl_ssl'\nmechanism = 'PLAIN'\nusername = 'orders'\npassword = 'x'\noauth_scope = 'kafka'",
        &[&format!(
            "settings.toml:6:15: {key}.oauth_scope`: has no effect with `mechanism = \"PLAIN\"`; remove it"
        )],
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
         [[integration.messaging.handler_tuning]]\nconcurrency = 0\npriority = 'urgent'",
        &[
            "settings.toml:4:14: `integration.messaging.handler_tuning.1.handler_id`: `h` is tuned already at settings.toml:1:1",
            "settings.toml:5:1: `integration.messaging.handler_tuning.2.handler_id`: missing: an entry names the handler that it tunes",
            "settings.toml:6:15: `integration.messaging.handler_tuning.2.concurrency`: must be between 1 and 2147483647",
            "settings.toml:7:12: `integration.messaging.handler_tuning.2.priority`: `urgent` is not one of `normal`, `high`, `low`, `weighted`",
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
        (Some(Priority::Normal.into()), Some(true))
    );
    assert_eq!(tuning.origin.to_string(), "settings.toml:1:1");
}
