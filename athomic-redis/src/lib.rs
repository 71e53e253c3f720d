//! The Redis stores of athomic.
//!
//! [`RedisOrdering`] keeps the order of aggregates for ordered consumers. All that it does to a bucket is
//! one Lua script, so that it happens wholly or not at all; the scripts are in `src/scripts`, and
//! `athomic_core::store::memory` has the same in Rust, as their specification.
//!
//! [`RedisStreamQueue`] is a stream as a queue of events. [`RedisIdempotency`] remembers which messages were handled,
//! [`RedisKeyValue`] keeps small values by their names, and [`RedisDelays`] messages that wait for their time. Each
//! goes over a `server::Server` of its own, likewise by scripts.
//!
//! Modules in reading order: `settings` (a URI → what the client needs), `connection` (one connection that
//! all calls share), `error` (what Redis says → [`StoreError`](athomic_core::store::StoreError)), `keys`,
//! `call` (a script with its keys and arguments), `reply` (what it returned), `batch` (elements → calls →
//! elements), `fitness` (the checks at the start) and `ordering`, which puts them together.
//!
//! # Requirements
//! - Redis 7.0 or newer, or Valkey: one server, Sentinel, or a cluster.
//! - `maxmemory-policy noeviction`: what is evicted is lost. Checked at the start.
//! - A user that may run the commands in [`COMMANDS`] on the keys `ath:*`:
//!   `ACL SETUSER athomic on >password ~ath:* +@connection +evalsha ...`.

mod backend;
mod batch;
mod call;
mod connection;
mod delay;
mod error;
mod fitness;
mod idempotency;
mod key_value;
mod keys;
mod ordering;
mod queue;
mod reply;
mod server;
mod settings;
mod space;
mod tls;

pub use delay::RedisDelays;
pub use fitness::COMMANDS;
pub use idempotency::RedisIdempotency;
pub use key_value::RedisKeyValue;
pub use ordering::RedisOrdering;
pub use queue::RedisStreamQueue;
