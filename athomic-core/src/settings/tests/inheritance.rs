//! Rule 7: named connections.

use std::time::Duration;

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
