//! Registering handlers by hand: for closures, for topics known only at run time, for tests.
//!
//! ```
//! use athomic_core::handler::{Meta, register::subscribe};
//!
//! async fn on_paid(payment: serde_json::Value, meta: Meta) {
//!     println!("{payment} from {}", meta.topic());
//! }
//!
//! let definition = subscribe("payments.v1").group_id("billing").concurrency(8).handler(on_paid);
//! assert_eq!(definition.options.topics, ["payments.v1"]);
//! ```

mod ordered;
mod resolved;

pub use ordered::{KeyFunction, Ordered, ResolverFunction, SequenceFunction, ordered};
pub use resolved::Resolved;

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;

use super::registration::{
    CircuitBreakerOptions, HandlerKind, HandlerRegistration, IdempotencyOptions, Ordering, Priorities,
    RetryOptions, SourceLocation, SubscriptionOptions,
};
use super::{
    BatchContext, BatchHandler, ExtractError, FromBatch, FromMessage, Handler, MessageContext, MissingState,
    StateMap,
};
use crate::consumer::MessageProcessor;
use crate::ordering::OrderingOptions;
use crate::outcome::{BatchOutcome, IntoBatchOutcome, IntoOutcome, Outcome};
use crate::payload::{Format, Payload};

/// A handler and all that is said about it, by its attribute or by hand.
#[derive(Clone)]
pub struct HandlerDefinition {
    /// Names the handler in settings, logs and errors.
    pub handler_id: String,
    /// Where it stands in the source.
    pub location: SourceLocation,
    /// Which attribute it carries.
    pub kind: HandlerKind,
    /// What is said about consuming.
    pub options: HandlerOptions,
    /// The payload's type, as the user wrote it.
    pub target_type: String,
    /// The part of the runtime that knows the handler's types.
    pub processor: MessageProcessor,
}

/// What is said about a handler's consuming; `None` leaves it to the settings.
///
/// The fields are those of [`SubscriptionOptions`], which is their constant form.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "each field is documented on SubscriptionOptions")]
pub struct HandlerOptions {
    pub topics: Vec<String>,
    pub group_id: Option<String>,
    pub priority: Priorities,
    pub concurrency: Option<usize>,
    pub ordering: Option<Ordering>,
    pub batch_size: Option<usize>,
    pub max_batch_linger_ms: Option<u64>,
    pub fetch_timeout_ms: Option<u64>,
    pub fetch_max_linger_ms: Option<u64>,
    pub fetch_max_bytes: Option<usize>,
    pub fetch_size: Option<usize>,
    pub connection_name: Option<String>,
    pub idempotency: Option<IdempotencyOptions>,
    pub has_idempotency_key_resolver: bool,
    pub codec: Option<Format>,
    pub encrypted: bool,
    pub enable_lineage: Option<bool>,
    pub policies: OrderingOptions,
    pub retry: RetryOptions,
    pub circuit_breaker: Option<CircuitBreakerOptions>,
}

impl From<&SubscriptionOptions> for HandlerOptions {
    fn from(options: &SubscriptionOptions) -> Self {
        Self {
            topics: options.topics.iter().map(|&topic| topic.to_owned()).collect(),
            group_id: options.group_id.map(str::to_owned),
            priority: options.priority,
            concurrency: options.concurrency,
            ordering: options.ordering,
            batch_size: options.batch_size,
            max_batch_linger_ms: options.max_batch_linger_ms,
            fetch_timeout_ms: options.fetch_timeout_ms,
            fetch_max_linger_ms: options.fetch_max_linger_ms,
            fetch_max_bytes: options.fetch_max_bytes,
            fetch_size: options.fetch_size,
            connection_name: options.connection_name.map(str::to_owned),
            idempotency: options.idempotency,
            has_idempotency_key_resolver: options.has_idempotency_key_resolver,
            codec: options.codec,
            encrypted: options.encrypted,
            enable_lineage: Some(options.enable_lineage),
            policies: options.policies,
            retry: options.retry,
            circuit_breaker: options.circuit_breaker,
        }
    }
}

impl From<&HandlerRegistration> for HandlerDefinition {
    fn from(registration: &HandlerRegistration) -> Self {
        Self {
            handler_id: registration.handler_id.to_owned(),
            location: registration.location,
            kind: registration.kind,
            options: (&registration.options).into(),
            target_type: registration.target_type.to_owned(),
            processor: (registration.processor)(),
        }
    }
}

impl HandlerDefinition {
    /// Return the name of the connection that the handler consumes over.
    #[must_use]
    pub fn connection(&self) -> &str {
        self.options.connection_name.as_deref().unwrap_or("default")
    }

    pub(super) fn sort_key(&self) -> (&str, SourceLocation) {
        (&self.handler_id, self.location)
    }
}

impl fmt::Debug for HandlerDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerDefinition")
            .field("handler_id", &self.handler_id)
            .field("location", &self.location)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for HandlerDefinition {
    /// Shows id and place, as error messages name a handler.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.handler_id, self.location)
    }
}

/// Begin to describe a handler of a topic. The id is the place of this call until
/// [`handler_id`](Subscribe::handler_id) sets another.
#[track_caller]
pub fn subscribe(topic: impl Into<String>) -> Subscribe {
    let here = Location::caller();
    Subscribe {
        handler_id: format!("{}:{}", here.file(), here.line()),
        location: SourceLocation {
            file: here.file(),
            line: here.line(),
        },
        options: HandlerOptions {
            topics: vec![topic.into()],
            ..Default::default()
        },
    }
}

/// A handler's description in the making.
#[derive(Debug, Clone)]
#[must_use = "ends with `handler` or `batch_handler`"]
pub struct Subscribe {
    handler_id: String,
    location: SourceLocation,
    options: HandlerOptions,
}

impl Subscribe {
    /// Consume one more topic.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.options.topics.push(topic.into());
        self
    }

    /// Set the handler's id.
    pub fn handler_id(mut self, id: impl Into<String>) -> Self {
        self.handler_id = id.into();
        self
    }

    /// Set the consumer group.
    pub fn group_id(mut self, group: impl Into<String>) -> Self {
        self.options.group_id = Some(group.into());
        self
    }

    /// Run at most so many executions at once in this process.
    pub fn concurrency(mut self, executions: usize) -> Self {
        self.options.concurrency = Some(executions);
        self
    }

    /// Say which messages of a partition wait for each other.
    pub fn ordering(mut self, ordering: Ordering) -> Self {
        self.options.ordering = Some(ordering);
        self
    }

    /// Consume over a named connection.
    pub fn connection_name(mut self, name: impl Into<String>) -> Self {
        self.options.connection_name = Some(name.into());
        self
    }

    /// Let a batch wait so long to fill; for batch handlers.
    pub fn max_batch_linger_ms(mut self, linger: u64) -> Self {
        self.options.max_batch_linger_ms = Some(linger);
        self
    }

    /// Read payloads in another format than the settings say for the topics.
    pub fn codec(mut self, format: Format) -> Self {
        self.options.codec = Some(format);
        self
    }

    /// Refuse payloads that are not encrypted, also where the settings accept them.
    pub fn encrypted(mut self) -> Self {
        self.options.encrypted = true;
        self
    }

    /// Change any other option.
    pub fn options(mut self, change: impl FnOnce(&mut HandlerOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Leave the handler alone for a while when too many of its messages fail, see
    /// [`circuit_breaker`](crate::circuit_breaker). What is left out of the options has its default.
    ///
    /// ```
    /// use std::time::Duration;
    /// use athomic_core::handler::{CircuitBreakerOptions, register::subscribe};
    ///
    /// let options = CircuitBreakerOptions { open_for: Some(Duration::from_secs(60)), ..Default::default() };
    /// let definition = subscribe("payments.v1")
    ///     .circuit_breaker(options)
    ///     .handler(async |payment: u64| println!("{payment}"));
    /// assert!(definition.options.circuit_breaker.is_some());
    /// ```
    pub fn circuit_breaker(mut self, options: CircuitBreakerOptions) -> Self {
        self.options.circuit_breaker = Some(options);
        self
    }

    /// Handle each message once: [remember](crate::idempotency) those that were handled. What is left out of
    /// the options is as in the settings.
    ///
    /// ```
    /// use std::time::Duration;
    /// use athomic_core::handler::{IdempotencyOptions, register::subscribe};
    ///
    /// let options = IdempotencyOptions { ttl: Some(Duration::from_secs(3600)), ..Default::default() };
    /// let definition = subscribe("payments.v1")
    ///     .idempotency(options)
    ///     .idempotency_key(|payment: &(u64, String)| payment.0.to_string())
    ///     .handler(async |payment: (u64, String)| println!("{payment:?}"));
    /// assert!(definition.options.has_idempotency_key_resolver);
    /// ```
    pub fn idempotency(mut self, options: IdempotencyOptions) -> Self {
        self.options.idempotency = Some(options);
        self
    }

    /// Name messages for idempotency by a function of their payloads; without one it is the message's id.
    /// One that returns an empty text leaves the message to its id. Ends with `handler` or `batch_handler`.
    pub fn idempotency_key<T, R>(mut self, resolver: R) -> Resolved<T, R>
    where
        R: Fn(&T) -> String + Send + Sync + 'static,
    {
        self.options.has_idempotency_key_resolver = true;
        Resolved {
            subscribe: self,
            resolver,
            payload: PhantomData,
        }
    }

    /// End with a handler of single messages: an async function or closure that takes the payload
    /// and up to six extractors.
    pub fn handler<F, Args>(self, function: F) -> HandlerDefinition
    where
        F: HandlerFunction<Args>,
        Args: Send + Sync + 'static,
    {
        let processor = MessageProcessor::single(ByHand::<F, Args>::new(function));
        self.finish(processor, std::any::type_name::<F::Payload>())
    }

    /// End with a handler of batches of at most `size`: an async function or closure that takes a
    /// `Vec` of payloads, or of `Message`s, and up to six extractors.
    pub fn batch_handler<F, Args>(mut self, size: usize, function: F) -> HandlerDefinition
    where
        F: BatchFunction<Args>,
        Args: Send + Sync + 'static,
    {
        self.options.batch_size = Some(size);
        let processor = MessageProcessor::batch(ByHand::<F, Args>::new(function));
        self.finish(processor, std::any::type_name::<F::Item>())
    }

    fn finish(self, processor: MessageProcessor, target_type: &str) -> HandlerDefinition {
        HandlerDefinition {
            handler_id: self.handler_id,
            location: self.location,
            kind: HandlerKind::Subscribed,
            options: self.options,
            target_type: target_type.to_owned(),
            processor,
        }
    }
}

/// A function that can handle single messages; implemented for async functions and closures.
pub trait HandlerFunction<Args>: Send + Sync + 'static {
    /// The first argument.
    type Payload: Payload;

    /// Take the other arguments and run.
    fn run<'a>(
        &'a self,
        payload: Self::Payload,
        context: &'a MessageContext<'a>,
    ) -> impl Future<Output = Result<Outcome, ExtractError>> + Send + 'a;

    /// See [`Handler::check`].
    ///
    /// # Errors
    /// The first state that is missing.
    fn check(states: &StateMap) -> Result<(), MissingState>;
}

/// A function that can handle batches; implemented for async functions and closures.
pub trait BatchFunction<Args>: Send + Sync + 'static {
    /// The element of the first argument.
    type Item: Payload;

    /// Take the other arguments and run.
    fn run<'a>(
        &'a self,
        items: Vec<Self::Item>,
        context: &'a BatchContext<'a>,
    ) -> impl Future<Output = Result<BatchOutcome, ExtractError>> + Send + 'a;

    /// See [`BatchHandler::check`].
    ///
    /// # Errors
    /// The first state that is missing.
    fn check(states: &StateMap) -> Result<(), MissingState>;
}

/// Makes a [`Handler`] or [`BatchHandler`] of a function.
struct ByHand<F, Args> {
    function: F,
    arguments: PhantomData<fn(Args)>,
}

impl<F, Args> ByHand<F, Args> {
    fn new(function: F) -> Self {
        Self {
            function,
            arguments: PhantomData,
        }
    }
}

impl<F: HandlerFunction<Args>, Args: 'static> Handler for ByHand<F, Args> {
    type Payload = F::Payload;

    fn call<'a>(
        &'a self,
        payload: Self::Payload,
        context: &'a MessageContext<'a>,
    ) -> impl Future<Output = Result<Outcome, ExtractError>> + Send + 'a {
        self.function.run(payload, context)
    }

    fn check(&self, states: &StateMap) -> Result<(), MissingState> {
        F::check(states)
    }
}

impl<F: BatchFunction<Args>, Args: 'static> BatchHandler for ByHand<F, Args> {
    type Item = F::Item;

    fn call<'a>(
        &'a self,
        items: Vec<Self::Item>,
        context: &'a BatchContext<'a>,
    ) -> impl Future<Output = Result<BatchOutcome, ExtractError>> + Send + 'a {
        self.function.run(items, context)
    }

    fn check(&self, states: &StateMap) -> Result<(), MissingState> {
        F::check(states)
    }
}

macro_rules! functions {
    ($($extractor:ident),*) => {
        impl<F, Fut, T, $($extractor,)*> HandlerFunction<(T, $($extractor,)*)> for F
        where
            F: Fn(T, $($extractor),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output: IntoOutcome> + Send + 'static,
            T: Payload,
            $($extractor: FromMessage + 'static,)*
        {
            type Payload = T;

            #[allow(unused_variables, reason = "a handler may take the payload alone")]
            async fn run<'a>(&'a self, payload: T, context: &'a MessageContext<'a>) -> Result<Outcome, ExtractError> {
                Ok(self(payload, $($extractor::from_message(context)?),*).await.into_outcome())
            }

            #[allow(unused_variables, reason = "a handler may take the payload alone")]
            fn check(states: &StateMap) -> Result<(), MissingState> {
                $(<$extractor as FromMessage>::check(states)?;)*
                Ok(())
            }
        }

        impl<F, Fut, T, $($extractor,)*> BatchFunction<(Vec<T>, $($extractor,)*)> for F
        where
            F: Fn(Vec<T>, $($extractor),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output: IntoBatchOutcome> + Send + 'static,
            T: Payload,
            $($extractor: FromBatch + 'static,)*
        {
            type Item = T;

            #[allow(unused_variables, reason = "a handler may take the batch alone")]
            async fn run<'a>(
                &'a self,
                items: Vec<T>,
                context: &'a BatchContext<'a>,
            ) -> Result<BatchOutcome, ExtractError> {
                Ok(self(items, $($extractor::from_batch(context)?),*).await.into_batch_outcome())
            }

            #[allow(unused_variables, reason = "a handler may take the batch alone")]
            fn check(states: &StateMap) -> Result<(), MissingState> {
                $(<$extractor as FromBatch>::check(states)?;)*
                Ok(())
            }
        }
    };
}

functions!();
functions!(A);
functions!(A, B);
functions!(A, B, C);
functions!(A, B, C, D);
functions!(A, B, C, D, E);
functions!(A, B, C, D, E, G);
