//! Annotate an `async fn` and get a complete, reliable Kafka consumer.

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
pub mod prelude;

pub use athomic_core::{handler, message, outcome, payload, publisher, transport};
pub use athomic_macros::{ordered_consumer, subscribe_to};
