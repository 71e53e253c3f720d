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

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use athomic_core::message::{Offset, PartitionOffset, TopicPartition};
use athomic_core::transport::{ClientCondition, ConsumerEvent, Revocation, Subscription, TransportError};
use tokio::sync::{mpsc, watch};

use super::commits::{CommitError, Committer};
use super::files::{Change, Files};
use super::native::{Begin, Client, Event, Queue};
use super::owned::Owned;
use super::sockets::Carries;
use super::starting::Starter;
use super::topics::Topics;
use super::watch::Watch;
use super::{Code, Fault, FaultKind};
use crate::error::Endpoint;
use crate::settings::ConsumerOptions;

/// How long the thread sleeps if nothing happens; whatever it must see at once wakes it. A poll that waits
/// counts as polling, however long it takes (`max.poll.interval.ms`).
const IDLE: Duration = Duration::from_secs(10);
/// How often it looks whether the group has given it nothing.
const UNTOLD: Duration = Duration::from_millis(500);
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
    group: Arc<Client>,
    /// What fetches. Not kept alive from here: when it goes is for those who read.
    fetch: Weak<Client>,
    turned: Arc<Mutex<Instant>>,
}

impl Member {
    /// Join the group and start the thread; events come by the receiver.
    pub(crate) fn join(
        options: &ConsumerOptions,
        subscription: &Subscription,
        endpoint: Arc<Endpoint>,
        watch: Arc<Watch>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Happening>), Fault> {
        let files = Files::of(&endpoint.connection, &options.group, &options.secrets);
        let group = Client::consumer(&options.group, Carries::Membership)?;
        let fetch = Client::consumer(&options.fetch, Carries::Messages)?;
        let queue = Arc::new(group.main_queue(None)?);
        let fetch_queue = fetch.main_queue(Some(&queue))?;
        group.subscribe(&subscription.topics)?;
        let (events, received) = mpsc::unbounded_channel();
        let (left, departure) = watch::channel(None);
        let committer = Arc::new(Committer::new(Arc::clone(&group), Arc::clone(&queue)));
        let member = Self {
            queue: Arc::clone(&queue),
            committer: Arc::clone(&committer),
            leaving: Arc::default(),
            departure,
            group: Arc::clone(&group),
            fetch: Arc::downgrade(&fetch),
            turned: Arc::new(Mutex::new(Instant::now())),
        };
        let protocol = options.group.get("group.protocol").map(String::as_str);
        let tells_of_nothing = protocol == Some("consumer");
        let (reset, topics) = (options.offset_reset, subscription.topics.clone());
        let poller = Poller {
            starter: Starter::new(Arc::clone(&fetch), Arc::clone(&queue)),
            owned: Owned::new(
                fetch,
                Arc::clone(&queue),
                Arc::clone(&endpoint),
                Arc::clone(&committer),
                reset,
            ),
            topics: Topics::new(Arc::clone(&group), Arc::clone(&queue), topics, watch),
            group,
            queue,
            fetch_queue,
            endpoint,
            files,
            subscription: subscription.clone(),
            events: Some(events),
            committer,
            leaving: Arc::clone(&member.leaving),
            turned: Arc::clone(&member.turned),
            tells_of_nothing,
            untold: tells_of_nothing,
            draining: None,
            renewals: Vec::new(),
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

    /// Say how the client does.
    pub(crate) fn condition(&self) -> ClientCondition {
        let turned = *self.turned.lock().unwrap_or_else(PoisonError::into_inner);
        ClientCondition {
            connected: self.group.connected(),
            unserved: turned.elapsed(),
        }
    }

    /// Return where a partition's log ended when it was fetched last.
    pub(crate) fn log_end(&self, partition: &TopicPartition) -> Option<Offset> {
        self.fetch.upgrade()?.log_end(partition)
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

/// Partitions that drain and are kept.
struct Renewal {
    draining: Draining,
    begin: Begin,
}

impl Draining {
    fn is_over(&self) -> bool {
        self.drained.load(Ordering::SeqCst)
    }
}

/// The polling thread's own state.
struct Poller {
    /// The member of the group.
    group: Arc<Client>,
    queue: Arc<Queue>,
    /// Of the client that fetches.
    fetch_queue: Queue,
    owned: Owned,
    starter: Starter,
    topics: Topics,
    endpoint: Arc<Endpoint>,
    /// What both clients have read.
    files: Files,
    subscription: Subscription,
    /// Gone as soon as the member leaves, so that whoever waits for an event learns of it.
    events: Option<mpsc::UnboundedSender<Happening>>,
    committer: Arc<Committer>,
    leaving: Arc<AtomicBool>,
    /// When it last looked at the queues.
    turned: Arc<Mutex<Instant>>,
    /// Whether it is for us to say that the group gives nothing, see [`Poller::tell_of_nothing`].
    tells_of_nothing: bool,
    /// Whether nobody knows yet what the group gives.
    untold: bool,
    /// What the group has asked back.
    draining: Option<Draining>,
    /// Partitions that begin elsewhere when what runs of them has ended.
    renewals: Vec<Renewal>,
    /// When which trouble was last reported.
    reported: HashMap<(FaultKind, i32), Instant>,
}

impl Poller {
    fn run(mut self, left: &watch::Sender<Departure>) {
        while !self.leaving.load(Ordering::SeqCst) {
            *self.turned.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            if let Some(event) = self.queue.poll(self.patience()) {
                self.serve(event);
            }
            while let Some(event) = self.fetch_queue.poll(Duration::ZERO) {
                self.serve(event);
            }
            self.begin_anew_what_was_made_anew();
            self.finish_draining();
            self.finish_renewals();
            self.find_new_places();
            self.begin_at_commits();
            self.topics.look();
            self.look_at_files();
            self.tell_of_nothing();
        }
        let departure = self.leave();
        self.committer.give_up();
        left.send_replace(Some(departure));
    }

    /// Have new connections made with a new password; make room for a member that has read new certificates.
    fn look_at_files(&mut self) {
        match self.files.look() {
            Change::Nothing => {}
            Change::Password(new) => new.tell(|user, password| {
                self.group.set_credentials(user, password)?;
                self.owned.set_credentials(user, password)
            }),
            Change::Certificates => {
                let connection = self.endpoint.connection.clone();
                self.send(Err(TransportError::CertificatesReplaced { connection }));
                self.leaving.store(true, Ordering::SeqCst);
            }
        }
    }

    /// How long nothing needs to be done unless something happens.
    fn patience(&self) -> Duration {
        let idle = match (&self.draining, self.untold) {
            (Some(_), _) => DRAINING,
            (None, true) => UNTOLD,
            (None, false) => IDLE,
        };
        let now = Instant::now();
        let dues = [Some(self.topics.due()), self.starter.due(), self.files.due()];
        let until_due = dues
            .into_iter()
            .flatten()
            .map(|due| due.saturating_duration_since(now));
        until_due.fold(idle, Duration::min)
    }

    fn serve(&mut self, event: Event) {
        match event {
            Event::Assign(partitions) => self.assign(partitions),
            Event::Revoke(partitions) => self.revoke(partitions),
            Event::RebalanceFailed(fault) => self.abandon(fault),
            Event::Committed(token, answer) => self.committer.answer(token, answer),
            Event::Topics(seen) => self.topics.tell(&seen),
            Event::Error(fault) => self.trouble(fault),
            Event::Fatal(fault) => self.fail(fault),
        }
    }

    fn assign(&mut self, partitions: Vec<TopicPartition>) {
        self.acknowledge(true);
        self.take(&partitions);
        self.starter.add(partitions);
    }

    /// By the protocol of KIP-848 librdkafka says nothing of an assignment without partitions.
    fn tell_of_nothing(&mut self) {
        if self.untold && self.group.is_member() {
            self.take(&[]);
        }
    }

    fn take(&mut self, partitions: &[TopicPartition]) {
        self.untold = false;
        let assignments = self.owned.take(partitions);
        self.send(Ok(ConsumerEvent::Assigned(assignments)));
    }

    /// Begin to fetch what it has become known where to begin.
    fn begin_at_commits(&mut self) {
        let known = self.starter.serve();
        if let Some(fault) = known.trouble {
            self.trouble(fault);
        }
        let begun = self.owned.begin_at_commits(known.partitions, &self.topics);
        if let Err(fault) = begun {
            self.fail(fault);
        }
    }

    fn begin_anew_what_was_made_anew(&mut self) {
        for topic in self.topics.compare() {
            self.begin_anew(&topic);
        }
    }

    /// Begin a topic that is not the one of before at its oldest record.
    fn begin_anew(&mut self, topic: &str) {
        let partitions = self.owned.of_topic(topic);
        let fault = Fault::topic_recreated(topic);
        if self.owned.stops_at_resets() {
            return partitions
                .iter()
                .for_each(|partition| self.owned.fail(partition, &fault));
        }
        let error = self.endpoint.consuming(&self.subscription, fault);
        self.send(Ok(ConsumerEvent::Trouble(error)));
        self.renew(partitions, Begin::Oldest);
    }

    /// Begin elsewhere where a log cannot be read from where the group is.
    fn find_new_places(&mut self) {
        let partitions = self.owned.without_a_place();
        if partitions.is_empty() {
            return;
        }
        // Perhaps these are other logs than before.
        self.topics.hurry();
        for partition in &partitions {
            let partition = partition.clone();
            self.send(Ok(ConsumerEvent::Trouble(TransportError::OffsetReset {
                partition,
            })));
        }
        self.renew(partitions, self.owned.reset_place());
    }

    /// Take partitions back, without a commit, and begin them elsewhere when what runs of them has ended;
    /// those that the group has asked back are none of ours soon.
    fn renew(&mut self, mut partitions: Vec<TopicPartition>, begin: Begin) {
        self.committer.disown(&partitions);
        if let Some(draining) = &self.draining {
            partitions.retain(|partition| !draining.partitions.contains(partition));
        }
        for renewal in &mut self.renewals {
            let under_way = &mut renewal.draining.partitions;
            if under_way.iter().any(|partition| partitions.contains(partition)) {
                renewal.begin = begin;
                partitions.retain(|partition| !under_way.contains(partition));
            }
        }
        if !partitions.is_empty() {
            let draining = self.ask_back(partitions);
            self.renewals.push(Renewal { draining, begin });
        }
    }

    fn finish_renewals(&mut self) {
        let is_over = |renewal: &mut Renewal| renewal.draining.is_over();
        for renewal in self.renewals.extract_if(.., is_over).collect::<Vec<_>>() {
            let partitions = renewal.draining.partitions;
            if partitions.is_empty() {
                continue; // the group has taken them back meanwhile
            }
            self.owned.stop(&partitions);
            self.take(&partitions);
            let places = partitions.into_iter().map(|partition| (partition, renewal.begin));
            if let Err(fault) = self.owned.begin(places.collect()) {
                return self.fail(fault);
            }
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
        self.forget(&partitions);
        // Perhaps they go because their topic is gone.
        self.topics.hurry();
        self.draining = Some(self.ask_back(partitions));
    }

    /// Ask the application for partitions.
    fn ask_back(&self, partitions: Vec<TopicPartition>) -> Draining {
        let drained = Arc::new(AtomicBool::new(false));
        let slots = self.owned.slots(&partitions);
        let (done, queue) = (Arc::clone(&drained), Arc::clone(&self.queue));
        // Whoever completes it finds the streams ended at once, and nothing more is committed for them; the
        // thread does the rest. It may be late: then it concerns these streams, and not those of another
        // assignment of the same partitions.
        let revocation = Revocation::notifying(partitions.clone(), move || {
            slots.iter().for_each(|slot| slot.end());
            done.store(true, Ordering::SeqCst);
            queue.wake();
        });
        self.send(Ok(ConsumerEvent::Revoked(revocation)));
        Draining { partitions, drained }
    }

    /// Begin nothing more of partitions that go.
    fn forget(&mut self, partitions: &[TopicPartition]) {
        self.starter.forget(partitions);
        for renewal in &mut self.renewals {
            let under_way = &mut renewal.draining.partitions;
            under_way.retain(|partition| !partitions.contains(partition));
        }
    }

    /// Give revoked partitions back if they have drained, or if the group no longer waits for them.
    fn finish_draining(&mut self) {
        let Some(draining) = &self.draining else { return };
        let drained = draining.is_over();
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
        self.untold = self.tells_of_nothing;
        if !partitions.is_empty() {
            self.send(Ok(ConsumerEvent::Lost(partitions)));
        }
    }

    fn give_back(&mut self, partitions: &[TopicPartition]) {
        self.stop(partitions);
        self.acknowledge(false);
    }

    fn stop(&mut self, partitions: &[TopicPartition]) {
        self.forget(partitions);
        self.owned.stop(partitions);
    }

    fn acknowledge(&self, taken: bool) {
        if let Err(fault) = self.group.acknowledge(taken) {
            tracing::warn!(%fault, "the group does not take the answer to its rebalance");
        }
    }

    /// Give everything back after a rebalance that failed; librdkafka joins the group anew.
    fn abandon(&mut self, fault: Fault) {
        let partitions = self.owned.all();
        self.draining = None;
        self.lose(partitions);
        self.trouble(fault);
    }

    /// Report what librdkafka goes on to repair, each kind once in a while.
    ///
    /// A member that never came to read, since it is not allowed to, does not get there by waiting.
    fn trouble(&mut self, fault: Fault) {
        if fault.kind == FaultKind::Forbidden && !self.owned.has_begun() {
            return self.fail(fault);
        }
        if fault.kind == FaultKind::Authentication {
            self.files.hurry();
        }
        let now = Instant::now();
        let last = self.reported.insert((fault.kind, fault.code as i32), now);
        if last.is_some_and(|last| now.duration_since(last) < QUIET) {
            tracing::debug!(%fault, "trouble again with Kafka");
            return;
        }
        if fault.kind == FaultKind::UnknownTopic {
            self.topics.hurry();
        }
        let error = self.endpoint.consuming(&self.subscription, fault);
        self.send(Ok(ConsumerEvent::Trouble(error)));
    }

    /// End the consumer: librdkafka cannot go on.
    fn fail(&mut self, fault: Fault) {
        let error = self.endpoint.consuming(&self.subscription, fault);
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
        self.stop(&self.owned.all());
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
                Some(Event::Topics(_)) | None => {}
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
    use super::super::sockets::Carries;

    fn consumer(servers: &str) -> Arc<Client> {
        let options = [("bootstrap.servers", servers), ("group.id", "tests")];
        let options: BTreeMap<_, _> = options
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        Client::consumer(&options, Carries::Messages).expect("valid options")
    }

    #[test]
    fn what_happens_to_the_client_that_fetches_wakes_the_thread() {
        // Nobody to ask, so nothing happens to it.
        let queue = Arc::new(consumer("").main_queue(None).expect("a consumer has one"));
        // Nobody listens there, which is told.
        let fetch = consumer("127.0.0.1:1");
        let fetch_queue = fetch.main_queue(Some(&queue)).expect("a consumer has one");
        let (begun, patience) = (Instant::now(), Duration::from_secs(60));
        let told = loop {
            assert!(queue.poll(patience).is_none());
            assert!(begun.elapsed() < patience, "it waited until its time was over");
            if let Some(event) = fetch_queue.poll(Duration::ZERO) {
                break event;
            }
        };
        assert!(matches!(told, Event::Error(_)), "{told:?}");
    }
}
