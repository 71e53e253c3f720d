#![doc = include_str!("../README.md")]
//! ## Features
//!
//! - none (default): the embedded broker alone; no server, no C code.
//! - `kafka`: Kafka through librdkafka, which is built from C.
//! - `kafka-tls`: TLS and SASL for Kafka, linked against the system's OpenSSL.
//! - `kafka-tls-vendored`: the same with OpenSSL built from source.
//! - `kafka-oauth`: SASL OAUTHBEARER with tokens of an OpenID Connect server; `kafka-tls` and the system's libcurl.
//! - `otel`: OpenTelemetry spans and metrics, by OTLP or as text for Prometheus; see `docs/telemetry.md`.
//! - `http`: a port for Prometheus and for probes.
//! - `redis`: Redis as the store of ordered consumers and of idempotency; see `docs/redis.md`.
//! - `msgpack`, `cbor`: payloads in these formats; see `docs/payloads.md`.
//! - `avro`: payloads in Avro, with schema evolution; `protobuf`: payloads that are messages of `prost`.
//! - `schema-registry`: payloads that name their schema in a registry; see `docs/payloads.md`.
//! - `crypto`: encrypted payloads; `claim-check`: large payloads beside the log, in files.
//! - `claim-check-s3`, `claim-check-gcs`, `claim-check-azure`: the same in buckets of S3, Google and Azure.
//! - `zstd`, `lz4`, `gzip`, `snappy`: payloads compressed by these; `zstd` builds C code.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod error;
pub mod guide;
pub mod prelude;

pub use athomic_core::app::{App, AppBuilder, AppHandle, RunningApp};
pub use athomic_core::{
    app, circuit_breaker, commit, consumer, context, dead_letter, handler, health, idempotency, lifecycle,
    lineage, message, ordering, outcome, payload, publisher, queue, retry, settings, store, telemetry,
    transport,
};
#[cfg(feature = "kafka")]
pub use athomic_kafka::KafkaTransport;
pub use athomic_macros::{ordered_consumer, subscribe_to};
#[cfg(feature = "redis")]
pub use athomic_redis::{RedisIdempotency, RedisKeyValue, RedisOrdering, RedisStreamQueue};
pub use error::Error;

/// What `main` of an application returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;
