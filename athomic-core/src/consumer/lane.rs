//! A lane: one assigned partition, read and handled by a task of its own.
//!
//! The lane pulls from its partition's stream and hands what it gets to a strategy. It ends when it
//! is told to stop (revocation, shutdown), when the partition is gone, or when it cannot be read.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::ordered::OrderedSettings;
use super::priorities::Priorities;
use super::processor::LaneProcessor;
use super::readings::PartitionReading;
use super::vitals::Vitals;
use crate::circuit_breaker::{CircuitBreaker, Pass};
use crate::commit::{OffsetTracker, Slot};
use crate::context::HeadersOrchestrator;
use crate::dead_letter::{Chain, DlqHandler};
use crate::handler::{HandlerScope, Ordering};
use crate::health::Finding;
use crate::idempotency::Guard;
use crate::lineage::HandlerLineage;
use crate::message::{Offset, PartitionOffset, RawMessage, RecordBatch, TopicPartition};
use crate::mutant::{self, Mutant};
use crate::outcome::{FailureContext, RetryWish};
use crate::retry::{self, Backoff, RetryDecision, Standing};
use crate::settings::RetryMode;
use crate::transport::{Assignment, AssignmentEpoch, FetchLimits, Fetched, PartitionStream, TransportError};

/// What is the same for all lanes of a handler.
#[derive(Debug)]
pub(crate) struct LaneSettings {
    /// What the handler can see.
    pub(crate) scope: Arc<HandlerScope>,
    /// How much one read may bring.
    pub(crate) fetch: FetchLimits,
    /// How much may be in flight in a partition.
    pub(crate) window: FetchLimits,
    /// How long one execution may take.
    pub(crate) handler_timeout: Option<Duration>,
    /// Which messages wait for each other.
    pub(crate) ordering: Ordering,
    /// One permit for each execution that may run at once in this process; `None` is no limit.
    pub(crate) executions: Option<Arc<Semaphore>>,
    /// Which messages start first; `None` for handlers of one priority.
    pub(crate) priorities: Option<Arc<Priorities>>,
    /// How batches are put together; `None` for handlers of single messages.
    pub(crate) batch: Option<BatchSettings>,
    /// How messages of an aggregate are ordered; `None` for handlers that are not.
    pub(crate) ordered: Option<Arc<OrderedSettings>>,
    /// What lets each message run once; `None` for handlers without idempotency.
    pub(crate) guard: Option<Arc<Guard>>,
    /// What keeps the handler from running while it fails; `None` for handlers without a circuit breaker.
    pub(crate) breaker: Option<Arc<CircuitBreaker>>,
    /// Told what is read and run; `None` for handlers that report nothing.
    pub(crate) lineage: Option<Arc<HandlerLineage>>,
    /// What follows a failure.
    pub(crate) failures: DlqHandler,
    /// Whether the handler's topics could be read at least once.
    pub(crate) has_read: AtomicBool,
    /// Notified at each read: there may be something to commit soon.
    pub(crate) news: Notify,
}

impl LaneSettings {
    /// Say whether messages of one partition may run at the same time.
    pub(crate) fn runs_side_by_side(&self) -> bool {
        self.executions.is_some() && self.ordering != Ordering::Partition
    }

    /// Say whether to wait for an error of reading to pass.
    ///
    /// A refusal is the end at first, so that a missing right shows when the application starts; one
    /// that comes later is waited out, since what it takes is repaired on the broker.
    fn waits_out(&self, error: &TransportError) -> bool {
        may_pass(error) || (error.is_refusal() && self.has_read.load(Relaxed))
    }

    /// Take note of a read.
    fn note_read(&self) {
        if !self.has_read.load(Relaxed) {
            self.has_read.store(true, Relaxed);
        }
        self.news.notify_one();
    }

    /// Say whether the handler's circuit is open or half-open.
    pub(crate) fn is_broken(&self) -> bool {
        self.breaker.as_ref().is_some_and(|breaker| !breaker.is_closed())
    }

    /// Turn leave to execute into leave to run the handler; `None` while its circuit lets nothing more run.
    pub(crate) fn admit(&self, execution: Option<OwnedSemaphorePermit>) -> Option<Permit> {
        let pass = match &self.breaker {
            None => None,
            Some(breaker) => Some(breaker.pass()?),
        };
        Some(Permit {
            _execution: execution,
            _pass: pass,
        })
    }

    /// Return leave to run the handler if there is any at once.
    pub(crate) fn try_permit(&self) -> Option<Permit> {
        let execution = match &self.executions {
            None => None,
            Some(executions) => Some(Arc::clone(executions).try_acquire_owned().ok()?),
        };
        self.admit(execution)
    }

    /// Wait for leave to run the handler. An execution is taken only when the circuit may let it run, so that
    /// nobody holds one who waits for the circuit.
    async fn permit(&self) -> Permit {
        loop {
            if let Some(breaker) = self.breaker.as_ref().filter(|breaker| !breaker.is_closed()) {
                // Boxed, so that the future of messages that need not wait is no larger for it.
                Box::pin(breaker.passable()).await;
            }
            let execution = match &self.executions {
                None => None,
                Some(executions) => {
                    let execution = Arc::clone(executions).acquire_owned().await;
                    Some(execution.expect("nobody closes the semaphore"))
                }
            };
            if let Some(permit) = self.admit(execution) {
                return permit;
            }
        }
    }

    /// Wait until the handler's circuit is not closed; for ever if it has none.
    async fn broken(&self) {
        match &self.breaker {
            None => std::future::pending().await,
            Some(breaker) => breaker.broken().await,
        }
    }

    /// Say whether a message that is left as it is may lie below others that are settled.
    fn leaves_holes(&self) -> bool {
        self.runs_side_by_side() || self.batch.is_some()
    }
}

/// How batches are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchSettings {
    /// At most so many messages.
    pub(crate) size: usize,
    /// Hand over what there is so long after the first message came.
    pub(crate) linger: Duration,
}

/// One assignment of a partition, shared by its lane and those who commit.
#[derive(Debug)]
pub(crate) struct PartitionState {
    /// The partition.
    pub(crate) partition: TopicPartition,
    /// The number of the assignment.
    pub(crate) epoch: AssignmentEpoch,
    tracker: Mutex<OffsetTracker>,
    /// Told to start nothing more. The flag is read for each message, the token is waited for.
    stopping: AtomicBool,
    stop: CancellationToken,
    /// When what still runs after the stop is cancelled.
    deadline: OnceLock<Instant>,
    /// Somebody else owns the partition: nothing is committed for this assignment.
    lost: CancellationToken,
    /// The lane's task is gone, and what ran in it.
    ended: CancellationToken,
    /// What probes see of the lane.
    pub(crate) vitals: Vitals,
}

impl PartitionState {
    pub(crate) fn new(partition: TopicPartition, epoch: AssignmentEpoch) -> Self {
        Self {
            partition,
            epoch,
            tracker: Mutex::default(),
            stopping: AtomicBool::new(false),
            stop: CancellationToken::new(),
            deadline: OnceLock::new(),
            lost: CancellationToken::new(),
            ended: CancellationToken::new(),
            vitals: Vitals::default(),
        }
    }

    /// Start nothing more; what runs may end until the deadline. The first call counts.
    pub(crate) fn stop(&self, deadline: Instant) {
        self.deadline.get_or_init(|| deadline);
        self.stopping.store(true, Relaxed);
        self.stop.cancel();
    }

    /// Start nothing more and commit nothing more.
    pub(crate) fn lose(&self) {
        self.lost.cancel();
        self.stop(Instant::now());
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }

    /// Go on, unless the partition is lost: then wait to be cancelled, so that nothing more begins.
    pub(crate) async fn unless_lost(&self) {
        if self.is_lost() {
            std::future::pending::<()>().await;
        }
    }

    /// Say whether nothing can come of this assignment any more: nothing runs, nothing is committed.
    pub(crate) fn is_over(&self) -> bool {
        self.is_lost() && self.ended.is_cancelled()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Wait until told to stop.
    pub(crate) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Wait until what still runs after the stop is to be cancelled.
    pub(crate) async fn overdue(&self) {
        self.stopped().await;
        let deadline = *self.deadline.get().expect("set before the stop is told");
        tokio::time::sleep_until(deadline).await;
    }

    /// Take note of fetched messages; the slot is that of the first.
    pub(crate) fn track(&self, batch: &dyn RecordBatch) -> Slot {
        let mut tracker = self.tracker();
        if tracker.is_below(batch.offset(0)) {
            tracing::warn!(
                partition = %self.partition,
                offset = batch.offset(0),
                "the log was cut: reading on, and committing, from where it ended then"
            );
        }
        let first = tracker.track(batch.offset(0));
        for index in 1..batch.len() {
            tracker.track(batch.offset(index));
        }
        first
    }

    /// Settle a message.
    pub(crate) fn settle(&self, slot: Slot) {
        self.tracker().settle(slot);
    }

    /// Settle messages in one go.
    pub(crate) fn settle_all(&self, slots: impl Iterator<Item = Slot>) {
        let mut tracker = self.tracker();
        slots.for_each(|slot| tracker.settle(slot));
    }

    /// Return how many messages stand between the lowest unsettled and the last fetched.
    pub(crate) fn in_flight(&self) -> usize {
        self.tracker().in_flight()
    }

    /// Return what is to be committed now, and the slot with which the log began by then.
    pub(crate) fn committable(&self) -> Option<(PartitionOffset, Slot)> {
        if self.is_lost() && !mutant::is(Mutant::CommitsForAnEarlierAssignment) {
            return None;
        }
        let tracker = self.tracker();
        let offset = PartitionOffset {
            partition: self.partition.clone(),
            offset: tracker.committable()?,
        };
        Some((offset, tracker.begun()))
    }

    /// Take note that the group has an offset that was to be committed when the log began with a slot.
    pub(crate) fn mark_committed(&self, offset: i64, begun: Slot) {
        self.tracker().mark_committed(offset, begun);
    }

    /// Add what is to be said about the partition's health; executions may take as long as `patience`.
    pub(crate) fn find(&self, now: Instant, patience: Duration, findings: &mut Vec<Finding>) {
        let in_flight = self.in_flight();
        self.vitals
            .find(&self.partition, in_flight, now, patience, findings);
    }

    /// Say what there is of the partition, whose log ends at this offset, if that is known.
    pub(crate) fn reading(&self, log_end: Option<Offset>) -> PartitionReading {
        let tracker = self.tracker();
        PartitionReading {
            topic: self.partition.topic.to_string(),
            partition: self.partition.partition,
            // What was fetched may be newer than what is known of the end.
            lag: log_end
                .zip(tracker.watermark())
                .map(|(end, settled)| (end - settled).max(0)),
            unsettled: tracker.in_flight(),
            paused: self.vitals.is_window_closed(),
        }
    }

    fn tracker(&self) -> MutexGuard<'_, OffsetTracker> {
        // Nothing that can panic runs under the lock but the tracker's own checks.
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a message's processing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settlement {
    /// Handled or given up: it may be settled.
    Settled,
    /// Left as it is, because the lane stops: it comes again.
    Abandoned,
}

/// Leave to run the handler once; it is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    _execution: Option<OwnedSemaphorePermit>,
    _pass: Option<Pass>,
}

/// For ordered handlers, which have no circuit breaker.
impl From<OwnedSemaphorePermit> for Permit {
    fn from(permit: OwnedSemaphorePermit) -> Self {
        Self {
            _execution: Some(permit),
            _pass: None,
        }
    }
}

/// What a lane's strategies share: the assignment and the handler's settings. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct LaneContext {
    pub(crate) settings: Arc<LaneSettings>,
    pub(crate) state: Arc<PartitionState>,
    /// What restores contexts: a copy of the handler's for each lane, so that lanes on different processors
    /// do not count references in the same place for every message.
    pub(crate) headers: Arc<HeadersOrchestrator>,
}

impl LaneContext {
    pub(crate) fn new(settings: Arc<LaneSettings>, state: Arc<PartitionState>) -> Self {
        let headers = Arc::new(HeadersOrchestrator::clone(&settings.scope.headers));
        Self {
            settings,
            state,
            headers,
        }
    }

    pub(crate) fn scope(&self) -> &Arc<HandlerScope> {
        &self.settings.scope
    }

    /// Wait for leave to run the handler for a message that has not been tried; `None` when the lane is
    /// told to stop.
    pub(crate) async fn permit(&self) -> Option<Permit> {
        if self.state.is_stopping() {
            return None;
        }
        self.permit_unless(self.state.stopped()).await
    }

    /// Wait for leave to run the handler for a message that was tried before; `None` when it is to be
    /// left as it is.
    pub(crate) async fn permit_again(&self) -> Option<Permit> {
        if self.state.is_stopping() && !self.settings.leaves_holes() {
            return None;
        }
        self.permit_unless(self.abandoned(Instant::now())).await
    }

    async fn permit_unless(&self, refused: impl Future<Output = ()>) -> Option<Permit> {
        if let Some(permit) = self.settings.try_permit() {
            return Some(permit);
        }
        tokio::select! {
            biased;
            () = refused => None,
            permit = self.settings.permit() => Some(permit),
        }
    }

    /// Wait until a message whose next attempt is due at a moment is to be left as it is: when the lane
    /// is told to stop, or, where later messages are settled that would come again with it, when the
    /// time to drain does not suffice or the handler's circuit is open.
    async fn abandoned(&self, due: Instant) {
        self.state.stopped().await;
        let deadline = *self.state.deadline.get().expect("set before the stop is told");
        if self.settings.leaves_holes() && due < deadline {
            tokio::select! {
                biased;
                () = self.settings.broken() => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    /// Decide on a failure and wait for the next attempt's time.
    ///
    /// `None` is another attempt; the lane's end cuts the wait short.
    pub(crate) async fn after_failure(&self, failure: FailureContext) -> Option<Settlement> {
        let failures = &self.settings.failures;
        match failures.decide(&failure) {
            RetryDecision::GiveUp => Some(self.give_up(failure).await),
            RetryDecision::Ignore => {
                failures.ignore(self.scope(), &failure);
                Some(Settlement::Settled)
            }
            RetryDecision::RetryAfter(delay) => {
                failures.retry(self.scope(), &failure, delay);
                if failures.mode() != RetryMode::InPlace
                    && failure.wish != RetryWish::Always
                    && let Some(settlement) = self.republish(&failure, delay).await
                {
                    return Some(settlement);
                }
                drop(failure);
                self.pause(delay).await.then_some(Settlement::Abandoned)
            }
        }
    }

    /// Wait for a message's next attempt, and then for leave to run the handler; `None` when it is to be left
    /// as it is.
    pub(crate) async fn permit_after(&self, delay: Duration) -> Option<Permit> {
        if self.pause(delay).await {
            return None;
        }
        self.permit_again().await
    }

    /// Publish a message again for its next attempt; it is settled when that is acknowledged. `None` if
    /// it cannot be published.
    pub(crate) async fn republish(&self, failure: &FailureContext, delay: Duration) -> Option<Settlement> {
        let failures = &self.settings.failures;
        let (mode, trouble) = (failures.mode(), failures.trouble());
        let republish = retry::republish(self.scope(), failure, delay, mode, trouble);
        let republish = Box::pin(self.after(failure, republish));
        tokio::select! {
            biased;
            published = republish => match published {
                Ok(()) => Some(Settlement::Settled),
                Err(error) => {
                    tracing::warn!(message = ?failure.message, error = %Chain(&error), "retried in its place");
                    None
                }
            },
            () = self.no_letter() => Some(Settlement::Abandoned),
        }
    }

    /// Run what follows a failure, for telemetry as a part of the execution that failed.
    async fn after<F: Future>(&self, failure: &FailureContext, run: F) -> F::Output {
        match &self.scope().telemetry {
            None => run.await,
            Some(telemetry) => telemetry.within(failure, run).await,
        }
    }

    /// Say whether a record is another group's retry, which is to be settled as it is.
    pub(crate) fn is_for_others(&self, message: &RawMessage) -> bool {
        self.settings.failures.standing(self.scope(), message) == Standing::ForOthers
    }

    /// Give a message up; it is settled when its dead letter is acknowledged.
    ///
    /// A stop waits for a letter that is on its way, and not for one that cannot be written: the message
    /// comes again, and so does its letter, with the same id.
    pub(crate) async fn give_up(&self, failure: FailureContext) -> Settlement {
        if mutant::is(Mutant::SettlesBeforeTheDeadLetter) {
            let context = self.clone();
            tokio::spawn(async move { context.settings.failures.give_up(context.scope(), &failure).await });
            return Settlement::Settled;
        }
        // Boxed, so that messages that do not fail do not carry its size around.
        let give_up = self.settings.failures.give_up(self.scope(), &failure);
        let give_up = Box::pin(self.after(&failure, give_up));
        tokio::select! {
            biased;
            () = give_up => Settlement::Settled,
            () = self.no_letter() => Settlement::Abandoned,
        }
    }

    /// Wait until the lane stops and nothing comes of the dead letters that are on their way.
    async fn no_letter(&self) {
        self.state.stopped().await;
        if !self.settings.failures.trouble().is_failing() {
            self.state.overdue().await;
        }
    }

    /// Wait for a message's next attempt; `true` if the message is to be left as it is.
    pub(crate) async fn pause(&self, delay: Duration) -> bool {
        let due = Instant::now() + delay;
        tokio::select! {
            biased;
            () = self.abandoned(due) => true,
            () = tokio::time::sleep_until(due) => false,
        }
    }

    /// Wait; `true` if the lane is told to stop meanwhile.
    pub(crate) async fn pause_until(&self, moment: Instant) -> bool {
        tokio::select! {
            biased;
            () = self.state.stopped() => true,
            () = tokio::time::sleep_until(moment) => false,
        }
    }
}

/// The reading end of a lane: its stream, and what to do when reading fails.
pub(crate) struct LaneSource {
    stream: Box<dyn PartitionStream>,
    failures: u32,
    /// When to read again after a failure. Kept here, since a wait that is dropped is not forgotten.
    again: Option<Instant>,
}

/// How long a lane waits before it reads again after a passing error.
const READ_AGAIN: Backoff = Backoff {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(10),
    factor: 2.0,
    jitter: true,
};

impl LaneSource {
    pub(crate) fn new(stream: Box<dyn PartitionStream>) -> Self {
        Self {
            stream,
            failures: 0,
            again: None,
        }
    }

    /// Read on; `None` when the lane is to end. Passing errors are waited out. Cancel safe.
    pub(crate) async fn next(
        &mut self,
        context: &LaneContext,
        limits: FetchLimits,
    ) -> Result<Option<Arc<dyn RecordBatch>>, TransportError> {
        loop {
            if let Some(again) = self.again {
                if context.pause_until(again).await {
                    return Ok(None);
                }
                self.again = None;
            }
            let telemetry = context.scope().telemetry.as_ref();
            let asked = telemetry.map(|telemetry| (telemetry, telemetry.ask()));
            let fetched = tokio::select! {
                biased;
                () = context.state.stopped() => return Ok(None),
                fetched = self.stream.fetch(limits) => fetched,
            };
            if fetched.is_ok() {
                context.settings.note_read();
            }
            match fetched {
                Ok(Fetched::Records(batch)) => {
                    self.recover(context);
                    if let Some(lineage) = &context.settings.lineage {
                        lineage.read(batch.as_ref());
                    }
                    if let Some((telemetry, asked)) = &asked {
                        telemetry.consumed(&context.headers, &batch, asked);
                    }
                    return Ok(Some(batch));
                }
                Ok(Fetched::Position(offset)) => {
                    self.recover(context);
                    context.state.tracker().advance(offset);
                }
                Ok(Fetched::Ended) => return Ok(None),
                Err(error) if context.settings.waits_out(&error) => {
                    if let Some((telemetry, asked)) = &asked {
                        telemetry.not_consumed(&context.state.partition, &error, asked);
                    }
                    self.failures = self.failures.saturating_add(1);
                    self.again = Some(Instant::now() + READ_AGAIN.delay(self.failures));
                    self.report(context, &error);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn recover(&mut self, context: &LaneContext) {
        if std::mem::take(&mut self.failures) > 0 {
            context.state.vitals.can_read();
        }
    }

    fn report(&self, context: &LaneContext, error: &TransportError) {
        let error = Chain(error).to_string();
        tracing::warn!(
            handler = %context.scope().handler_id,
            partition = %context.state.partition,
            failures = self.failures,
            error,
            "cannot read the partition, trying again"
        );
        context.state.vitals.cannot_read(error);
    }
}

/// Say whether an error of reading passes by itself.
fn may_pass(error: &TransportError) -> bool {
    // A topic that is deleted under its readers: the group takes the partition back as soon as it
    // notices, and gives it again if the topic comes back.
    error.is_retriable() || matches!(error, TransportError::UnknownTopic { .. })
}

/// A lane that runs; dropped, it is cancelled.
#[derive(Debug)]
pub(crate) struct RunningLane {
    pub(crate) state: Arc<PartitionState>,
    task: AbortOnDropHandle<()>,
}

/// Why a lane ended.
#[derive(Debug)]
pub(crate) struct LaneEnded {
    pub(crate) partition: TopicPartition,
    pub(crate) epoch: AssignmentEpoch,
    /// `None` is a panic.
    pub(crate) result: Option<Result<(), TransportError>>,
}

impl RunningLane {
    /// Start the lane of an assignment; when it ends by itself, `ended` is told. It handles nothing
    /// before the lane of an `earlier` assignment is gone.
    pub(crate) fn start(
        assignment: Assignment,
        earlier: Option<Arc<PartitionState>>,
        settings: &Arc<LaneSettings>,
        processor: &LaneProcessor,
        ended: &mpsc::UnboundedSender<LaneEnded>,
    ) -> Self {
        let Assignment {
            partition,
            epoch,
            stream,
        } = assignment;
        let state = Arc::new(PartitionState::new(partition.clone(), epoch));
        let context = LaneContext::new(Arc::clone(settings), Arc::clone(&state));
        let run = processor.clone().run(context, LaneSource::new(stream));
        let ended = ended.clone();
        let gone = state.ended.clone().drop_guard();
        let task = tokio::spawn(async move {
            // Dropped last, also when the task is cancelled.
            let _gone = gone;
            if let Some(earlier) = earlier
                && !mutant::is(Mutant::BeginsBesideTheEarlierLane)
            {
                earlier.ended.cancelled().await;
            }
            let result = AssertUnwindSafe(run).catch_unwind().await.ok();
            let _consumer_gone = ended.send(LaneEnded {
                partition,
                epoch,
                result,
            });
        });
        let task = AbortOnDropHandle::new(task);
        Self { state, task }
    }

    /// Tell the lane to stop and wait until what runs has ended; what is still running at the
    /// deadline, or when the partition is lost, is cancelled and comes again.
    pub(crate) async fn drain(mut self, deadline: Instant) -> Arc<PartitionState> {
        self.state.stop(deadline);
        if mutant::is(Mutant::GivesBackWithoutDraining) {
            drop(self.task.detach());
            return self.state;
        }
        let ended = tokio::select! {
            biased;
            () = self.state.lost.cancelled() => false,
            ended = tokio::time::timeout_at(deadline, &mut self.task) => ended.is_ok(),
        };
        if !ended {
            tracing::warn!(
                partition = %self.state.partition,
                epoch = self.state.epoch.0,
                "handlers still ran when their time was over; their messages come again"
            );
            self.task.abort();
            let _cancelled = self.task.await;
        }
        self.state
    }
}
