//! Ordered consumption on real Kafka and Redis: several processes, aggregates over all partitions and out
//! of order, and whatever can fail.

mod field;
mod plain;
mod redis;
mod workers;
