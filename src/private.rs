//! The only paths that generated code names. Not for anybody else, and free to change.

pub use athomic_core::consumer::MessageProcessor;
pub use athomic_core::handler::{
    BatchContext, BatchHandler, ExtractError, FromBatch, FromMessage, Handler, HandlerKind,
    HandlerRegistration, IdempotencyOptions, MessageContext, MissingState, Ordering, Priority,
    SourceLocation, StateMap, SubscriptionOptions,
};
pub use athomic_core::outcome::{BatchOutcome, IntoBatchOutcome, IntoOutcome, Outcome};
pub use athomic_core::payload::Payload;
pub use inventory::submit;
