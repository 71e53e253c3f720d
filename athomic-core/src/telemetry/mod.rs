//! OpenTelemetry: spans and metrics of what is consumed and published, with the feature `otel`.
//!
//! | what | span | is a child of |
//! |---|---|---|
//! | a handler runs for a message | `process TOPIC` | the span in which the message was published, and links to it; with `process_span_parent = "link"` it only links |
//! | a handler runs for a batch | `process TOPIC` | nothing; it links to the span of each message |
//! | a message is published | `send TOPIC` | the current span: in a handler that of its execution |
//! | several are published together | `create TOPIC` for each, and `send TOPIC`, which links to them | the same |
//! | a copy is written: for a retry, as a dead letter, out of a delay topic | `send TOPIC` | the execution that failed; else the span in which the message was published |
//! | a dead letter is replayed | `send TOPIC` | nothing; it links to the span in which the message was published |
//!
//! A message that is published carries the span it was published in, a copy that of the original, so that a message
//! stays in one trace through retries and delays. [`names`] lists what is recorded.
//!
//! Without the feature the types here have no values, so that what is asked of them costs nothing; with the feature
//! and without the settings it costs a look at an `Option` for each message.

mod error;
pub mod names;
#[cfg(not(feature = "otel"))]
mod off;
#[cfg(feature = "otel")]
mod otel;

pub use error::TelemetryError;
#[cfg(not(feature = "otel"))]
pub(crate) use off::{ConnectionTelemetry, HandlerTelemetry, Processing, Telemetry};
#[cfg(feature = "otel")]
pub(crate) use otel::{ConnectionTelemetry, HandlerTelemetry, Processing, Telemetry};

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// A message of the application: it gets the span in which it is published.
    Message,
    /// A copy of a message, whose headers stay as they are.
    Copy,
}
