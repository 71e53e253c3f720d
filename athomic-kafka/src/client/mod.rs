//! The Kafka clients that this crate can use. Outside this folder no client is named.

pub(crate) mod call;
pub(crate) mod librdkafka;
#[cfg(feature = "bulk")]
pub(crate) mod rskafka;
