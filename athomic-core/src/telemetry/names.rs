//! The names of spans, metrics and attributes, each once: those of OpenTelemetry's conventions for messaging,
//! and, where there is none, athomic's own.

/// The version of the conventions.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";
/// The name of the instrumentation.
pub const SCOPE: &str = "athomic";

/// What spans and metrics are about: `messaging.operation.name`, the first word of a span's name.
pub mod operation {
    /// A handler runs.
    pub const PROCESS: &str = "process";
    /// Records are written.
    pub const SEND: &str = "send";
    /// A message of several is made.
    pub const CREATE: &str = "create";
    /// Records are fetched.
    pub const POLL: &str = "poll";
}

/// The broker: `kafka`, or `athomic_memory` for the embedded one.
pub const SYSTEM: &str = "messaging.system";
/// See [`operation`].
pub const OPERATION_NAME: &str = "messaging.operation.name";
/// `process`, `send` or `create`.
pub const OPERATION_TYPE: &str = "messaging.operation.type";
/// The topic.
pub const DESTINATION: &str = "messaging.destination.name";
/// The partition, as text.
pub const PARTITION: &str = "messaging.destination.partition.id";
/// The program, as the broker knows it.
pub const CLIENT_ID: &str = "messaging.client.id";
/// The first of the servers in the settings.
pub const SERVER_ADDRESS: &str = "server.address";
/// Its port.
pub const SERVER_PORT: &str = "server.port";
/// What kind of error it was; only on what failed.
pub const ERROR_TYPE: &str = "error.type";
/// The consumer group.
pub const GROUP: &str = "messaging.consumer.group.name";
/// The offset.
pub const OFFSET: &str = "messaging.kafka.offset";
/// The key, if it is text.
pub const KEY: &str = "messaging.kafka.message.key";
/// `true` where the payload is null.
pub const TOMBSTONE: &str = "messaging.kafka.message.tombstone";
/// The id of the message.
pub const MESSAGE_ID: &str = "messaging.message.id";
/// The correlation id of its context.
pub const CONVERSATION_ID: &str = "messaging.message.conversation_id";
/// How many messages there are.
pub const BATCH_COUNT: &str = "messaging.batch.message_count";

/// How often the message was tried: on attempts after the first, and on the copies made for them.
pub const RETRY_ATTEMPT: &str = "athomic.retry.attempt";
/// The id of a dead letter.
pub const DLQ_ID: &str = "athomic.dlq.id";
/// The id of the dead letter that is replayed.
pub const REDRIVE_OF: &str = "athomic.redrive.of";
/// `true` where the record waits in a delay topic.
pub const DELAYED: &str = "athomic.delayed";
/// The handler.
pub const HANDLER: &str = "athomic.handler.id";
/// Why a message is tried again: the stage at which it failed.
pub const REASON: &str = "reason";
/// The stage at which a message failed that is given up.
pub const STAGE: &str = "stage";

/// How long sending and fetching take, in seconds.
pub const OPERATION_DURATION: &str = "messaging.client.operation.duration";
/// Messages that were sent.
pub const SENT_MESSAGES: &str = "messaging.client.sent.messages";
/// Messages that were fetched.
pub const CONSUMED_MESSAGES: &str = "messaging.client.consumed.messages";
/// How long handlers take, in seconds.
pub const PROCESS_DURATION: &str = "messaging.process.duration";
/// Executions of handlers that run.
pub const INFLIGHT: &str = "athomic.handler.inflight";
/// Messages that are tried again.
pub const RETRIES: &str = "athomic.retries";
/// Messages that were given up.
pub const DLQ_MESSAGES: &str = "athomic.dlq.messages";
/// Dead letters that were replayed.
pub const DLQ_REDRIVEN: &str = "athomic.dlq.redriven";
/// Messages that were published with a delay.
pub const DELAY_PUBLISHED: &str = "athomic.delay.published";
/// How much later than due delayed messages are published to their topic, in seconds.
pub const DELAY_LATENESS: &str = "athomic.delay.lateness";
/// Messages that were not handled, since they had been before.
pub const IDEMPOTENCY_HITS: &str = "athomic.idempotency.hits";
/// Times that a message waited, since another execution had it.
pub const IDEMPOTENCY_CONFLICTS: &str = "athomic.idempotency.conflicts";
/// Gaps in the order of aggregates that lasted too long.
pub const ORDERING_GAP_TIMEOUTS: &str = "athomic.ordering.gap.timeouts";
/// Times that partitions were given to a consumer or taken from it.
pub const REBALANCES: &str = "athomic.rebalances";
/// Always 1, with the version of athomic.
pub const BUILD_INFO: &str = "athomic.build.info";
/// The version of athomic.
pub const VERSION: &str = "version";

/// The boundaries of the histograms, in seconds.
pub const BOUNDARIES: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
