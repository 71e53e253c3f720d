//! What a handler is to the runtime. Stage 6 of 9, between idempotency and outcome.
//!
//! The attribute macros implement [`Handler`] or [`BatchHandler`] for a hidden type of their own and
//! submit a [`HandlerRegistration`]; [`Handlers`] gathers and sorts them.
//! `App::builder().register(..)` takes the same by hand, see [`register`](mod@register).

#[doc(hidden)]
pub mod compile_time;
mod context;
mod extract;
mod ordered;
pub mod register;
mod registration;
mod registry;

pub use context::{BatchContext, HandlerScope, Message, MessageContext, Meta, StateMap};
pub use extract::{ExtractError, FromBatch, FromKey, FromMessage, Key, MissingState, State};
pub use ordered::{AggregateKey, OrderedHandler, SequenceId};
pub use registration::{
    CircuitBreakerOptions, HandlerKind, HandlerRegistration, IdempotencyOptions, Ordering, Priorities,
    Priority, RetryOptions, SourceLocation, SubscriptionOptions,
};
pub use registry::{HandlerConflict, Handlers};

use std::future::Future;

use crate::outcome::{BatchOutcome, Outcome};
use crate::payload::Payload;

/// A handler of single messages.
///
/// # Contract
/// - Calls for messages of one lane come one after another, those of different lanes at once.
/// - The future may be dropped at any await, at a time-out or when a partition is lost; the message
///   is then not settled and comes again.
pub trait Handler: Send + Sync + 'static {
    /// What the message's bytes are decoded to.
    type Payload: Payload;

    /// Take the other arguments out of the context and run the user's function.
    fn call<'a>(
        &'a self,
        payload: Self::Payload,
        context: &'a MessageContext<'a>,
    ) -> impl Future<Output = Result<Outcome, ExtractError>> + Send + 'a;

    /// Name the message for idempotency; `None`, the default, leaves it to its id.
    fn idempotency_key(&self, _payload: &Self::Payload) -> Option<String> {
        None
    }

    /// Check what can be checked before the first message: that the states it takes are there.
    ///
    /// # Errors
    /// The first state that is missing.
    fn check(&self, states: &StateMap) -> Result<(), MissingState>;
}

/// A handler of batches. The contract is that of [`Handler`].
pub trait BatchHandler: Send + Sync + 'static {
    /// What each message's bytes are decoded to: a type, or a [`Message`] of one.
    type Item: Payload;

    /// Take the other arguments out of the context and run the user's function.
    fn call<'a>(
        &'a self,
        items: Vec<Self::Item>,
        context: &'a BatchContext<'a>,
    ) -> impl Future<Output = Result<BatchOutcome, ExtractError>> + Send + 'a;

    /// Name a message for idempotency; `None`, the default, leaves it to its id.
    fn idempotency_key(&self, _item: &Self::Item) -> Option<String> {
        None
    }

    /// Check what can be checked before the first message: that the states it takes are there.
    ///
    /// # Errors
    /// The first state that is missing.
    fn check(&self, states: &StateMap) -> Result<(), MissingState>;
}
