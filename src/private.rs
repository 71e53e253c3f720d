//! The only paths that generated code names. Not for anybody else, and free to change.

pub use core::option::Option::{self, None, Some};
pub use core::primitive::u64;
pub use core::result::Result::{self, Ok};
pub use core::time::Duration;
pub use core::{concat, file, line, module_path};
pub use std::borrow::Cow;
pub use std::string::String;

pub use athomic_core::consumer::MessageProcessor;
pub use athomic_core::handler::compile_time::{
    Topics, assert_avro, assert_distinct, assert_protobuf, assert_send, assert_target, assert_topic,
};
pub use athomic_core::handler::{
    AggregateKey, BatchContext, BatchHandler, CircuitBreakerOptions, ExtractError, FromBatch, FromMessage,
    Handler, HandlerKind, HandlerRegistration, IdempotencyOptions, MessageContext, MissingState,
    OrderedHandler, Ordering, Priorities, Priority, RetryOptions, SequenceId, SourceLocation, StateMap,
    SubscriptionOptions,
};
pub use athomic_core::ordering::{
    CompleteMode, DurabilityRule, FirstSequenceRule, GapAction, GapRule, OnLate, OnPoison, OnRegression,
    OrderingOptions,
};
pub use athomic_core::outcome::{
    BatchOutcome, FailureStage, IntoBatchOutcome, IntoOutcome, Outcome, classified, classified_batch,
};
pub use athomic_core::payload::{Format, Payload};
pub use athomic_core::retry::Stages;
pub use athomic_core::settings::{BackoffKind, RetryMode, RetryOrder};
pub use inventory::submit;
