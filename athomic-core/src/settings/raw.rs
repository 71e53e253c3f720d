//! What was written, after all layers were merged: every key optional, nothing interpreted.
//!
//! The structs mirror the file. Each value carries its key and its place, for the faults that only show
//! when values are compared.

use std::collections::BTreeMap;

use super::error::{Fault, Origin, Problem};
use super::schema::{
    CONNECTIONS, CONSUMER, CRYPTO, IDEMPOTENCY, IDEMPOTENCY_STORE, KVSTORES, LINEAGE, ORDERING, PAYLOAD,
    PRODUCER, REPUBLISHER, SCHEMA_REGISTRY, SECURITY, STORAGE, TUNING,
};
use super::secret::Secret;
use super::tree::{Node, SecretPlace, Table, join};

/// A value that was written, and where.
#[derive(Clone, Debug)]
pub(super) struct Written<T> {
    pub(super) value: T,
    pub(super) key: String,
    pub(super) origin: Origin,
}

impl<T> Written<T> {
    /// Put another value in the place of this one.
    pub(super) fn map<U>(self, value: U) -> Written<U> {
        Written {
            value,
            key: self.key,
            origin: self.origin,
        }
    }

    pub(super) fn fault(&self, problem: Problem) -> Fault {
        Fault::new(self.key.as_str(), &self.origin, problem)
    }
}

/// A value that may have been written.
pub(super) type Field<T> = Option<Written<T>>;

/// A secret, or the place where it is kept.
#[derive(Clone, Debug)]
pub(super) enum RawSecret {
    Text(Secret),
    Place(SecretPlace),
}

/// Define the mirror of one section.
macro_rules! section {
    ($(#[$meta:meta])* $name:ident { $($field:ident: $kind:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default)]
        pub(super) struct $name {
            $(pub(super) $field: Field<$kind>,)*
        }

        impl $name {
            /// The keys of the section, for the test that compares them with the schema.
            #[cfg(test)]
            pub(super) const KEYS: &[&str] = &[$(stringify!($field)),*];

            fn read(path: &str, table: Option<&Table>) -> Self {
                let Some(table) = table else { return Self::default() };
                Self { $($field: read(path, table, stringify!($field)),)* }
            }
        }
    };
}

/// The whole file.
#[derive(Debug)]
pub(super) struct RawSettings {
    pub(super) app: RawApp,
    pub(super) messaging: RawMessaging,
    pub(super) kvstores: Vec<(String, RawStore)>,
    pub(super) idempotency: RawIdempotency,
    pub(super) context: RawContext,
    pub(super) lineage: RawLineage,
    pub(super) crypto: RawCrypto,
    pub(super) storage: RawStorage,
    pub(super) schema_registry: RawSchemaRegistry,
    pub(super) observability: RawObservability,
    pub(super) metrics: RawMetrics,
    pub(super) lifecycle: RawLifecycle,
}

/// The section `security.crypto`, with the list in it.
#[derive(Debug)]
pub(super) struct RawCrypto {
    pub(super) keys: RawCryptoKeys,
    pub(super) ring: Vec<(RawKey, Origin)>,
}

/// The section `integration.messaging`.
#[derive(Debug)]
pub(super) struct RawMessaging {
    pub(super) switch: RawSwitch,
    pub(super) provider: RawProvider,
    pub(super) connection: RawConnection,
    pub(super) connections: Vec<(String, RawConnection)>,
    pub(super) topics: RawTopics,
    pub(super) dlq: RawDlq,
    pub(super) retry: RawRetry,
    pub(super) republisher: RawRepublisher,
    /// The servers of the section `republisher`.
    pub(super) republishing: RawConnection,
    pub(super) payload: RawPayload,
    pub(super) ordering: RawOrdering,
    pub(super) handler_tuning: Vec<RawTuned>,
}

/// One entry of `integration.messaging.handler_tuning`, with the table in it.
#[derive(Debug)]
pub(super) struct RawTuned {
    pub(super) origin: Origin,
    pub(super) tuning: RawTuning,
    pub(super) ordering: RawOrdering,
    pub(super) idempotency: RawIdempotencyTuning,
    pub(super) retry: RawRetryTuning,
    pub(super) circuit_breaker: RawCircuitBreaker,
    pub(super) pipeline: Option<RawPipeline>,
}

/// The section `integration.messaging.payload`, with the lists in it.
#[derive(Debug)]
pub(super) struct RawPayload {
    pub(super) keys: RawPayloadKeys,
    pub(super) pipeline: Option<RawPipeline>,
    pub(super) topics: Vec<(String, RawPipeline)>,
}

/// A list of steps, and where it stands.
#[derive(Debug)]
pub(super) struct RawPipeline {
    pub(super) steps: Vec<RawStep>,
    pub(super) key: String,
    pub(super) origin: Origin,
}

/// One step, and where it stands.
#[derive(Debug)]
pub(super) struct RawStep {
    pub(super) keys: RawStepKeys,
    pub(super) key: String,
    pub(super) origin: Origin,
}

/// The section `resilience.idempotency`, with the tables in it.
#[derive(Debug)]
pub(super) struct RawIdempotency {
    pub(super) keys: RawIdempotencyKeys,
    pub(super) store: RawIdempotencyStore,
    pub(super) provider: RawStoreProvider,
}

/// The section `lineage`, with the tables in it.
#[derive(Debug)]
pub(super) struct RawLineage {
    pub(super) keys: RawLineageKeys,
    pub(super) producer: RawLineageProducer,
    pub(super) store: RawLineageStore,
    pub(super) collector: RawLineageCollector,
}

/// One store.
#[derive(Debug)]
pub(super) struct RawStore {
    pub(super) switch: RawStoreSwitch,
    pub(super) provider: RawStoreProvider,
}

/// One connection, the default one or a named one.
#[derive(Clone, Debug)]
pub(super) struct RawConnection {
    pub(super) consumer: RawConsumer,
    pub(super) producer: RawProducer,
    pub(super) security: RawSecurity,
    /// Where the connection begins; none if nothing of it was written.
    pub(super) origin: Option<Origin>,
    /// The path of its security section.
    pub(super) security_path: String,
}

section! {
    /// The section `app`.
    RawApp { name: String, version: String, }
}
section! {
    /// The section `context`.
    RawContext { propagate: Vec<String>, untrusted_topics: Vec<String>, }
}
section! {
    /// The section `observability`.
    RawObservability {
        enabled: bool,
        exporter_enabled: bool,
        exporter_host: String,
        exporter_port: i128,
        tracing_enabled: bool,
        otlp_endpoint: String,
        otlp_protocol: String,
        sampling_rate: f64,
        process_span_parent: String,
        poll_spans: bool,
    }
}
section! {
    /// The section `observability.metrics`.
    RawMetrics {
        enabled: bool,
        exporters: Vec<String>,
        collection_interval_seconds: f64,
        partition_attribute: bool,
        waiting_rooms_interval_seconds: f64,
    }
}
section! {
    /// The section `lifecycle`.
    RawLifecycle { startup_timeout_seconds: f64, shutdown_timeout_seconds: f64, }
}
section! {
    /// The keys of `integration.messaging` itself.
    RawSwitch { enabled: bool, }
}
section! {
    /// The section `integration.messaging.provider`.
    RawProvider { backend: String, }
}
section! {
    /// A section `consumer`.
    RawConsumer {
        bootstrap_servers: Vec<String>,
        group_id: String,
        auto_offset_reset: String,
        commit_interval_ms: i128,
        session_timeout_ms: i128,
        max_poll_records: i128,
        fetch_max_bytes: i128,
        fetch_max_wait_ms: i128,
        isolation_level: String,
        group_protocol: String,
        group_instance_id: String,
        client_id: String,
        max_poll_interval_ms: i128,
        revoke_timeout_ms: i128,
        handler_timeout_ms: i128,
        max_in_flight_messages: i128,
        max_in_flight_bytes: i128,
        queued_max_kbytes: i128,
        librdkafka: BTreeMap<String, Written<String>>,
    }
}
section! {
    /// A section `producer`.
    RawProducer {
        bootstrap_servers: Vec<String>,
        client: String,
        linger_ms: i128,
        batch_max_bytes: i128,
        wire_compression: String,
        delivery_timeout_ms: i128,
        librdkafka: BTreeMap<String, Written<String>>,
    }
}
section! {
    /// A section `security`.
    RawSecurity {
        protocol: String,
        mechanism: String,
        username: String,
        password: RawSecret,
        ca_file: String,
        certificate_file: String,
        key_file: String,
        key_password: RawSecret,
        oauth_token_url: String,
        oauth_client_id: String,
        oauth_client_secret: RawSecret,
        oauth_scope: String,
        oauth_extensions: String,
        oauth_ca_file: String,
    }
}
section! {
    /// The section `integration.messaging.topics`.
    RawTopics { auto_create: String, default_partitions: i128, default_replication: i128, }
}
section! {
    /// The section `integration.messaging.dlq`.
    RawDlq {
        enabled: bool,
        max_attempts: i128,
        strategy: String,
        topic: String,
        parking_lot_topic: String,
        format: String,
        header_sets: Vec<String>,
        error_max_bytes: i128,
        error_redact: bool,
        max_replays: i128,
        index_in_kv: bool,
        index_kvstore: String,
        index_ttl_seconds: f64,
        index_max_entries: i128,
    }
}
section! {
    /// The section `integration.messaging.dlq.retry`.
    RawRetry {
        mode: String, order: String, retry_on: Vec<String>, backoff: String, min_delay_seconds: f64, max_delay_seconds: f64, factor: f64, jitter: bool, }
}
section! {
    /// What an entry of `handler_tuning` changes of retries.
    RawRetryTuning {
        max_attempts: i128, mode: String, order: String, retry_on: Vec<String>, backoff: String, min_delay_seconds: f64, max_delay_seconds: f64,
    }
}
section! {
    /// The keys of `integration.messaging.republisher` itself.
    RawRepublisher {
        enabled: bool,
        delay_strategy_backend: String,
        delay_topics: BTreeMap<String, Written<String>>,
        destinations: Vec<String>,
        max_hops: i128,
        kvstore: String,
        max_delay_seconds: f64,
        envelope_key: RawSecret,
        envelope_previous_key: RawSecret,
    }
}
section! {
    /// The section `integration.messaging.ordering`.
    RawOrdering {
        kvstore: String,
        first_sequence: String,
        first_seen_settle_ms: i128,
        on_gap: String,
        gap_timeout_seconds: f64,
        on_late: String,
        on_regression: String,
        on_poison: String,
        max_deliveries: i128,
        room_max_messages: i128,
        room_max_bytes: i128,
        bucket_max_messages: i128,
        bucket_max_bytes: i128,
        buckets: i128,
        durability: String,
        redis_ack_replicas: i128,
        redis_ack_fsync: bool,
        complete: String,
        session_ttl_ms: i128,
        state_ttl_seconds: f64,
        sticky: bool,
    }
}
section! {
    /// The keys of `integration.messaging.payload` itself.
    RawPayloadKeys { max_decoded_bytes: i128, max_ratio: i128, }
}
section! {
    /// An item of a payload pipeline.
    RawStepKeys { step: String, settings: BTreeMap<String, Written<String>>, }
}
section! {
    /// The keys of `security.crypto` itself.
    RawCryptoKeys { algorithm: String, active_key: String, }
}
section! {
    /// An item of `security.crypto.keys`.
    RawKey { id: String, secret: RawSecret, wrapped_by: String, }
}
section! {
    /// The section `storage.provider`.
    RawStorage {
        backend: String,
        base_path: String,
        bucket: String,
        region: String,
        endpoint: String,
        account: String,
        access_key_id: String,
        secret: RawSecret,
        allow_http: bool,
        check_at_start: bool,
    }
}
section! {
    /// The keys of a store itself.
    RawStoreSwitch { enabled: bool, namespace: String, }
}
section! {
    /// The section `provider` of a store.
    RawStoreProvider { backend: String, uri: RawSecret, }
}
section! {
    /// The keys of `resilience.idempotency` itself.
    RawIdempotencyKeys {
        enabled: bool,
        all_handlers: bool,
        default_ttl_seconds: f64,
        default_lock_timeout_seconds: f64,
    }
}
section! {
    /// The section `resilience.idempotency.kvstore`.
    RawIdempotencyStore { namespace: String, }
}
section! {
    /// The section `circuit_breaker` of an entry of `integration.messaging.handler_tuning`.
    RawCircuitBreaker {
        enabled: bool,
        failure_percent: i128,
        window_seconds: f64,
        window_calls: i128,
        minimum_calls: i128,
        open_seconds: f64,
        trials: i128,
    }
}
section! {
    /// The section `idempotency` of an entry of `integration.messaging.handler_tuning`.
    RawIdempotencyTuning { enabled: bool, ttl_seconds: f64, lock_timeout_seconds: f64, }
}
section! {
    /// The section `schema_registry`.
    RawSchemaRegistry {
        urls: Vec<String>,
        username: String,
        password: RawSecret,
        token: RawSecret,
        ca_file: String,
        timeout_ms: i128,
        cache_size: i128,
    }
}
section! {
    /// The keys of `lineage` itself.
    RawLineageKeys {
        enabled: bool,
        collector_topic: String,
        granularity: String,
        interval_seconds: f64,
        max_queued_events: i128,
    }
}
section! {
    /// The section `lineage.producer`.
    RawLineageProducer { job_namespace: String, producer_uri: String, }
}
section! {
    /// The section `lineage.store`.
    RawLineageStore {
        backend: String,
        backends: Vec<String>,
        url: String,
        api_key: RawSecret,
        timeout_ms: i128,
    }
}
section! {
    /// The section `lineage.collector`.
    RawLineageCollector { enabled: bool, group_id: String, stores: Vec<String>, path: String, }
}
section! {
    /// The keys of an entry of `integration.messaging.handler_tuning` itself.
    RawTuning { handler_id: String, concurrency: i128, priority: String, paused: bool, }
}

impl RawSettings {
    /// Read the merged layers, which were checked before.
    pub(super) fn read(root: &Table) -> Self {
        let table = |path: &str| table_at(root, path);
        Self {
            app: RawApp::read("app", table("app")),
            messaging: RawMessaging::read(root),
            kvstores: read_kvstores(root),
            idempotency: RawIdempotency {
                keys: RawIdempotencyKeys::read(IDEMPOTENCY, table(IDEMPOTENCY)),
                store: RawIdempotencyStore::read(IDEMPOTENCY_STORE, table(IDEMPOTENCY_STORE)),
                provider: RawStoreProvider::read(
                    &join(IDEMPOTENCY_STORE, "provider"),
                    table(&join(IDEMPOTENCY_STORE, "provider")),
                ),
            },
            context: RawContext::read("context", table("context")),
            lineage: RawLineage::read(root),
            crypto: read_crypto(root),
            storage: RawStorage::read(STORAGE, table(STORAGE)),
            schema_registry: RawSchemaRegistry::read(SCHEMA_REGISTRY, table(SCHEMA_REGISTRY)),
            observability: RawObservability::read("observability", table("observability")),
            metrics: RawMetrics::read("observability.metrics", table("observability.metrics")),
            lifecycle: RawLifecycle::read("lifecycle", table("lifecycle")),
        }
    }
}

impl RawLineage {
    fn read(root: &Table) -> Self {
        let path = |name| join(LINEAGE, name);
        let table = |name| table_at(root, &path(name));
        Self {
            keys: RawLineageKeys::read(LINEAGE, table_at(root, LINEAGE)),
            producer: RawLineageProducer::read(&path("producer"), table("producer")),
            store: RawLineageStore::read(&path("store"), table("store")),
            collector: RawLineageCollector::read(&path("collector"), table("collector")),
        }
    }
}

impl RawMessaging {
    fn read(root: &Table) -> Self {
        let (switch, provider) = ("integration.messaging", "integration.messaging.provider");
        let (topics, dlq) = ("integration.messaging.topics", "integration.messaging.dlq");
        let retry = "integration.messaging.dlq.retry";
        let connection = RawConnection {
            consumer: RawConsumer::read(CONSUMER, table_at(root, CONSUMER)),
            producer: RawProducer::read(PRODUCER, table_at(root, PRODUCER)),
            security: RawSecurity::read(SECURITY, table_at(root, SECURITY)),
            origin: None,
            security_path: SECURITY.to_owned(),
        };
        let republisher = table_at(root, REPUBLISHER);
        Self {
            switch: RawSwitch::read(switch, table_at(root, switch)),
            provider: RawProvider::read(provider, table_at(root, provider)),
            connection,
            connections: read_connections(root),
            topics: RawTopics::read(topics, table_at(root, topics)),
            dlq: RawDlq::read(dlq, table_at(root, dlq)),
            retry: RawRetry::read(retry, table_at(root, retry)),
            republisher: RawRepublisher::read(REPUBLISHER, republisher),
            republishing: RawConnection::read(REPUBLISHER, republisher, None),
            payload: read_payload(root),
            ordering: RawOrdering::read(ORDERING, table_at(root, ORDERING)),
            handler_tuning: read_tuning(root),
        }
    }
}

impl RawConnection {
    /// Read a table with the sections of a connection.
    fn read(path: &str, table: Option<&Table>, origin: Option<&Origin>) -> Self {
        let section = |section: &str| table?.get(section)?.node.as_table();
        Self {
            consumer: RawConsumer::read(&join(path, "consumer"), section("consumer")),
            producer: RawProducer::read(&join(path, "producer"), section("producer")),
            security: RawSecurity::read(&join(path, "security"), section("security")),
            origin: origin.cloned(),
            security_path: join(path, "security"),
        }
    }
}

fn read_connections(root: &Table) -> Vec<(String, RawConnection)> {
    let connections = table_at(root, CONNECTIONS).into_iter().flatten();
    let read = |(name, entry): (&String, &super::tree::Entry)| {
        let connection = RawConnection::read(
            &join(CONNECTIONS, name),
            entry.node.as_table(),
            Some(&entry.origin),
        );
        (name.clone(), connection)
    };
    connections.map(read).collect()
}

fn read_kvstores(root: &Table) -> Vec<(String, RawStore)> {
    let stores = table_at(root, KVSTORES).into_iter().flatten();
    let read = |(name, entry): (&String, &super::tree::Entry)| {
        let path = join(KVSTORES, name);
        let table = entry.node.as_table();
        let provider = table.and_then(|table| table.get("provider")?.node.as_table());
        let store = RawStore {
            switch: RawStoreSwitch::read(&path, table),
            provider: RawStoreProvider::read(&join(&path, "provider"), provider),
        };
        (name.clone(), store)
    };
    stores.map(read).collect()
}

fn read_crypto(root: &Table) -> RawCrypto {
    let crypto = table_at(root, CRYPTO);
    let ring = match crypto
        .and_then(|crypto| crypto.get("keys"))
        .map(|entry| &entry.node)
    {
        Some(Node::List(items)) => items.as_slice(),
        _ => &[],
    };
    let key = |(index, item): (usize, &super::tree::Entry)| {
        let path = join(&join(CRYPTO, "keys"), &index.to_string());
        (RawKey::read(&path, item.node.as_table()), item.origin.clone())
    };
    RawCrypto {
        keys: RawCryptoKeys::read(CRYPTO, crypto),
        ring: ring.iter().enumerate().map(key).collect(),
    }
}

fn read_payload(root: &Table) -> RawPayload {
    let payload = table_at(root, PAYLOAD);
    let topics = payload.and_then(|payload| payload.get("topics")?.node.as_table());
    let topic = |(name, entry): (&String, &super::tree::Entry)| {
        let path = join(&join(PAYLOAD, "topics"), name);
        let pipeline = read_pipeline(&path, entry.node.as_table()?)?;
        Some((name.clone(), pipeline))
    };
    RawPayload {
        keys: RawPayloadKeys::read(PAYLOAD, payload),
        pipeline: payload.and_then(|payload| read_pipeline(PAYLOAD, payload)),
        topics: topics.into_iter().flatten().filter_map(topic).collect(),
    }
}

/// Read the list `pipeline` of a table that stands at `path`.
fn read_pipeline(path: &str, table: &Table) -> Option<RawPipeline> {
    let entry = table.get("pipeline")?;
    let Node::List(items) = &entry.node else {
        return None;
    };
    let key = join(path, "pipeline");
    let step = |(index, item): (usize, &super::tree::Entry)| {
        let key = join(&key, &index.to_string());
        RawStep {
            keys: RawStepKeys::read(&key, item.node.as_table()),
            key,
            origin: item.origin.clone(),
        }
    };
    Some(RawPipeline {
        steps: items.iter().enumerate().map(step).collect(),
        origin: entry.origin.clone(),
        key,
    })
}

fn read_tuning(root: &Table) -> Vec<RawTuned> {
    let entry = table_at(root, "integration.messaging").and_then(|messaging| messaging.get("handler_tuning"));
    let Some(Node::List(items)) = entry.map(|entry| &entry.node) else {
        return Vec::new();
    };
    let read = |(index, item): (usize, &super::tree::Entry)| {
        let path = format!("{TUNING}.{index}");
        let table = item.node.as_table();
        let within = |name| table.and_then(|table: &Table| table.get(name)?.node.as_table());
        RawTuned {
            origin: item.origin.clone(),
            tuning: RawTuning::read(&path, table),
            ordering: RawOrdering::read(&join(&path, "ordering"), within("ordering")),
            idempotency: RawIdempotencyTuning::read(&join(&path, "idempotency"), within("idempotency")),
            pipeline: within("payload").and_then(|payload| read_pipeline(&join(&path, "payload"), payload)),
            retry: RawRetryTuning::read(&join(&path, "retry"), within("retry")),
            circuit_breaker: RawCircuitBreaker::read(
                &join(&path, "circuit_breaker"),
                within("circuit_breaker"),
            ),
        }
    };
    items.iter().enumerate().map(read).collect()
}

fn table_at<'t>(root: &'t Table, path: &str) -> Option<&'t Table> {
    path.split('.')
        .try_fold(root, |table, name| table.get(name)?.node.as_table())
}

fn read<T: FromNode>(path: &str, table: &Table, name: &str) -> Field<T> {
    let entry = table.get(name)?;
    let key = join(path, name);
    Some(Written {
        value: T::from_node(&key, &entry.node)?,
        key,
        origin: entry.origin.clone(),
    })
}

/// A type that a checked value can be read as.
trait FromNode: Sized {
    fn from_node(key: &str, node: &Node) -> Option<Self>;
}

impl FromNode for String {
    fn from_node(_: &str, node: &Node) -> Option<Self> {
        match node {
            Node::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl FromNode for bool {
    fn from_node(_: &str, node: &Node) -> Option<Self> {
        match node {
            Node::Boolean(boolean) => Some(*boolean),
            _ => None,
        }
    }
}

impl FromNode for i128 {
    fn from_node(_: &str, node: &Node) -> Option<Self> {
        match node {
            Node::Integer(integer) => Some(*integer),
            _ => None,
        }
    }
}

impl FromNode for f64 {
    fn from_node(_: &str, node: &Node) -> Option<Self> {
        match node {
            Node::Number(number) => Some(*number),
            _ => None,
        }
    }
}

impl FromNode for Vec<String> {
    fn from_node(key: &str, node: &Node) -> Option<Self> {
        match node {
            Node::List(items) => items
                .iter()
                .map(|item| String::from_node(key, &item.node))
                .collect(),
            _ => None,
        }
    }
}

impl FromNode for BTreeMap<String, Written<String>> {
    fn from_node(key: &str, node: &Node) -> Option<Self> {
        let table = node.as_table()?;
        Some(
            table
                .keys()
                .filter_map(|name| Some((name.clone(), read(key, table, name)?)))
                .collect(),
        )
    }
}

impl FromNode for RawSecret {
    fn from_node(_: &str, node: &Node) -> Option<Self> {
        match node {
            Node::Secret(secret) => Some(Self::Text(secret.clone())),
            Node::SecretIn(place) => Some(Self::Place(place.clone())),
            _ => None,
        }
    }
}
