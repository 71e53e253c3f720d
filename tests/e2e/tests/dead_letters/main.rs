//! Retries and dead letters on real Kafka: nothing is committed before its letter stands in its topic, a letter that
//! is written twice has one id, and what comes again comes as it was, in time and for its own group alone.

mod again;
mod field;
mod letters;
mod outages;
#[path = "../support/mod.rs"]
mod support;
