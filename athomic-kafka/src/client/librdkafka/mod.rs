//! Kafka by librdkafka: the only folder that names it.
//!
//! - `native.rs` is the C interface: the one module with `unsafe`.
//! - `files.rs` notices when certificates and keys are replaced.
//! - `fault.rs` sorts what librdkafka reports.
//! - `member.rs` is the thread that polls a consumer: rebalances, commits, errors, leaving.
//! - `owned.rs` is what the member owns: partitions, and the client that fetches them.
//! - `starting.rs` finds out where the group stands, and `topics.rs` whether topics are still the same;
//!   `watch.rs` has one member ask for all.
//! - `slack.rs` lets threads that carry no messages wake late, which is cheap.
//! - `sockets.rs` knows a client's sockets, so that its connections can be cut.
//! - `commits.rs` sends commits, one at a time and for what is owned.
//! - `partition.rs` is an assigned partition: its queue, drained by an async task, and its batches.
//! - `producer.rs` publishes, with one completion for all records of a call (`client/call.rs`).
//! - `admin.rs` looks at topics and makes them.

pub(crate) mod admin;
mod commits;
mod fault;
mod files;
pub(crate) mod member;
#[expect(
    unsafe_code,
    reason = "librdkafka is a C library; every call into it that has no safe wrapper is here"
)]
mod native;
mod owned;
mod partition;
pub(crate) mod producer;
mod slack;
mod sockets;
mod starting;
mod topics;
mod watch;

pub(crate) use commits::CommitError;
pub(crate) use fault::{Code, Fault, FaultKind};
pub(crate) use native::features;
pub(crate) use watch::Watch;
