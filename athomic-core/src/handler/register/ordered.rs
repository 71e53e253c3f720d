//! Ordered handlers by hand: which aggregate, which place, as functions of the payload.

use std::borrow::Cow;
use std::future::Future;
use std::marker::PhantomData;

use super::{ByHand, HandlerDefinition, HandlerFunction, HandlerOptions, Subscribe, subscribe};
use crate::consumer::MessageProcessor;
use crate::handler::{
    AggregateKey, ExtractError, Handler, HandlerKind, IdempotencyOptions, MessageContext, MissingState,
    OrderedHandler, SequenceId, StateMap,
};
use crate::ordering::OrderingOptions;
use crate::outcome::Outcome;

/// Begin to describe an ordered handler of a topic. The id is the place of this call until
/// [`handler_id`](Ordered::handler_id) sets another.
///
/// ```
/// use athomic_core::handler::register::ordered;
///
/// #[derive(serde::Deserialize)]
/// struct OrderEvent {
///     order_id: u64,
///     version: u32,
/// }
///
/// let definition = ordered("orders.v1")
///     .group_id("billing")
///     .key(|event: &OrderEvent| event.order_id)
///     .sequence(|event: &OrderEvent| event.version)
///     .policies(|policies| policies.max_deliveries = Some(3))
///     .handler(async |event: OrderEvent| println!("{}", event.version));
/// assert_eq!(definition.options.topics, ["orders.v1"]);
/// ```
#[track_caller]
pub fn ordered(topic: impl Into<String>) -> Ordered {
    Ordered {
        subscribe: subscribe(topic),
        key: (),
        sequence: (),
        resolver: (),
    }
}

/// An ordered handler's description in the making.
#[derive(Debug, Clone)]
#[must_use = "ends with `handler`, after `key` and `sequence`"]
pub struct Ordered<K = (), S = (), R = ()> {
    subscribe: Subscribe,
    key: K,
    sequence: S,
    resolver: R,
}

impl<K, S, R> Ordered<K, S, R> {
    /// Name the aggregate of a message, as a function of its payload. What it returns is copied.
    pub fn key<T, N>(self, key: N) -> Ordered<N, S, R>
    where
        N: KeyFunction<T>,
    {
        Ordered {
            subscribe: self.subscribe,
            key,
            sequence: self.sequence,
            resolver: self.resolver,
        }
    }

    /// Number the messages of an aggregate, as a function of their payloads.
    pub fn sequence<T, N>(self, sequence: N) -> Ordered<K, N, R>
    where
        N: SequenceFunction<T>,
    {
        Ordered {
            subscribe: self.subscribe,
            key: self.key,
            sequence,
            resolver: self.resolver,
        }
    }

    /// Handle each message once, see [`Subscribe::idempotency`].
    pub fn idempotency(mut self, options: IdempotencyOptions) -> Self {
        self.subscribe = self.subscribe.idempotency(options);
        self
    }

    /// Name messages for idempotency by a function of their payloads, see [`Subscribe::idempotency_key`].
    pub fn idempotency_key<T, N>(mut self, resolver: N) -> Ordered<K, S, N>
    where
        N: Fn(&T) -> String + Send + Sync + 'static,
    {
        self.subscribe.options.has_idempotency_key_resolver = true;
        Ordered {
            subscribe: self.subscribe,
            key: self.key,
            sequence: self.sequence,
            resolver,
        }
    }

    /// Change how the handler behaves when order is in danger. What is left out is as in the settings.
    pub fn policies(mut self, change: impl FnOnce(&mut OrderingOptions)) -> Self {
        change(&mut self.subscribe.options.policies);
        self
    }

    /// Consume one more topic.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.subscribe = self.subscribe.topic(topic);
        self
    }

    /// Set the handler's id.
    pub fn handler_id(mut self, id: impl Into<String>) -> Self {
        self.subscribe = self.subscribe.handler_id(id);
        self
    }

    /// Set the consumer group.
    pub fn group_id(mut self, group: impl Into<String>) -> Self {
        self.subscribe = self.subscribe.group_id(group);
        self
    }

    /// Run at most so many executions at once in this process.
    pub fn concurrency(mut self, executions: usize) -> Self {
        self.subscribe = self.subscribe.concurrency(executions);
        self
    }

    /// Consume over a named connection.
    pub fn connection_name(mut self, name: impl Into<String>) -> Self {
        self.subscribe = self.subscribe.connection_name(name);
        self
    }

    /// Change any other option.
    pub fn options(mut self, change: impl FnOnce(&mut HandlerOptions)) -> Self {
        self.subscribe = self.subscribe.options(change);
        self
    }

    /// End with the handler: an async function or closure that takes the payload and up to six
    /// extractors.
    pub fn handler<F, Args>(self, function: F) -> HandlerDefinition
    where
        F: HandlerFunction<Args>,
        Args: Send + Sync + 'static,
        K: KeyFunction<F::Payload>,
        S: SequenceFunction<F::Payload>,
        R: ResolverFunction<F::Payload>,
    {
        let processor = MessageProcessor::ordered(OrderedByHand {
            handler: ByHand {
                function,
                arguments: PhantomData::<fn(Args)>,
            },
            key: self.key,
            sequence: self.sequence,
            resolver: self.resolver,
        });
        HandlerDefinition {
            kind: HandlerKind::Ordered {
                aggregate_key_field: "a function",
                sequence_id_field: "a function",
            },
            ..self
                .subscribe
                .finish(processor, std::any::type_name::<F::Payload>())
        }
    }
}

/// A function that names the aggregate of a payload; implemented for closures `|payload: &T| ..` that
/// return an [`AggregateKey`].
#[diagnostic::on_unimplemented(
    message = "nothing names the aggregate of `{T}`",
    note = "before `handler` call `.key(|payload: &T| ..)` with the handler's payload type; it returns an `AggregateKey`: a `String`, an integer, or a type of your own"
)]
pub trait KeyFunction<T>: Send + Sync + 'static {
    /// Name the aggregate.
    fn key_of(&self, payload: &T) -> String;
}

impl<T, A: AggregateKey, F: Fn(&T) -> A + Send + Sync + 'static> KeyFunction<T> for F {
    fn key_of(&self, payload: &T) -> String {
        self(payload).into_key()
    }
}

/// A function that numbers a payload; implemented for closures `|payload: &T| ..` that return a
/// [`SequenceId`].
#[diagnostic::on_unimplemented(
    message = "nothing numbers the messages of `{T}`",
    note = "before `handler` call `.sequence(|payload: &T| ..)` with the handler's payload type; it returns a `SequenceId`: an unsigned integer, or a type of your own"
)]
pub trait SequenceFunction<T>: Send + Sync + 'static {
    /// Return the payload's number.
    fn sequence_of(&self, payload: &T) -> u64;
}

impl<T, N: SequenceId, F: Fn(&T) -> N + Send + Sync + 'static> SequenceFunction<T> for F {
    fn sequence_of(&self, payload: &T) -> u64 {
        self(payload).sequence_id()
    }
}

/// A function that names a payload for idempotency; implemented for closures `|payload: &T| ..` that return a
/// `String`, and for `()`, which leaves a message to its id.
pub trait ResolverFunction<T>: Send + Sync + 'static {
    /// Name the message.
    fn name_of(&self, payload: &T) -> Option<String>;
}

impl<T> ResolverFunction<T> for () {
    fn name_of(&self, _: &T) -> Option<String> {
        None
    }
}

impl<T, F: Fn(&T) -> String + Send + Sync + 'static> ResolverFunction<T> for F {
    fn name_of(&self, payload: &T) -> Option<String> {
        Some(self(payload))
    }
}

/// Makes an [`OrderedHandler`] of a handler and its functions.
struct OrderedByHand<H, K, S, R> {
    handler: H,
    key: K,
    sequence: S,
    resolver: R,
}

impl<H, K, S, R> Handler for OrderedByHand<H, K, S, R>
where
    H: Handler,
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
    R: ResolverFunction<H::Payload>,
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
        self.resolver.name_of(payload)
    }

    fn check(&self, states: &StateMap) -> Result<(), MissingState> {
        self.handler.check(&states.for_ordered())
    }
}

impl<H, K, S, R> OrderedHandler for OrderedByHand<H, K, S, R>
where
    H: Handler,
    K: KeyFunction<H::Payload>,
    S: SequenceFunction<H::Payload>,
    R: ResolverFunction<H::Payload>,
{
    fn aggregate_key<'a>(&self, payload: &'a Self::Payload) -> Cow<'a, str> {
        self.key.key_of(payload).into()
    }

    fn sequence_id(&self, payload: &Self::Payload) -> u64 {
        self.sequence.sequence_of(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::MessageContext;
    use crate::store::ordering::FencingToken;

    struct Event {
        order: String,
        version: u32,
    }

    struct Nothing;

    impl Handler for Nothing {
        type Payload = crate::handler::Message<serde_json::Value>;

        async fn call<'a>(
            &'a self,
            _: Self::Payload,
            _: &'a MessageContext<'a>,
        ) -> Result<Outcome, ExtractError> {
            Ok(Outcome::Ack)
        }

        fn check(&self, states: &StateMap) -> Result<(), MissingState> {
            <FencingToken as crate::handler::FromMessage>::check(states)
        }
    }

    #[test]
    fn keys_and_sequences_are_those_of_the_functions() {
        fn check<T>(key: impl KeyFunction<T>, sequence: impl SequenceFunction<T>, payload: &T) {
            assert_eq!(
                (key.key_of(payload), sequence.sequence_of(payload)),
                ("7".to_owned(), 9)
            );
        }
        let event = Event {
            order: "7".to_owned(),
            version: 9,
        };
        check(
            |event: &Event| event.order.clone(),
            |event: &Event| event.version,
            &event,
        );
        check(|pair: &(u64, u8)| pair.0, |pair: &(u64, u8)| pair.1, &(7, 9));
    }

    #[test]
    fn ordered_handlers_have_fencing_tokens() {
        let ordered = OrderedByHand {
            handler: Nothing,
            key: (),
            sequence: (),
            resolver: (),
        };
        assert_eq!(ordered.check(&StateMap::default()), Ok(()));
        assert_eq!(Nothing.check(&StateMap::default()), Err(MissingState::NotOrdered));
    }

    #[test]
    fn what_is_said_by_hand_is_kept() {
        let definition = ordered("orders.v1")
            .topic("orders.v2")
            .group_id("billing")
            .concurrency(4)
            .connection_name("analytics")
            .handler_id("on_order")
            .key(|_: &u64| 1_u8)
            .sequence(|number: &u64| *number)
            .policies(|policies| policies.sticky = Some(false))
            .handler(async |_: u64, _: FencingToken| {});
        assert!(matches!(definition.kind, HandlerKind::Ordered { .. }));
        assert_eq!(definition.handler_id, "on_order");
        assert_eq!(definition.connection(), "analytics");
        assert_eq!(definition.location.file, file!());
        let options = definition.options;
        assert_eq!(options.topics, ["orders.v1", "orders.v2"]);
        assert_eq!(
            (options.group_id.as_deref(), options.concurrency),
            (Some("billing"), Some(4))
        );
        assert_eq!(options.policies.sticky, Some(false));
    }
}
