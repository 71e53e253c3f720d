//! What the settings mean: every default filled in, every value of the type it is used as.
//!
//! No field has an `Option` that means "default"; a `None` here says that there is nothing, such as no
//! group of one's own. The structs grow with athomic and are `#[non_exhaustive]`: outside this crate, start
//! from `Default` and change fields.

mod context;
mod crypto;
mod idempotency;
mod lineage;
mod observability;
mod ordering;
mod payload;
mod republisher;
mod schema_registry;
mod storage;

pub use context::{ContextField, ContextSettings};
pub use crypto::{CryptoAlgorithm, CryptoSettings, KeySettings};
pub use idempotency::{IdempotencySettings, IdempotencyTuning};
pub use lineage::{
    CollectorStore, LineageCollectorSettings, LineageGranularity, LineageServerSettings, LineageSettings,
    LineageStoreKind,
};
pub use observability::{
    MetricsExporter, MetricsSettings, ObservabilitySettings, OtlpProtocol, ProcessSpanParent,
};
pub(in crate::settings) use ordering::default_kvstores;
pub use ordering::{DEFAULT_KVSTORE, KvStoreSettings, OrderingSettings, OrderingTuning, StoreBackend};
pub use payload::{PayloadSettings, PipelineSettings, StepSettings};
pub use republisher::{DEFAULT_REPUBLISHER_GROUP, DelayBackend, REPUBLISHER_CONNECTION, RepublisherSettings};
pub use schema_registry::SchemaRegistrySettings;
pub use storage::{StorageBackend, StorageSettings};

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::choice::choice;
use super::error::Origin;
use super::explain::Traces;
use super::secret::Secret;
use crate::dead_letter::TopicTemplate;
use crate::handler::{CircuitBreakerOptions, Priorities, RetryOptions};
use crate::retry::Stages;

/// The name of the connection that handlers use if they name none.
pub const DEFAULT_CONNECTION: &str = "default";

/// All settings of a program.
///
/// `Default` gives the built-in defaults, with which a program runs on the embedded broker.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Who the program is: section `app`.
    pub app: AppSettings,
    /// Brokers, consumers, failures: section `integration.messaging`.
    pub messaging: MessagingSettings,
    /// The stores by name: section `database.kvstore`. Always has [`DEFAULT_KVSTORE`].
    pub kvstores: BTreeMap<String, KvStoreSettings>,
    /// How handled messages are remembered: section `resilience.idempotency`.
    pub idempotency: IdempotencySettings,
    /// What context travels with messages: section `context`.
    pub context: ContextSettings,
    /// What handlers read and write: section `lineage`.
    pub lineage: LineageSettings,
    /// The keys of encrypted payloads: section `security.crypto`.
    pub crypto: CryptoSettings,
    /// Where large payloads are kept: section `storage`.
    pub storage: StorageSettings,
    /// The registry of schemas: section `schema_registry`.
    pub schema_registry: SchemaRegistrySettings,
    /// What is recorded for OpenTelemetry: section `observability`.
    pub observability: ObservabilitySettings,
    /// Start and stop: section `lifecycle`.
    pub lifecycle: LifecycleSettings,
    /// The active profile; none if only `[default]` and bare tables count.
    pub profile: Option<String>,
    /// Where each value comes from, for messages.
    pub(super) traces: Arc<Traces>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            app: AppSettings::default(),
            messaging: MessagingSettings::default(),
            kvstores: default_kvstores(),
            idempotency: IdempotencySettings::default(),
            context: ContextSettings::default(),
            lineage: LineageSettings::default(),
            crypto: CryptoSettings::default(),
            storage: StorageSettings::default(),
            schema_registry: SchemaRegistrySettings::default(),
            observability: ObservabilitySettings::default(),
            lifecycle: LifecycleSettings::default(),
            profile: None,
            traces: Arc::default(),
        }
    }
}

/// Settings are equal if they mean the same, wherever they were written.
impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            app,
            messaging,
            kvstores,
            idempotency,
            context,
            lineage,
            crypto,
            storage,
            schema_registry,
            observability,
            lifecycle,
            profile,
            traces: _,
        } = self;
        (app, messaging, kvstores) == (&other.app, &other.messaging, &other.kvstores)
            && (idempotency, context, lineage) == (&other.idempotency, &other.context, &other.lineage)
            && (lifecycle, profile, observability) == (&other.lifecycle, &other.profile, &other.observability)
            && (crypto, storage, schema_registry) == (&other.crypto, &other.storage, &other.schema_registry)
    }
}

/// Who the program is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppSettings {
    /// The name under which brokers and telemetry know the program. Default `athomic`.
    pub name: String,
    /// The version of the program. Default `0.0.0`.
    pub version: String,
}

impl Default for AppSettings {
    fn default() -> Self {
        Self {
            name: "athomic".to_owned(),
            version: "0.0.0".to_owned(),
        }
    }
}

/// How long starting and stopping may take.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LifecycleSettings {
    /// How long all services together may take to start. Default 60 s.
    pub startup_timeout: Duration,
    /// How long work in flight may take to drain. Default 30 s.
    pub shutdown_timeout: Duration,
}

impl Default for LifecycleSettings {
    fn default() -> Self {
        Self {
            startup_timeout: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(30),
        }
    }
}

/// Brokers, consumers and what happens to failures.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MessagingSettings {
    /// Whether the program consumes and publishes at all. Default `true`.
    pub enabled: bool,
    /// The kind of broker. Default [`Backend::Memory`].
    pub backend: Backend,
    /// The connections by name. Always has [`DEFAULT_CONNECTION`], whose values the others inherit.
    pub connections: BTreeMap<String, ConnectionSettings>,
    /// Creation of missing topics.
    pub topics: TopicsSettings,
    /// What happens to messages that fail.
    pub dlq: DlqSettings,
    /// Delayed messages.
    pub republisher: RepublisherSettings,
    /// How payloads are written and read.
    pub payload: PayloadSettings,
    /// Ordered consumption.
    pub ordering: OrderingSettings,
    /// Changes to single handlers without a rebuild, in the order written.
    pub handler_tuning: Vec<HandlerTuning>,
}

impl Default for MessagingSettings {
    fn default() -> Self {
        let connection = ConnectionSettings::default();
        Self {
            enabled: true,
            backend: Backend::Memory,
            connections: BTreeMap::from([(connection.name.clone(), connection)]),
            topics: TopicsSettings::default(),
            dlq: DlqSettings::default(),
            republisher: RepublisherSettings::default(),
            payload: PayloadSettings::default(),
            ordering: OrderingSettings::default(),
            handler_tuning: Vec::new(),
        }
    }
}

/// One cluster and how to consume from it and publish to it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ConnectionSettings {
    /// The name that handlers give as `connection_name`.
    pub name: String,
    /// How to consume.
    pub consumer: ConsumerSettings,
    /// How to publish.
    pub producer: ProducerSettings,
    /// Encryption and identity.
    pub security: SecuritySettings,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            name: DEFAULT_CONNECTION.to_owned(),
            consumer: ConsumerSettings::default(),
            producer: ProducerSettings::default(),
            security: SecuritySettings::default(),
        }
    }
}

/// How to consume.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerSettings {
    /// Brokers to ask first, `host:port`. Never empty. Default `localhost:9092`.
    pub bootstrap_servers: Vec<String>,
    /// The consumer group of handlers that name none.
    pub group_id: Option<String>,
    /// Where a group without a committed offset begins. Default [`OffsetReset::Earliest`].
    pub auto_offset_reset: OffsetReset,
    /// How often offsets are committed. Default 1000 ms.
    pub commit_interval: Duration,
    /// How long the broker waits for a silent member before it gives its partitions away. Default 45 s.
    /// With [`GroupProtocol::Consumer`] the broker's own setting holds.
    pub session_timeout: Duration,
    /// The most messages taken from the client at once. Default 500.
    pub max_poll_records: NonZeroUsize,
    /// The most bytes in one answer of a broker. Default 1 MiB.
    pub fetch_max_bytes: usize,
    /// How long a broker may wait for messages before it answers. Default 500 ms.
    pub fetch_max_wait: Duration,
    /// Whether records of open and aborted transactions are seen. Default
    /// [`IsolationLevel::ReadCommitted`].
    pub isolation_level: IsolationLevel,
    /// How the group shares out partitions. Default [`GroupProtocol::Classic`].
    pub group_protocol: GroupProtocol,
    /// The name of a static member of the group, unique in it.
    pub group_instance_id: Option<String>,
    /// The name that brokers log and count by; none means the name of the program.
    pub client_id: Option<String>,
    /// How long the client may go without polling before it leaves the group. Default 300 s.
    pub max_poll_interval: Duration,
    /// How long a revoked partition may take to drain; shorter than `max_poll_interval`. Default 20 s.
    pub revoke_timeout: Duration,
    /// How long one execution of a handler may take; none means as long as it likes, the default.
    pub handler_timeout: Option<Duration>,
    /// The most messages in flight in one partition. Default 1000.
    pub max_in_flight_messages: NonZeroUsize,
    /// The most bytes in flight in one partition. Default 16 MiB.
    pub max_in_flight_bytes: usize,
    /// The most kilobytes, uncompressed, that the client fetches ahead for one consumer. Each partition of
    /// its topics has an equal share, whoever it is assigned to; 256 KiB of it, or one batch of records, may
    /// always be fetched. Default 32768.
    pub queued_max_kbytes: usize,
    /// Options handed to librdkafka as they are.
    pub librdkafka: BTreeMap<String, String>,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self {
            bootstrap_servers: vec!["localhost:9092".to_owned()],
            group_id: None,
            auto_offset_reset: OffsetReset::Earliest,
            commit_interval: Duration::from_secs(1),
            session_timeout: Duration::from_secs(45),
            max_poll_records: const { NonZeroUsize::new(500).expect("not zero") },
            fetch_max_bytes: 1 << 20,
            fetch_max_wait: Duration::from_millis(500),
            isolation_level: IsolationLevel::ReadCommitted,
            group_protocol: GroupProtocol::Classic,
            group_instance_id: None,
            client_id: None,
            max_poll_interval: Duration::from_secs(300),
            revoke_timeout: Duration::from_secs(20),
            handler_timeout: None,
            max_in_flight_messages: const { NonZeroUsize::new(1000).expect("not zero") },
            max_in_flight_bytes: 16 << 20,
            queued_max_kbytes: 32_768,
            librdkafka: BTreeMap::new(),
        }
    }
}

/// How to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducerSettings {
    /// Brokers to ask first, `host:port`. Never empty. Default `localhost:9092`.
    pub bootstrap_servers: Vec<String>,
    /// What publishes to Kafka. Default [`ProducerClient::Librdkafka`].
    pub client: ProducerClient,
    /// How long a record may wait for others to share a request with. Default 1 ms.
    pub linger: Duration,
    /// The most bytes in one batch of records. Default 1 MiB.
    pub batch_max_bytes: usize,
    /// Compression of record batches. Default [`WireCompression::None`].
    pub wire_compression: WireCompression,
    /// How long publishing may take, retries included. Default 120 s.
    pub delivery_timeout: Duration,
    /// Options handed to librdkafka as they are.
    pub librdkafka: BTreeMap<String, String>,
}

impl Default for ProducerSettings {
    fn default() -> Self {
        Self {
            bootstrap_servers: vec!["localhost:9092".to_owned()],
            client: ProducerClient::Librdkafka,
            linger: Duration::from_millis(1),
            batch_max_bytes: 1 << 20,
            wire_compression: WireCompression::None,
            delivery_timeout: Duration::from_secs(120),
            librdkafka: BTreeMap::new(),
        }
    }
}

/// Encryption and identity.
///
/// Checked on loading: SASL has a mechanism, and user name and password or, for `OAUTHBEARER`, what it
/// takes to have tokens; files go with TLS, and a certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecuritySettings {
    /// What the connection is wrapped in. Default [`SecurityProtocol::Plaintext`].
    pub protocol: SecurityProtocol,
    /// How the program proves who it is, with the two SASL protocols.
    pub mechanism: Option<SaslMechanism>,
    /// The SASL user.
    pub username: Option<String>,
    /// The SASL password. Not fetched, and none, while the embedded broker is in use.
    pub password: Option<Secret>,
    /// A PEM file with the authorities to trust; none means those of the system.
    pub ca_file: Option<PathBuf>,
    /// A PEM file with the certificate that the program shows.
    pub certificate_file: Option<PathBuf>,
    /// A PEM file with the key of the certificate.
    pub key_file: Option<PathBuf>,
    /// The password of the key file. Not fetched, and none, while the embedded broker is in use.
    pub key_password: Option<Secret>,
    /// Where tokens are had for [`SaslMechanism::OauthBearer`].
    pub oauth_token_url: Option<String>,
    /// The client that asks for tokens.
    pub oauth_client_id: Option<String>,
    /// The secret of that client. Not fetched, and none, while the embedded broker is in use.
    pub oauth_client_secret: Option<Secret>,
    /// What tokens are asked for.
    pub oauth_scope: Option<String>,
    /// What the broker is told besides the token: `name=value`, parted by commas.
    pub oauth_extensions: Option<String>,
    /// A PEM file with the authorities to trust where tokens are had; none means those of the system.
    pub oauth_ca_file: Option<PathBuf>,
}

impl Default for SecuritySettings {
    fn default() -> Self {
        Self {
            protocol: SecurityProtocol::Plaintext,
            mechanism: None,
            username: None,
            password: None,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            key_password: None,
            oauth_token_url: None,
            oauth_client_id: None,
            oauth_client_secret: None,
            oauth_scope: None,
            oauth_extensions: None,
            oauth_ca_file: None,
        }
    }
}

/// Creation of missing topics.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicsSettings {
    /// Whether missing topics are created. Default [`AutoCreate::Dev`].
    pub auto_create: AutoCreate,
    /// The partitions of a created topic. Default 3.
    pub default_partitions: NonZeroU32,
    /// The copies of each partition of a created topic. Default 1.
    pub default_replication: NonZeroU16,
}

impl Default for TopicsSettings {
    fn default() -> Self {
        Self {
            auto_create: AutoCreate::Dev,
            default_partitions: const { NonZeroU32::new(3).expect("not zero") },
            default_replication: NonZeroU16::MIN,
        }
    }
}

/// What happens to messages that fail.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DlqSettings {
    /// Whether messages that failed for good are handed to the strategy. Default `true`.
    pub enabled: bool,
    /// How often a message is tried in all. Default 3.
    pub max_attempts: NonZeroU32,
    /// What happens to a message after its last attempt. Default [`DlqStrategy::LoggingOnly`].
    pub strategy: DlqStrategy,
    /// Where dead letters go. Default `platform.dead-letter-queue.v1`.
    pub topic: TopicTemplate,
    /// Where dead letters go that nobody is to try again. Default `platform.parking-lot.v1`.
    pub parking_lot_topic: TopicTemplate,
    /// How a dead letter is written. Default [`DlqFormat::Headers`].
    pub format: DlqFormat,
    /// Whose names of headers are put on dead letters beside athomic's. Default Kafka's.
    pub header_sets: Vec<DlqHeaderSet>,
    /// How many bytes of an error's text a dead letter has at most. Default 8192.
    pub error_max_bytes: usize,
    /// Whether dead letters have no text of errors, which may hold secrets. Default `false`.
    pub error_redact: bool,
    /// How often a message may be replayed until its next dead letter goes to the parking lot. Default 3.
    pub max_replays: u32,
    /// The index of dead letters.
    pub index: DlqIndexSettings,
    /// The time between attempts.
    pub retry: RetrySettings,
}

/// The index of dead letters in a key-value store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DlqIndexSettings {
    /// Whether there is one. Default `true`.
    pub enabled: bool,
    /// Its store: a name below `database.kvstore`. Default `ordering`.
    pub kvstore: String,
    /// How long an entry stays. Default 14 days.
    pub ttl: Duration,
    /// How many entries of one handler stay. Default 10000.
    pub max_entries: NonZeroUsize,
}

impl Default for DlqIndexSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            kvstore: DEFAULT_KVSTORE.to_owned(),
            ttl: Duration::from_secs(14 * 24 * 60 * 60),
            max_entries: const { NonZeroUsize::new(10_000).expect("not zero") },
        }
    }
}

impl Default for DlqSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            max_attempts: const { NonZeroU32::new(3).expect("not zero") },
            strategy: DlqStrategy::LoggingOnly,
            topic: template("platform.dead-letter-queue.v1"),
            parking_lot_topic: template("platform.parking-lot.v1"),
            format: DlqFormat::Headers,
            header_sets: vec![DlqHeaderSet::Kafka],
            error_max_bytes: 8192,
            error_redact: false,
            max_replays: 3,
            index: DlqIndexSettings::default(),
            retry: RetrySettings::default(),
        }
    }
}

fn template(name: &str) -> TopicTemplate {
    TopicTemplate::new(name).expect("a topic's name")
}

/// The time between attempts.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RetrySettings {
    /// Where a message waits for its next attempt. Default [`RetryMode::InPlace`], or
    /// [`RetryMode::DelayTopic`] in a program whose republisher is on.
    pub mode: RetryMode,
    /// What messages of a key do meanwhile, where they are ordered by key. Default [`RetryOrder::Hold`].
    pub order: RetryOrder,
    /// Which failures are tried again at all. Default all of [`Stages::ALL`].
    pub retry_on: Stages,
    /// How waits grow. Default [`BackoffKind::Exponential`].
    pub backoff: BackoffKind,
    /// The wait before the second attempt. Default 1 s.
    pub min_delay: Duration,
    /// The longest wait; not shorter than `min_delay`. Default 300 s.
    pub max_delay: Duration,
    /// What each wait is multiplied by to get the next; finite and at least 1. Default 2.
    pub factor: f64,
    /// Whether waits are varied at random, so that failures do not come back in step. Default `true`.
    pub jitter: bool,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            mode: RetryMode::InPlace,
            order: RetryOrder::Hold,
            retry_on: Stages::default(),
            backoff: BackoffKind::Exponential,
            min_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(300),
            factor: 2.0,
            jitter: true,
        }
    }
}

/// Changes to one handler; what is none stays as the attribute says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerTuning {
    /// The handler, as module path and function name. Whether it exists is for the caller to check.
    pub handler_id: String,
    /// How many executions may run at once in the process.
    pub concurrency: Option<NonZeroUsize>,
    /// Which priority topics it consumes.
    pub priority: Option<Priorities>,
    /// Whether the handler starts paused.
    pub paused: Option<bool>,
    /// Its order, for ordered consumers.
    pub ordering: OrderingTuning,
    /// Whether and how its messages are handled once.
    pub idempotency: IdempotencyTuning,
    /// The steps of its payloads, in the place of those of its topics.
    pub pipeline: Option<PipelineSettings>,
    /// How its messages are tried again.
    pub retry: RetryOptions,
    /// When it is left alone for a while.
    pub circuit_breaker: CircuitBreakerOptions,
    /// Where the entry was written, for messages.
    pub origin: Origin,
}

choice! {
    /// The kind of broker.
    pub enum Backend {
        /// The embedded broker, in the process.
        Memory = "memory",
        /// Apache Kafka or what speaks its protocol; needs the feature `kafka`.
        Kafka = "kafka",
    }
    not built: []
}

choice! {
    /// Where a group without a committed offset begins.
    pub enum OffsetReset {
        /// With the oldest message.
        Earliest = "earliest",
        /// With what arrives from now on.
        Latest = "latest",
        /// Nowhere: the consumer stops with an error.
        Fail = "fail",
    }
    not built: []
}

choice! {
    /// Whether records of open and aborted transactions are seen.
    pub enum IsolationLevel {
        /// Only what was committed, or was not part of a transaction.
        ReadCommitted = "read_committed",
        /// Everything.
        ReadUncommitted = "read_uncommitted",
    }
    not built: []
}

choice! {
    /// How a group shares out its partitions.
    pub enum GroupProtocol {
        /// By the broker (KIP-848), which must be of version 4.0 or later.
        Consumer = "consumer",
        /// By one of the members, as every broker can.
        Classic = "classic",
    }
    not built: []
}

choice! {
    /// Compression of record batches; not of payloads.
    pub enum WireCompression {
        /// No compression.
        None = "none",
        /// gzip: smallest among the old ones, slow.
        Gzip = "gzip",
        /// LZ4: fast.
        Lz4 = "lz4",
        /// Snappy: fast.
        Snappy = "snappy",
        /// Zstandard: small and fast enough.
        Zstd = "zstd",
    }
    not built: []
}

choice! {
    /// What publishes to Kafka.
    pub enum ProducerClient {
        /// librdkafka: idempotent, acknowledged by all in-sync replicas.
        Librdkafka = "librdkafka",
        /// rskafka for calls of many messages, librdkafka for all else. Acknowledged by all in-sync replicas,
        /// and not idempotent: a request whose outcome is unknown is sent again.
        Rskafka = "rskafka",
    }
    not built: []
}

choice! {
    /// What a connection is wrapped in.
    pub enum SecurityProtocol {
        /// Nothing.
        Plaintext = "plaintext",
        /// TLS.
        Ssl = "ssl",
        /// SASL without encryption.
        SaslPlaintext = "sasl_plaintext",
        /// SASL within TLS.
        SaslSsl = "sasl_ssl",
    }
    not built: []
}

impl SecurityProtocol {
    /// Return whether the connection is encrypted.
    #[must_use]
    pub fn uses_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Return whether the program identifies itself by SASL.
    #[must_use]
    pub fn uses_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

choice! {
    /// How a program proves who it is.
    pub enum SaslMechanism {
        /// By user name and password as they are.
        Plain = "PLAIN",
        /// By a proof of the password, SHA-256.
        ScramSha256 = "SCRAM-SHA-256",
        /// By a proof of the password, SHA-512.
        ScramSha512 = "SCRAM-SHA-512",
        /// By a token of an OpenID Connect server.
        OauthBearer = "OAUTHBEARER",
    }
    not built: []
}

choice! {
    /// Whether missing topics are created.
    pub enum AutoCreate {
        /// No: a missing topic is an error at the start.
        Never = "never",
        /// Only on the embedded broker.
        Dev = "dev",
        /// On every broker.
        Always = "always",
    }
    not built: []
}

choice! {
    /// What happens to a message after its last attempt.
    pub enum DlqStrategy {
        /// It is logged with its coordinates and settled.
        LoggingOnly = "logging_only",
        /// It becomes a record in the dead-letter topic, which is consumed into the parking lot.
        RepublishToParkingLot = "republish_to_parking_lot",
        /// It becomes a record in the dead-letter topic and stays there.
        Keep = "keep",
    }
    not built: []
}

choice! {
    /// How a dead letter is written.
    pub enum DlqFormat {
        /// Key, payload and headers as they were; what failed is told in more headers.
        Headers = "headers",
        /// One JSON document with the message and what failed.
        Envelope = "envelope",
    }
    not built: []
}

choice! {
    /// Names of headers on dead letters.
    pub enum DlqHeaderSet {
        /// Kafka's: `__dlq.errors.*`.
        Kafka = "kafka",
        /// Those of Spring for Apache Kafka: `kafka_dlt-*`.
        Spring = "spring",
        /// Those of Kafka Connect: `__connect.errors.*`.
        Connect = "connect",
        /// Those of `SmallRye` Reactive Messaging: `dead-letter-*`.
        Smallrye = "smallrye",
    }
    not built: []
}

choice! {
    /// How the waits between attempts grow.
    pub enum BackoffKind {
        /// All are as long as the first.
        Fixed = "fixed",
        /// Each is `factor` times the one before.
        Exponential = "exponential",
    }
    not built: []
}

choice! {
    /// Where a message waits for its next attempt.
    pub enum RetryMode {
        /// In its lane, before the messages behind it.
        InPlace = "in_place",
        /// As a copy at the end of its topic, for its group alone.
        Republish = "republish",
        /// In a delay topic, from which it comes back as such a copy.
        DelayTopic = "delay_topic",
    }
    not built: []
}

choice! {
    /// What messages of a key do while one before them waits for its next attempt.
    pub enum RetryOrder {
        /// They wait behind it: it is retried in its place, and other keys go on.
        Hold = "hold",
        /// They overtake it.
        Release = "release",
    }
    not built: []
}
