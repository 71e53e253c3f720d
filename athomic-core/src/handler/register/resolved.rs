//! Handlers by hand whose messages are named for idempotency by a function.

use std::future::Future;
use std::marker::PhantomData;

use super::{BatchFunction, ByHand, HandlerDefinition, HandlerFunction, Subscribe};
use crate::consumer::MessageProcessor;
use crate::handler::{
    BatchContext, BatchHandler, ExtractError, Handler, MessageContext, MissingState, StateMap,
};
use crate::outcome::{BatchOutcome, Outcome};

/// A handler's description with a resolver of keys, made by
/// [`Subscribe::idempotency_key`](super::Subscribe::idempotency_key).
#[derive(Debug, Clone)]
#[must_use = "ends with `handler` or `batch_handler`"]
pub struct Resolved<T, R> {
    pub(super) subscribe: Subscribe,
    pub(super) resolver: R,
    pub(super) payload: PhantomData<fn(&T)>,
}

impl<T: 'static, R: Fn(&T) -> String + Send + Sync + 'static> Resolved<T, R> {
    /// End as [`Subscribe::handler`](super::Subscribe::handler) does.
    pub fn handler<F, Args>(self, function: F) -> HandlerDefinition
    where
        F: HandlerFunction<Args, Payload = T>,
        Args: Send + Sync + 'static,
    {
        let processor = MessageProcessor::single(WithKey {
            handler: ByHand::<F, Args>::new(function),
            resolver: self.resolver,
        });
        self.subscribe.finish(processor, std::any::type_name::<T>())
    }

    /// End as [`Subscribe::batch_handler`](super::Subscribe::batch_handler) does.
    pub fn batch_handler<F, Args>(mut self, size: usize, function: F) -> HandlerDefinition
    where
        F: BatchFunction<Args, Item = T>,
        Args: Send + Sync + 'static,
    {
        self.subscribe.options.batch_size = Some(size);
        let processor = MessageProcessor::batch(WithKey {
            handler: ByHand::<F, Args>::new(function),
            resolver: self.resolver,
        });
        self.subscribe.finish(processor, std::any::type_name::<T>())
    }
}

/// A handler and what names its messages.
struct WithKey<H, R> {
    handler: H,
    resolver: R,
}

impl<H, R> Handler for WithKey<H, R>
where
    H: Handler,
    R: Fn(&H::Payload) -> String + Send + Sync + 'static,
{
    type Payload = H::Payload;

    fn call<'a>(
        &'a self,
        payload: Self::Payload,
        context: &'a MessageContext<'a>,
    ) -> impl Future<Output = Result<Outcome, ExtractError>> + Send + 'a {
        self.handler.call(payload, context)
    }

    fn idempotency_key(&self, payload: &Self::Payload) -> Option<String> {
        Some((self.resolver)(payload))
    }

    fn check(&self, states: &StateMap) -> Result<(), MissingState> {
        self.handler.check(states)
    }
}

impl<H, R> BatchHandler for WithKey<H, R>
where
    H: BatchHandler,
    R: Fn(&H::Item) -> String + Send + Sync + 'static,
{
    type Item = H::Item;

    fn call<'a>(
        &'a self,
        items: Vec<Self::Item>,
        context: &'a BatchContext<'a>,
    ) -> impl Future<Output = Result<BatchOutcome, ExtractError>> + Send + 'a {
        self.handler.call(items, context)
    }

    fn idempotency_key(&self, item: &Self::Item) -> Option<String> {
        Some((self.resolver)(item))
    }

    fn check(&self, states: &StateMap) -> Result<(), MissingState> {
        self.handler.check(states)
    }
}
