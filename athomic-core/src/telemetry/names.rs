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
    /// The type of [`POLL`].
    pub const RECEIVE: &str = "receive";
    /// Offsets are committed.
    pub const COMMIT: &str = "commit";
    /// The type of [`COMMIT`].
    pub const SETTLE: &str = "settle";
}

/// The broker: `kafka`, or `athomic_memory` for the embedded one.
pub const SYSTEM: &str = "messaging.system";
/// See [`operation`].
pub const OPERATION_NAME: &str = "messaging.operation.name";
/// `process`, `send`, `create`, `receive` or `settle`.
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

/// The event on the span of an execution that failed.
pub const EXCEPTION: &str = "exception";
/// The type of the error, as in [`ERROR_TYPE`].
pub const EXCEPTION_TYPE: &str = "exception.type";
/// What the error says of itself, without its causes and at most 1 KiB of it.
pub const EXCEPTION_MESSAGE: &str = "exception.message";

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

/// A step of the payload pipeline, by its name in the settings.
pub const STEP: &str = "step";
/// `encode` or `decode`.
pub const DIRECTION: &str = "direction";
/// Whether bytes go into a step or come out of it: `in` or `out`.
pub const FLOW: &str = "flow";
/// What an ordered consumer counted: a field of `OrderingCounts`.
pub const EVENT: &str = "event";
/// The consumer group, on the metrics of its lag.
pub const LAG_GROUP: &str = "group";
/// The topic, on the metrics of its lag.
pub const LAG_TOPIC: &str = "topic";
/// The partition, on the metric of its lag.
pub const LAG_PARTITION: &str = "partition";

/// How long sending, fetching and committing take, in seconds.
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
/// Messages that wait in the delay store, as it was looked at last.
pub const DELAY_WAITING: &str = "athomic.delay.waiting";
/// For how long the first message in the delay store had been due then, in seconds.
pub const DELAY_OVERDUE: &str = "athomic.delay.overdue";
/// Messages that were not handled, since they had been before.
pub const IDEMPOTENCY_HITS: &str = "athomic.idempotency.hits";
/// Times that a message waited, since another execution had it.
pub const IDEMPOTENCY_CONFLICTS: &str = "athomic.idempotency.conflicts";
/// Offsets between what is settled and the end of the log, by partition: of those that this process has.
pub const LAG: &str = "kafka.consumer_group.lag";
/// The same, of all partitions of a topic that this process has.
pub const LAG_SUM: &str = "kafka.consumer_group.lag_sum";
/// Partitions that a handler has in this process.
pub const PARTITIONS_ASSIGNED: &str = "athomic.partitions.assigned";
/// Those of them that are not read on, since as much is unsettled as the settings allow.
pub const PARTITIONS_PAUSED: &str = "athomic.partitions.paused";
/// Messages that were fetched and are not settled, or lie behind such.
pub const UNSETTLED: &str = "athomic.messages.unsettled";
/// Messages in waiting rooms.
pub const ORDERING_WAITING: &str = "athomic.ordering.waiting";
/// Their bytes.
pub const ORDERING_WAITING_BYTES: &str = "athomic.ordering.waiting.bytes";
/// Aggregates with messages that wait and are not halted.
pub const ORDERING_ROOMS: &str = "athomic.ordering.rooms";
/// Halted aggregates, counted up to a thousand of each bucket.
pub const ORDERING_HALTED: &str = "athomic.ordering.halted";
/// How long the oldest gap is open, in seconds.
pub const ORDERING_OLDEST_AGE: &str = "athomic.ordering.oldest.age";
/// Processes that take part.
pub const ORDERING_SESSIONS: &str = "athomic.ordering.sessions";
/// What ordered consumers count, by [`EVENT`].
pub const ORDERING_EVENTS: &str = "athomic.ordering.events";
/// How long a step of the payload pipeline takes, in seconds.
pub const PAYLOAD_STEP_DURATION: &str = "athomic.payload.step.duration";
/// The bytes that go into a step and come out of it.
pub const PAYLOAD_BYTES: &str = "athomic.payload.bytes";
/// Payloads that did not pass a step.
pub const PAYLOAD_ERRORS: &str = "athomic.payload.errors";
/// Whether a handler's circuit breaker lets it run: 0 is closed, 1 half-open, 2 open.
pub const CIRCUIT_STATE: &str = "athomic.circuit_breaker.state";
/// Times that a circuit breaker opened.
pub const CIRCUIT_OPENED: &str = "athomic.circuit_breaker.opened";
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
