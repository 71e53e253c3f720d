//! The keys of lineage.

use super::keys::{key, one_of, unset};
use super::{Key, Kind};
use crate::settings::resolved::{LineageGranularity, LineageStoreKind};

pub(super) static LINEAGE_KEYS: &[Key] = &[
    key(
        "enabled",
        Kind::Boolean,
        "false",
        "Whether handlers report what they read and write, as OpenLineage run events.",
    ),
    key(
        "collector_topic",
        Kind::Text,
        "\"platform.lineage.events\"",
        "The topic that the store `topic` writes and the collector reads, on the default connection.",
    ),
    key(
        "granularity",
        one_of::<LineageGranularity>(),
        "\"run\"",
        "What is a run: a handler's consumer from start to end; besides, each execution of a batch handler; or of any handler.",
    ),
    key(
        "interval_seconds",
        Kind::Seconds,
        "60",
        "How often a handler that runs tells how much it has read and written.",
    ),
    key(
        "max_queued_events",
        Kind::Integer,
        "10000",
        "How many events wait for a store at most; what comes then is dropped and counted.",
    ),
];

pub(super) static LINEAGE_PRODUCER_KEYS: &[Key] = &[
    unset(
        "job_namespace",
        Kind::Text,
        "\"orders\"",
        "The namespace of the jobs; the application's name if it is not set.",
    ),
    key(
        "producer_uri",
        Kind::Text,
        "\"urn:athomic\"",
        "The URI that says who produces the events: best, that of the application's source.",
    ),
];

pub(super) static LINEAGE_STORE_KEYS: &[Key] = &[
    key(
        "backend",
        one_of::<LineageStoreKind>(),
        "\"logging\"",
        "Where events go: the log, `collector_topic`, a server of OpenLineage's HTTP API (feature `lineage-http`), or several.",
    ),
    unset(
        "backends",
        Kind::TextList,
        "[\"logging\", \"topic\"]",
        "The stores of `composite`.",
    ),
    unset(
        "url",
        Kind::Text,
        "\"http://localhost:5000\"",
        "The server of the store `http`; events are posted to `api/v1/lineage` below it.",
    ),
    unset(
        "api_key",
        Kind::Secret,
        "{ env = \"LINEAGE_API_KEY\" }",
        "The bearer token for that server.",
    ),
    key(
        "timeout_ms",
        Kind::Milliseconds,
        "5000",
        "How long a request to that server may take.",
    ),
];

pub(super) static LINEAGE_COLLECTOR_KEYS: &[Key] = &[
    key(
        "enabled",
        Kind::Boolean,
        "false",
        "Whether this program collects: consumes `collector_topic` and writes to stores.",
    ),
    key(
        "group_id",
        Kind::Text,
        "\"athomic-lineage-collector\"",
        "The collector's consumer group.",
    ),
    key(
        "stores",
        Kind::TextList,
        "[\"logging\"]",
        "Where the collector writes to: `logging`, `json_file`, `http` (the server of `lineage.store`).",
    ),
    key(
        "path",
        Kind::Text,
        "\"lineage.jsonl\"",
        "The file of the store `json_file`: one event in each line.",
    ),
];
