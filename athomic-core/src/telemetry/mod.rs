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
//! | messages are fetched, with `poll_spans = true` | `poll TOPIC` | nothing; it links to the span of each message |
//! | offsets are committed | `commit TOPIC` | nothing: it settles what many executions have done |
//!
//! A message that is published carries the span it was published in, a copy that of the original, so that a message
//! stays in one trace through retries and delays. [`names`] lists what is recorded.
//!
//! Without the feature the types here have no values, so that what is asked of them costs nothing; with the feature
//! and without the settings it costs a look at an `Option` for each message.

mod error;
#[cfg(feature = "http")]
mod exporter;
#[cfg(not(feature = "http"))]
#[path = "no_exporter.rs"]
mod exporter;
pub mod names;
#[cfg(not(feature = "otel"))]
mod off;
#[cfg(feature = "otel")]
mod otel;

pub use error::TelemetryError;
pub(crate) use exporter::{Exporter, Listening};
#[cfg(not(feature = "otel"))]
pub(crate) use off::{ConnectionTelemetry, HandlerTelemetry, Processing, StepTelemetry, Telemetry};
#[cfg(feature = "otel")]
pub(crate) use otel::{ConnectionTelemetry, HandlerTelemetry, Processing, StepTelemetry, Telemetry};

use std::sync::Arc;

use crate::circuit_breaker::CircuitMonitor;
use crate::consumer::ConsumptionMonitor;
use crate::delay::RepublisherMonitor;
use crate::idempotency::IdempotencyMonitor;
use crate::ordering::OrderingDesk;

/// What is kept elsewhere and told by metrics.
#[cfg_attr(
    not(feature = "otel"),
    expect(dead_code, reason = "metrics are recorded with the feature")
)]
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) idempotency: IdempotencyMonitor,
    pub(crate) circuits: CircuitMonitor,
    pub(crate) ordering: OrderingDesk,
    pub(crate) consumption: ConsumptionMonitor,
    /// What republishes delayed messages, if this program does.
    pub(crate) delays: Option<Arc<RepublisherMonitor>>,
}

/// Which way a payload goes through its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Encode,
    Decode,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// A message of the application: it gets the span in which it is published.
    Message,
    /// A copy of a message, whose headers stay as they are.
    Copy,
}
