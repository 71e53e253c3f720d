//! The Kafka transport of athomic.
