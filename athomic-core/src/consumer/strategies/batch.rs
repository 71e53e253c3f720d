//! Batches: up to `batch_size` messages of a partition, or what came within the linger time.
//!
//! A batch is settled message by message. What failed is tried again together, in order; the last
//! attempt is made one message at a time, so that only the culprit is given up if a batch fails as a
//! whole. Where the first attempt is the last, a batch that fails as a whole gets one more.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::super::lane::{BatchSettings, LaneContext, LaneSource, Settlement};
use super::super::processor::{BatchAttempt, ErasedBatch};
use crate::commit::Slot;
use crate::message::RawMessage;
use crate::outcome::{ConsumptionOutcome, FailureContext, RetryWish};
use crate::retry::RetryDecision;
use crate::transport::{FetchLimits, TransportError};

/// Messages that wait to be handled together, and their places in the tracker.
#[derive(Default)]
struct Batch {
    messages: Vec<RawMessage>,
    slots: Vec<Slot>,
    bytes: usize,
}

/// Run a lane until it stops.
pub(in super::super) async fn run(
    processor: &dyn ErasedBatch,
    context: &LaneContext,
    source: &mut LaneSource,
) -> Result<(), TransportError> {
    let settings = context
        .settings
        .batch
        .expect("the factory gives batch handlers batch settings");
    while let Some(batch) = collect(context, source, settings).await? {
        handle(processor, context, batch).await;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Put a batch together; `None` when the lane stops, which leaves what was collected unsettled.
async fn collect(
    context: &LaneContext,
    source: &mut LaneSource,
    settings: BatchSettings,
) -> Result<Option<Batch>, TransportError> {
    let mut batch = Batch::default();
    let mut due: Option<Instant> = None;
    loop {
        let room = FetchLimits {
            messages: settings.size - batch.messages.len(),
            bytes: context.settings.fetch.bytes.saturating_sub(batch.bytes),
        };
        if room.messages == 0 || room.bytes == 0 {
            return Ok(Some(batch));
        }
        let fetched = match due {
            None => source.next(context, room).await?,
            Some(due) => match tokio::time::timeout_at(due, source.next(context, room)).await {
                Ok(fetched) => fetched?,
                Err(_) => return Ok(Some(batch)),
            },
        };
        let Some(fetched) = fetched else { return Ok(None) };
        due.get_or_insert_with(|| Instant::now() + settings.linger);
        let mut slot = context.state.track(fetched.as_ref());
        for index in 0..fetched.len() {
            let message = RawMessage::new(fetched.clone(), index);
            if context.is_for_others(&message) {
                context.state.settle(slot);
            } else {
                batch.bytes += message.size();
                batch.messages.push(message);
                batch.slots.push(slot);
            }
            slot = slot.next();
        }
    }
}

/// Try a batch until each of its messages is settled or the lane stops. Between attempts it holds no
/// permit.
async fn handle(processor: &dyn ErasedBatch, context: &LaneContext, batch: Batch) {
    let mut parts = VecDeque::from([Part {
        batch,
        attempt: 1,
        apart: false,
        delay: Duration::ZERO,
    }]);
    let mut permit = context.permit().await;
    while let (Some(held), Some(part)) = (permit.take(), parts.pop_front()) {
        let mut round = Round::default();
        let (batch, attempt) = (&part.batch, part.attempt);
        let apart = if part.apart {
            round.one_by_one(processor, context, batch, attempt).await;
            true
        } else {
            round.together(processor, context, batch, attempt).await
        };
        drop(held);
        if round.give_up(context).await == Settlement::Abandoned {
            return;
        }
        parts.extend(round.parts(&part, apart));
        let Some(next) = parts.front() else { return };
        permit = context.permit_after(next.delay).await;
    }
}

/// Messages whose next attempt they make together.
struct Part {
    batch: Batch,
    attempt: u32,
    /// Whether that is made one by one.
    apart: bool,
    /// How long to wait for it.
    delay: Duration,
}

/// What one attempt leaves to be done.
#[derive(Default)]
struct Round {
    again: Batch,
    delay: Duration,
    given_up: Vec<(FailureContext, Slot)>,
    /// What was not tried, since another one handles it.
    deferred: Batch,
    patience: Duration,
}

impl Round {
    /// What failed comes again as the next attempt, one by one if `apart`; what was not tried as the same.
    fn parts(self, tried: &Part, apart: bool) -> impl Iterator<Item = Part> + use<> {
        let again = Part {
            batch: self.again,
            attempt: tried.attempt.saturating_add(1),
            apart,
            delay: self.delay,
        };
        let deferred = Part {
            batch: self.deferred,
            attempt: tried.attempt,
            apart: tried.apart,
            delay: self.patience,
        };
        let parts = [again, deferred].into_iter();
        parts.filter(|part| !part.batch.messages.is_empty())
    }

    /// Try all messages at once; `true` if the next attempt is to be one by one.
    async fn together(
        &mut self,
        processor: &dyn ErasedBatch,
        context: &LaneContext,
        batch: &Batch,
        attempt: u32,
    ) -> bool {
        let ended = processor.attempt(context, &batch.messages, attempt).await;
        let next_is_last = context.settings.failures.is_last(attempt.saturating_add(1));
        let alone = batch.messages.len() == 1;
        // Also if each failed for itself this time: the last attempt could fail as a whole.
        let apart = next_is_last && !alone;
        let whole = matches!(ended, BatchAttempt::Whole(_));
        self.take(context, ended, &batch.messages, &batch.slots, apart && whole);
        apart
    }

    /// Try one message after the other; none after the partition was lost, when what runs is about to be
    /// cancelled and would come again.
    async fn one_by_one(
        &mut self,
        processor: &dyn ErasedBatch,
        context: &LaneContext,
        batch: &Batch,
        attempt: u32,
    ) {
        for (message, slot) in batch.messages.iter().zip(&batch.slots) {
            if context.state.is_lost() {
                return;
            }
            let ended = processor
                .attempt(context, std::slice::from_ref(message), attempt)
                .await;
            let (message, slot) = (std::slice::from_ref(message), std::slice::from_ref(slot));
            self.take(context, ended, message, slot, false);
        }
    }

    /// Settle what is done or given up and keep the rest; with `spare` nothing that failed in the
    /// handler is given up yet, because it gets a last attempt by itself.
    fn take(
        &mut self,
        context: &LaneContext,
        ended: BatchAttempt,
        messages: &[RawMessage],
        slots: &[Slot],
        spare: bool,
    ) {
        let (BatchAttempt::Each(outcomes) | BatchAttempt::Whole(outcomes)) = ended;
        for ((outcome, message), &slot) in outcomes.into_iter().zip(messages).zip(slots) {
            match outcome {
                ConsumptionOutcome::Success => context.state.settle(slot),
                ConsumptionOutcome::Deferred(delay) => {
                    self.patience = self.patience.max(delay);
                    self.deferred.messages.push(message.clone());
                    self.deferred.slots.push(slot);
                }
                ConsumptionOutcome::Failure(failure) => self.failed(context, failure, slot, spare),
            }
        }
    }

    /// Give up what is given up, in the order of the messages; each is settled when its dead letter is
    /// acknowledged.
    async fn give_up(&mut self, context: &LaneContext) -> Settlement {
        for (failure, slot) in self.given_up.drain(..) {
            if context.give_up(failure).await == Settlement::Abandoned {
                return Settlement::Abandoned;
            }
            context.state.settle(slot);
        }
        Settlement::Settled
    }

    fn failed(&mut self, context: &LaneContext, mut failure: FailureContext, slot: Slot, spare: bool) {
        let FailureContext { attempt, .. } = failure;
        if spare
            && !matches!(failure.wish, RetryWish::Never | RetryWish::Ignore)
            && context.settings.failures.is_last(attempt)
        {
            // The whole batch is at its end, this message is not: it has one attempt by itself.
            failure.attempt = attempt.saturating_sub(1);
        }
        let failures = &context.settings.failures;
        match failures.decide(&failure) {
            RetryDecision::GiveUp => self.given_up.push((failure, slot)),
            RetryDecision::Ignore => {
                failures.ignore(context.scope(), &failure);
                context.state.settle(slot);
            }
            RetryDecision::RetryAfter(delay) => {
                failures.retry(context.scope(), &failure, delay);
                self.delay = self.delay.max(delay);
                self.again.messages.push(failure.message);
                self.again.slots.push(slot);
            }
        }
    }
}
