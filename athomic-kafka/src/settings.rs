//! From settings to librdkafka's options: what athomic sets, what may be passed through, and what not.

use std::collections::BTreeMap;
use std::time::Duration;

use athomic_core::settings::{
    ConnectionSettings, ConsumerSettings, GroupProtocol, IsolationLevel, OffsetReset, ProducerSettings,
    Settings, WireCompression,
};
use athomic_core::transport::{Subscription, TransportError};

use crate::bulk::BulkSettings;
use crate::error::Endpoint;
use crate::security::{self, Secrets};

/// Options of librdkafka by their names. Holds secrets: never printed.
pub(crate) type Options = BTreeMap<String, String>;

/// The least that librdkafka takes for `message.max.bytes`.
const SMALLEST_MESSAGE_LIMIT: usize = 1000;

/// What a transport needs of the settings, checked.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) name: String,
    consumer: ConsumerSettings,
    producer: ProducerSettings,
    /// What every client of the connection has: identity and encryption.
    common: Options,
    /// Those of it that stand in files.
    secrets: Secrets,
    /// The beginning of each client's id.
    client_id: String,
    /// What publishes in bulk, if the settings ask for it.
    #[cfg_attr(
        not(feature = "bulk"),
        expect(dead_code, reason = "without the feature there is none")
    )]
    pub(crate) bulk: Option<BulkSettings>,
}

impl Connection {
    /// Check the settings of a connection.
    pub(crate) fn new(
        settings: &Settings,
        connection: &ConnectionSettings,
        features: &[String],
    ) -> Result<Self, TransportError> {
        let refuse = |message| TransportError::Settings {
            connection: connection.name.clone(),
            message,
        };
        check_passed_on("consumer", &connection.consumer.librdkafka, OWNED_BY_CONSUMER).map_err(refuse)?;
        check_passed_on("producer", &connection.producer.librdkafka, OWNED_BY_PRODUCER).map_err(refuse)?;
        let client_id = connection
            .consumer
            .client_id
            .as_ref()
            .unwrap_or(&settings.app.name)
            .clone();
        Ok(Self {
            name: connection.name.clone(),
            consumer: connection.consumer.clone(),
            producer: connection.producer.clone(),
            common: security::options(&connection.security, features).map_err(refuse)?,
            secrets: security::secrets(&connection.security),
            bulk: BulkSettings::of(connection, &client_id).map_err(refuse)?,
            client_id,
        })
    }

    /// Return what errors of consumers say about the connection.
    pub(crate) fn consumer_endpoint(&self) -> Endpoint {
        self.endpoint(&self.consumer.bootstrap_servers)
    }

    /// Return what errors of publishers say about the connection.
    pub(crate) fn producer_endpoint(&self) -> Endpoint {
        self.endpoint(&self.producer.bootstrap_servers)
    }

    fn endpoint(&self, servers: &[String]) -> Endpoint {
        Endpoint {
            connection: self.name.clone(),
            servers: servers.join(","),
        }
    }

    /// Return the options of a consumer's two clients; its topics have so many partitions.
    pub(crate) fn consumer_options(&self, subscription: &Subscription, partitions: usize) -> ConsumerOptions {
        let passed_on = &self.consumer.librdkafka;
        let common = self.group_options(subscription);
        let mut group = common.clone();
        group.extend(self.member_options());
        let mut fetch = common;
        fetch.extend(self.fetch_options(subscription, partitions));
        for (name, value) in passed_on {
            let of_members = OF_MEMBERS.contains(&name.as_str());
            let options = if of_members {
                [Some(&mut group), None]
            } else {
                [Some(&mut group), Some(&mut fetch)]
            };
            for options in options.into_iter().flatten() {
                options.insert(name.clone(), value.clone());
            }
        }
        ConsumerOptions {
            group,
            fetch,
            secrets: self.secrets.clone(),
            offset_reset: subscription
                .fetch
                .offset_reset
                .unwrap_or(self.consumer.auto_offset_reset),
        }
    }

    /// What the member and the client that fetches have in common.
    fn group_options(&self, subscription: &Subscription) -> Options {
        let mut options = self.client_options(&self.consumer.bootstrap_servers);
        options.extend(pairs([
            ("client.id", self.id_for(&subscription.handler_id)),
            ("group.id", subscription.group_id.clone()),
            ("enable.auto.commit", "false".to_owned()),
            ("enable.auto.offset.store", "false".to_owned()),
            ("allow.auto.create.topics", "false".to_owned()),
        ]));
        options
    }

    fn member_options(&self) -> Options {
        let settings = &self.consumer;
        let mut options = pairs([("max.poll.interval.ms", millis(settings.max_poll_interval))]);
        options.extend(pairs(match settings.group_protocol {
            GroupProtocol::Classic => vec![
                ("group.protocol", "classic".to_owned()),
                ("partition.assignment.strategy", "cooperative-sticky".to_owned()),
                ("session.timeout.ms", millis(settings.session_timeout)),
                (
                    "heartbeat.interval.ms",
                    millis(heartbeat(settings.session_timeout)),
                ),
            ],
            // The broker decides about assignor, heartbeat and session; librdkafka refuses those here.
            GroupProtocol::Consumer => vec![("group.protocol", "consumer".to_owned())],
        }));
        if let Some(instance) = &settings.group_instance_id {
            options.insert("group.instance.id".to_owned(), instance.clone());
        }
        options
    }

    fn fetch_options(&self, subscription: &Subscription, partitions: usize) -> Options {
        let settings = &self.consumer;
        let bytes = subscription.fetch.max_bytes.unwrap_or(settings.fetch_max_bytes);
        let bytes = bytes.max(SMALLEST_MESSAGE_LIMIT);
        let queued = queued_kbytes(settings.queued_max_kbytes, partitions);
        let wait = subscription.fetch.max_wait.unwrap_or(settings.fetch_max_wait);
        pairs([
            // Up to librdkafka 2.12, a batch with the end of a partition in it moves librdkafka's own
            // position one too far. That position counts only if a partition is paused, which this
            // client never does; see `client/librdkafka/member.rs`.
            ("enable.partition.eof", "true".to_owned()),
            // A reset is the member's affair: librdkafka would say nothing, and offsets would fall in the
            // middle of an assignment.
            ("auto.offset.reset", "error".to_owned()),
            ("isolation.level", isolation(settings.isolation_level).to_owned()),
            ("fetch.wait.max.ms", millis(wait)),
            ("fetch.max.bytes", bytes.to_string()),
            // librdkafka wants it no larger than `fetch.max.bytes`; it limits nothing for a consumer.
            ("message.max.bytes", bytes.min(1_000_000).to_string()),
            (
                "max.partition.fetch.bytes",
                bytes.min(FETCHED_AT_ONCE).to_string(),
            ),
            ("queued.max.messages.kbytes", queued.to_string()),
            ("queued.min.messages", "100000".to_owned()),
            // At librdkafka's own second, a full queue costs nine tenths of the throughput.
            ("fetch.queue.backoff.ms", "5".to_owned()),
        ])
    }

    /// Return what of the options stands in files.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Return the options of a producer.
    pub(crate) fn producer_options(&self) -> Options {
        let settings = &self.producer;
        let batch = settings.batch_max_bytes.max(1);
        let mut options = self.client_options(&settings.bootstrap_servers);
        options.extend(pairs([
            ("enable.idempotence", "true".to_owned()),
            ("acks", "all".to_owned()),
            ("partitioner", "murmur2_random".to_owned()),
            ("linger.ms", millis(settings.linger)),
            ("batch.size", batch.to_string()),
            ("message.max.bytes", batch.max(1_000_000).to_string()),
            (
                "compression.type",
                compression(settings.wire_compression).to_owned(),
            ),
            ("message.timeout.ms", millis(settings.delivery_timeout)),
            ("queue.buffering.max.kbytes", (64 << 10).to_string()),
            // How long a topic that no broker knows is hoped for before its records fail.
            ("topic.metadata.propagation.max.ms", "10000".to_owned()),
        ]));
        options.extend(settings.librdkafka.clone());
        options
    }

    /// Return the options of a client that only asks.
    pub(crate) fn admin_options(&self) -> Options {
        self.client_options(&self.consumer.bootstrap_servers)
    }

    fn client_options(&self, servers: &[String]) -> Options {
        let mut options = self.common.clone();
        security::renew(&mut options, &self.secrets);
        options.extend(pairs([
            ("bootstrap.servers", servers.join(",")),
            ("client.id", self.client_id.clone()),
            ("socket.nagle.disable", "true".to_owned()),
            // By a metadata request new partitions are noticed, and leaders that moved away from a broker
            // that hangs.
            ("topic.metadata.refresh.interval.ms", "10000".to_owned()),
            // A broker that takes requests and does not answer is given up after this; librdkafka's own
            // minute is longer than a group's patience. What is published waits for it, to keep its order.
            ("socket.timeout.ms", "10000".to_owned()),
            // A broker that is back after a long time is noticed soon.
            ("reconnect.backoff.max.ms", "2000".to_owned()),
        ]));
        options
    }

    /// Name a handler's client; `::` would be awkward in the broker's metrics.
    fn id_for(&self, handler: &str) -> String {
        format!("{}-{}", self.client_id, handler.replace("::", "."))
    }
}

/// How many bytes of a partition are fetched at once. More is no faster; less is slower where there are
/// many partitions, and a larger batch of records comes all the same.
const FETCHED_AT_ONCE: usize = 256 << 10;

/// Return how many kilobytes of a partition may be queued for more of it to be fetched.
///
/// librdkafka's own limit holds for each queue, and each partition has a queue of its own, so that a
/// consumer's limit is shared out. It is looked at before a fetch, whose bytes lie on top.
fn queued_kbytes(of_consumer: usize, partitions: usize) -> usize {
    let share = of_consumer.saturating_mul(1000) / partitions.max(1);
    let queued = share.saturating_sub(FETCHED_AT_ONCE) / 1000;
    // What librdkafka takes.
    queued.clamp(1, 2_097_151)
}

/// The options of a consumer's two clients.
#[derive(Clone)]
pub(crate) struct ConsumerOptions {
    /// Of the member of the group, which fetches nothing.
    pub(crate) group: Options,
    /// Of the client that fetches, which is no member.
    pub(crate) fetch: Options,
    /// What of the options stands in files.
    pub(crate) secrets: Secrets,
    /// Where a group without a commit begins.
    pub(crate) offset_reset: OffsetReset,
}

/// Options that concern membership, and are not for the client that fetches.
const OF_MEMBERS: &[&str] = &[
    "partition.assignment.strategy",
    "group.remote.assignor",
    "group.protocol.type",
    "heartbeat.interval.ms",
];

/// Options that are not passed on, and what to do instead.
type Owned = &'static [(&'static str, &'static str)];

const NEVER_LOSES: &str = "athomic commits what is settled, and nothing else";

const OWNED_BY_CONSUMER: Owned = &[
    ("enable.auto.commit", NEVER_LOSES),
    ("auto.commit.enable", NEVER_LOSES),
    ("auto.commit.interval.ms", NEVER_LOSES),
    ("enable.auto.offset.store", NEVER_LOSES),
    (
        "enable.partition.eof",
        "it makes librdkafka lose its position in batches",
    ),
    (
        "allow.auto.create.topics",
        "`topics.auto_create` decides about creating topics",
    ),
    ("group.id", "use `group_id`"),
    ("group.protocol", "use `group_protocol`"),
    ("group.instance.id", "use `group_instance_id`"),
    ("session.timeout.ms", "use `session_timeout_ms`"),
    ("max.poll.interval.ms", "use `max_poll_interval_ms`"),
    ("auto.offset.reset", "use `auto_offset_reset`"),
    ("isolation.level", "use `isolation_level`"),
    ("fetch.max.bytes", "use `fetch_max_bytes`"),
    ("fetch.wait.max.ms", "use `fetch_max_wait_ms`"),
    ("queued.max.messages.kbytes", "use `queued_max_kbytes`"),
];

const OWNED_BY_PRODUCER: Owned = &[
    (
        "enable.idempotence",
        "athomic publishes idempotently, so that a retry repeats nothing",
    ),
    (
        "acks",
        "athomic waits for all in-sync replicas, so that what it calls published is",
    ),
    (
        "request.required.acks",
        "athomic waits for all in-sync replicas, so that what it calls published is",
    ),
    ("transactional.id", "athomic does not publish in transactions"),
    (
        "partitioner",
        "athomic puts a key where Kafka's own clients put it",
    ),
    ("delivery.report.only.error", "athomic waits for every report"),
    ("linger.ms", "use `linger_ms`"),
    ("queue.buffering.max.ms", "use `linger_ms`"),
    ("batch.size", "use `batch_max_bytes`"),
    ("compression.type", "use `wire_compression`"),
    ("compression.codec", "use `wire_compression`"),
    ("message.timeout.ms", "use `delivery_timeout_ms`"),
    ("delivery.timeout.ms", "use `delivery_timeout_ms`"),
];

const OWNED_BY_BOTH: Owned = &[
    ("bootstrap.servers", "use `bootstrap_servers`"),
    ("metadata.broker.list", "use `bootstrap_servers`"),
    ("client.id", "use `client_id`"),
    ("security.protocol", "use `security.protocol`"),
    ("sasl.mechanism", "use `security.mechanism`"),
    ("sasl.mechanisms", "use `security.mechanism`"),
    ("sasl.username", "use `security.username`"),
    ("sasl.password", "use `security.password`, which is never printed"),
    ("ssl.ca.location", "use `security.ca_file`"),
    ("ssl.certificate.location", "use `security.certificate_file`"),
    ("ssl.key.location", "use `security.key_file`"),
    (
        "ssl.key.password",
        "use `security.key_password`, which is never printed",
    ),
    ("sasl.oauthbearer.method", "use `security.mechanism`"),
    ("sasl.oauthbearer.client.id", "use `security.oauth_client_id`"),
    (
        "sasl.oauthbearer.token.endpoint.url",
        "use `security.oauth_token_url`",
    ),
    ("sasl.oauthbearer.scope", "use `security.oauth_scope`"),
    ("sasl.oauthbearer.extensions", "use `security.oauth_extensions`"),
    ("https.ca.location", "use `security.oauth_ca_file`"),
];

fn check_passed_on(section: &str, options: &Options, owned: Owned) -> Result<(), String> {
    let faults: Vec<_> = OWNED_BY_BOTH
        .iter()
        .chain(owned)
        .filter(|(name, _)| options.contains_key(*name))
        .map(|(name, instead)| format!("`{section}.librdkafka.\"{name}\"` is not passed on: {instead}"))
        .collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("; "))
    }
}

pub(crate) fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> Options {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// How often a member of the classic protocol says that it lives: three times within its session.
fn heartbeat(session_timeout: Duration) -> Duration {
    (session_timeout / 3).clamp(Duration::from_millis(1), Duration::from_secs(3))
}

fn isolation(level: IsolationLevel) -> &'static str {
    match level {
        IsolationLevel::ReadCommitted => "read_committed",
        IsolationLevel::ReadUncommitted => "read_uncommitted",
    }
}

fn compression(compression: WireCompression) -> &'static str {
    match compression {
        WireCompression::None => "none",
        WireCompression::Gzip => "gzip",
        WireCompression::Lz4 => "lz4",
        WireCompression::Snappy => "snappy",
        WireCompression::Zstd => "zstd",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use athomic_core::settings::{
        ConnectionSettings, GroupProtocol, SaslMechanism, Secret, SecurityProtocol, Settings,
    };
    use athomic_core::transport::{FetchOverrides, Subscription, TransportError};

    use super::{Connection, ConsumerOptions, FETCHED_AT_ONCE, queued_kbytes};

    fn connect(
        features: &[&str],
        change: impl FnOnce(&mut ConnectionSettings),
    ) -> Result<Connection, TransportError> {
        let mut connection = ConnectionSettings::default();
        change(&mut connection);
        let features: Vec<_> = features.iter().map(|&feature| feature.to_owned()).collect();
        Connection::new(&Settings::default(), &connection, &features)
    }

    fn consumer(change: impl FnOnce(&mut ConnectionSettings)) -> ConsumerOptions {
        let connection = connect(&["ssl", "sasl_plain", "sasl_scram"], change).expect("valid settings");
        connection.consumer_options(&subscription(FetchOverrides::default()), 4)
    }

    fn subscription(fetch: FetchOverrides) -> Subscription {
        Subscription {
            topics: vec!["orders".to_owned()],
            group_id: "billing".to_owned(),
            handler_id: "billing::on_order".to_owned(),
            fetch,
        }
    }

    fn refusal(change: impl FnOnce(&mut ConnectionSettings)) -> String {
        match connect(&[], change).err() {
            Some(TransportError::Settings { message, .. }) => message,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn a_consumer_commits_and_stores_nothing_by_itself() {
        let ConsumerOptions { group, fetch, .. } = consumer(|_| {});
        for options in [&group, &fetch] {
            assert_eq!(options["enable.auto.commit"], "false");
            assert_eq!(options["enable.auto.offset.store"], "false");
            assert_eq!(options["group.id"], "billing");
            assert_eq!(options["client.id"], "athomic-billing.on_order");
        }
        assert_eq!(group["partition.assignment.strategy"], "cooperative-sticky");
        assert_eq!(fetch["isolation.level"], "read_committed");
    }

    #[test]
    fn a_member_beats_three_times_within_its_session_and_at_least_every_three_seconds() {
        for (session, heartbeat) in [(45, "3000"), (9, "3000"), (3, "1000")] {
            let session_timeout = Duration::from_secs(session);
            let options = consumer(|settings| settings.consumer.session_timeout = session_timeout).group;
            assert_eq!(options["heartbeat.interval.ms"], heartbeat);
        }
    }

    #[test]
    fn no_client_resets_offsets_by_itself() {
        assert_eq!(consumer(|_| {}).fetch["auto.offset.reset"], "error");
    }

    #[test]
    fn what_fetches_is_no_member() {
        let ConsumerOptions { group, fetch, .. } = consumer(|settings| {
            settings.consumer.group_protocol = GroupProtocol::Consumer;
            settings.consumer.group_instance_id = Some("one".to_owned());
            let assignor = ("group.remote.assignor".to_owned(), "range".to_owned());
            settings.consumer.librdkafka.extend([assignor]);
        });
        for of_members in ["group.protocol", "group.instance.id", "group.remote.assignor"] {
            assert!(group.contains_key(of_members), "{of_members}");
            assert!(!fetch.contains_key(of_members), "{of_members}");
        }
    }

    #[test]
    fn the_consumer_protocol_goes_without_what_it_forbids() {
        let options = consumer(|settings| settings.consumer.group_protocol = GroupProtocol::Consumer).group;
        assert_eq!(options["group.protocol"], "consumer");
        for forbidden in [
            "session.timeout.ms",
            "heartbeat.interval.ms",
            "partition.assignment.strategy",
        ] {
            assert!(!options.contains_key(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn what_is_fetched_ahead_is_shared_out_over_the_partitions() {
        let whole = |partitions| (queued_kbytes(16_384, partitions) * 1000 + FETCHED_AT_ONCE) * partitions;
        for partitions in [1, 4, 62] {
            let ahead = whole(partitions);
            assert!(
                (16_300_000..=16_384_000).contains(&ahead),
                "{partitions}: {ahead}"
            );
        }
        assert_eq!(whole(256), 256 * (1000 + FETCHED_AT_ONCE));
        assert_eq!(queued_kbytes(usize::MAX, 1), 2_097_151);
    }

    #[test]
    fn a_handler_has_a_say_in_fetching() {
        let fetch = FetchOverrides {
            max_wait: Some(Duration::from_millis(7)),
            max_bytes: Some(2000),
            offset_reset: None,
        };
        let options = connect(&[], |_| {})
            .expect("valid settings")
            .consumer_options(&subscription(fetch), 4)
            .fetch;
        assert_eq!(options["fetch.wait.max.ms"], "7");
        assert_eq!(options["fetch.max.bytes"], "2000");
        assert_eq!(options["message.max.bytes"], "2000");
    }

    #[test]
    fn other_options_are_passed_on_and_win() {
        let backoff = ("fetch.queue.backoff.ms".to_owned(), "50".to_owned());
        let options = consumer(|settings| settings.consumer.librdkafka.extend([backoff])).fetch;
        assert_eq!(options["fetch.queue.backoff.ms"], "50");
    }

    #[test]
    fn what_athomic_sets_is_not_passed_on_and_all_faults_are_named() {
        let message = refusal(|settings| {
            for name in ["enable.auto.commit", "bootstrap.servers"] {
                settings
                    .consumer
                    .librdkafka
                    .insert(name.to_owned(), "x".to_owned());
            }
        });
        assert_eq!(
            message,
            "`consumer.librdkafka.\"bootstrap.servers\"` is not passed on: use `bootstrap_servers`; \
             `consumer.librdkafka.\"enable.auto.commit\"` is not passed on: athomic commits what is settled, \
             and nothing else"
        );
        let message = refusal(|settings| {
            settings
                .producer
                .librdkafka
                .insert("acks".to_owned(), "1".to_owned());
        });
        assert!(message.starts_with("`producer.librdkafka.\"acks\"`"), "{message}");
    }

    #[test]
    fn a_publisher_waits_for_all_replicas_and_repeats_nothing() {
        let options = connect(&[], |_| {}).expect("valid settings").producer_options();
        assert_eq!(options["enable.idempotence"], "true");
        assert_eq!(options["acks"], "all");
        assert_eq!(options["partitioner"], "murmur2_random");
        assert_eq!(options["message.timeout.ms"], "120000");
    }

    #[test]
    fn identity_and_certificates_are_for_every_client() {
        let connection = connect(&["ssl", "sasl_scram"], |settings| {
            settings.security.protocol = SecurityProtocol::SaslSsl;
            settings.security.mechanism = Some(SaslMechanism::ScramSha256);
            settings.security.username = Some("orders".to_owned());
            settings.security.password = Some(Secret::new("hidden"));
            settings.security.ca_file = Some("ca.pem".into());
        })
        .expect("valid settings");
        let consumer = connection.consumer_options(&subscription(FetchOverrides::default()), 4);
        let ConsumerOptions { group, fetch, .. } = consumer;
        for options in [
            group,
            fetch,
            connection.producer_options(),
            connection.admin_options(),
        ] {
            assert_eq!(options["security.protocol"], "sasl_ssl");
            assert_eq!(options["sasl.mechanism"], "SCRAM-SHA-256");
            assert_eq!(options["sasl.username"], "orders");
            assert_eq!(options["sasl.password"], "hidden");
            assert_eq!(options["ssl.ca.location"], "ca.pem");
        }
    }

    #[test]
    fn librdkafka_takes_all_that_is_set() {
        for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
            let options = connect(&[], |settings| settings.consumer.group_protocol = protocol)
                .expect("valid settings")
                .consumer_options(
                    &subscription(FetchOverrides {
                        max_bytes: Some(1),
                        max_wait: None,
                        offset_reset: None,
                    }),
                    100_000,
                );
            let endpoint = crate::error::Endpoint {
                connection: "default".to_owned(),
                servers: "localhost:1".to_owned(),
            };
            let consumer = crate::KafkaConsumer::join(
                &options,
                &subscription(FetchOverrides::default()),
                endpoint,
                std::sync::Arc::default(),
            );
            assert!(consumer.is_ok(), "{consumer:?}");
        }
    }
}
