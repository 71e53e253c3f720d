//! Context that travels with messages: who asked for what is done, and in which trace.
//!
//! Stage 2 of 9, between fetch and decode. The [`HeadersOrchestrator`] knows a series of adapters; each takes
//! its part of the context from the headers of a message, and puts it on messages that are published:
//!
//! | adapter | headers | gives |
//! |---|---|---|
//! | [`MessagingTelemetryAdapter`] | `traceparent`, `tracestate`, `baggage` | [`Context::trace`], [`Context::baggage`] |
//! | [`LineageAdapter`] | `athomic-lineage` | [`Context::lineage`] |
//! | [`ContextAdapter`] | `athomic-context` | `tenant_id`, `user_id` and the others |
//! | the application's own | their own | [`Context::get`] |
//!
//! The context is restored for the scope of the handler, in which [`Context::current`] returns it, and every
//! message that is published there carries it on: handler → publish → handler. Retries, delays, dead letters,
//! replays and waiting rooms keep headers as they are, so it comes through them too.
//!
//! Invariants:
//! - No header is looked at before somebody asks for the context or publishes.
//! - A message without context costs no allocation.
//! - What headers say is bounded when it is read. One that is malformed is dropped and counted, never fatal.
//! - Messages of untrusted topics bring no context at all, by whatever way.
//! - Headers that begin with `athomic-` are the framework's: what stands under an adapter's name of that kind
//!   when a message is published is replaced.

mod adapter;
mod application;
mod current;
mod lineage;
mod orchestrator;
mod telemetry;
mod values;

pub use adapter::{ContextError, HeadersAdapter, Incoming};
pub use application::{CONTEXT, ContextAdapter, FeatureFlag};
pub use current::restore_context;
pub use lineage::{LINEAGE, LineageAdapter, LineageRun};
pub use orchestrator::{AdapterNamesError, HeadersOrchestrator};
pub(crate) use telemetry::Propagation;
pub use telemetry::{BAGGAGE, MessagingTelemetryAdapter, TRACEPARENT, TRACESTATE, TraceContext};
pub use values::Context;
