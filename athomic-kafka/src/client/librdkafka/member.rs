//! A member of a consumer group: the thread that polls librdkafka's main queue.
//!
//! The thread serves rebalances, commits and errors, and does nothing else, so that nothing of the
//! application can hold the group up. Messages do not pass through here, see `partition.rs`.
//!
//! # Invariants
//! - Revoked partitions are given back when the [`Revocation`] is complete, or when the group has
//!   given them away anyway. librdkafka asks for nothing else in between.
//! - A partition's stream ends before the partition is unassigned.
//! - One commit is under way at a time, also if nobody waits for it any more, so that an older one
//!   cannot land after a newer one.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use athomic_core::message::{PartitionOffset, TopicPartition};
use athomic_core::transport::{
    Assignment, AssignmentEpoch, ConsumerEvent, Revocation, Subscription, TransportError,
};
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot, watch};

use super::native::{Client, Event, PartitionQueue, Queue};
use super::partition::{KafkaPartitionStream, Slot};
use super::{Code, Fault, FaultKind};
use crate::error::Endpoint;

/// How long the thread sleeps if nothing happens; whatever it must see at once wakes it.
const IDLE: Duration = Duration::from_millis(500);
/// How often it looks, while partitions drain, whether the group still waits for them.
const DRAINING: Duration = Duration::from_millis(100);
/// How long leaving the group may take.
const LEAVING: Duration = Duration::from_secs(10);
/// How long the same trouble is not reported again.
const QUIET: Duration = Duration::from_secs(10);

/// What happened, or what ended the consumer.
pub(crate) type Happening = Result<ConsumerEvent, TransportError>;
/// How leaving the group went; nothing while the member is there.
pub(crate) type Departure = Option<Result<(), Fault>>;

/// The async side's hold of the polling thread.
pub(crate) struct Member {
    client: Arc<Client>,
    queue: Arc<Queue>,
    commits: Arc<Mutex<Commits>>,
    /// Held by the commit that is under way.
    turn: Arc<tokio::sync::Mutex<()>>,
    leaving: Arc<AtomicBool>,
    departure: watch::Receiver<Departure>,
}

impl Member {
    /// Join the group and start the thread; events come by the receiver.
    pub(crate) fn join(
        options: &BTreeMap<String, String>,
        subscription: &Subscription,
        endpoint: Arc<Endpoint>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Happening>), Fault> {
        let client = Client::consumer(options)?;
        let queue = Arc::new(client.main_queue()?);
        client.subscribe(&subscription.topics)?;
        let (events, received) = mpsc::unbounded_channel();
        let (left, departure) = watch::channel(None);
        let member = Self {
            client: Arc::clone(&client),
            queue: Arc::clone(&queue),
            commits: Arc::default(),
            turn: Arc::default(),
            leaving: Arc::default(),
            departure,
        };
        let poller = Poller {
            client,
            queue,
            endpoint,
            topics: subscription.topics.clone(),
            events: Some(events),
            commits: Arc::clone(&member.commits),
            leaving: Arc::clone(&member.leaving),
            partitions: HashMap::new(),
            draining: None,
            epoch: 0,
            reported: HashMap::new(),
        };
        let thread = std::thread::Builder::new().name(format!("athomic-poll-{}", subscription.handler_id));
        thread
            .spawn(move || poller.run(&left))
            .map_err(|error| Fault::new(Code::Fail, error.to_string()))?;
        Ok((member, received))
    }

    /// Commit offsets; returns when the broker has answered, or an error if the member leaves first.
    pub(crate) async fn commit(&self, offsets: &[PartitionOffset]) -> Result<(), CommitError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let answer = self.send_commit(offsets, turn)?;
        answer
            .await
            .map_err(|_member_left| CommitError::Closed)?
            .map_err(CommitError::Refused)
    }

    fn send_commit(
        &self,
        offsets: &[PartitionOffset],
        turn: OwnedMutexGuard<()>,
    ) -> Result<oneshot::Receiver<Result<(), Fault>>, CommitError> {
        let mut commits = lock(&self.commits);
        if commits.ended {
            return Err(CommitError::Closed);
        }
        commits.token += 1;
        self.client
            .commit(offsets, &self.queue, commits.token)
            .map_err(CommitError::Refused)?;
        let (done, answer) = oneshot::channel();
        commits.under_way = Some(UnderWay { done, _turn: turn });
        Ok(answer)
    }

    /// Ask the thread to leave the group.
    pub(crate) fn begin_to_leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
        self.queue.wake();
    }

    /// Leave the group and wait until that has happened. Idempotent.
    pub(crate) async fn leave(&self) -> Result<(), Fault> {
        self.begin_to_leave();
        let mut departure = self.departure.clone();
        match departure.wait_for(Option::is_some).await {
            Ok(departure) => departure.clone().unwrap_or(Ok(())),
            Err(_thread_ended) => Ok(()),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.begin_to_leave();
    }
}

/// Why a commit failed.
#[derive(Debug)]
pub(crate) enum CommitError {
    Refused(Fault),
    Closed,
}

/// Commits on their way.
#[derive(Default)]
struct Commits {
    under_way: Option<UnderWay>,
    /// The number of the last commit that was sent.
    token: usize,
    /// Whether the thread is gone, which would never answer.
    ended: bool,
}

struct UnderWay {
    done: oneshot::Sender<Result<(), Fault>>,
    /// Lets the next commit go when this one is answered, not when its caller loses interest.
    _turn: OwnedMutexGuard<()>,
}

/// Partitions that were asked back and drain.
struct Draining {
    partitions: Vec<TopicPartition>,
    drained: Arc<AtomicBool>,
}

/// The polling thread's own state.
struct Poller {
    client: Arc<Client>,
    queue: Arc<Queue>,
    endpoint: Arc<Endpoint>,
    topics: Vec<String>,
    /// Gone as soon as the member leaves, so that whoever waits for an event learns of it.
    events: Option<mpsc::UnboundedSender<Happening>>,
    commits: Arc<Mutex<Commits>>,
    leaving: Arc<AtomicBool>,
    partitions: HashMap<TopicPartition, Arc<Slot>>,
    draining: Option<Draining>,
    epoch: u64,
    /// When which trouble was last reported.
    reported: HashMap<(FaultKind, i32), Instant>,
}

impl Poller {
    fn run(mut self, left: &watch::Sender<Departure>) {
        while !self.leaving.load(Ordering::SeqCst) {
            let patience = if self.draining.is_some() { DRAINING } else { IDLE };
            if let Some(event) = self.queue.poll(patience) {
                self.serve(event);
            }
            self.finish_draining();
        }
        let departure = self.leave();
        let mut commits = lock(&self.commits);
        commits.ended = true;
        commits.under_way = None;
        drop(commits);
        left.send_replace(Some(departure));
    }

    fn serve(&mut self, event: Event) {
        match event {
            Event::Assign(partitions) => self.assign(partitions),
            Event::Revoke(partitions) => self.revoke(partitions),
            Event::RebalanceFailed(fault) => self.abandon(fault),
            Event::Committed(token, answer) => self.answer_commit(token, answer),
            Event::Error(fault) => self.trouble(fault),
            Event::Fatal(fault) => self.fail(fault),
        }
    }

    fn assign(&mut self, partitions: Vec<TopicPartition>) {
        self.note_rebalance();
        let opened: Vec<_> = partitions
            .iter()
            .filter_map(|partition| Some((partition.clone(), Slot::open(&self.client, partition)?)))
            .collect();
        if let Err(fault) = self.client.assign(&partitions, self.client.rebalance()) {
            return self.abandon(fault);
        }
        self.epoch += 1;
        self.partitions.extend(opened.iter().cloned());
        let epoch = AssignmentEpoch(self.epoch);
        let assignments: Vec<_> = opened
            .into_iter()
            .map(|(partition, slot)| {
                let endpoint = Arc::clone(&self.endpoint);
                let stream = Box::new(KafkaPartitionStream::new(partition.clone(), slot, endpoint));
                Assignment {
                    partition,
                    epoch,
                    stream,
                }
            })
            .collect();
        if !assignments.is_empty() {
            self.send(Ok(ConsumerEvent::Assigned(assignments)));
        }
    }

    fn revoke(&mut self, partitions: Vec<TopicPartition>) {
        self.note_rebalance();
        if self.client.assignment_lost() {
            self.lose(partitions);
        } else if partitions.is_empty() {
            self.give_back(&partitions);
        } else {
            let drained = Arc::new(AtomicBool::new(false));
            let (done, queue) = (Arc::clone(&drained), Arc::clone(&self.queue));
            let revocation = Revocation::notifying(partitions.clone(), move || {
                done.store(true, Ordering::SeqCst);
                queue.wake();
            });
            self.draining = Some(Draining { partitions, drained });
            self.send(Ok(ConsumerEvent::Revoked(revocation)));
        }
    }

    /// Give revoked partitions back if they have drained, or if the group no longer waits for them.
    fn finish_draining(&mut self) {
        let Some(draining) = &self.draining else { return };
        let drained = draining.drained.load(Ordering::SeqCst);
        let lost = !drained && self.client.assignment_lost();
        if !drained && !lost {
            return;
        }
        let partitions = self
            .draining
            .take()
            .map(|draining| draining.partitions)
            .unwrap_or_default();
        if lost {
            self.lose(partitions);
        } else {
            self.give_back(&partitions);
        }
    }

    fn lose(&mut self, partitions: Vec<TopicPartition>) {
        self.give_back(&partitions);
        if !partitions.is_empty() {
            self.send(Ok(ConsumerEvent::Lost(partitions)));
        }
    }

    /// End the streams, then unassign, then free what was fetched ahead.
    fn give_back(&mut self, partitions: &[TopicPartition]) {
        let queues = self.end_streams(partitions);
        if let Err(fault) = self.client.unassign(partitions, self.client.rebalance()) {
            tracing::warn!(%fault, "cannot give partitions back to the group");
        }
        queues.iter().for_each(PartitionQueue::purge);
    }

    fn end_streams(&mut self, partitions: &[TopicPartition]) -> Vec<PartitionQueue> {
        let slots = partitions
            .iter()
            .filter_map(|partition| self.partitions.remove(partition));
        slots.filter_map(|slot| slot.end()).collect()
    }

    /// Give everything back after a rebalance that failed; librdkafka joins the group anew.
    fn abandon(&mut self, fault: Fault) {
        let partitions: Vec<_> = self.partitions.keys().cloned().collect();
        self.draining = None;
        self.lose(partitions);
        self.trouble(fault);
    }

    /// Tell the streams of the partitions that stay that librdkafka may rewind.
    fn note_rebalance(&self) {
        self.partitions.values().for_each(|slot| slot.note_rebalance());
    }

    fn answer_commit(&self, token: usize, answer: Result<(), Fault>) {
        let mut commits = lock(&self.commits);
        if commits.token != token {
            return;
        }
        if let Some(commit) = commits.under_way.take() {
            let _caller_gone = commit.done.send(answer);
        }
    }

    /// Report what librdkafka goes on to repair, each kind once in a while.
    fn trouble(&mut self, fault: Fault) {
        let now = Instant::now();
        let last = self.reported.insert((fault.kind, fault.code as i32), now);
        if last.is_some_and(|last| now.duration_since(last) < QUIET) {
            tracing::debug!(%fault, "trouble again with Kafka");
            return;
        }
        let error = self.endpoint.consuming(&self.topics, fault);
        self.send(Ok(ConsumerEvent::Trouble(error)));
    }

    /// End the consumer: librdkafka cannot go on.
    fn fail(&mut self, fault: Fault) {
        let error = self.endpoint.consuming(&self.topics, fault);
        self.send(Err(error));
        self.leaving.store(true, Ordering::SeqCst);
    }

    fn send(&self, happening: Happening) {
        // Whoever read the events may be gone: a revocation that cannot be sent counts as complete.
        if let Some(events) = &self.events {
            let _reader_gone = events.send(happening);
        }
    }

    /// End all streams and leave the group, within a bounded time.
    fn leave(&mut self) -> Result<(), Fault> {
        self.events = None;
        let partitions: Vec<_> = self.partitions.keys().cloned().collect();
        let queues = self.end_streams(&partitions);
        if let Some(draining) = self.draining.take() {
            self.give_back(&draining.partitions);
        }
        let left = self.leave_group();
        queues.iter().for_each(PartitionQueue::purge);
        left
    }

    fn leave_group(&mut self) -> Result<(), Fault> {
        self.client.close(&self.queue)?;
        let deadline = Instant::now() + LEAVING;
        while !self.client.closed() {
            if Instant::now() >= deadline {
                return Err(Fault::of(Code::OperationTimedOut));
            }
            match self.queue.poll(DRAINING) {
                // While it leaves, librdkafka takes either for "give everything back".
                Some(Event::Assign(partitions) | Event::Revoke(partitions)) => self.give_back(&partitions),
                Some(Event::RebalanceFailed(_)) => self.give_back(&[]),
                Some(Event::Committed(token, answer)) => self.answer_commit(token, answer),
                Some(Event::Error(fault) | Event::Fatal(fault)) => {
                    tracing::debug!(%fault, "trouble with Kafka while leaving the group");
                }
                None => {}
            }
        }
        Ok(())
    }
}

fn lock(commits: &Mutex<Commits>) -> MutexGuard<'_, Commits> {
    commits.lock().unwrap_or_else(PoisonError::into_inner)
}
