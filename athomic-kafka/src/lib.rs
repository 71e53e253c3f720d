//! The Kafka transport of athomic, by librdkafka.
//!
//! Stage 1 of 9, and the way out at the end: implements `athomic_core::transport` on Kafka. Modules in
//! reading order: `settings` and
//! `security` and `bulk` (from settings to the clients' options), `transport`, `consumer`,
//! `publisher`, `admin`, `error`, and `client`, the only folder that names a Kafka client.

mod admin;
mod backend;
mod bulk;
mod client;
mod consumer;
mod error;
mod publisher;
mod security;
mod settings;
mod transport;

pub use admin::KafkaAdmin;
pub use consumer::KafkaConsumer;
pub use publisher::KafkaPublisher;
pub use transport::KafkaTransport;
