//! Where values come from: which layer won, and what differs from the defaults.

mod lineage;
mod schema_registry;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::error::{Origin, SettingsError};
use super::resolved::{
    ConnectionSettings, ConsumerSettings, CryptoSettings, DEFAULT_CONNECTION, DEFAULT_KVSTORE, HandlerTuning,
    IdempotencySettings, KvStoreSettings, PayloadSettings, PipelineSettings, ProducerSettings,
    REPUBLISHER_CONNECTION, RepublisherSettings, SecuritySettings, Settings, StorageSettings,
};
use super::schema::{
    self, CONNECTIONS, CRYPTO, IDEMPOTENCY, IDEMPOTENCY_STORE, KVSTORES, ORDERING, PAYLOAD, REPUBLISHER,
    STORAGE, TUNING,
};
use super::secret::MASK;
use super::tree::{Node, Table, join, join_all, parse_key, quoted};
use crate::handler::{CircuitBreakerOptions, RetryOptions};
use crate::nearest::nearest;
use crate::ordering::{FirstSequenceRule, GapRule, OrderingOptions};

/// A value that differs from its default.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The full path of the key.
    pub key: String,
    /// The value as TOML; `***` for a secret.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({})", self.key, self.value, self.origin)
    }
}

/// What holds for a key, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The full path of the key.
    pub key: String,
    /// The value as TOML, `***` for a secret; none if the key is not set and has no default.
    pub value: Option<String>,
    /// Where it comes from: the layer that won.
    pub origin: Origin,
    /// The places that it was set in too, in lower layers, nearest first.
    pub overridden: Vec<Origin>,
    /// What the key is for.
    pub doc: &'static str,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.as_deref().unwrap_or("(not set)");
        write!(f, "{} = {value}\n  from {}", self.key, self.origin)?;
        self.overridden
            .iter()
            .try_for_each(|origin| write!(f, "\n  over {origin}"))
    }
}

/// Where each key that was written comes from.
pub(super) type Traces = BTreeMap<String, Trace>;

/// Where one value comes from.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    origin: Origin,
    overridden: Vec<Origin>,
}

/// Note where each value of the merged layers comes from.
pub(super) fn trace(root: &Table) -> Traces {
    let mut traces = Traces::new();
    trace_below("", root, &mut traces);
    traces
}

fn trace_below(path: &str, table: &Table, traces: &mut Traces) {
    for (name, entry) in table {
        let path = join(path, name);
        if let Node::Table(inner) = &entry.node {
            trace_below(&path, inner, traces);
            continue;
        }
        let trace = Trace {
            origin: entry.origin.clone(),
            overridden: entry.overridden.clone(),
        };
        for (index, item) in list_items(&entry.node) {
            trace_below(&format!("{path}.{index}"), item, traces);
        }
        traces.insert(path, trace);
    }
}

fn list_items(node: &Node) -> impl Iterator<Item = (usize, &Table)> {
    let items = if let Node::List(items) = node {
        items.as_slice()
    } else {
        &[]
    };
    items
        .iter()
        .enumerate()
        .filter_map(|(index, item)| Some((index, item.node.as_table()?)))
}

impl Settings {
    /// List the values that differ from the built-in defaults, for the start-up log.
    ///
    /// Of a named connection, what differs from the default connection is listed. Secrets are masked.
    #[must_use]
    pub fn differences(&self) -> Vec<Difference> {
        let defaults = self.inherited_values();
        let difference = |(key, value): (String, Option<String>)| {
            // Two secrets look the same; one that was written is taken for different.
            let masked =
                value.as_ref().is_some_and(|value| *value == quoted(MASK)) && self.traces.contains_key(&key);
            let same = defaults.get(&key) == Some(&value) && !masked;
            (!same).then(|| Difference {
                value: value.unwrap_or_else(|| "(not set)".to_owned()),
                origin: self.origin(&key).unwrap_or(Origin::Code { location: None }),
                key,
            })
        };
        self.values().into_iter().filter_map(difference).collect()
    }

    /// Say what holds for a key, which layer won and which it won over.
    ///
    /// A key is written as in the settings, with dots: `integration.messaging.provider.backend`,
    /// `integration.messaging.handler_tuning.0.paused`.
    ///
    /// # Errors
    ///
    /// [`SettingsError::UnknownKey`] if nothing is called so, or it is a whole section.
    pub fn explain(&self, key: &str) -> Result<Explanation, SettingsError> {
        let path = parse_key(key).unwrap_or_default();
        let name = join_all(&path);
        let values = self.values();
        let option = path.len() > 1
            && ["librdkafka", "delay_topics", "settings"].contains(&path[path.len() - 2].as_str());
        let known = schema::key_at(if option { &path[..path.len() - 1] } else { &path });
        let exists = option || values.iter().any(|(key, _)| *key == name);
        let Some(known) = known.filter(|_| exists) else {
            let nearest = nearest(key, values.iter().map(|(key, _)| key.as_str())).map(str::to_owned);
            return Err(SettingsError::UnknownKey {
                key: key.to_owned(),
                nearest,
            });
        };
        let value = values
            .into_iter()
            .find(|(key, _)| *key == name)
            .and_then(|(_, value)| value);
        let trace = self.trace_of(&name);
        Ok(Explanation {
            value,
            origin: trace.map_or(Origin::BuiltIn, |trace| trace.origin.clone()),
            overridden: trace.map(|trace| trace.overridden.clone()).unwrap_or_default(),
            doc: known.doc,
            key: name,
        })
    }

    /// Return where a key was written; none if it has its default, or was changed in code after loading.
    ///
    /// The caller's own checks name it in their messages. A key that a named connection inherits is found
    /// where it was inherited from.
    #[must_use]
    pub fn origin(&self, key: &str) -> Option<Origin> {
        self.trace_of(key).map(|trace| trace.origin.clone())
    }

    fn trace_of(&self, key: &str) -> Option<&Trace> {
        let twin = |key: &str| match key.strip_suffix("consumer.bootstrap_servers") {
            Some(connection) => Some(format!("{connection}producer.bootstrap_servers")),
            None => Some(format!(
                "{}consumer.bootstrap_servers",
                key.strip_suffix("producer.bootstrap_servers")?
            )),
        };
        let at = |key: &str| self.traces.get(key).or_else(|| self.traces.get(&twin(key)?));
        at(key).or_else(|| at(&inherited_from(key)?))
    }

    /// All keys and their values, as TOML; none for what is not set.
    pub(super) fn values(&self) -> Vec<(String, Option<String>)> {
        let mut values = Values::default();
        values.general(self);
        for (name, connection) in &self.messaging.connections {
            values.connection(&section_of(name), connection);
        }
        for (index, tuning) in self.messaging.handler_tuning.iter().enumerate() {
            values.tuning(index, tuning);
        }
        for store in self.kvstores.values() {
            values.kvstore(store);
        }
        values.idempotency(&self.idempotency);
        values.schema_registry(&self.schema_registry);
        values.lineage(&self.lineage);
        values.values
    }

    /// What would hold for each key if it was not set.
    fn inherited_values(&self) -> BTreeMap<String, Option<String>> {
        let mut values = Values {
            values: Self::default().values(),
            ..Values::default()
        };
        if let Some(parent) = self.messaging.connections.get(DEFAULT_CONNECTION) {
            for name in self
                .messaging
                .connections
                .keys()
                .filter(|name| *name != DEFAULT_CONNECTION)
            {
                values.connection(&section_of(name), parent);
            }
        }
        for index in 0..self.messaging.handler_tuning.len() {
            values.no_tuning(index);
        }
        for name in self.kvstores.keys().filter(|name| *name != DEFAULT_KVSTORE) {
            values.kvstore(&KvStoreSettings::new(name));
        }
        values.values.into_iter().collect()
    }
}

/// Return where a connection is set.
fn section_of(connection: &str) -> String {
    match connection {
        DEFAULT_CONNECTION => "integration.messaging".to_owned(),
        REPUBLISHER_CONNECTION => REPUBLISHER.to_owned(),
        name => join(CONNECTIONS, name),
    }
}

/// Return the key that a named connection's key inherits from.
fn inherited_from(key: &str) -> Option<String> {
    let sections = ["consumer.", "producer.", "security."];
    if let Some(inside) = key
        .strip_prefix(REPUBLISHER)
        .and_then(|key| key.strip_prefix('.'))
    {
        let inherits = sections.iter().any(|section| inside.starts_with(section));
        return inherits.then(|| format!("integration.messaging.{inside}"));
    }
    let path = parse_key(key)?;
    let connections = CONNECTIONS.split('.').count();
    let inside = path.len() > connections + 2 && key.starts_with(CONNECTIONS);
    inside.then(|| format!("integration.messaging.{}", join_all(&path[connections + 1..])))
}

/// Collects keys and values.
#[derive(Default)]
struct Values {
    section: String,
    values: Vec<(String, Option<String>)>,
}

impl Values {
    fn section(&mut self, path: &str) -> &mut Self {
        path.clone_into(&mut self.section);
        self
    }

    fn put(&mut self, name: &str, value: Option<String>) -> &mut Self {
        self.values.push((join(&self.section, name), value));
        self
    }

    fn is(&mut self, name: &str, value: impl ToString) -> &mut Self {
        self.put(name, Some(value.to_string()))
    }

    fn text(&mut self, name: &str, value: impl AsRef<str>) -> &mut Self {
        self.put(name, Some(quoted(value.as_ref())))
    }

    fn maybe_text(&mut self, name: &str, value: Option<impl AsRef<str>>) -> &mut Self {
        self.put(name, value.map(|value| quoted(value.as_ref())))
    }

    fn texts(&mut self, name: &str, values: &[String]) -> &mut Self {
        let values: Vec<_> = values.iter().map(|value| quoted(value)).collect();
        self.put(name, Some(format!("[{}]", values.join(", "))))
    }

    fn words(&mut self, name: &str, words: impl IntoIterator<Item = &'static str>) -> &mut Self {
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        self.texts(name, &words)
    }

    fn options(&mut self, name: &str, options: &BTreeMap<String, String>) -> &mut Self {
        let section = join(&self.section, name);
        for (name, value) in options {
            self.values.push((join(&section, name), Some(quoted(value))));
        }
        self
    }

    fn milliseconds(&mut self, name: &str, value: Duration) -> &mut Self {
        self.is(name, value.as_millis())
    }

    fn seconds(&mut self, name: &str, value: Duration) -> &mut Self {
        self.is(name, value.as_secs_f64())
    }

    fn maybe_seconds(&mut self, name: &str, value: Option<Duration>) -> &mut Self {
        self.put(name, value.map(|value| value.as_secs_f64().to_string()))
    }

    fn general(&mut self, settings: &Settings) {
        let Settings {
            app,
            messaging,
            context,
            observability,
            lifecycle,
            ..
        } = settings;
        self.section("app")
            .text("name", &app.name)
            .text("version", &app.version);
        self.section("integration.messaging")
            .is("enabled", messaging.enabled);
        self.section("integration.messaging.provider")
            .text("backend", messaging.backend.as_str());
        let topics = &messaging.topics;
        self.section("integration.messaging.topics")
            .text("auto_create", topics.auto_create.as_str())
            .is("default_partitions", topics.default_partitions)
            .is("default_replication", topics.default_replication);
        let dlq = &messaging.dlq;
        self.section("integration.messaging.dlq")
            .is("enabled", dlq.enabled)
            .is("max_attempts", dlq.max_attempts)
            .text("strategy", dlq.strategy.as_str())
            .text("topic", dlq.topic.to_string())
            .text("parking_lot_topic", dlq.parking_lot_topic.to_string())
            .text("format", dlq.format.as_str())
            .words("header_sets", dlq.header_sets.iter().map(|set| set.as_str()))
            .is("error_max_bytes", dlq.error_max_bytes)
            .is("error_redact", dlq.error_redact)
            .is("max_replays", dlq.max_replays)
            .is("index_in_kv", dlq.index.enabled)
            .text("index_kvstore", &dlq.index.kvstore)
            .seconds("index_ttl_seconds", dlq.index.ttl)
            .is("index_max_entries", dlq.index.max_entries);
        self.section("integration.messaging.dlq.retry")
            .text("mode", dlq.retry.mode.as_str())
            .text("order", dlq.retry.order.as_str())
            .words("retry_on", dlq.retry.retry_on.words())
            .text("backoff", dlq.retry.backoff.as_str())
            .seconds("min_delay_seconds", dlq.retry.min_delay)
            .seconds("max_delay_seconds", dlq.retry.max_delay)
            .is("factor", format!("{:?}", dlq.retry.factor))
            .is("jitter", dlq.retry.jitter);
        self.republisher(&messaging.republisher);
        self.payload(&messaging.payload);
        let ordering = &messaging.ordering;
        self.section(ORDERING)
            .text("kvstore", &ordering.kvstore)
            .ordering(&(&ordering.policies).into());
        self.section("context")
            .words("propagate", context.propagate.iter().map(|field| field.as_str()))
            .texts("untrusted_topics", &context.untrusted_topics);
        self.crypto(&settings.crypto);
        self.storage(&settings.storage);
        self.section("observability")
            .is("enabled", observability.enabled)
            .is("exporter_enabled", observability.exporter_enabled)
            .text("exporter_host", observability.exporter_host.to_string())
            .is("exporter_port", observability.exporter_port)
            .is("tracing_enabled", observability.tracing_enabled)
            .text("otlp_endpoint", &observability.otlp_endpoint)
            .text("otlp_protocol", observability.otlp_protocol.as_str())
            .is("sampling_rate", observability.sampling_rate)
            .text("process_span_parent", observability.process_span_parent.as_str())
            .is("poll_spans", observability.poll_spans);
        let metrics = &observability.metrics;
        self.section("observability.metrics")
            .is("enabled", metrics.enabled)
            .words(
                "exporters",
                metrics.exporters.iter().map(|exporter| exporter.as_str()),
            )
            .seconds("collection_interval_seconds", metrics.collection_interval)
            .is("partition_attribute", metrics.partition_attribute)
            .seconds("waiting_rooms_interval_seconds", metrics.waiting_rooms_interval);
        self.section("lifecycle")
            .seconds("startup_timeout_seconds", lifecycle.startup_timeout)
            .seconds("shutdown_timeout_seconds", lifecycle.shutdown_timeout);
    }

    fn crypto(&mut self, crypto: &CryptoSettings) {
        self.section(CRYPTO)
            .text("algorithm", crypto.algorithm.as_str())
            .maybe_text("active_key", crypto.active_key.as_ref());
        for (index, key) in crypto.keys.iter().enumerate() {
            self.section(&format!("{CRYPTO}.keys.{index}"))
                .text("id", &key.id)
                .text("secret", MASK)
                .maybe_text("wrapped_by", key.wrapped_by.as_ref());
        }
    }

    fn storage(&mut self, storage: &StorageSettings) {
        let path = storage.base_path.as_ref().map(|path| path.display().to_string());
        self.section(STORAGE)
            .text("backend", storage.backend.as_str())
            .maybe_text("base_path", path)
            .maybe_text("bucket", storage.bucket.as_ref())
            .maybe_text("region", storage.region.as_ref())
            .maybe_text("endpoint", storage.endpoint.as_ref())
            .maybe_text("account", storage.account.as_ref())
            .maybe_text("access_key_id", storage.access_key_id.as_ref())
            .maybe_text("secret", storage.secret.as_ref().map(|_| MASK))
            .is("allow_http", storage.allow_http)
            .is("check_at_start", storage.check_at_start);
    }

    fn payload(&mut self, payload: &PayloadSettings) {
        self.section(PAYLOAD)
            .is("max_decoded_bytes", payload.max_decoded_bytes)
            .is("max_ratio", payload.max_ratio);
        let pipelines = payload.pipeline.iter().chain(payload.topics.values());
        pipelines.for_each(|pipeline| self.pipeline(pipeline));
    }

    fn pipeline(&mut self, pipeline: &PipelineSettings) {
        for step in &pipeline.steps {
            self.section(&step.key)
                .text("step", &step.step)
                .options("settings", &step.settings);
        }
    }

    fn republisher(&mut self, republisher: &RepublisherSettings) {
        self.section(REPUBLISHER)
            .is("enabled", republisher.enabled)
            .text("delay_strategy_backend", republisher.strategy.as_str())
            .is("max_hops", republisher.max_hops)
            .text("kvstore", &republisher.kvstore)
            .seconds("max_delay_seconds", republisher.max_delay)
            .maybe_text("envelope_key", republisher.envelope_key.as_ref().map(|_| MASK))
            .maybe_text(
                "envelope_previous_key",
                republisher.envelope_previous_key.as_ref().map(|_| MASK),
            );
        if republisher.destinations.is_empty() {
            self.put("destinations", None);
        } else {
            self.texts("destinations", &republisher.destinations);
        }
        let topics = republisher.delay_topics.iter();
        let topics = topics.map(|(delay, topic)| (delay.as_secs().to_string(), topic.clone()));
        self.options("delay_topics", &topics.collect());
    }

    fn connection(&mut self, path: &str, connection: &ConnectionSettings) {
        self.section(&format!("{path}.consumer"))
            .consumer(&connection.consumer);
        self.section(&format!("{path}.producer"))
            .producer(&connection.producer);
        self.section(&format!("{path}.security"))
            .security(&connection.security);
    }

    fn consumer(&mut self, consumer: &ConsumerSettings) {
        self.texts("bootstrap_servers", &consumer.bootstrap_servers)
            .maybe_text("group_id", consumer.group_id.as_ref())
            .text("auto_offset_reset", consumer.auto_offset_reset.as_str())
            .milliseconds("commit_interval_ms", consumer.commit_interval)
            .milliseconds("session_timeout_ms", consumer.session_timeout)
            .is("max_poll_records", consumer.max_poll_records)
            .is("fetch_max_bytes", consumer.fetch_max_bytes)
            .milliseconds("fetch_max_wait_ms", consumer.fetch_max_wait)
            .text("isolation_level", consumer.isolation_level.as_str())
            .text("group_protocol", consumer.group_protocol.as_str())
            .maybe_text("group_instance_id", consumer.group_instance_id.as_ref())
            .maybe_text("client_id", consumer.client_id.as_ref())
            .milliseconds("max_poll_interval_ms", consumer.max_poll_interval)
            .milliseconds("revoke_timeout_ms", consumer.revoke_timeout)
            .milliseconds("handler_timeout_ms", consumer.handler_timeout.unwrap_or_default())
            .is("max_in_flight_messages", consumer.max_in_flight_messages)
            .is("max_in_flight_bytes", consumer.max_in_flight_bytes)
            .is("queued_max_kbytes", consumer.queued_max_kbytes)
            .options("librdkafka", &consumer.librdkafka);
    }

    fn producer(&mut self, producer: &ProducerSettings) {
        self.texts("bootstrap_servers", &producer.bootstrap_servers)
            .text("client", producer.client.as_str())
            .milliseconds("linger_ms", producer.linger)
            .is("batch_max_bytes", producer.batch_max_bytes)
            .text("wire_compression", producer.wire_compression.as_str())
            .milliseconds("delivery_timeout_ms", producer.delivery_timeout)
            .options("librdkafka", &producer.librdkafka);
    }

    fn security(&mut self, security: &SecuritySettings) {
        let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
        self.text("protocol", security.protocol.as_str())
            .maybe_text(
                "mechanism",
                security.mechanism.map(|mechanism| mechanism.as_str()),
            )
            .maybe_text("username", security.username.as_ref())
            .maybe_text("password", security.password.as_ref().map(|_| MASK))
            .maybe_text("ca_file", path(&security.ca_file))
            .maybe_text("certificate_file", path(&security.certificate_file))
            .maybe_text("key_file", path(&security.key_file))
            .maybe_text("key_password", security.key_password.as_ref().map(|_| MASK))
            .maybe_text("oauth_token_url", security.oauth_token_url.as_ref())
            .maybe_text("oauth_client_id", security.oauth_client_id.as_ref())
            .maybe_text(
                "oauth_client_secret",
                security.oauth_client_secret.as_ref().map(|_| MASK),
            )
            .maybe_text("oauth_scope", security.oauth_scope.as_ref())
            .maybe_text("oauth_extensions", security.oauth_extensions.as_ref())
            .maybe_text("oauth_ca_file", path(&security.oauth_ca_file));
    }

    fn tuning(&mut self, index: usize, tuning: &HandlerTuning) {
        self.section(&format!("{TUNING}.{index}"))
            .text("handler_id", &tuning.handler_id)
            .put(
                "concurrency",
                tuning.concurrency.map(|concurrency| concurrency.to_string()),
            )
            .maybe_text("priority", tuning.priority.map(|priority| priority.as_str()))
            .put("paused", tuning.paused.map(|paused| paused.to_string()));
        self.section(&format!("{TUNING}.{index}.ordering"))
            .maybe_text("kvstore", tuning.ordering.kvstore.as_ref())
            .ordering(&tuning.ordering.policies);
        let idempotency = &tuning.idempotency;
        self.section(&format!("{TUNING}.{index}.idempotency"))
            .put("enabled", idempotency.enabled.map(|enabled| enabled.to_string()))
            .maybe_seconds("ttl_seconds", idempotency.ttl)
            .maybe_seconds("lock_timeout_seconds", idempotency.lock_timeout);
        self.circuit_breaker(index, &tuning.circuit_breaker);
        self.section(&format!("{TUNING}.{index}.retry"))
            .retry(&tuning.retry);
        tuning
            .pipeline
            .iter()
            .for_each(|pipeline| self.pipeline(pipeline));
    }

    fn circuit_breaker(&mut self, index: usize, breaker: &CircuitBreakerOptions) {
        let number = |value: Option<u32>| value.map(|value| value.to_string());
        self.section(&format!("{TUNING}.{index}.circuit_breaker"))
            .put("enabled", breaker.enabled.map(|enabled| enabled.to_string()))
            .put("failure_percent", number(breaker.failure_percent.map(u32::from)))
            .maybe_seconds("window_seconds", breaker.window)
            .put("window_calls", number(breaker.window_calls))
            .put("minimum_calls", number(breaker.minimum_calls))
            .maybe_seconds("open_seconds", breaker.open_for)
            .put("trials", number(breaker.trials));
    }

    fn no_tuning(&mut self, index: usize) {
        self.section(&format!("{TUNING}.{index}"));
        for name in ["handler_id", "concurrency", "priority", "paused"] {
            self.put(name, None);
        }
        self.section(&format!("{TUNING}.{index}.ordering"))
            .put("kvstore", None)
            .ordering(&OrderingOptions::new());
        self.section(&format!("{TUNING}.{index}.idempotency"));
        for name in ["enabled", "ttl_seconds", "lock_timeout_seconds"] {
            self.put(name, None);
        }
        self.circuit_breaker(index, &CircuitBreakerOptions::new());
        self.section(&format!("{TUNING}.{index}.retry"))
            .retry(&RetryOptions::new());
    }

    fn retry(&mut self, options: &RetryOptions) -> &mut Self {
        self.put(
            "max_attempts",
            options.max_attempts.map(|attempts| attempts.to_string()),
        )
        .maybe_text("mode", options.mode.map(|mode| mode.as_str()))
        .maybe_text("order", options.order.map(|order| order.as_str()));
        match options.retry_on {
            Some(stages) => self.words("retry_on", stages.words()),
            None => self.put("retry_on", None),
        };
        self.maybe_text("backoff", options.backoff.map(|backoff| backoff.as_str()))
            .maybe_seconds("min_delay_seconds", options.min_delay)
            .maybe_seconds("max_delay_seconds", options.max_delay)
    }

    fn ordering(&mut self, options: &OrderingOptions) -> &mut Self {
        fn number(value: Option<impl ToString>) -> Option<String> {
            value.map(|value| value.to_string())
        }
        let milliseconds = |value: Option<Duration>| number(value.map(|value| value.as_millis()));
        let first = options.first_sequence.map(|first| match first {
            FirstSequenceRule::Exact(first) => first.to_string(),
            FirstSequenceRule::FirstSeen => quoted("first_seen"),
            FirstSequenceRule::Hook => quoted("hook"),
        });
        self.put("first_sequence", first)
            .put("first_seen_settle_ms", milliseconds(options.first_seen_settle))
            .maybe_text("on_gap", options.on_gap.map(GapRule::as_str))
            .maybe_seconds("gap_timeout_seconds", options.gap_timeout)
            .maybe_text("on_late", options.on_late.map(|rule| rule.as_str()))
            .maybe_text("on_regression", options.on_regression.map(|rule| rule.as_str()))
            .maybe_text("on_poison", options.on_poison.map(|rule| rule.as_str()))
            .put("max_deliveries", number(options.max_deliveries))
            .put("room_max_messages", number(options.room_max_messages))
            .put("room_max_bytes", number(options.room_max_bytes))
            .put("bucket_max_messages", number(options.bucket_max_messages))
            .put("bucket_max_bytes", number(options.bucket_max_bytes))
            .put("buckets", number(options.buckets))
            .maybe_text("durability", options.durability.map(|rule| rule.as_str()))
            .put("redis_ack_replicas", number(options.redis_ack_replicas))
            .put("redis_ack_fsync", number(options.redis_ack_fsync))
            .maybe_text("complete", options.complete.map(|mode| mode.as_str()))
            .put("session_ttl_ms", milliseconds(options.session_ttl))
            .maybe_seconds("state_ttl_seconds", options.state_ttl)
            .put("sticky", number(options.sticky))
    }

    fn idempotency(&mut self, idempotency: &IdempotencySettings) {
        let IdempotencySettings {
            enabled,
            all_handlers,
            policy,
            store,
        } = idempotency;
        self.section(IDEMPOTENCY)
            .is("enabled", enabled)
            .is("all_handlers", all_handlers)
            .seconds("default_ttl_seconds", policy.ttl)
            .seconds("default_lock_timeout_seconds", policy.lock_timeout);
        self.section(IDEMPOTENCY_STORE)
            .text("namespace", &store.namespace);
        self.section(&join(IDEMPOTENCY_STORE, "provider"))
            .text("backend", store.backend.as_str())
            .maybe_text("uri", store.uri.as_ref().map(|_| MASK));
    }

    fn kvstore(&mut self, store: &KvStoreSettings) {
        let path = join(KVSTORES, &store.name);
        self.section(&path)
            .is("enabled", store.enabled)
            .text("namespace", &store.namespace);
        self.section(&format!("{path}.provider"))
            .text("backend", store.backend.as_str())
            .maybe_text("uri", store.uri.as_ref().map(|_| MASK));
    }
}
