//! `MessageProcessor`: a handler, with its types erased once for all its messages.
//!
//! What runs for each message is generic over the handler and compiled for it; what is erased is
//! called once a fetched batch, or once a lane. A message costs no allocation and no dynamic call
//! beyond those of its batch's accessors.
//!
//! The names are the reference's: [`SingleMessageProcessor`] and [`BatchMessageProcessor`] take a raw
//! message through decode, handler and outcome.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};

use super::lane::{LaneContext, LaneSettings, LaneSource, Permit, Settlement};
use super::ordered::{Orchestration, OrderedMessageProcessor, OrderedOrchestrationStrategy};
use super::strategies::{batch, keyed, single};
use crate::circuit_breaker::{self, Tally};
use crate::commit::Slot;
use crate::context::TraceContext;
use crate::dead_letter::{Chain, error_type};
use crate::delay::DelayedMessageHandler;
use crate::handler::{
    BatchContext, BatchHandler, ExtractError, Handler, MessageContext, MissingState, OrderedHandler, StateMap,
};
use crate::idempotency::{Entry, Guard, Held, Once};
use crate::lineage::Finished;
use crate::message::{Offset, RawMessage, RecordBatch};
use crate::mutant::{self, Mutant};
use crate::outcome::{
    BatchOutcome, BoxError, ConsumptionOutcome, FailureContext, FailureStage, Outcome, RetryWish, panic_text,
};
use crate::payload::{self, DecodeError, Payload, PayloadKind};
use crate::retry::Standing;
use crate::telemetry::Processing;
use crate::transport::TransportError;

/// How many payloads of a batch are taken through their steps at once, where a step may have to wait: objects of a
/// store are fetched side by side.
const OPENED_AT_ONCE: usize = 16;

pub(super) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A handler behind the part of the runtime that knows its types. Cheap to clone.
#[derive(Clone)]
pub struct MessageProcessor(Kind);

#[derive(Clone)]
enum Kind {
    Single(Arc<dyn ErasedSingle>),
    Batch(Arc<dyn ErasedBatch>),
    Ordered(Arc<dyn ErasedOrdered>),
    Delayed(Arc<DelayedMessageHandler>),
}

impl MessageProcessor {
    /// Take a handler of single messages.
    pub fn single<H: Handler>(handler: H) -> Self {
        Self(Kind::Single(Arc::new(SingleMessageProcessor { handler })))
    }

    /// Take a batch handler.
    pub fn batch<H: BatchHandler>(handler: H) -> Self {
        Self(Kind::Batch(Arc::new(BatchMessageProcessor { handler })))
    }

    /// Take a handler whose messages run in the order of their aggregates.
    pub fn ordered<H: OrderedHandler>(handler: H) -> Self {
        Self(Kind::Ordered(Arc::new(OrderedMessageProcessor { handler })))
    }

    /// Take the handler of delay topics.
    pub(crate) fn delayed(handler: Arc<DelayedMessageHandler>) -> Self {
        Self(Kind::Delayed(handler))
    }

    /// Return the name of the strategy: `single`, `batch`, `ordered` or `delayed`.
    #[must_use]
    pub fn strategy(&self) -> &'static str {
        match self.0 {
            Kind::Single(_) => "single",
            Kind::Batch(_) => "batch",
            Kind::Ordered(_) => "ordered",
            Kind::Delayed(_) => "delayed",
        }
    }

    /// Say whether messages run in the order of their aggregates.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        matches!(self.0, Kind::Ordered(_))
    }

    /// Say whether the handler takes batches.
    #[must_use]
    pub fn is_batch(&self) -> bool {
        matches!(self.0, Kind::Batch(_))
    }

    /// Check that the states that the handler takes are there.
    ///
    /// # Errors
    /// The first one that is missing.
    pub fn check(&self, states: &StateMap) -> Result<(), MissingState> {
        match &self.0 {
            Kind::Single(single) => single.check(states),
            Kind::Batch(batch) => batch.check(states),
            Kind::Ordered(ordered) => ordered.check(states),
            Kind::Delayed(_) => Ok(()),
        }
    }

    /// Return what the handler's payload is.
    pub(crate) fn payload(&self) -> PayloadKind {
        match &self.0 {
            Kind::Single(single) => single.payload(),
            Kind::Batch(batch) => batch.payload(),
            Kind::Ordered(ordered) => ordered.payload(),
            Kind::Delayed(_) => PayloadKind::BYTES,
        }
    }

    /// Begin a membership: what runs its lanes, and for ordered handlers what runs beside them.
    pub(super) fn begin(&self, settings: &Arc<LaneSettings>) -> (LaneProcessor, Option<Orchestration>) {
        match &self.0 {
            Kind::Single(single) => (LaneProcessor::Single(Arc::clone(single)), None),
            Kind::Batch(batch) => (LaneProcessor::Batch(Arc::clone(batch)), None),
            Kind::Ordered(ordered) => {
                let (lanes, orchestration) = Arc::clone(ordered).begin(settings);
                (LaneProcessor::Ordered(lanes), Some(orchestration))
            }
            Kind::Delayed(handler) => (LaneProcessor::Delayed(Arc::clone(handler)), None),
        }
    }
}

/// What runs the lanes of one membership.
#[derive(Clone)]
pub(super) enum LaneProcessor {
    Single(Arc<dyn ErasedSingle>),
    Batch(Arc<dyn ErasedBatch>),
    Ordered(Arc<dyn OrderedLanes>),
    Delayed(Arc<DelayedMessageHandler>),
}

impl LaneProcessor {
    /// Run a lane with the strategy that fits the handler and its settings.
    pub(super) async fn run(
        self,
        context: LaneContext,
        mut source: LaneSource,
    ) -> Result<(), TransportError> {
        match self {
            Self::Single(single) if context.settings.runs_side_by_side() => {
                single.run_keyed(&context, &mut source).await
            }
            Self::Single(single) => single::run(single.as_ref(), &context, &mut source).await,
            Self::Batch(batch) => batch::run(batch.as_ref(), &context, &mut source).await,
            Self::Ordered(lanes) => lanes.run(&context, &mut source).await,
            Self::Delayed(handler) => handler.run(&context, &mut source).await,
        }
    }
}

/// An [`OrderedMessageProcessor`] without its handler's type.
pub(super) trait ErasedOrdered: Send + Sync {
    /// See [`Handler::check`].
    fn check(&self, states: &StateMap) -> Result<(), MissingState>;

    /// Return what the handler's payload is.
    fn payload(&self) -> PayloadKind;

    /// Begin a membership.
    fn begin(self: Arc<Self>, settings: &Arc<LaneSettings>) -> (Arc<dyn OrderedLanes>, Orchestration);
}

impl<H: OrderedHandler> ErasedOrdered for OrderedMessageProcessor<H> {
    fn check(&self, states: &StateMap) -> Result<(), MissingState> {
        self.handler.check(states)
    }

    fn payload(&self) -> PayloadKind {
        PayloadKind::of::<H::Payload>()
    }

    fn begin(self: Arc<Self>, settings: &Arc<LaneSettings>) -> (Arc<dyn OrderedLanes>, Orchestration) {
        let (strategy, orchestration) = OrderedOrchestrationStrategy::start(self, settings);
        (Arc::new(strategy), orchestration)
    }
}

/// An [`OrderedOrchestrationStrategy`] without its handler's type.
pub(super) trait OrderedLanes: Send + Sync {
    /// Run a lane until it stops.
    fn run<'a>(
        &'a self,
        context: &'a LaneContext,
        source: &'a mut LaneSource,
    ) -> Boxed<'a, Result<(), TransportError>>;
}

impl<H: OrderedHandler> OrderedLanes for OrderedOrchestrationStrategy<H> {
    fn run<'a>(
        &'a self,
        context: &'a LaneContext,
        source: &'a mut LaneSource,
    ) -> Boxed<'a, Result<(), TransportError>> {
        Box::pin(self.run_lane(context, source))
    }
}

impl fmt::Debug for MessageProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Single(_) => "SingleMessageProcessor",
            Kind::Batch(_) => "BatchMessageProcessor",
            Kind::Ordered(_) => "OrderedMessageProcessor",
            Kind::Delayed(_) => "DelayedMessageHandler",
        })
    }
}

/// A [`SingleMessageProcessor`] without its handler's type.
pub(super) trait ErasedSingle: Send + Sync {
    /// See [`Handler::check`].
    fn check(&self, states: &StateMap) -> Result<(), MissingState>;

    /// Return what the handler's payload is.
    fn payload(&self) -> PayloadKind;

    /// Process a fetched batch, one message after the other, until its end or the lane's; `slot` is
    /// that of its first message.
    fn process<'a>(
        &'a self,
        context: &'a LaneContext,
        batch: Arc<dyn RecordBatch>,
        slot: Slot,
    ) -> Boxed<'a, ()>;

    /// Run a whole lane with messages side by side.
    fn run_keyed<'a>(
        &'a self,
        context: &'a LaneContext,
        source: &'a mut LaneSource,
    ) -> Boxed<'a, Result<(), TransportError>>;
}

/// Takes single messages through decode, handler and outcome.
struct SingleMessageProcessor<H> {
    handler: H,
}

impl<H: Handler> SingleMessageProcessor<H> {
    /// Try a message until it is settled or the lane stops. The permit is for the first attempt;
    /// between attempts the message holds none.
    async fn settle(&self, context: &LaneContext, message: &RawMessage, mut permit: Permit) -> Settlement {
        let mut attempt = match context.settings.failures.standing(context.scope(), message) {
            Standing::Fresh => 1,
            Standing::ForOthers => return Settlement::Settled,
            Standing::Again(attempt, Duration::ZERO) => attempt,
            Standing::Again(attempt, wait) => {
                drop(permit);
                let Some(next) = context.permit_after(wait).await else {
                    return Settlement::Abandoned;
                };
                permit = next;
                attempt
            }
        };
        loop {
            let failure = match self.attempt(context, message, attempt).await {
                ConsumptionOutcome::Success => return Settlement::Settled,
                ConsumptionOutcome::Failure(failure) => failure,
                ConsumptionOutcome::Deferred(delay) => {
                    drop(permit);
                    let Some(next) = context.permit_after(delay).await else {
                        return Settlement::Abandoned;
                    };
                    permit = next;
                    continue;
                }
            };
            if mutant::is(Mutant::LosesPermits) {
                std::mem::forget(permit);
            } else {
                drop(permit);
            }
            if let Some(settlement) = context.after_failure(failure).await {
                return settlement;
            }
            let Some(next) = context.permit_again().await else {
                return Settlement::Abandoned;
            };
            permit = next;
            attempt = attempt.saturating_add(1);
        }
    }

    /// Decode and handle a message once.
    async fn attempt(&self, context: &LaneContext, message: &RawMessage, attempt: u32) -> ConsumptionOutcome {
        if let Some(guard) = &context.settings.guard {
            // Boxed, so that the future of handlers without idempotency is no larger for it.
            return Box::pin(self.attempt_once(guard, context, message, attempt)).await;
        }
        let call = MessageContext::new(context.scope(), message, attempt);
        let run = pin!(async {
            let payload = payload::decode(&call).await?;
            Ok(self.handler.call(payload, &call).await?)
        });
        match guarded(run, context, message, attempt).await {
            Ok(()) => ConsumptionOutcome::Success,
            Err(failure) => ConsumptionOutcome::Failure(failure.of(message, attempt)),
        }
    }
}

impl<H: Handler> SingleMessageProcessor<H> {
    /// Decode a message, and handle it if it is its turn and it was not handled before.
    async fn attempt_once(
        &self,
        guard: &Guard,
        context: &LaneContext,
        message: &RawMessage,
        attempt: u32,
    ) -> ConsumptionOutcome {
        let call = MessageContext::new(context.scope(), message, attempt);
        let named = decoded::<H::Payload>(&call).await.and_then(|payload| {
            caught(|| {
                let key = self.handler.idempotency_key(&payload);
                Ok((payload, guard.key_of(message, key.as_deref())))
            })
        });
        let (payload, key) = match named {
            Ok(named) => named,
            Err(failure) => return ConsumptionOutcome::Failure(failure.of(message, attempt)),
        };
        let run = async {
            // The store may have taken its time to answer.
            context.state.unless_lost().await;
            let run = pin!(async { Ok(self.handler.call(payload, &call).await?) });
            guarded(run, context, message, attempt).await
        };
        match guard.once(key, run).await {
            Once::Ran(Ok(())) | Once::Duplicate => ConsumptionOutcome::Success,
            Once::Ran(Err(failure)) => ConsumptionOutcome::Failure(failure.of(message, attempt)),
            Once::Later(delay) => ConsumptionOutcome::Deferred(delay),
        }
    }
}

impl<H: Handler> ErasedSingle for SingleMessageProcessor<H> {
    fn check(&self, states: &StateMap) -> Result<(), MissingState> {
        self.handler.check(states)
    }

    fn payload(&self) -> PayloadKind {
        PayloadKind::of::<H::Payload>()
    }

    fn process<'a>(
        &'a self,
        context: &'a LaneContext,
        batch: Arc<dyn RecordBatch>,
        mut slot: Slot,
    ) -> Boxed<'a, ()> {
        Box::pin(async move {
            let mut message = RawMessage::new(batch, 0);
            while let Some(permit) = context.permit().await {
                if self.settle(context, &message, permit).await == Settlement::Abandoned {
                    return;
                }
                context.state.settle(slot);
                slot = slot.next();
                if !message.advance() {
                    return;
                }
            }
        })
    }

    fn run_keyed<'a>(
        &'a self,
        context: &'a LaneContext,
        source: &'a mut LaneSource,
    ) -> Boxed<'a, Result<(), TransportError>> {
        let settle =
            move |message: RawMessage, permit| async move { self.settle(context, &message, permit).await };
        Box::pin(keyed::run(context, source, settle))
    }
}

/// A [`BatchMessageProcessor`] without its handler's type.
pub(super) trait ErasedBatch: Send + Sync {
    /// See [`BatchHandler::check`].
    fn check(&self, states: &StateMap) -> Result<(), MissingState>;

    /// Return what the handler's payload is.
    fn payload(&self) -> PayloadKind;

    /// Decode and handle messages together, once; one outcome each, in their order.
    fn attempt<'a>(
        &'a self,
        context: &'a LaneContext,
        messages: &'a [RawMessage],
        attempt: u32,
    ) -> Boxed<'a, BatchAttempt>;
}

/// How one attempt at a batch ended.
pub(super) enum BatchAttempt {
    /// Each message for itself.
    Each(Vec<ConsumptionOutcome>),
    /// Several messages failed together, so that nobody can say which of them is at fault. Those that
    /// could not be decoded are told apart already.
    Whole(Vec<ConsumptionOutcome>),
}

/// Takes batches through decode, handler and outcome.
struct BatchMessageProcessor<H> {
    handler: H,
}

impl<H: BatchHandler> BatchMessageProcessor<H> {
    /// Decode what can be decoded; failures stand in the outcomes, the others have none as yet.
    async fn decode(
        context: &LaneContext,
        messages: &[RawMessage],
        attempt: u32,
    ) -> (Vec<H::Item>, Outcomes) {
        let mut items = Vec::with_capacity(messages.len());
        let mut outcomes = Vec::with_capacity(messages.len());
        let mut sort = |message: &RawMessage, decoded| {
            outcomes.push(match decoded {
                Ok(item) => {
                    items.push(item);
                    None
                }
                Err(failure) => Some(ConsumptionOutcome::Failure(Failure::of(
                    failure, message, attempt,
                ))),
            });
        };
        if context.scope().payloads.may_wait() {
            let decoding: Vec<_> = messages
                .iter()
                .map(|message| Self::decode_one(context, message, attempt))
                .collect();
            let mut decoding = stream::iter(decoding).buffered(OPENED_AT_ONCE);
            for message in messages {
                sort(message, decoding.next().await.expect("each message is decoded"));
            }
        } else {
            for message in messages {
                sort(message, Self::decode_one(context, message, attempt).await);
            }
        }
        (items, outcomes)
    }

    async fn decode_one(
        context: &LaneContext,
        message: &RawMessage,
        attempt: u32,
    ) -> Result<H::Item, Failure> {
        decoded(&MessageContext::new(context.scope(), message, attempt)).await
    }

    /// Leave those items that are to be handled now, each with its lock; what becomes of the others stands
    /// in the outcomes.
    async fn enter(
        &self,
        guard: &Guard,
        messages: &[RawMessage],
        attempt: u32,
        items: Vec<H::Item>,
        outcomes: &mut Outcomes,
    ) -> (Vec<H::Item>, Vec<Held>) {
        let (mut named, mut keys) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
        let mut items = items.into_iter();
        for (message, outcome) in undecided(messages, outcomes) {
            let item = items.next().expect("what was decoded has no outcome");
            match caught(|| Ok(guard.key_of(message, self.handler.idempotency_key(&item).as_deref()))) {
                Ok(key) => {
                    named.push(item);
                    keys.push(key);
                }
                Err(failure) => *outcome = Some(ConsumptionOutcome::Failure(failure.of(message, attempt))),
            }
        }
        let (mut run, mut locks) = (Vec::with_capacity(named.len()), Vec::with_capacity(named.len()));
        let entries = named.into_iter().zip(guard.enter(keys).await);
        for ((_, outcome), (item, entry)) in undecided(messages, outcomes).zip(entries) {
            match entry {
                Entry::Run(held) => {
                    run.push(item);
                    locks.push(held);
                }
                Entry::Duplicate => *outcome = Some(ConsumptionOutcome::Success),
                Entry::Later(delay) => *outcome = Some(ConsumptionOutcome::Deferred(delay)),
            }
        }
        (run, locks)
    }

    async fn attempt_once(
        &self,
        guard: &Guard,
        context: &LaneContext,
        messages: &[RawMessage],
        attempt: u32,
    ) -> BatchAttempt {
        let (items, mut outcomes) = Self::decode(context, messages, attempt).await;
        let (items, locks) = self.enter(guard, messages, attempt, items, &mut outcomes).await;
        context.state.unless_lost().await;
        let ran: Vec<bool> = outcomes.iter().map(Option::is_none).collect();
        let ended = self.handle(context, messages, attempt, items, outcomes).await;
        let (BatchAttempt::Each(outcomes) | BatchAttempt::Whole(outcomes)) = &ended;
        let is_done = |outcome: &ConsumptionOutcome| matches!(outcome, ConsumptionOutcome::Success);
        let done = outcomes.iter().zip(ran).filter(|(_, ran)| *ran);
        let done: Vec<_> = locks
            .into_iter()
            .zip(done.map(|(outcome, _)| is_done(outcome)))
            .collect();
        guard.leave(done).await;
        ended
    }

    /// Run the handler for those messages that have no outcome yet, if there are any.
    async fn handle(
        &self,
        context: &LaneContext,
        messages: &[RawMessage],
        attempt: u32,
        items: Vec<H::Item>,
        outcomes: Outcomes,
    ) -> BatchAttempt {
        if items.is_empty() {
            return BatchAttempt::Each(outcomes.into_iter().map(decided).collect());
        }
        let call = BatchContext::new(context.scope(), &context.state.partition, attempt);
        let run = pin!(async { Ok(self.handler.call(items, &call).await?) });
        let telemetry = context.scope().telemetry.as_ref();
        let processing =
            telemetry.map(|telemetry| telemetry.begin_batch(&context.headers, messages, attempt));
        // Messages of a batch may come of many runs.
        let run = watched(run, context, messages[0].offset(), None);
        let turn = turn(context);
        let result = within(processing.as_ref(), run).await.and_then(whole);
        let asked = outcomes.iter().filter(|outcome| outcome.is_none()).count();
        tell_breaker(context, turn, || tally(&result, asked));
        merge(outcomes, note(processing, result), messages, attempt)
    }
}

/// Count what a batch handler said of its messages, as far as that tells of what it needs.
fn tally(result: &Result<BatchOutcome, Failure>, asked: usize) -> Tally {
    let all = |failed: bool| {
        let total = u32::try_from(asked).unwrap_or(u32::MAX);
        let failed = if failed { total } else { 0 };
        Tally { failed, total }
    };
    match result {
        Ok(BatchOutcome::Each(each)) => {
            let mut tally = Tally::default();
            each.iter()
                .filter_map(|outcome| match outcome {
                    Outcome::Ack => Some(false),
                    Outcome::Retry { .. } => Some(true),
                    Outcome::DeadLetter { .. } | Outcome::Ignore { .. } => None,
                })
                .for_each(|failed| tally.add(Tally::one(failed)));
            tally
        }
        Ok(BatchOutcome::All(_)) => all(false),
        Err(failure) if failure.counts() => all(true),
        Err(_) => Tally::default(),
    }
}

/// What becomes of each message of a batch; nothing while that is for the handler to say.
type Outcomes = Vec<Option<ConsumptionOutcome>>;

fn undecided<'a>(
    messages: &'a [RawMessage],
    outcomes: &'a mut Outcomes,
) -> impl Iterator<Item = (&'a RawMessage, &'a mut Option<ConsumptionOutcome>)> {
    messages
        .iter()
        .zip(outcomes)
        .filter(|(_, outcome)| outcome.is_none())
}

/// What the handler has said nothing against is done.
fn decided(outcome: Option<ConsumptionOutcome>) -> ConsumptionOutcome {
    outcome.unwrap_or(ConsumptionOutcome::Success)
}

impl<H: BatchHandler> ErasedBatch for BatchMessageProcessor<H> {
    fn check(&self, states: &StateMap) -> Result<(), MissingState> {
        self.handler.check(states)
    }

    fn payload(&self) -> PayloadKind {
        PayloadKind::of::<H::Item>()
    }

    fn attempt<'a>(
        &'a self,
        context: &'a LaneContext,
        messages: &'a [RawMessage],
        attempt: u32,
    ) -> Boxed<'a, BatchAttempt> {
        if let Some(guard) = &context.settings.guard {
            return Box::pin(self.attempt_once(guard, context, messages, attempt));
        }
        Box::pin(async move {
            let (items, outcomes) = Self::decode(context, messages, attempt).await;
            self.handle(context, messages, attempt, items, outcomes).await
        })
    }
}

/// Put the handler's answer in the place of each message that it got.
fn merge(
    mut outcomes: Outcomes,
    result: Result<BatchOutcome, Failure>,
    messages: &[RawMessage],
    attempt: u32,
) -> BatchAttempt {
    let all = match result {
        Ok(BatchOutcome::Each(each)) => {
            let mut each = each.into_iter();
            for (message, outcome) in undecided(messages, &mut outcomes) {
                let answer = each.next().unwrap_or_else(|| Outcome::retry(NO_OUTCOME));
                if let Err(failure) = failed(answer) {
                    *outcome = Some(ConsumptionOutcome::Failure(failure.of(message, attempt)));
                }
            }
            return BatchAttempt::Each(outcomes.into_iter().map(decided).collect());
        }
        Ok(BatchOutcome::All(_)) => Ok(()),
        Err(failure) => Err(failure),
    };
    let Err(failure) = all else {
        return BatchAttempt::Each(outcomes.into_iter().map(decided).collect());
    };
    let Failure {
        stage,
        wish,
        error,
        span,
    } = failure;
    let shared: Arc<dyn std::error::Error + Send + Sync> = error.into();
    let mut count = 0;
    for (message, outcome) in undecided(messages, &mut outcomes) {
        let failure = Failure {
            stage,
            wish,
            error: Box::new(Shared(Arc::clone(&shared))),
            span: span.clone(),
        };
        *outcome = Some(ConsumptionOutcome::Failure(failure.of(message, attempt)));
        count += 1;
    }
    let outcomes = outcomes.into_iter().map(decided).collect();
    if count > 1 {
        BatchAttempt::Whole(outcomes)
    } else {
        BatchAttempt::Each(outcomes)
    }
}

/// Tell a batch that failed as a whole from others.
fn whole(outcome: BatchOutcome) -> Result<BatchOutcome, Failure> {
    match outcome {
        BatchOutcome::All(outcome) => failed(outcome).map(|()| BatchOutcome::All(Outcome::Ack)),
        each @ BatchOutcome::Each(_) => Ok(each),
    }
}

const NO_OUTCOME: &str = "the batch handler returned fewer outcomes than it got messages";

/// One error of many messages.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Shared(Arc<dyn std::error::Error + Send + Sync>);

/// A failure that does not know its message yet.
pub(super) struct Failure {
    stage: FailureStage,
    wish: RetryWish,
    error: BoxError,
    /// That of the execution, where spans are recorded.
    span: Option<Box<TraceContext>>,
}

impl Failure {
    pub(super) fn panic(payload: Box<dyn Any + Send>) -> Self {
        let error = format!("panicked: {}", panic_text(&*payload));
        Self {
            stage: FailureStage::Panic,
            wish: RetryWish::ByPolicy,
            error: error.into(),
            span: None,
        }
    }

    fn timeout(limit: Duration) -> Self {
        let error = format!(
            "ran for longer than handler_timeout_ms allows ({} ms)",
            limit.as_millis()
        );
        Self {
            stage: FailureStage::Timeout,
            wish: RetryWish::ByPolicy,
            error: error.into(),
            span: None,
        }
    }

    pub(super) fn of(self, message: &RawMessage, attempt: u32) -> FailureContext {
        FailureContext {
            message: message.clone(),
            stage: self.stage,
            error: self.error,
            attempt,
            wish: self.wish,
            span: self.span,
        }
    }

    /// Say whether it counts for a circuit breaker.
    fn counts(&self) -> bool {
        circuit_breaker::counts(self.stage, self.wish)
    }
}

impl Finished for Failure {
    fn fault(&self) -> Option<String> {
        Some(Chain(self.error.as_ref()).to_string())
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self {
            stage: FailureStage::Decode,
            wish: error.wish(),
            error: error.into(),
            span: None,
        }
    }
}

impl From<ExtractError> for Failure {
    fn from(error: ExtractError) -> Self {
        let wish = if error.is_retriable() {
            RetryWish::ByPolicy
        } else {
            RetryWish::Never
        };
        Self {
            stage: FailureStage::Decode,
            wish,
            error: error.into(),
            span: None,
        }
    }
}

/// Run something short with panics caught.
pub(super) fn caught<T>(run: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    std::panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(Failure::panic(panic)))
}

/// Decode a message with panics caught.
pub(super) async fn decoded<P: Payload>(call: &MessageContext<'_>) -> Result<P, Failure> {
    let decoded = AssertUnwindSafe(payload::decode(call)).catch_unwind().await;
    decoded.map_err(Failure::panic)?.map_err(Failure::from)
}

/// Run a handler in the context of its message, with panics caught and the time limit kept.
pub(super) async fn guarded(
    run: Pin<&mut impl Future<Output = Result<Outcome, Failure>>>,
    context: &LaneContext,
    message: &RawMessage,
    attempt: u32,
) -> Result<(), Failure> {
    let run = pin!(context.headers.scope(message, run));
    let telemetry = context.scope().telemetry.as_ref();
    let processing = telemetry.map(|telemetry| telemetry.begin(&context.headers, message, attempt));
    let run = watched(run, context, message.offset(), Some(message));
    let turn = turn(context);
    let ended = within(processing.as_ref(), run).await.and_then(failed);
    tell_breaker(context, turn, || match &ended {
        Ok(()) => Tally::one(false),
        Err(failure) if failure.counts() => Tally::one(true),
        Err(_) => Tally::default(),
    });
    note(processing, ended)
}

/// Return in which turn of its handler's circuit breaker an execution begins.
fn turn(context: &LaneContext) -> u64 {
    let breaker = context.settings.breaker.as_ref();
    breaker.map_or(0, |breaker| breaker.begin())
}

/// Tell the handler's circuit breaker, if it has one, what came of an execution.
fn tell_breaker(context: &LaneContext, turn: u64, outcomes: impl FnOnce() -> Tally) {
    if let Some(breaker) = &context.settings.breaker {
        breaker.note(turn, outcomes());
    }
}

/// Run something in the span of an execution, if it has one.
async fn within<T>(processing: Option<&Processing>, run: impl Future<Output = T>) -> T {
    match processing.and_then(Processing::traced) {
        None => run.await,
        // Boxed, so that the future of handlers without spans is no larger for it.
        Some(traced) => Box::pin(traced.run(run)).await,
    }
}

/// Note how an execution ended.
fn note<T>(processing: Option<Processing>, ended: Result<T, Failure>) -> Result<T, Failure> {
    let Some(processing) = processing else {
        return ended;
    };
    match ended {
        Ok(value) => {
            processing.end(None);
            Ok(value)
        }
        Err(mut failure) => {
            failure.span = processing.trace().map(Box::new);
            let Failure { stage, error, .. } = &failure;
            processing.end(Some((&error_type(*stage, error), error)));
            Err(failure)
        }
    }
}

/// Run a handler with panics caught and the time limit kept, and reported if each execution is, with the run
/// that its message comes of if there is one message.
async fn watched<T: Finished>(
    run: Pin<&mut impl Future<Output = Result<T, Failure>>>,
    context: &LaneContext,
    offset: Offset,
    message: Option<&RawMessage>,
) -> Result<T, Failure> {
    let run = limited(run, context, offset);
    match &context.settings.lineage {
        Some(lineage) if lineage.follows_executions() => {
            let origin = message.and_then(|message| context.headers.restore(message).lineage().cloned());
            // Boxed, so that the future of handlers that report nothing is no larger for it.
            Box::pin(lineage.execution(&context.state.partition, offset, origin, run)).await
        }
        _ => run.await,
    }
}

/// Run a handler with panics caught and the time limit kept, so that it is seen if it lasts.
///
/// The handler's future is large, since the payload has a place in it, and stays where it is.
async fn limited<T>(
    run: Pin<&mut impl Future<Output = Result<T, Failure>>>,
    context: &LaneContext,
    offset: Offset,
) -> Result<T, Failure> {
    let caught = AssertUnwindSafe(run).catch_unwind();
    let caught = context.state.vitals.watch(offset, caught);
    let ended = match context.settings.handler_timeout {
        None => caught.await,
        Some(limit) => match tokio::time::timeout(limit, caught).await {
            Ok(ended) => ended,
            Err(_) => return Err(Failure::timeout(limit)),
        },
    };
    ended.unwrap_or_else(|panic| Err(Failure::panic(panic)))
}

/// Split a handler's answer into done and failed.
pub(super) fn failed(outcome: Outcome) -> Result<(), Failure> {
    let (wish, error) = match outcome {
        Outcome::Ack => return Ok(()),
        Outcome::Retry { after: None, error } => (RetryWish::ByPolicy, error),
        Outcome::Retry {
            after: Some(delay),
            error,
        } => (RetryWish::After(delay), error),
        Outcome::DeadLetter { error } => (RetryWish::Never, error),
        Outcome::Ignore { error } => (RetryWish::Ignore, error),
    };
    Err(Failure {
        stage: FailureStage::Handler,
        wish,
        error,
        span: None,
    })
}
