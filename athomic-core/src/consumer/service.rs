//! `ConsumerService`: one handler's consumer as a service of the lifecycle.
//!
//! The service owns the group membership. Assigned partitions become lanes; revoked ones are
//! stopped, drained, committed and given back, each revocation by a task of its own, so that the
//! retained partitions go on undisturbed; what is settled is committed at an interval.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::commit_timer::CommitTimer;
use super::committer::Committer;
use super::error::ConsumeError;
use super::factory::{ConsumerPlan, MARKS};
use super::lane::{LaneEnded, LaneSettings, PartitionState, RunningLane};
use super::ordered::{Orchestration, Stopped};
use super::processor::LaneProcessor;
use crate::dead_letter::Chain;
use crate::health::Pulse;
use crate::lifecycle::{Service, ServiceError, ServiceHandle};
use crate::lineage::HandlerLineage;
use crate::message::TopicPartition;
use crate::mutant::{self, Mutant};
use crate::retry::Backoff;
use crate::store::ordering::{Opened, Past};
use crate::transport::{Assignment, ConsumerEvent, DynConsumer, Revocation, Subscription, TransportError};

/// How long a consumer waits before it joins again after an error that may pass.
const JOIN_AGAIN: Backoff = Backoff {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(30),
    factor: 2.0,
    jitter: true,
};

/// How long a start waits before it looks again whether its ordering store is there.
const OPEN_AGAIN: Backoff = Backoff {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(3),
    factor: 2.0,
    jitter: true,
};

/// A handler's consumer, ready to be started.
#[derive(Debug)]
pub struct ConsumerService {
    plan: Arc<ConsumerPlan>,
}

impl ConsumerService {
    pub(super) fn new(plan: ConsumerPlan) -> Self {
        Self { plan: Arc::new(plan) }
    }

    /// Return what is the same for all its messages.
    pub(super) fn lane(&self) -> Arc<LaneSettings> {
        Arc::clone(&self.plan.lane)
    }

    /// Return what probes see of the consumer.
    pub(super) fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.plan.pulse)
    }
}

impl Service for ConsumerService {
    fn name(&self) -> &str {
        &self.plan.name
    }

    /// Asks again while the broker cannot be reached; the start-up time bounds it.
    async fn start(&self, handle: ServiceHandle) -> Result<(), ServiceError> {
        let plan = Arc::clone(&self.plan);
        open_store(&plan, &handle).await?;
        open_marks(&plan, &handle).await?;
        let consumer = join(&plan, 0).await?;
        let run = plan.lane.lineage.as_ref().map(HandlerLineage::begin);
        handle.clone().spawn(async move {
            let ended = consume(plan, consumer, handle).await;
            if let Some(run) = run {
                let fault = ended.as_ref().err().map(|error| Chain(error).to_string());
                run.finish(fault.as_deref());
            }
            Ok(ended?)
        });
        Ok(())
    }
}

/// Consume until told to stop; join again after errors that may pass.
async fn consume(
    plan: Arc<ConsumerPlan>,
    mut consumer: Arc<dyn DynConsumer>,
    handle: ServiceHandle,
) -> Result<(), ConsumeError> {
    let mut failures = 0;
    loop {
        let begun = Instant::now();
        let error = match Membership::new(&plan, consumer).run(&handle).await {
            Ok(()) => return Ok(()),
            Err(error) if may_pass(&plan, &error) => error,
            Err(error) => return Err(error),
        };
        failures = if begun.elapsed() > JOIN_AGAIN.longest {
            1
        } else {
            failures + 1
        };
        tracing::warn!(error = %Chain(&error), failures, "consumer ended, joining again");
        consumer = tokio::select! {
            biased;
            () = handle.stopping() => return Ok(()),
            joined = join(&plan, failures) => joined?,
        };
    }
}

/// Say whether to join again after an error.
///
/// A refusal is the end at first, so that a missing right shows when the application starts; one that
/// comes later is waited out, since what it takes is repaired on the broker.
fn may_pass(plan: &ConsumerPlan, error: &ConsumeError) -> bool {
    error.is_retriable() || (error.is_refusal() && plan.lane.has_read.load(Ordering::Relaxed))
}

/// Open an ordered handler's store; ask again while it cannot be reached.
async fn open_store(plan: &ConsumerPlan, handle: &ServiceHandle) -> Result<(), ConsumeError> {
    let Some(ordered) = &plan.lane.ordered else {
        return Ok(());
    };
    let (mut failures, mut past) = (0, Past::Unasked);
    loop {
        let error = match ordered.open(past).await {
            Ok(Opened::There { .. }) => {
                ordered.outage.end();
                return Ok(());
            }
            Ok(Opened::Empty) => {
                past = past_of(plan).await;
                continue;
            }
            Err(error) => error,
        };
        failures += 1;
        let (store, key) = (ordered.store.name(), &ordered.store_key);
        tracing::warn!(handler = %plan.handler, store, key, error = %Chain(&error), failures, "cannot open the ordering store");
        if !error.is_retriable() {
            return Err(ConsumeError::Ordering {
                handler: plan.handler.clone(),
                source: error,
            });
        }
        let reason = Chain(&error).to_string();
        handle.wait_for(format!(
            "its ordering store `{store}`, set by `{key}`, is not there: {reason}"
        ));
        ordered.outage.note(reason);
        tokio::time::sleep(OPEN_AGAIN.delay(failures)).await;
    }
}

/// Open the store of a handler with idempotency; ask again while it cannot be reached.
async fn open_marks(plan: &ConsumerPlan, handle: &ServiceHandle) -> Result<(), ConsumeError> {
    let Some(guard) = &plan.lane.guard else {
        return Ok(());
    };
    let mut failures = 0;
    while let Err(error) = guard.open_early().await {
        if !error.is_retriable() {
            return Err(ConsumeError::Idempotency {
                handler: plan.handler.clone(),
                source: error,
            });
        }
        failures += 1;
        let (store, reason) = (guard.store(), Chain(&error).to_string());
        handle.wait_for(format!(
            "the idempotency store `{store}` of handler `{}`, set by `{MARKS}`, is not there: {reason}",
            plan.handler
        ));
        tokio::time::sleep(OPEN_AGAIN.delay(failures)).await;
    }
    Ok(())
}

/// Say whether the group has committed anything of the handler's topics: then a store that knows nothing
/// of them has lost it, or never had it.
async fn past_of(plan: &ConsumerPlan) -> Past {
    let Subscription { topics, group_id, .. } = &plan.subscription;
    let committed = async {
        let admin = plan.transport.admin().await?;
        let counts = admin.partitions(topics).await?;
        let partitions = counts.into_iter().flat_map(|(topic, count)| {
            let topic: Arc<str> = topic.into();
            (0..count).map(move |partition| TopicPartition::new(Arc::clone(&topic), partition))
        });
        let partitions: Vec<TopicPartition> = partitions.collect();
        admin.committed(group_id, &partitions).await
    };
    match committed.await {
        Ok(committed) if committed.is_empty() => Past::None,
        Ok(_) => Past::Some,
        Err(error) => {
            // Not worth not to start: what cannot be asked is told when the group is joined.
            tracing::warn!(handler = %plan.handler, error = %Chain(&error), "cannot ask what the group has committed");
            Past::None
        }
    }
}

/// Join the group after so many failures; try again after errors that may pass.
async fn join(plan: &ConsumerPlan, mut failures: u32) -> Result<Arc<dyn DynConsumer>, ConsumeError> {
    loop {
        if failures > 0 {
            tokio::time::sleep(JOIN_AGAIN.delay(failures)).await;
        }
        let error = match plan.join().await {
            Ok(consumer) => return Ok(consumer),
            Err(error) => ConsumeError::group(plan.handler.clone(), error),
        };
        if !error.is_retriable() {
            return Err(error);
        }
        failures += 1;
        plan.pulse.cannot_join(&error);
        tracing::warn!(error = %Chain(&error), failures, "cannot join the group, trying again");
    }
}

/// One membership of the group, from join to leave.
struct Membership<'a> {
    plan: &'a ConsumerPlan,
    consumer: Arc<dyn DynConsumer>,
    committer: Arc<Committer>,
    lanes: BTreeMap<TopicPartition, RunningLane>,
    /// Assignments on their way out, and some that are over.
    leaving: Vec<Arc<PartitionState>>,
    /// Revocations and the final drain, under way.
    drains: JoinSet<()>,
    lane_processor: LaneProcessor,
    /// What runs ordered messages.
    orchestration: Option<Orchestration>,
    /// Lanes tell here why they ended.
    ended: mpsc::UnboundedReceiver<LaneEnded>,
    report_end: mpsc::UnboundedSender<LaneEnded>,
}

impl<'a> Membership<'a> {
    fn new(plan: &'a ConsumerPlan, consumer: Arc<dyn DynConsumer>) -> Self {
        let (report_end, ended) = mpsc::unbounded_channel();
        let committer = Committer::new(Arc::clone(&consumer), plan.lane.scope.telemetry.clone());
        plan.pulse.join(Arc::clone(&consumer));
        let (lane_processor, orchestration) = plan.processor.begin(&plan.lane);
        Self {
            plan,
            consumer,
            committer,
            lanes: BTreeMap::new(),
            leaving: Vec::new(),
            drains: JoinSet::new(),
            lane_processor,
            orchestration,
            ended,
            report_end,
        }
    }

    async fn run(mut self, handle: &ServiceHandle) -> Result<(), ConsumeError> {
        let result = self.serve(handle).await;
        let timeout = if result.is_ok() {
            self.plan.shutdown_timeout
        } else {
            self.plan.revoke_timeout
        };
        let pulse = Arc::clone(&self.plan.pulse);
        self.leave(timeout).await;
        pulse.leave();
        result
    }

    /// Serve the group until told to stop or until something fails for good.
    async fn serve(&mut self, handle: &ServiceHandle) -> Result<(), ConsumeError> {
        let mut timer = CommitTimer::new(self.plan.commit_interval);
        let consumer = Arc::clone(&self.consumer);
        let mut commit = None;
        loop {
            self.plan.pulse.turn();
            tokio::select! {
                biased;
                () = handle.stopping() => return Ok(()),
                event = consumer.next_event() => self.on_event(event.map_err(|error| self.group_error(error))?),
                Some(ended) = self.ended.recv() => self.on_lane_end(ended)?,
                stopped = until_stopped(self.orchestration.as_mut()) => return Err(self.on_stopped(stopped).await),
                Some(_) = self.drains.join_next(), if !self.drains.is_empty() => {}
                result = until_some(&mut commit) => self.on_commit(result),
                () = self.plan.lane.news.notified(), if timer.is_idle() => timer.hurry(),
                () = timer.due() => {
                    // A commit may take long, and to wait for it is to be alive: the loop turns on.
                    if commit.is_none() {
                        commit = self.commit().map(FutureExt::boxed);
                    }
                    timer.rest(commit.is_none() && self.is_idle());
                }
            }
        }
    }

    fn on_event(&mut self, event: ConsumerEvent) {
        let telemetry = self.plan.lane.scope.telemetry.as_ref();
        if let (Some(telemetry), false) = (telemetry, matches!(event, ConsumerEvent::Trouble(_))) {
            telemetry.rebalanced();
        }
        match event {
            ConsumerEvent::Assigned(assignments) => {
                tracing::info!(handler = %self.plan.handler, partitions = ?assignments, "partitions assigned");
                for assignment in assignments {
                    // If the transport gives a partition twice without taking it back.
                    self.forget(std::slice::from_ref(&assignment.partition));
                    self.start_lane(assignment);
                }
                self.plan.pulse.assign();
                self.plan.pulse.read(self.states());
            }
            ConsumerEvent::Revoked(revocation) => self.revoke(revocation),
            ConsumerEvent::Lost(partitions) => {
                self.lose(&partitions);
                self.plan.pulse.lose();
            }
            ConsumerEvent::Trouble(error) => {
                self.plan.pulse.trouble(&error);
                tracing::warn!(handler = %self.plan.handler, error = %Chain(&error), "trouble with the broker");
            }
        }
    }

    fn start_lane(&mut self, assignment: Assignment) {
        let partition = assignment.partition.clone();
        let mut leaving = self.leaving.iter().rev();
        let earlier = leaving.find(|state| state.partition == partition).cloned();
        let lane = RunningLane::start(
            assignment,
            earlier,
            &self.plan.lane,
            &self.lane_processor,
            &self.report_end,
        );
        self.lanes.insert(partition, lane);
    }

    /// Drain, commit and give back, while everything else goes on.
    fn revoke(&mut self, revocation: Revocation) {
        tracing::info!(handler = %self.plan.handler, partitions = ?revocation.partitions, "partitions revoked");
        let mut lanes = self.take_lanes(&revocation.partitions);
        if mutant::is(Mutant::StopsRetainedPartitions) {
            lanes.extend(std::mem::take(&mut self.lanes).into_values());
        }
        let drain = self.drain(lanes, self.plan.revoke_timeout);
        self.drains.spawn(async move {
            drain.await;
            revocation.complete();
        });
    }

    fn lose(&mut self, partitions: &[TopicPartition]) {
        tracing::warn!(handler = %self.plan.handler, ?partitions, "partitions lost");
        self.forget(partitions);
    }

    /// Cancel what runs for partitions that are not ours any more, and commit nothing for them; also
    /// for those that are being given back: their last commit could land below the new owner's.
    fn forget(&mut self, partitions: &[TopicPartition]) {
        let lanes = self.take_lanes(partitions);
        self.let_go(&lanes);
        let gone = self.leaving.iter();
        for state in gone.filter(|state| partitions.contains(&state.partition)) {
            state.lose();
        }
    }

    /// Remember lanes that leave, until they are over.
    fn let_go(&mut self, lanes: &[RunningLane]) {
        self.leaving.retain(|state| !state.is_over());
        self.leaving
            .extend(lanes.iter().map(|lane| Arc::clone(&lane.state)));
    }

    /// Stop lanes, wait for what runs in them, commit what is settled.
    fn drain(
        &mut self,
        lanes: Vec<RunningLane>,
        timeout: Duration,
    ) -> impl Future<Output = ()> + Send + use<> {
        self.let_go(&lanes);
        drain_and_commit(lanes, Arc::clone(&self.committer), timeout)
    }

    fn take_lanes(&mut self, partitions: &[TopicPartition]) -> Vec<RunningLane> {
        let lanes = partitions
            .iter()
            .filter_map(|partition| self.lanes.remove(partition))
            .collect();
        self.plan.pulse.read(self.states());
        lanes
    }

    fn on_lane_end(&self, ended: LaneEnded) -> Result<(), ConsumeError> {
        let current = self
            .lanes
            .get(&ended.partition)
            .is_some_and(|lane| lane.state.epoch == ended.epoch);
        let (handler, partition) = (self.plan.handler.clone(), ended.partition);
        match ended.result {
            _ if !current => Ok(()),
            Some(Ok(())) => Ok(()),
            Some(Err(source)) => Err(ConsumeError::Partition {
                handler,
                partition,
                source: Box::new(source),
            }),
            None => Err(ConsumeError::LanePanicked { handler, partition }),
        }
    }

    /// Begin to commit what is settled; `None` if nothing is new, so that idling costs nothing.
    fn commit(&self) -> Option<impl Future<Output = Result<(), TransportError>> + Send + use<>> {
        let states = self.states();
        let is_new = states.iter().any(|state| state.committable().is_some());
        if !is_new {
            // What failed before is somebody else's now.
            self.on_commit(Ok(()));
        }
        is_new.then(|| Arc::clone(&self.committer).commit(states))
    }

    /// Say whether nothing is in flight: only what is fetched next can bring something to commit.
    fn is_idle(&self) -> bool {
        self.lanes.values().all(|lane| lane.state.in_flight() == 0)
    }

    fn states(&self) -> Vec<Arc<PartitionState>> {
        self.lanes.values().map(|lane| Arc::clone(&lane.state)).collect()
    }

    fn on_commit(&self, result: Result<(), TransportError>) {
        self.plan.pulse.committed(result.as_ref().copied());
        if let Err(error) = result {
            // Nothing is lost: the next commit has the same offsets or higher ones.
            tracing::warn!(handler = %self.plan.handler, error = %Chain(&error), "commit failed");
        }
    }

    /// Say why ordered messages cannot go on; what is remembered of a lost store's state is told to it.
    async fn on_stopped(&self, stopped: Stopped) -> ConsumeError {
        let handler = self.plan.handler.clone();
        match stopped {
            Stopped::Refused(source) => ConsumeError::Ordering { handler, source },
            Stopped::Overtaken => ConsumeError::OrderingOvertaken { handler },
            Stopped::StateLost => {
                self.plan.state_lost();
                if let Some(orchestration) = &self.orchestration {
                    orchestration
                        .restore(Instant::now() + self.plan.revoke_timeout)
                        .await;
                }
                ConsumeError::OrderingStateLost { handler }
            }
        }
    }

    fn group_error(&self, error: TransportError) -> ConsumeError {
        ConsumeError::group(self.plan.handler.clone(), error)
    }

    /// Drain all lanes, commit, and leave the group. The group is served meanwhile: what it wants
    /// back is on its way out already, and what it gives is refused by leaving.
    async fn leave(mut self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        if let Some(orchestration) = &self.orchestration {
            orchestration.stop(deadline);
        }
        let lanes = std::mem::take(&mut self.lanes).into_values().collect();
        let drain = self.drain(lanes, timeout);
        self.drains.spawn(drain);
        let mut given_back = Vec::new();
        let consumer = Arc::clone(&self.consumer);
        consumer.prepare_to_close();
        let mut serving = true;
        loop {
            tokio::select! {
                biased;
                ended = self.drains.join_next() => if ended.is_none() { break },
                event = consumer.next_event(), if serving => match event {
                    Ok(ConsumerEvent::Revoked(revocation)) => given_back.push(revocation),
                    Ok(ConsumerEvent::Lost(partitions)) => self.lose(&partitions),
                    Ok(_) => {}
                    Err(_) => serving = false,
                },
            }
        }
        if let Some(orchestration) = self.orchestration.take() {
            orchestration.join(deadline).await;
        }
        drop(given_back);
        if let Err(error) = consumer.close().await {
            tracing::warn!(handler = %self.plan.handler, error = %Chain(&error), "could not leave the group");
        }
    }
}

/// Stop lanes, wait for what runs in them, and commit what is settled. After that nothing is
/// committed for these assignments: the partitions are somebody else's.
async fn drain_and_commit(lanes: Vec<RunningLane>, committer: Arc<Committer>, timeout: Duration) {
    let deadline = Instant::now() + timeout;
    for lane in &lanes {
        lane.state.stop(deadline);
    }
    let states = futures_util::future::join_all(lanes.into_iter().map(|lane| lane.drain(deadline))).await;
    let patience = deadline.max(Instant::now() + LAST_COMMIT);
    if let Err(error) = commit_with_patience(committer, states.clone(), patience).await {
        tracing::warn!(error = %Chain(&error), "the last commit failed; what it covered comes again");
    }
    for state in states {
        state.lose();
    }
}

/// What the last commit of a partition gets at least when draining took all the time.
const LAST_COMMIT: Duration = Duration::from_secs(1);

/// Commit; ask again while that can help and there is time.
async fn commit_with_patience(
    committer: Arc<Committer>,
    states: Vec<Arc<PartitionState>>,
    deadline: Instant,
) -> Result<(), TransportError> {
    let mut failures = 0;
    loop {
        let error =
            match tokio::time::timeout_at(deadline, Arc::clone(&committer).commit(states.clone())).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => {
                    return Err(TransportError::Other {
                        action: "commit in time".into(),
                        retriable: true,
                        source: "no answer from the broker".into(),
                    });
                }
            };
        failures += 1;
        let again = Instant::now() + COMMIT_AGAIN.delay(failures);
        if !error.is_retriable() || again >= deadline {
            return Err(error);
        }
        tokio::time::sleep_until(again).await;
    }
}

/// How long the last commit of a partition waits before it is asked again.
const COMMIT_AGAIN: Backoff = Backoff {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(2),
    factor: 2.0,
    jitter: true,
};

/// Wait until ordered messages cannot go on.
async fn until_stopped(orchestration: Option<&mut Orchestration>) -> Stopped {
    if let Some(orchestration) = orchestration
        && let Some(stopped) = orchestration.stopped.recv().await
    {
        return stopped;
    }
    std::future::pending().await
}

/// Wait for a future that may not be there; clear it when it is done.
async fn until_some<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future.as_mut() {
        Some(running) => {
            let output = running.await;
            *future = None;
            output
        }
        None => std::future::pending().await,
    }
}
