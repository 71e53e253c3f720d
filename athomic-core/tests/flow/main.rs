//! The way of a message, from fetch to commit, on the embedded broker under a paused clock.
//!
//! One file for each area. They are one program, so that it is linked once.
#![expect(clippy::unwrap_used, reason = "the lint spares tests, but not what they call")]

mod app;
mod batch;
mod batch_failures;
mod circuit_breaker;
mod commit;
mod context;
mod dead_letters;
mod delay;
mod delay_store;
mod failures;
mod health;
mod holds;
mod idempotency;
mod keyed;
mod letter_index;
mod lifecycle;
mod lineage;
mod ordered;
mod payload;
mod payload_batch;
mod priority;
mod publisher;
#[cfg(feature = "testing")]
mod queue;
mod rebalance;
mod replays;
mod retries;
mod single;
mod support;
mod truncation;
#[cfg(all(feature = "avro", feature = "protobuf"))]
mod typed_payloads;
