//! Ordered consumption on real Kafka and Redis: beside an unordered handler, and beside the protocol as one
//! would write it down, message by message.

mod event;
mod handler;
pub mod latency;
mod question;
mod redis;
mod sequential;

pub use event::{VersionedOrder, chance};
pub use question::{Asking, Case, Report, Work, ask, embedded, here};
pub use redis::{Cost, Server};
