//! The names of headers on retries, dead letters and replays. Values are text; times are milliseconds
//! since the Unix epoch.

/// How often the message was tried already.
pub const RETRY_ATTEMPTS: &str = "x-retry-attempts";
/// Only this consumer group handles the record; others pass it by.
pub const RETRY_GROUP: &str = "athomic-retry-group";
/// The record is not handled before this time.
pub const RETRY_NOT_BEFORE: &str = "athomic-retry-not-before";
/// When the message failed first.
pub const RETRY_FIRST_AT: &str = "athomic-retry-first-at";
/// Where the message stood when it failed first: `topic/partition/offset/time`.
pub const RETRY_ORIGIN: &str = "athomic-retry-origin";

/// How Kafka's names begin.
pub(super) const ERRORS: &str = "__dlq.errors.";
/// How those of Spring for Apache Kafka begin.
pub(super) const SPRING: &str = "kafka_dlt-";
/// How those of Kafka Connect begin.
pub(super) const CONNECT: &str = "__connect.errors.";
/// Those of `SmallRye`: reason, cause, topic, partition, offset, class.
pub(super) const SMALLRYE: [&str; 6] = [
    "dead-letter-reason",
    "dead-letter-cause",
    "dead-letter-topic",
    "dead-letter-partition",
    "dead-letter-offset",
    "dead-letter-exception-class-name",
];
/// The topic of the message (a name of Kafka's, as the following).
pub const ERRORS_TOPIC: &str = "__dlq.errors.topic";
/// Its partition.
pub const ERRORS_PARTITION: &str = "__dlq.errors.partition";
/// Its offset.
pub const ERRORS_OFFSET: &str = "__dlq.errors.offset";
/// The consumer group that gave it up.
pub const ERRORS_GROUP: &str = "__dlq.errors.group";
/// How often it was tried.
pub const ERRORS_DELIVERY_COUNT: &str = "__dlq.errors.delivery.count";
/// What was wrong, in words.
pub const ERRORS_MESSAGE: &str = "__dlq.errors.message";

/// Names the dead letter: the same for the same message and handler, however often it is written.
pub const DLQ_ID: &str = "athomic-dlq-id";
/// The consumer group that gave it up; only this one handles it when it is replayed.
pub const DLQ_GROUP: &str = "athomic-dlq-group";
/// Where the message stood: `topic/partition/offset/time`.
pub const DLQ_ORIGIN: &str = "athomic-dlq-origin";
/// The id of the handler that gave it up.
pub const DLQ_HANDLER: &str = "athomic-dlq-handler";
/// Where it failed: see [`FailureStage`](crate::outcome::FailureStage).
pub const DLQ_STAGE: &str = "athomic-dlq-stage";
/// What kind of error it was: the name with which its `Debug` begins.
pub const DLQ_ERROR_TYPE: &str = "athomic-dlq-error-type";
/// The error with all its causes.
pub const DLQ_ERROR_CHAIN: &str = "athomic-dlq-error-chain";
/// The same for failures of a handler that differ in numbers alone.
pub const DLQ_FINGERPRINT: &str = "athomic-dlq-fingerprint";
/// When it was given up.
pub const DLQ_FAILED_AT: &str = "athomic-dlq-failed-at";
/// When it failed first, if it was tried more than once by way of a topic.
pub const DLQ_FIRST_AT: &str = RETRY_FIRST_AT;
/// The message's own time.
pub const DLQ_TIMESTAMP: &str = "athomic-dlq-timestamp";
/// `omitted` on a dead letter whose payload is larger than its topic takes; it is at its old place only.
pub const DLQ_VALUE: &str = "athomic-dlq-value";
/// `envelope` on a dead letter whose payload is a JSON document with the message in it.
pub const DLQ_FORMAT: &str = "athomic-dlq-format";

/// The id of the dead letter that was replayed.
pub const REDRIVE_OF: &str = "athomic-redrive-of";
/// How often it was replayed.
pub const REDRIVE_COUNT: &str = "athomic-redrive-count";
/// Who replayed it.
pub const REDRIVE_BY: &str = "athomic-redrive-by";

/// All that stand on retries.
const RETRY: [&str; 5] = [
    RETRY_ATTEMPTS,
    RETRY_GROUP,
    RETRY_NOT_BEFORE,
    RETRY_FIRST_AT,
    RETRY_ORIGIN,
];

/// All that begin like this stand on dead letters only.
const PREFIXES: [&str; 4] = ["athomic-dlq-", ERRORS, SPRING, CONNECT];

/// Say whether a header belongs to a retry.
#[must_use]
pub fn is_of_retry(name: &str) -> bool {
    RETRY.contains(&name)
}

/// Say whether a header belongs to a dead letter.
#[must_use]
pub fn is_of_dead_letter(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || SMALLRYE.contains(&name)
}

/// Say whether a header tells of replays.
#[must_use]
pub fn is_of_replay(name: &str) -> bool {
    [REDRIVE_OF, REDRIVE_COUNT, REDRIVE_BY].contains(&name)
}
