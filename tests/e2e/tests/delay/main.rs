//! Delayed messages on real Kafka and Redis.

mod store;
mod support;
mod topics;
