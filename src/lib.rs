//! Annotate an `async fn` and get a complete, reliable Kafka consumer.

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
pub mod prelude;

pub use athomic_core::app::{App, AppBuilder, RunningApp};
pub use athomic_core::{
    app, commit, consumer, dead_letter, handler, lifecycle, message, outcome, payload, publisher, retry,
    settings, transport,
};
#[cfg(feature = "kafka")]
pub use athomic_kafka::KafkaTransport;
pub use athomic_macros::{ordered_consumer, subscribe_to};

/// What `main` of an application returns: any error of building or running.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;
