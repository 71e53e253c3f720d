//! One message in its turn: handler, retries in place, and what becomes of a poison message.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::super::lane::{LaneContext, LaneSettings, PartitionState, Permit, Settlement};
use super::super::processor::{Boxed, Failure, caught, decoded, guarded};
use super::OrderedSettings;
use super::calls::Caller;
use super::shard::{self, Links};
use crate::dead_letter::Chain;
use crate::handler::{MessageContext, OrderedHandler};
use crate::idempotency::{Guard, Once};
use crate::message::RawMessage;
use crate::ordering::{OnPoison, OrderingPolicies};
use crate::outcome::{BoxError, FailureContext, FailureStage, RetryWish};
use crate::payload;
use crate::retry::RetryDecision;
use crate::store::ordering::{Aggregate, FencingToken, Grant, Steering};

/// Takes ordered messages through decode, handler and outcome.
pub(in super::super) struct OrderedMessageProcessor<H> {
    pub(in super::super) handler: H,
}

/// A message whose turn it is.
pub(super) struct Work<P> {
    pub(super) message: RawMessage,
    /// Decoded already, by its lane.
    pub(super) payload: Option<P>,
    pub(super) token: FencingToken,
    pub(super) verdict: Verdict,
    /// The partition that it came from; a stop of it ends retries. None if it came from a room.
    pub(super) stop: Option<Arc<PartitionState>>,
    pub(super) permit: Permit,
    /// Held by a suspect during its first attempt.
    pub(super) alone: Option<Alone>,
    pub(super) aggregate: Aggregate,
}

/// Tells, when it is dropped, that a message did not kill its process, so that the next suspect may begin.
pub(super) type Alone = oneshot::Sender<Infallible>;

/// What is to be done with a message whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Run it.
    Run,
    /// Its aggregate's messages are given up, in their order.
    Condemned,
    /// It was granted too often: whoever ran it died.
    Deadly(u32),
}

impl Verdict {
    pub(super) fn of(grant: Grant, policies: &OrderingPolicies) -> Self {
        if grant.condemned {
            Self::Condemned
        } else if grant.deliveries > policies.max_deliveries.get() {
            Self::Deadly(grant.deliveries)
        } else {
            Self::Run
        }
    }
}

/// How a message's turn ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Handled, or given up alone; with the leave to run, for the next message, if it still had it.
    Done(Option<Permit>),
    /// Given up, and all later ones are to be.
    Condemn(String),
    /// Not given up: its aggregate is to be halted.
    Halt(String),
    /// Left as it is, because its partition or the whole consumer stops.
    Abandoned,
}

/// Give a message up without running it; returns when its dead letter is acknowledged.
pub(super) async fn give_up(lane: &LaneSettings, message: &RawMessage, error: BoxError) {
    lane.failures
        .give_up(&lane.scope, &unordered(message, error))
        .await;
}

/// The failure of a message that has no place in its aggregate's order.
pub(super) fn unordered(message: &RawMessage, error: BoxError) -> FailureContext {
    FailureContext {
        message: message.clone(),
        stage: FailureStage::Ordering,
        error,
        attempt: 1,
        wish: RetryWish::Never,
        span: None,
    }
}

/// What stops a message: its partition, or else the shard.
fn stop_of(context: &LaneContext, partition: Option<&Arc<PartitionState>>) -> LaneContext {
    LaneContext {
        state: Arc::clone(partition.unwrap_or(&context.state)),
        ..context.clone()
    }
}

impl<H: OrderedHandler> OrderedMessageProcessor<H> {
    /// Run a shard until it stops.
    pub(super) fn run_shard(
        self: Arc<Self>,
        context: LaneContext,
        settings: Arc<OrderedSettings>,
        caller: Caller,
        links: Links<H::Payload>,
    ) -> Boxed<'static, ()> {
        Box::pin(async move {
            let (context, settings, processor) = (&context, settings.as_ref(), self.as_ref());
            let store = &caller;
            let start = move |work| processor.settle(context, settings, store, work);
            shard::run(
                &processor.handler,
                context,
                settings,
                caller.clone(),
                links,
                start,
            )
            .await;
        })
    }

    /// Try a message until it is done, given up, or to be left as it is. Its lease is held meanwhile;
    /// the permit is not, between attempts.
    async fn settle(
        &self,
        context: &LaneContext,
        settings: &OrderedSettings,
        caller: &Caller,
        work: Work<H::Payload>,
    ) -> Ended {
        let Work {
            message,
            mut payload,
            token,
            verdict,
            stop,
            mut permit,
            mut alone,
            aggregate,
        } = work;
        // What is rare is boxed, so that messages that succeed at once do not carry its size around.
        if verdict != Verdict::Run {
            return Box::pin(not_run(settings, context, message, verdict)).await;
        }
        let mut attempt = 1;
        loop {
            let tried = self
                .attempt(context, &message, attempt, payload.take(), token)
                .await;
            drop(alone.take());
            let failure = match tried {
                Once::Ran(Ok(())) | Once::Duplicate => return Ended::Done(Some(permit)),
                Once::Ran(Err(failure)) => {
                    drop(permit);
                    failure.of(&message, attempt)
                }
                Once::Later(delay) => {
                    drop(permit);
                    let stop = stop_of(context, stop.as_ref());
                    let Some(next) = Box::pin(stop.permit_after(delay)).await else {
                        return Ended::Abandoned;
                    };
                    permit = next;
                    continue;
                }
            };
            let stop = stop_of(context, stop.as_ref());
            let again = after_failure(context, settings, caller, &stop, &aggregate, failure);
            permit = match Box::pin(again).await {
                Ok(next) => next,
                Err(ended) => return ended,
            };
            attempt = attempt.saturating_add(1);
        }
    }

    async fn attempt(
        &self,
        context: &LaneContext,
        message: &RawMessage,
        attempt: u32,
        payload: Option<H::Payload>,
        token: FencingToken,
    ) -> Once<Result<(), Failure>> {
        if let Some(guard) = &context.settings.guard {
            return Box::pin(self.attempt_once(guard, context, message, attempt, payload, token)).await;
        }
        let call = MessageContext::new(context.scope(), message, attempt).fenced(token);
        let run = pin!(async {
            let payload = match payload {
                Some(payload) => payload,
                None => payload::decode(&call).await?,
            };
            Ok(self.handler.call(payload, &call).await?)
        });
        Once::Ran(guarded(run, context, message, attempt).await)
    }

    /// The same, if the message was not handled before.
    async fn attempt_once(
        &self,
        guard: &Guard,
        context: &LaneContext,
        message: &RawMessage,
        attempt: u32,
        payload: Option<H::Payload>,
        token: FencingToken,
    ) -> Once<Result<(), Failure>> {
        let call = MessageContext::new(context.scope(), message, attempt).fenced(token);
        let payload = match payload {
            Some(payload) => Ok(payload),
            None => decoded::<H::Payload>(&call).await,
        };
        let named = payload.and_then(|payload| {
            caught(|| {
                let key = self.handler.idempotency_key(&payload);
                Ok((payload, guard.key_of(message, key.as_deref())))
            })
        });
        let (payload, key) = match named {
            Ok(named) => named,
            Err(failure) => return Once::Ran(Err(failure)),
        };
        let run = async {
            let run = pin!(async { Ok(self.handler.call(payload, &call).await?) });
            guarded(run, context, message, attempt).await
        };
        guard.once(key, run).await
    }
}

/// Do with a message that is not to be run what was decided on it.
async fn not_run(
    settings: &OrderedSettings,
    context: &LaneContext,
    message: RawMessage,
    verdict: Verdict,
) -> Ended {
    let Verdict::Deadly(deliveries) = verdict else {
        let error = "the messages of its aggregate are given up".into();
        return given_up(context, unordered(&message, error), Ended::Done(None)).await;
    };
    let text = format!(
        "it was begun {} times and never ended: its process died or was stalled",
        deliveries - 1
    );
    let failure = FailureContext {
        message,
        stage: FailureStage::Ordering,
        error: text.into(),
        attempt: deliveries,
        wish: RetryWish::Never,
        span: None,
    };
    poisoned(settings, context, failure).await
}

/// Wait for a message's next attempt and return leave for it, or say how its turn ended.
async fn after_failure(
    context: &LaneContext,
    settings: &OrderedSettings,
    caller: &Caller,
    stop: &LaneContext,
    aggregate: &Aggregate,
    failure: FailureContext,
) -> Result<Permit, Ended> {
    let failures = &context.settings.failures;
    let delay = match failures.decide(&failure) {
        RetryDecision::GiveUp => return Err(poisoned(settings, context, failure).await),
        RetryDecision::Ignore => {
            failures.ignore(context.scope(), &failure);
            return Err(Ended::Done(None));
        }
        RetryDecision::RetryAfter(delay) => delay,
    };
    failures.retry(context.scope(), &failure, delay);
    // For operators; nobody waits for the answer longer than for the next attempt.
    let note = Steering::Note {
        error: Chain(failure.error.as_ref()).to_string(),
    };
    let note = caller.store.steer(aggregate, note);
    drop(failure);
    let paused = async { tokio::join!(stop.pause(delay), tokio::time::timeout(delay, note)).0 };
    if paused.await {
        return Err(Ended::Abandoned);
    }
    stop.permit_again().await.ok_or(Ended::Abandoned)
}

/// Do with a poison message what the policy says.
async fn poisoned(settings: &OrderedSettings, context: &LaneContext, failure: FailureContext) -> Ended {
    let reason = Chain(failure.error.as_ref()).to_string();
    if settings.policies.on_poison == OnPoison::Halt {
        return Ended::Halt(reason);
    }
    let ended = match settings.policies.on_poison {
        OnPoison::DlqSequence => Ended::Condemn(reason),
        OnPoison::DlqAndContinue | OnPoison::Halt => Ended::Done(None),
    };
    given_up(context, failure, ended).await
}

/// Give a message up; its turn ends as said when its dead letter is acknowledged.
async fn given_up(context: &LaneContext, failure: FailureContext, ended: Ended) -> Ended {
    match context.give_up(failure).await {
        Settlement::Settled => ended,
        Settlement::Abandoned => Ended::Abandoned,
    }
}
