//! The keys of ordered consumption, and of the stores that it keeps its order in.

use super::keys::{key, one_of, unset};
use super::{Key, Kind};
use crate::ordering::{
    CompleteMode, DurabilityRule, FirstSequenceRule, GapRule, OnLate, OnPoison, OnRegression,
};
use crate::settings::resolved::StoreBackend;

pub(super) static ORDERING_KEYS: &[Key] = &[
    key(
        "kvstore",
        Kind::Text,
        "\"ordering\"",
        "The store that keeps the order: a name below `database.kvstore`.",
    ),
    key(
        "first_sequence",
        Kind::IntegerOr(FirstSequenceRule::WORDS),
        "1",
        "Where an aggregate begins: with this sequence, with the lowest that is seen, or as the application says. Fixed once messages were handled.",
    ),
    unset(
        "first_seen_settle_ms",
        Kind::Milliseconds,
        "5000",
        "With `first_sequence = \"first_seen\"`: how long lower sequences are waited for, 5000 if unset; 0 is for topics that are keyed by the aggregate.",
    ),
    key(
        "on_gap",
        one_of::<GapRule>(),
        "\"wait\"",
        "What follows when a sequence does not come: its aggregate waits (`hold` is the same), or after `gap_timeout_seconds` goes on without it (`skip`), gives up what waits (`dlq`), or halts.",
    ),
    key(
        "gap_timeout_seconds",
        Kind::Seconds,
        "0",
        "How long a missing sequence is waited for; 0 means for ever.",
    ),
    key(
        "on_late",
        one_of::<OnLate>(),
        "\"dlq\"",
        "What becomes of a sequence that comes after it was skipped.",
    ),
    key(
        "on_regression",
        one_of::<OnRegression>(),
        "\"drop\"",
        "What follows when an aggregate's sequences begin anew: a sequence that was done, in a newer record.",
    ),
    key(
        "on_poison",
        one_of::<OnPoison>(),
        "\"dlq_and_continue\"",
        "What follows when all attempts at a message failed: it is given up, or all later ones of its aggregate with it, or the aggregate halts.",
    ),
    key(
        "max_deliveries",
        Kind::Integer,
        "5",
        "How often a message may be begun before it counts as the cause of its processes' deaths.",
    ),
    key(
        "room_max_messages",
        Kind::Integer,
        "10000",
        "The most messages of one aggregate that wait.",
    ),
    key(
        "room_max_bytes",
        Kind::Integer,
        "16777216",
        "The most bytes of one aggregate that wait.",
    ),
    key(
        "bucket_max_messages",
        Kind::Integer,
        "1000000",
        "The most messages of one bucket that wait.",
    ),
    key(
        "bucket_max_bytes",
        Kind::Integer,
        "67108864",
        "The most bytes of one bucket that wait.",
    ),
    key(
        "buckets",
        Kind::Integer,
        "64",
        "Into how many parts the aggregates are spread, 16384 at most. Fixed once messages were handled.",
    ),
    key(
        "durability",
        one_of::<DurabilityRule>(),
        "\"kafka\"",
        "Who keeps a message that waits: Kafka, whose offset is held back, or the store, so that it may be committed. Fixed once messages were handled.",
    ),
    key(
        "redis_ack_replicas",
        Kind::Integer,
        "0",
        "With `durability = \"redis\"`: how many replicas must have a message before it is committed (`WAIT`).",
    ),
    key(
        "redis_ack_fsync",
        Kind::Boolean,
        "false",
        "With `durability = \"redis\"`: whether a message must be on disk before it is committed (`WAITAOF`).",
    ),
    key(
        "complete",
        one_of::<CompleteMode>(),
        "\"sync\"",
        "Whether the next message waits until the store has the completion of the one before; `pipelined` may repeat the last ones after a crash although later ones were done.",
    ),
    key(
        "session_ttl_ms",
        Kind::Milliseconds,
        "10000",
        "After which silence of a process its aggregates go to others; at least 3000.",
    ),
    key(
        "state_ttl_seconds",
        Kind::Seconds,
        "0",
        "After which idleness an aggregate is forgotten, so that it has to begin anew; 0 means never.",
    ),
    key(
        "sticky",
        Kind::Boolean,
        "true",
        "Whether an aggregate stays with its process while nothing of it comes, which saves calls of the store where a topic is keyed by the aggregate.",
    ),
];

pub(super) static STORE_KEYS: &[Key] = &[
    key("enabled", Kind::Boolean, "true", "Whether the store may be used."),
    key(
        "namespace",
        Kind::Text,
        "\"athomic\"",
        "What tells the keys of applications apart that share a server.",
    ),
];

pub(super) static STORE_PROVIDER_KEYS: &[Key] = &[
    key(
        "backend",
        one_of::<StoreBackend>(),
        "\"memory\"",
        "The embedded store, which lives and ends with the process, or Redis (needs the feature `redis`).",
    ),
    unset(
        "uri",
        Kind::Secret,
        "\"redis://localhost:6379/0\"",
        "Where it is: `redis://`, `rediss://` with TLS, `redis-cluster://`, `redis-sentinel://`. Never shown, since it may hold a password; also `{ env = \"NAME\" }` or `{ file = \"PATH\" }`.",
    ),
];
