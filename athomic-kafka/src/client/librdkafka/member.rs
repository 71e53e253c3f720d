//! A member of a consumer group: the thread that polls librdkafka's main queue.
//!
//! The thread serves rebalances, commits and errors, and does nothing else, so that nothing of the
//! application can hold the group up. Messages do not pass through here, see `partition.rs`.
//!
//! There are two librdkafka clients: `group` is the member and fetches nothing, `fetch` fetches what it
//! is told to and is no member. With one client for both, librdkafka pauses *all* partitions of the
//! member from the beginning of a rebalance until the revoked ones are given back, drops what it had
//! fetched of them, and reads on from a position of its own. So a member's partitions would
//! stand still while a few drain. The price is a second set of connections.
//!
//! # Invariants
//! - Revoked partitions are given back when the [`Revocation`] is complete, or when the group has
//!   given them away anyway. librdkafka asks for nothing else in between.
//! - A partition's stream ends before the partition is unassigned.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use athomic_core::message::{PartitionOffset, TopicPartition};
use athomic_core::transport::{
    Assignment, AssignmentEpoch, ConsumerEvent, Revocation, Subscription, TransportError,
};
use tokio::sync::{mpsc, watch};

use super::commits::{CommitError, Committer};
use super::native::{Client, Event, Queue};
use super::partition::{KafkaPartitionStream, Slot};
use super::{Code, Fault, FaultKind};
use crate::error::Endpoint;
use crate::settings::ConsumerOptions;

/// How long the thread sleeps if nothing happens; whatever it must see at once wakes it. A poll that waits
/// counts as polling, however long it takes (`max.poll.interval.ms`).
const IDLE: Duration = Duration::from_secs(10);
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
    queue: Arc<Queue>,
    committer: Arc<Committer>,
    leaving: Arc<AtomicBool>,
    departure: watch::Receiver<Departure>,
}

impl Member {
    /// Join the group and start the thread; events come by the receiver.
    pub(crate) fn join(
        options: &ConsumerOptions,
        subscription: &Subscription,
        endpoint: Arc<Endpoint>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Happening>), Fault> {
        let group = Client::consumer(&options.group)?;
        let fetch = Client::consumer(&options.fetch)?;
        let queue = Arc::new(group.main_queue()?);
        let fetch_queue = fetch.main_queue()?.waking(&queue);
        group.subscribe(&subscription.topics)?;
        let (events, received) = mpsc::unbounded_channel();
        let (left, departure) = watch::channel(None);
        let member = Self {
            queue: Arc::clone(&queue),
            committer: Arc::new(Committer::new(Arc::clone(&group), Arc::clone(&queue))),
            leaving: Arc::default(),
            departure,
        };
        let poller = Poller {
            group,
            queue,
            fetch,
            fetch_queue,
            endpoint,
            topics: subscription.topics.clone(),
            events: Some(events),
            committer: Arc::clone(&member.committer),
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
        self.committer.commit(offsets).await
    }

    /// Say that the member is about to leave.
    pub(crate) fn prepare_to_leave(&self) {
        self.committer.prepare_to_close();
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

/// Partitions that were asked back and drain.
struct Draining {
    partitions: Vec<TopicPartition>,
    drained: Arc<AtomicBool>,
}

/// The polling thread's own state.
struct Poller {
    /// The member of the group.
    group: Arc<Client>,
    queue: Arc<Queue>,
    /// What fetches.
    fetch: Arc<Client>,
    fetch_queue: Queue,
    endpoint: Arc<Endpoint>,
    topics: Vec<String>,
    /// Gone as soon as the member leaves, so that whoever waits for an event learns of it.
    events: Option<mpsc::UnboundedSender<Happening>>,
    committer: Arc<Committer>,
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
            while let Some(event) = self.fetch_queue.poll(Duration::ZERO) {
                self.serve(event);
            }
            self.finish_draining();
        }
        let departure = self.leave();
        self.committer.give_up();
        left.send_replace(Some(departure));
    }

    fn serve(&mut self, event: Event) {
        match event {
            Event::Assign(partitions) => self.assign(partitions),
            Event::Revoke(partitions) => self.revoke(partitions),
            Event::RebalanceFailed(fault) => self.abandon(fault),
            Event::Committed(token, answer) => self.committer.answer(token, answer),
            Event::Error(fault) => self.trouble(fault),
            Event::Fatal(fault) => self.fail(fault),
        }
    }

    fn assign(&mut self, partitions: Vec<TopicPartition>) {
        let opened: Vec<_> = partitions
            .iter()
            .filter_map(|partition| Some((partition.clone(), Slot::open(&self.fetch, partition)?)))
            .collect();
        if let Err(fault) = self.fetch.start(&partitions) {
            return self.fail(fault);
        }
        self.committer.own(&partitions);
        self.acknowledge(true);
        self.epoch += 1;
        self.partitions.extend(opened.iter().cloned());
        let epoch = AssignmentEpoch(self.epoch);
        let assignments: Vec<_> = opened
            .into_iter()
            .map(|(partition, slot)| {
                let (client, endpoint) = (Arc::clone(&self.fetch), Arc::clone(&self.endpoint));
                let stream = KafkaPartitionStream::new(partition.clone(), slot, client, endpoint);
                let stream = Box::new(stream);
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
        if self.group.assignment_lost() {
            self.lose(partitions);
        } else if partitions.is_empty() {
            self.give_back(&partitions);
        } else {
            self.begin_draining(partitions);
        }
    }

    fn begin_draining(&mut self, partitions: Vec<TopicPartition>) {
        let drained = Arc::new(AtomicBool::new(false));
        let slots: Vec<_> = partitions
            .iter()
            .filter_map(|partition| self.partitions.get(partition).cloned())
            .collect();
        let (done, queue) = (Arc::clone(&drained), Arc::clone(&self.queue));
        let (committer, given_back) = (Arc::clone(&self.committer), partitions.clone());
        // Whoever completes it finds the streams ended at once; the thread does the rest.
        let revocation = Revocation::notifying(partitions.clone(), move || {
            committer.disown(&given_back);
            slots.iter().for_each(|slot| slot.end());
            done.store(true, Ordering::SeqCst);
            queue.wake();
        });
        self.draining = Some(Draining { partitions, drained });
        self.send(Ok(ConsumerEvent::Revoked(revocation)));
    }

    /// Give revoked partitions back if they have drained, or if the group no longer waits for them.
    fn finish_draining(&mut self) {
        let Some(draining) = &self.draining else { return };
        let drained = draining.drained.load(Ordering::SeqCst);
        let lost = !drained && self.group.assignment_lost();
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

    fn give_back(&mut self, partitions: &[TopicPartition]) {
        self.stop(partitions);
        self.acknowledge(false);
    }

    /// End the streams, then fetch no more, then free what was fetched ahead.
    fn stop(&mut self, partitions: &[TopicPartition]) {
        if partitions.is_empty() {
            return;
        }
        let (stopped, slots): (Vec<_>, Vec<_>) = partitions
            .iter()
            .filter_map(|partition| self.partitions.remove_entry(partition))
            .unzip();
        self.committer.disown(&stopped);
        slots.iter().for_each(|slot| slot.end());
        if let Err(fault) = self.fetch.stop(&stopped) {
            tracing::warn!(%fault, "partitions are still being fetched");
        }
        slots.iter().for_each(|slot| slot.free());
    }

    fn acknowledge(&self, taken: bool) {
        if let Err(fault) = self.group.acknowledge(taken) {
            tracing::warn!(%fault, "the group does not take the answer to its rebalance");
        }
    }

    /// Give everything back after a rebalance that failed; librdkafka joins the group anew.
    fn abandon(&mut self, fault: Fault) {
        let partitions: Vec<_> = self.partitions.keys().cloned().collect();
        self.draining = None;
        self.lose(partitions);
        self.trouble(fault);
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
        self.committer.close();
        let partitions: Vec<_> = self.partitions.keys().cloned().collect();
        self.stop(&partitions);
        if self.draining.take().is_some() {
            self.acknowledge(false);
        }
        self.group.close(&self.queue)?;
        let deadline = Instant::now() + LEAVING;
        while !self.group.closed() {
            if Instant::now() >= deadline {
                return Err(Fault::of(Code::OperationTimedOut));
            }
            match self.queue.poll(DRAINING) {
                Some(Event::Assign(_)) => self.acknowledge(true),
                Some(Event::Revoke(_) | Event::RebalanceFailed(_)) => self.acknowledge(false),
                Some(Event::Committed(token, answer)) => self.committer.answer(token, answer),
                Some(Event::Error(fault) | Event::Fatal(fault)) => {
                    tracing::debug!(%fault, "trouble with Kafka while leaving the group");
                }
                None => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::super::native::{Client, Event};

    fn consumer(servers: &str) -> Arc<Client> {
        let options = [("bootstrap.servers", servers), ("group.id", "tests")];
        let options: BTreeMap<_, _> = options
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        Client::consumer(&options).expect("valid options")
    }

    #[test]
    fn what_happens_to_the_client_that_fetches_wakes_the_thread() {
        // Nobody to ask, so nothing happens to it.
        let queue = Arc::new(consumer("").main_queue().expect("a consumer has one"));
        // Nobody listens there, which is told.
        let fetch = consumer("127.0.0.1:1");
        let fetch_queue = fetch.main_queue().expect("a consumer has one").waking(&queue);
        let (begun, patience) = (Instant::now(), Duration::from_secs(60));
        assert!(queue.poll(patience).is_none());
        assert!(begun.elapsed() < patience, "it waited until its time was over");
        let told = fetch_queue.poll(Duration::ZERO);
        assert!(matches!(told, Some(Event::Error(_))), "{told:?}");
    }
}
