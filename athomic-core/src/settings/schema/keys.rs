//! The keys that athomic understands today.

use super::circuit_breaker::CIRCUIT_BREAKER_KEYS;
use super::idempotency::{IDEMPOTENCY_KEYS, IDEMPOTENCY_STORE_KEYS, IDEMPOTENCY_TUNING_KEYS};
use super::lineage::{LINEAGE_COLLECTOR_KEYS, LINEAGE_KEYS, LINEAGE_PRODUCER_KEYS, LINEAGE_STORE_KEYS};
use super::ordering::{ORDERING_KEYS, STORE_KEYS, STORE_PROVIDER_KEYS};
use super::payload::{CRYPTO_KEYS, KEY_KEYS, PAYLOAD_KEYS, STEP_KEYS, STORAGE_KEYS};
use super::schema_registry::SCHEMA_REGISTRY_KEYS;
use super::{Key, Kind, Preset, Section};
use crate::handler::Priorities;
use crate::settings::choice::Choice;
use crate::settings::resolved::{
    AutoCreate, Backend, BackoffKind, DelayBackend, DlqFormat, DlqStrategy, GroupProtocol, IsolationLevel,
    OffsetReset, OtlpProtocol, ProcessSpanParent, ProducerClient, RetryMode, RetryOrder, SaslMechanism,
    SecurityProtocol, WireCompression,
};

pub(in crate::settings) const CONSUMER: &str = "integration.messaging.consumer";
pub(in crate::settings) const PRODUCER: &str = "integration.messaging.producer";
pub(in crate::settings) const SECURITY: &str = "integration.messaging.security";
pub(in crate::settings) const CONNECTIONS: &str = "integration.messaging.connections";
pub(in crate::settings) const ORDERING: &str = "integration.messaging.ordering";
pub(in crate::settings) const CRYPTO: &str = "security.crypto";
pub(in crate::settings) const PAYLOAD: &str = "integration.messaging.payload";
pub(in crate::settings) const REPUBLISHER: &str = "integration.messaging.republisher";
pub(in crate::settings) const SCHEMA_REGISTRY: &str = "schema_registry";
pub(in crate::settings) const STORAGE: &str = "storage.provider";
pub(in crate::settings) const TUNING: &str = "integration.messaging.handler_tuning";
pub(in crate::settings) const KVSTORES: &str = "database.kvstore";
pub(in crate::settings) const LINEAGE: &str = "lineage";
pub(in crate::settings) const IDEMPOTENCY: &str = "resilience.idempotency";
pub(in crate::settings) const IDEMPOTENCY_STORE: &str = "resilience.idempotency.kvstore";

/// Everything that athomic understands today.
pub(in crate::settings) static SECTIONS: &[Section] = &[
    Section {
        paths: &["app"],
        doc: "Who the program is.",
        keys: &[
            key(
                "name",
                Kind::Text,
                "\"athomic\"",
                "The name under which brokers and telemetry know the program.",
            ),
            key("version", Kind::Text, "\"0.0.0\"", "The version of the program."),
        ],
    },
    Section {
        paths: &["integration.messaging"],
        doc: "Consuming and publishing.",
        keys: &[key(
            "enabled",
            Kind::Boolean,
            "true",
            "Whether the program consumes and publishes at all.",
        )],
    },
    Section {
        paths: &["integration.messaging.provider"],
        doc: "The kind of broker.",
        keys: &[key(
            "backend",
            one_of::<Backend>(),
            "\"memory\"",
            "The embedded broker, or Kafka (needs the feature `kafka`).",
        )],
    },
    Section {
        paths: &[
            CONSUMER,
            "integration.messaging.connections.*.consumer",
            "integration.messaging.republisher.consumer",
        ],
        doc: "How to consume. What `connections.NAME.consumer` and `republisher.consumer` lack is inherited from here.",
        keys: CONSUMER_KEYS,
    },
    Section {
        paths: &[
            PRODUCER,
            "integration.messaging.connections.*.producer",
            "integration.messaging.republisher.producer",
        ],
        doc: "How to publish. What `connections.NAME.producer` and `republisher.producer` lack is inherited from here.",
        keys: PRODUCER_KEYS,
    },
    Section {
        paths: &[
            SECURITY,
            "integration.messaging.connections.*.security",
            "integration.messaging.republisher.security",
        ],
        doc: "Encryption and identity. A connection that names servers of its own inherits nothing of this, \
              so that no password reaches a foreign server.",
        keys: SECURITY_KEYS,
    },
    Section {
        paths: &["integration.messaging.topics"],
        doc: "Creation of missing topics.",
        keys: &[
            key(
                "auto_create",
                one_of::<AutoCreate>(),
                "\"dev\"",
                "Whether missing topics are created; `dev` means only on the embedded broker.",
            ),
            key(
                "default_partitions",
                Kind::Integer,
                "3",
                "The partitions of a created topic.",
            ),
            key(
                "default_replication",
                Kind::Integer,
                "1",
                "The copies of each partition of a created topic.",
            ),
        ],
    },
    Section {
        paths: &["integration.messaging.dlq"],
        doc: "What happens to messages that fail.",
        keys: &[
            key(
                "enabled",
                Kind::Boolean,
                "true",
                "Whether messages that failed for good go to the strategy.",
            ),
            key(
                "max_attempts",
                Kind::Integer,
                "3",
                "How often a message is tried in all.",
            ),
            key(
                "strategy",
                one_of::<DlqStrategy>(),
                "\"logging_only\"",
                "What happens to a message after its last attempt: its coordinates are logged, or it becomes a record in `topic`, which stays there (`keep`) or is moved on to `parking_lot_topic`.",
            ),
            key(
                "topic",
                Kind::Text,
                "\"platform.dead-letter-queue.v1\"",
                "Where dead letters go; `{topic}` and `{group}` stand for those of the message, as in `dlq.{topic}`.",
            ),
            key(
                "parking_lot_topic",
                Kind::Text,
                "\"platform.parking-lot.v1\"",
                "Where dead letters go that fail again, or that were replayed too often.",
            ),
            key(
                "format",
                one_of::<DlqFormat>(),
                "\"headers\"",
                "How a dead letter is written: with key, payload and headers as they were and more headers, or as one JSON document with all of it.",
            ),
            key(
                "header_sets",
                Kind::TextList,
                "[\"kafka\"]",
                "Whose headers are put on dead letters beside athomic's own: `kafka` (`__dlq.errors.*`), `spring` (`kafka_dlt-*`), `connect` (`__connect.errors.*`), `smallrye` (`dead-letter-*`).",
            ),
            key(
                "error_max_bytes",
                Kind::Integer,
                "8192",
                "The most bytes of an error's text on a dead letter; longer ones are cut off with a mark.",
            ),
            key(
                "error_redact",
                Kind::Boolean,
                "false",
                "Whether dead letters have no text of errors, which may hold secrets.",
            ),
            key(
                "max_replays",
                Kind::Integer,
                "3",
                "How often a message may be replayed until its next dead letter goes to `parking_lot_topic`.",
            ),
            key(
                "index_in_kv",
                Kind::Boolean,
                "true",
                "Whether what dead letters tell is also kept in a key-value store, so that listing them reads no topic.",
            ),
            key(
                "index_kvstore",
                Kind::Text,
                "\"ordering\"",
                "The store of that index: a name below `database.kvstore`.",
            ),
            key(
                "index_ttl_seconds",
                Kind::Seconds,
                "1209600",
                "How long an entry of the index stays.",
            ),
            key(
                "index_max_entries",
                Kind::Integer,
                "10000",
                "How many entries of one handler stay in the index; the oldest go first.",
            ),
        ],
    },
    Section {
        paths: &["integration.messaging.dlq.retry"],
        doc: "The time between attempts.",
        keys: &[
            key(
                "mode",
                one_of::<RetryMode>(),
                "\"in_place\"",
                "Where a message waits for its next attempt: in its place, before the messages behind it, as a copy at the end of its topic (`republish`), or before that in a delay topic, which is the default where the republisher is on. Ordered consumers retry in place.",
            ),
            key(
                "order",
                one_of::<RetryOrder>(),
                "\"hold\"",
                "With `republish` and `delay_topic`, for handlers that are ordered by key: `hold` retries them in place, so that later messages of the key wait; `release` lets them overtake.",
            ),
            key(
                "retry_on",
                Kind::TextList,
                "[\"handler\", \"panic\", \"timeout\", \"decode\"]",
                "Which failures are tried again at all; others are given up at once. Of `decode` only what says that it may pass.",
            ),
            key(
                "backoff",
                one_of::<BackoffKind>(),
                "\"exponential\"",
                "How waits grow; `fixed` has all of them as long as the first.",
            ),
            key(
                "min_delay_seconds",
                Kind::Seconds,
                "1",
                "The wait before the second attempt.",
            ),
            key("max_delay_seconds", Kind::Seconds, "300", "The longest wait."),
            key(
                "factor",
                Kind::Number,
                "2.0",
                "What each wait is multiplied by to get the next; at least 1.",
            ),
            key(
                "jitter",
                Kind::Boolean,
                "true",
                "Whether waits are varied at random.",
            ),
        ],
    },
    Section {
        paths: &[REPUBLISHER],
        doc: "Delayed messages: where they wait, and who publishes them when they are due. With `consumer`, \
              `producer` and `security` of its own, which inherit as those of a connection do; \
              `consumer.group_id` is `athomic-republisher` if it is not set.",
        keys: &[
            key(
                "enabled",
                Kind::Boolean,
                "false",
                "Whether this program publishes what is due; at least one program must. Publishing with a delay takes only the topics.",
            ),
            key(
                "delay_strategy_backend",
                one_of::<DelayBackend>(),
                "\"kafka_topic_delay_strategy\"",
                "How messages wait: in one delay topic, in several in turn, for any delay and closer to its time, or in a store, each until its own time.",
            ),
            unset(
                "delay_topics",
                Kind::Options,
                "{ 60 = \"platform.internal.delay-1m.v1\", 3600 = \"platform.internal.delay-1h.v1\" }",
                "The delay topics by their delays in seconds. A message waits in the smallest that is at least its delay.",
            ),
            unset(
                "destinations",
                Kind::TextList,
                "[\"orders.v1\", \"mail.*\"]",
                "Where delayed messages may go: topics, or beginnings of their names with `*`. If unset, anywhere but to delay topics and the broker's own.",
            ),
            key(
                "max_hops",
                Kind::Integer,
                "100",
                "In how many delay topics in turn a message may wait, with `kafka_cascade_delay_strategy`.",
            ),
            key(
                "kvstore",
                Kind::Text,
                "\"ordering\"",
                "The store in which messages wait, with `redis_sorted_set`: a name below `database.kvstore`.",
            ),
            key(
                "max_delay_seconds",
                Kind::Seconds,
                "2592000",
                "The longest delay, with `redis_sorted_set`.",
            ),
            unset(
                "envelope_key",
                Kind::Secret,
                "{ env = \"ENVELOPE_KEY\" }",
                "Signs delayed messages (HMAC with SHA-256): the republisher gives up what is not signed by it. All programs with the same delay topics need it.",
            ),
            unset(
                "envelope_previous_key",
                Kind::Secret,
                "{ env = \"ENVELOPE_KEY_BEFORE\" }",
                "The key of before, by which messages that still wait are signed.",
            ),
        ],
    },
    Section {
        paths: &[ORDERING, "integration.messaging.handler_tuning.[].ordering"],
        doc: "What ordered consumers do when order is in danger, unless their attribute says otherwise. \
              An entry of `handler_tuning` changes it for one handler: `ordering = { .. }`.",
        keys: ORDERING_KEYS,
    },
    Section {
        paths: &["integration.messaging.handler_tuning.[]"],
        doc: "Changes to single handlers without a rebuild. What an entry lacks stays as the attribute says.",
        keys: &[
            unset(
                "handler_id",
                Kind::Text,
                "\"orders::handlers::on_order\"",
                "The handler, as module path and function name. Required.",
            ),
            unset(
                "concurrency",
                Kind::Integer,
                "25",
                "How many executions may run at once in the process.",
            ),
            unset(
                "priority",
                one_of::<Priorities>(),
                "\"normal\"",
                "Which topics it consumes: those that it names, `NAME.high` or `NAME.low` of each, or all three.",
            ),
            unset(
                "paused",
                Kind::Boolean,
                "false",
                "Whether the handler starts paused.",
            ),
        ],
    },
    Section {
        paths: &["integration.messaging.handler_tuning.[].retry"],
        doc: "What an entry changes of its handler's retries: `retry = { .. }`. It comes before `retry(..)` of the attribute.",
        keys: &[
            unset(
                "max_attempts",
                Kind::Integer,
                "5",
                "How often its messages are tried in all, see `dlq.max_attempts`.",
            ),
            unset(
                "mode",
                one_of::<RetryMode>(),
                "\"in_place\"",
                "Where its messages wait for their next attempt, see `dlq.retry.mode`.",
            ),
            unset(
                "order",
                one_of::<RetryOrder>(),
                "\"release\"",
                "What later messages of a key do meanwhile, see `dlq.retry.order`.",
            ),
            unset(
                "retry_on",
                Kind::TextList,
                "[\"handler\", \"timeout\"]",
                "Which failures are tried again at all, see `dlq.retry.retry_on`.",
            ),
            unset("backoff", one_of::<BackoffKind>(), "\"fixed\"", "How waits grow."),
            unset(
                "min_delay_seconds",
                Kind::Seconds,
                "0.5",
                "The wait before the second attempt.",
            ),
            unset("max_delay_seconds", Kind::Seconds, "60", "The longest wait."),
        ],
    },
    Section {
        paths: &["integration.messaging.handler_tuning.[].circuit_breaker"],
        doc: "What an entry changes of its handler's circuit breaker: `circuit_breaker = { .. }`. Any key switches it on.",
        keys: CIRCUIT_BREAKER_KEYS,
    },
    Section {
        paths: &["integration.messaging.handler_tuning.[].idempotency"],
        doc: "What an entry changes of its handler's idempotency: `idempotency = { .. }`.",
        keys: IDEMPOTENCY_TUNING_KEYS,
    },
    Section {
        paths: &[PAYLOAD],
        doc: "How large payloads may become when they are read.",
        keys: PAYLOAD_KEYS,
    },
    Section {
        paths: &[
            "integration.messaging.payload.pipeline.[]",
            "integration.messaging.payload.topics.*.pipeline.[]",
            "integration.messaging.handler_tuning.[].payload.pipeline.[]",
        ],
        doc: "The steps between a value and the bytes of its record: encoding runs down the list, decoding up. \
              Without any, payloads are JSON. The same list below `payload.topics.\"NAME\"` is for one topic, and \
              `payload.pipeline` in an entry of `handler_tuning` for what one handler reads.",
        keys: STEP_KEYS,
    },
    Section {
        paths: &[CRYPTO],
        doc: "Encrypted payloads, for the step `crypto` (needs the feature of that name).",
        keys: CRYPTO_KEYS,
    },
    Section {
        paths: &["security.crypto.keys.[]"],
        doc: "The keys by their ids: the active one, and those that messages were encrypted with before.",
        keys: KEY_KEYS,
    },
    Section {
        paths: &[STORAGE],
        doc: "Where large payloads are kept, for the step `claim_check` (needs the feature `claim-check`, and for a cloud's store its own).",
        keys: STORAGE_KEYS,
    },
    Section {
        paths: &[SCHEMA_REGISTRY],
        doc: "The schema registry by whose ids payloads name their schemas (needs the feature `schema-registry`).",
        keys: SCHEMA_REGISTRY_KEYS,
    },
    Section {
        paths: &["database.kvstore.ordering", "database.kvstore.*"],
        doc: "The store of ordered consumers. Others are made by another name in the place of `ordering`.",
        keys: STORE_KEYS,
    },
    Section {
        paths: &[
            "database.kvstore.ordering.provider",
            "database.kvstore.*.provider",
        ],
        doc: "The kind of store, and where it is.",
        keys: STORE_PROVIDER_KEYS,
    },
    Section {
        paths: &[IDEMPOTENCY],
        doc: "Messages that are handled once, for handlers that ask for it by `idempotency_settings(..)` or \
              `idempotency_key_resolver`.",
        keys: IDEMPOTENCY_KEYS,
    },
    Section {
        paths: &[IDEMPOTENCY_STORE],
        doc: "Where handled messages are remembered.",
        keys: IDEMPOTENCY_STORE_KEYS,
    },
    Section {
        paths: &["resilience.idempotency.kvstore.provider"],
        doc: "The kind of store, and where it is.",
        keys: STORE_PROVIDER_KEYS,
    },
    Section {
        paths: &["context"],
        doc: "Context that travels with messages: who asked for what is done.",
        keys: &[
            key(
                "propagate",
                Kind::TextList,
                "[\"request_id\", \"tenant_id\", \"user_id\", \"role\", \"locale\", \"correlation_id\", \"feature_flags\"]",
                "The fields that are taken from messages and put on those that handlers publish; `trace_id` and `span_id` may be named too.",
            ),
            key(
                "untrusted_topics",
                Kind::TextList,
                "[]",
                "Topics whose messages bring no context; `NAME*` is all that begin with NAME.",
            ),
        ],
    },
    Section {
        paths: &[LINEAGE],
        doc: "What handlers read and write, as OpenLineage run events.",
        keys: LINEAGE_KEYS,
    },
    Section {
        paths: &["lineage.producer"],
        doc: "In whose name.",
        keys: LINEAGE_PRODUCER_KEYS,
    },
    Section {
        paths: &["lineage.store"],
        doc: "Where the events go.",
        keys: LINEAGE_STORE_KEYS,
    },
    Section {
        paths: &["lineage.collector"],
        doc: "The consumer of the lineage topic.",
        keys: LINEAGE_COLLECTOR_KEYS,
    },
    Section {
        paths: &["observability"],
        doc: "OpenTelemetry, with the feature `otel`. What the variables OTEL_* say goes before this.",
        keys: &[
            key(
                "enabled",
                Kind::Boolean,
                "true",
                "Whether anything of this section has an effect.",
            ),
            key(
                "exporter_enabled",
                Kind::Boolean,
                "false",
                "Whether there is a port with `/metrics` for Prometheus, `/live` and `/ready`. Needs the feature `http`.",
            ),
            key(
                "exporter_host",
                Kind::Text,
                "\"127.0.0.1\"",
                "The address of the port. It asks nobody who he is: open it beyond loopback only behind something that does.",
            ),
            key(
                "exporter_port",
                Kind::Integer,
                "9464",
                "The port; 0 lets the system choose one.",
            ),
            key(
                "tracing_enabled",
                Kind::Boolean,
                "false",
                "Whether spans are recorded and exported by OTLP.",
            ),
            key(
                "otlp_endpoint",
                Kind::Text,
                "\"http://localhost:4318\"",
                "Where OTLP goes; the usual port is 4318 for `http/protobuf` and 4317 for `grpc`.",
            ),
            key(
                "otlp_protocol",
                one_of::<OtlpProtocol>(),
                "\"http/protobuf\"",
                "How OTLP goes.",
            ),
            key(
                "sampling_rate",
                Kind::Number,
                "1",
                "The share of traces that begin here and are recorded, from 0 to 1; others are decided where they began.",
            ),
            key(
                "process_span_parent",
                one_of::<ProcessSpanParent>(),
                "\"producer\"",
                "Whether a handler's span is a child of the span in which its message was published, or only links to it.",
            ),
            key(
                "poll_spans",
                Kind::Boolean,
                "false",
                "Whether fetching messages is a span too: one for each answer of a broker.",
            ),
        ],
    },
    Section {
        paths: &["observability.metrics"],
        doc: "Metrics.",
        keys: &[
            key("enabled", Kind::Boolean, "false", "Whether metrics are recorded."),
            key(
                "exporters",
                Kind::TextList,
                "[\"prometheus\"]",
                "Where they are to be had: `prometheus` is the text of `/metrics` and `RunningApp::metrics_text`, `otlp` is pushed.",
            ),
            key(
                "collection_interval_seconds",
                Kind::Seconds,
                "60",
                "How often they are pushed by OTLP.",
            ),
            key(
                "partition_attribute",
                Kind::Boolean,
                "false",
                "Whether each partition is a series of its own.",
            ),
            key(
                "waiting_rooms_interval_seconds",
                Kind::Seconds,
                "15",
                "How often the waiting rooms of ordered handlers are looked into: one call of the store for each bucket.",
            ),
        ],
    },
    Section {
        paths: &["lifecycle"],
        doc: "Start and stop.",
        keys: &[
            key(
                "startup_timeout_seconds",
                Kind::Seconds,
                "60",
                "How long all services together may take to start.",
            ),
            key(
                "shutdown_timeout_seconds",
                Kind::Seconds,
                "30",
                "How long work in flight may take to drain.",
            ),
        ],
    },
];

static CONSUMER_KEYS: &[Key] = &[
    key(
        "bootstrap_servers",
        Kind::TextList,
        "[\"localhost:9092\"]",
        "Brokers to ask first. If only one of consumer and producer names servers, both use them.",
    ),
    unset(
        "group_id",
        Kind::Text,
        "\"orders\"",
        "The consumer group of handlers that name none.",
    ),
    key(
        "auto_offset_reset",
        one_of::<OffsetReset>(),
        "\"earliest\"",
        "Where a group without a committed offset begins; `fail` stops the consumer instead.",
    ),
    key(
        "commit_interval_ms",
        Kind::Milliseconds,
        "1000",
        "How often offsets are committed.",
    ),
    key(
        "session_timeout_ms",
        Kind::Milliseconds,
        "45000",
        "How long a silent member keeps its partitions; with `group_protocol = \"consumer\"` the broker decides.",
    ),
    key(
        "max_poll_records",
        Kind::Integer,
        "500",
        "The most messages taken from the client at once.",
    ),
    key(
        "fetch_max_bytes",
        Kind::Integer,
        "1048576",
        "The most bytes in one answer of a broker.",
    ),
    key(
        "fetch_max_wait_ms",
        Kind::Milliseconds,
        "500",
        "How long a broker may wait for messages to send.",
    ),
    key(
        "isolation_level",
        one_of::<IsolationLevel>(),
        "\"read_committed\"",
        "Whether records of open and aborted transactions are seen.",
    ),
    key(
        "group_protocol",
        one_of::<GroupProtocol>(),
        "\"classic\"",
        "Who shares out the partitions: the broker (`consumer`, KIP-848, Kafka 4.0) or a member.",
    ),
    unset(
        "group_instance_id",
        Kind::Text,
        "\"orders-0\"",
        "The name of a static member, unique in the group.",
    ),
    unset(
        "client_id",
        Kind::Text,
        "\"orders\"",
        "The name that brokers log and count by; if unset, the name of the program.",
    ),
    key(
        "max_poll_interval_ms",
        Kind::Milliseconds,
        "300000",
        "How long the client may go without polling before it leaves the group.",
    ),
    key(
        "revoke_timeout_ms",
        Kind::Milliseconds,
        "20000",
        "How long a revoked partition may take to drain; less than `max_poll_interval_ms`.",
    ),
    key(
        "handler_timeout_ms",
        Kind::Milliseconds,
        "0",
        "How long one execution of a handler may take; 0 means as long as it likes.",
    ),
    key(
        "max_in_flight_messages",
        Kind::Integer,
        "1000",
        "The most messages in flight in one partition.",
    ),
    key(
        "max_in_flight_bytes",
        Kind::Integer,
        "16777216",
        "The most bytes in flight in one partition.",
    ),
    key(
        "queued_max_kbytes",
        Kind::Integer,
        "32768",
        "The most kilobytes fetched ahead by one consumer, shared out evenly over the partitions of its topics.",
    ),
    unset(
        "librdkafka",
        Kind::Options,
        "{ \"socket.keepalive.enable\" = true }",
        "Options of librdkafka, handed over as they are.",
    ),
];

static PRODUCER_KEYS: &[Key] = &[
    key(
        "bootstrap_servers",
        Kind::TextList,
        "[\"localhost:9092\"]",
        "Brokers to ask first. If only one of consumer and producer names servers, both use them.",
    ),
    key(
        "client",
        one_of::<ProducerClient>(),
        "\"librdkafka\"",
        "What publishes to Kafka: librdkafka, idempotently, or for calls of many messages rskafka (feature `kafka-bulk`), which is cheaper and may repeat them.",
    ),
    key(
        "linger_ms",
        Kind::Milliseconds,
        "1",
        "How long a record may wait for others to share a request with.",
    ),
    key(
        "batch_max_bytes",
        Kind::Integer,
        "1048576",
        "The most bytes in one batch of records.",
    ),
    key(
        "wire_compression",
        one_of::<WireCompression>(),
        "\"none\"",
        "Compression of record batches; not of payloads.",
    ),
    key(
        "delivery_timeout_ms",
        Kind::Milliseconds,
        "120000",
        "How long publishing may take, retries included; not less than `linger_ms`.",
    ),
    unset(
        "librdkafka",
        Kind::Options,
        "{ \"socket.keepalive.enable\" = true }",
        "Options of librdkafka, handed over as they are.",
    ),
];

static SECURITY_KEYS: &[Key] = &[
    key(
        "protocol",
        one_of::<SecurityProtocol>(),
        "\"plaintext\"",
        "What the connection is wrapped in.",
    ),
    unset(
        "mechanism",
        one_of::<SaslMechanism>(),
        "\"SCRAM-SHA-512\"",
        "How the program proves who it is, with `sasl_plaintext` and `sasl_ssl`.",
    ),
    unset("username", Kind::Text, "\"orders\"", "The SASL user."),
    unset(
        "password",
        Kind::Secret,
        "{ env = \"KAFKA_PASSWORD\" }",
        "The SASL password: text, an environment variable, or `{ file = \"PATH\" }`.",
    ),
    unset(
        "ca_file",
        Kind::Text,
        "\"certs/ca.pem\"",
        "The authorities to trust (PEM); if unset, those of the system.",
    ),
    unset(
        "certificate_file",
        Kind::Text,
        "\"certs/client.pem\"",
        "The certificate that the program shows (PEM).",
    ),
    unset(
        "key_file",
        Kind::Text,
        "\"certs/client.key\"",
        "The key of the certificate (PEM).",
    ),
    unset(
        "key_password",
        Kind::Secret,
        "{ file = \"certs/key-password\" }",
        "The password of the key file.",
    ),
    unset(
        "oauth_token_url",
        Kind::Text,
        "\"https://id.example.org/oauth2/token\"",
        "Where tokens are had for `OAUTHBEARER`, by the client credentials below (OpenID Connect).",
    ),
    unset(
        "oauth_client_id",
        Kind::Text,
        "\"orders\"",
        "The client that asks for tokens.",
    ),
    unset(
        "oauth_client_secret",
        Kind::Secret,
        "{ env = \"OAUTH_CLIENT_SECRET\" }",
        "The secret of that client.",
    ),
    unset(
        "oauth_scope",
        Kind::Text,
        "\"kafka\"",
        "What tokens are asked for, if the server wants to know.",
    ),
    unset(
        "oauth_extensions",
        Kind::Text,
        "\"logicalCluster=lkc-1,identityPoolId=pool-1\"",
        "What the broker is told besides the token: `name=value`, parted by commas.",
    ),
    unset(
        "oauth_ca_file",
        Kind::Text,
        "\"certs/id.pem\"",
        "The authorities to trust (PEM) at `oauth_token_url`; if unset, those of the system.",
    ),
];

pub(super) const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        preset: Preset::Is(default),
        doc,
    }
}

pub(super) const fn unset(name: &'static str, kind: Kind, example: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        preset: Preset::Unset(example),
        doc,
    }
}

pub(super) const fn one_of<C: Choice>() -> Kind {
    Kind::Choice(C::WORDS)
}
