//! Batches: up to `batch_size` messages of a partition, or what came within the linger time.
//!
//! A batch is settled message by message. What failed for itself is given up for itself, or tried again:
//! in place together with the others that failed, in order, or as a copy of its own by way of a topic.
//!
//! A failure that several messages share tells of none of them that it is at fault, so none is given up
//! for it: they get their last attempt one at a time, and only the culprit fails then. Where the first
//! attempt is the last, or the failure allows no other, they get one more. Where retries leave the lane
//! they are tried apart at once, so that the culprit alone waits in another topic.
//!
//! Copies that come back stand beside messages that were never tried: those of one attempt make it together.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::super::lane::{BatchSettings, LaneContext, LaneSource, Settlement};
use super::super::processor::{BatchAttempt, ErasedBatch};
use crate::commit::Slot;
use crate::message::RawMessage;
use crate::outcome::{ConsumptionOutcome, FailureContext, FailureStage, RetryWish};
use crate::retry::{RetryDecision, Standing};
use crate::settings::RetryMode;
use crate::transport::{FetchLimits, TransportError};

/// Messages that are handled together, and their places in the tracker.
#[derive(Default)]
struct Batch {
    messages: Vec<RawMessage>,
    slots: Vec<Slot>,
}

impl Batch {
    fn push(&mut self, message: RawMessage, slot: Slot) {
        self.messages.push(message);
        self.slots.push(slot);
    }
}

/// What was collected: messages that were not tried yet, and by their attempts those that come again.
#[derive(Default)]
struct Collected {
    fresh: Batch,
    again: BTreeMap<u32, (Batch, Duration)>,
    count: usize,
    bytes: usize,
}

impl Collected {
    fn push(&mut self, context: &LaneContext, message: RawMessage, slot: Slot) {
        let batch = match context.settings.failures.standing(context.scope(), &message) {
            Standing::ForOthers => return context.state.settle(slot),
            Standing::Fresh => &mut self.fresh,
            Standing::Again(attempt, wait) => {
                let (batch, longest) = self.again.entry(attempt).or_default();
                *longest = wait.max(*longest);
                batch
            }
        };
        self.count += 1;
        self.bytes += message.size();
        batch.push(message, slot);
    }

    /// Part what was collected by attempts; the last one of those that come again is made one by one.
    fn parts(self, context: &LaneContext) -> Vec<Part> {
        let now = Instant::now();
        let fresh = Part {
            batch: self.fresh,
            attempt: 1,
            apart: false,
            due: now,
        };
        let again = self.again.into_iter().map(|(attempt, (batch, wait))| Part {
            batch,
            attempt,
            apart: context.settings.failures.is_last(attempt),
            due: now + wait,
        });
        let parts = std::iter::once(fresh).chain(again);
        parts.filter(Part::is_something).collect()
    }
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
    while let Some(collected) = collect(context, source, settings).await? {
        handle(processor, context, collected.parts(context)).await;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Put a batch together; `None` when the lane stops, which leaves what was collected unsettled.
async fn collect(
    context: &LaneContext,
    source: &mut LaneSource,
    settings: BatchSettings,
) -> Result<Option<Collected>, TransportError> {
    let mut collected = Collected::default();
    let mut due: Option<Instant> = None;
    loop {
        let room = FetchLimits {
            messages: settings.size - collected.count,
            bytes: context.settings.fetch.bytes.saturating_sub(collected.bytes),
        };
        if room.messages == 0 || room.bytes == 0 {
            return Ok(Some(collected));
        }
        let fetched = match due {
            None => source.next(context, room).await?,
            Some(due) => match tokio::time::timeout_at(due, source.next(context, room)).await {
                Ok(fetched) => fetched?,
                Err(_) => return Ok(Some(collected)),
            },
        };
        let Some(fetched) = fetched else { return Ok(None) };
        due.get_or_insert_with(|| Instant::now() + settings.linger);
        let mut slot = context.state.track(fetched.as_ref());
        for index in 0..fetched.len() {
            collected.push(context, RawMessage::new(fetched.clone(), index), slot);
            slot = slot.next();
        }
    }
}

/// Try messages until each of them is settled or the lane stops. Between attempts it holds no permit.
async fn handle(processor: &dyn ErasedBatch, context: &LaneContext, mut parts: Vec<Part>) {
    let mut has_begun = false;
    while let Some(part) = next(&mut parts) {
        let wait = part.due.saturating_duration_since(Instant::now());
        let permit = if has_begun || !wait.is_zero() {
            context.permit_after(wait).await
        } else {
            context.permit().await
        };
        let Some(permit) = permit else { return };
        has_begun = true;
        let mut round = Round::default();
        if part.apart {
            round.one_by_one(processor, context, &part).await;
        } else {
            round.together(processor, context, &part).await;
        }
        drop(permit);
        if round.leave(context).await == Settlement::Abandoned {
            return;
        }
        parts.extend(round.parts(&part));
    }
}

/// Take the part that is due first.
fn next(parts: &mut Vec<Part>) -> Option<Part> {
    let (index, _) = parts.iter().enumerate().min_by_key(|(_, part)| part.due)?;
    Some(parts.remove(index))
}

/// Messages whose next attempt they make together.
struct Part {
    batch: Batch,
    attempt: u32,
    /// Whether that is made one by one.
    apart: bool,
    /// When to make it.
    due: Instant,
}

impl Part {
    fn is_something(&self) -> bool {
        !self.batch.messages.is_empty()
    }
}

/// What one attempt leaves to be done.
#[derive(Default)]
struct Round {
    again: Batch,
    delay: Duration,
    /// Whether the next attempt is made one by one.
    apart: bool,
    /// What goes to the dead letters.
    given_up: Vec<(FailureContext, Slot)>,
    /// What waits for its next attempt in a topic, and for how long.
    copied: Vec<(FailureContext, Slot, Duration)>,
    /// What was not tried, since another one handles it or the handler's circuit is open.
    deferred: Batch,
    patience: Duration,
}

impl Round {
    /// What failed comes again as the next attempt; what was not tried as the same.
    fn parts(self, tried: &Part) -> impl Iterator<Item = Part> + use<> {
        let now = Instant::now();
        let again = Part {
            batch: self.again,
            attempt: tried.attempt.saturating_add(1),
            apart: self.apart,
            due: now + self.delay,
        };
        let deferred = Part {
            batch: self.deferred,
            attempt: tried.attempt,
            apart: tried.apart,
            due: now + self.patience,
        };
        [again, deferred].into_iter().filter(Part::is_something)
    }

    /// Try all messages at once.
    async fn together(&mut self, processor: &dyn ErasedBatch, context: &LaneContext, part: &Part) {
        let Part { batch, attempt, .. } = part;
        let ended = processor.attempt(context, &batch.messages, *attempt).await;
        // Also if each failed for itself this time: the last attempt could fail as a whole.
        self.apart = context.settings.failures.is_last(attempt.saturating_add(1));
        self.take(context, ended, &batch.messages, &batch.slots);
    }

    /// Try one message after the other; none after the partition was lost, when what runs is about to be
    /// cancelled and would come again. When the handler's circuit opens meanwhile, the rest waits for leave
    /// of its own.
    async fn one_by_one(&mut self, processor: &dyn ErasedBatch, context: &LaneContext, part: &Part) {
        self.apart = true;
        for (index, (message, slot)) in part.batch.messages.iter().zip(&part.batch.slots).enumerate() {
            if context.state.is_lost() {
                return;
            }
            if index > 0 && context.settings.is_broken() {
                self.deferred.push(message.clone(), *slot);
                continue;
            }
            let (message, slot) = (std::slice::from_ref(message), std::slice::from_ref(slot));
            let ended = processor.attempt(context, message, part.attempt).await;
            self.take(context, ended, message, slot);
        }
    }

    /// Settle what is done and sort the rest by what becomes of it.
    fn take(&mut self, context: &LaneContext, ended: BatchAttempt, messages: &[RawMessage], slots: &[Slot]) {
        let is_whole = matches!(ended, BatchAttempt::Whole(_));
        let (BatchAttempt::Each(outcomes) | BatchAttempt::Whole(outcomes)) = ended;
        for ((outcome, message), &slot) in outcomes.into_iter().zip(messages).zip(slots) {
            match outcome {
                ConsumptionOutcome::Success => context.state.settle(slot),
                ConsumptionOutcome::Deferred(delay) => {
                    self.patience = self.patience.max(delay);
                    self.deferred.push(message.clone(), slot);
                }
                // What could not be decoded was told apart before the handler saw the others.
                ConsumptionOutcome::Failure(failure) if is_whole && failure.stage != FailureStage::Decode => {
                    self.shared(context, failure, slot);
                }
                ConsumptionOutcome::Failure(failure) => self.failed(context, failure, slot),
            }
        }
    }

    /// Decide on a message that failed by itself.
    fn failed(&mut self, context: &LaneContext, failure: FailureContext, slot: Slot) {
        let failures = &context.settings.failures;
        match failures.decide(&failure) {
            RetryDecision::GiveUp => self.given_up.push((failure, slot)),
            RetryDecision::Ignore => {
                failures.ignore(context.scope(), &failure);
                context.state.settle(slot);
            }
            RetryDecision::RetryAfter(delay) => self.retry(context, failure, slot, delay),
        }
    }

    /// Decide on a message that failed together with others: whatever the failure says, it is tried again.
    fn shared(&mut self, context: &LaneContext, failure: FailureContext, slot: Slot) {
        let failures = &context.settings.failures;
        let leaves = failures.mode() != RetryMode::InPlace;
        match failures.decide(&failure) {
            RetryDecision::RetryAfter(delay)
                if !leaves || matches!(failure.wish, RetryWish::After(_) | RetryWish::Always) =>
            {
                self.retry(context, failure, slot, delay);
            }
            _ => {
                self.apart = true;
                failures.retry(context.scope(), &failure, Duration::ZERO);
                self.again.push(failure.message, slot);
            }
        }
    }

    fn retry(&mut self, context: &LaneContext, failure: FailureContext, slot: Slot, delay: Duration) {
        let failures = &context.settings.failures;
        failures.retry(context.scope(), &failure, delay);
        if failures.mode() == RetryMode::InPlace {
            self.wait(failure, slot, delay);
        } else {
            self.copied.push((failure, slot, delay));
        }
    }

    /// Have a message wait for its next attempt in the lane.
    fn wait(&mut self, failure: FailureContext, slot: Slot, delay: Duration) {
        self.delay = self.delay.max(delay);
        self.again.push(failure.message, slot);
    }

    /// Give up what is given up, in the order of the messages, and publish what waits in a topic; each is
    /// settled when that is acknowledged. A copy that cannot be published waits in the lane.
    async fn leave(&mut self, context: &LaneContext) -> Settlement {
        for (failure, slot) in self.given_up.drain(..) {
            if context.give_up(failure).await == Settlement::Abandoned {
                return Settlement::Abandoned;
            }
            context.state.settle(slot);
        }
        let copied = std::mem::take(&mut self.copied);
        let published = copied
            .iter()
            .map(|(failure, _, delay)| context.republish(failure, *delay));
        let published = join_all(published).await;
        for ((failure, slot, delay), published) in copied.into_iter().zip(published) {
            match published {
                Some(Settlement::Settled) => context.state.settle(slot),
                Some(Settlement::Abandoned) => return Settlement::Abandoned,
                None => self.wait(failure, slot, delay),
            }
        }
        Settlement::Settled
    }
}
