//! The way between an instance and the embedded broker: each call meets the fate that the seed has
//! for it, and the checker sees what passes.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use athomic_core::dead_letter::headers as names;
use athomic_core::message::{
    Headers, Offset, Partition, PartitionOffset, RecordBatch, Timestamp, TopicPartition,
};
use athomic_core::transport::memory::{
    Fault, FaultRule, MemoryAdmin, MemoryConsumer, MemoryPublisher, MemoryTransport, Operation,
};
use athomic_core::transport::{
    Admin, Assignment, ClientCondition, Consumer, ConsumerEvent, Delivery, FetchLimits, Fetched, NewTopic,
    OutgoingMessage, PartitionStream, Publisher, Revocation, Subscription, Transport, TransportError,
};
use tokio::time::{Sleep, sleep};

use crate::event::{Event, Instance, Tenure};
use crate::fate::{Effect, Fate, Leg, Point};
use crate::world::{GROUP, World, failure};

/// The header by which a handler learns the epoch of its assignment.
pub(crate) const EPOCH: &str = "epoch";

/// The connection of one instance.
pub(crate) struct SimulatedTransport {
    pub(crate) world: Arc<World>,
    pub(crate) instance: Instance,
    pub(crate) inner: MemoryTransport,
}

impl Transport for SimulatedTransport {
    type Consumer = SimulatedConsumer;
    type Publisher = SimulatedPublisher;
    type Admin = SimulatedAdmin;

    fn system(&self) -> &'static str {
        self.inner.system()
    }

    async fn consumer(&self, subscription: Subscription) -> Result<SimulatedConsumer, TransportError> {
        let join = async {
            let inner = self.inner.consumer(subscription).await?;
            self.world.has_joined(self.instance, inner.member_id());
            Ok(SimulatedConsumer {
                world: Arc::clone(&self.world),
                instance: self.instance,
                inner,
                arriving: Mutex::default(),
            })
        };
        self.world.call(self.instance, Point::Join, join).await
    }

    fn now(&self) -> athomic_core::message::Timestamp {
        self.inner.now()
    }

    async fn publisher(&self) -> Result<SimulatedPublisher, TransportError> {
        Ok(SimulatedPublisher {
            world: Arc::clone(&self.world),
            instance: self.instance,
            inner: self.inner.publisher().await?,
        })
    }

    async fn admin(&self) -> Result<SimulatedAdmin, TransportError> {
        Ok(SimulatedAdmin {
            world: Arc::clone(&self.world),
            instance: self.instance,
            inner: self.inner.admin().await?,
        })
    }
}

pub(crate) struct SimulatedConsumer {
    world: Arc<World>,
    instance: Instance,
    inner: MemoryConsumer,
    /// The event on its way, and what it still waits for: who waits for it may be dropped meanwhile.
    arriving: Mutex<Option<(ConsumerEvent, Journey)>>,
}

impl SimulatedConsumer {
    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<Option<ConsumerEvent>> {
        let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, journey)) = &mut *arriving else {
            return Poll::Ready(None);
        };
        ready!(journey.poll(&self.world, cx));
        Poll::Ready(arriving.take().map(|(event, _)| event))
    }

    /// Say whether the client knows already that partitions are lost, and the instance does not.
    fn has_lost(&self, offsets: &[PartitionOffset]) -> bool {
        let arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((ConsumerEvent::Lost(lost), _)) = &*arriving else {
            return false;
        };
        offsets.iter().any(|offset| lost.contains(&offset.partition))
    }

    /// Take note of an event, and stand between the instance and what it brings.
    fn deliver(&self, event: ConsumerEvent) -> ConsumerEvent {
        match event {
            ConsumerEvent::Assigned(assignments) => {
                let assign = |assignment| self.assign(assignment);
                ConsumerEvent::Assigned(assignments.into_iter().map(assign).collect())
            }
            ConsumerEvent::Revoked(revocation) => ConsumerEvent::Revoked(self.revoke(revocation)),
            ConsumerEvent::Lost(partitions) => {
                for partition in &partitions {
                    self.world.note(Event::Lost(self.instance, partition.partition));
                }
                ConsumerEvent::Lost(partitions)
            }
            other => other,
        }
    }

    fn assign(&self, assignment: Assignment) -> Assignment {
        let tenure = Tenure {
            instance: self.instance,
            partition: assignment.partition.partition,
            epoch: assignment.epoch.0,
        };
        self.world.note(Event::Assigned(tenure));
        let stream = SimulatedStream {
            world: Arc::clone(&self.world),
            tenure,
            inner: assignment.stream,
            call: None,
        };
        Assignment {
            stream: Box::new(stream),
            ..assignment
        }
    }

    fn revoke(&self, inner: Revocation) -> Revocation {
        let (world, instance) = (Arc::clone(&self.world), self.instance);
        let held: Vec<_> = inner
            .partitions
            .iter()
            .filter_map(|partition| world.inspect(|checker, _| checker.held(instance, partition.partition)))
            .collect();
        Revocation::notifying(inner.partitions.clone(), move || {
            if world.is_killed(instance) {
                return std::mem::forget(inner);
            }
            for tenure in held {
                world.note(Event::GivenBack(tenure));
            }
            give_back(world, instance, inner);
        })
    }
}

/// Give partitions back as the seed wants it: late, or never, and then the group goes on without us.
fn give_back(world: Arc<World>, instance: Instance, revocation: Revocation) {
    let fate = world.fate(instance, Point::GiveBack);
    tokio::spawn(async move {
        world.travel(instance, fate.there).await;
        if fate.effect == Effect::Fail {
            return std::mem::forget(revocation);
        }
        revocation.complete();
    });
}

impl Consumer for SimulatedConsumer {
    async fn next_event(&self) -> Result<ConsumerEvent, TransportError> {
        loop {
            self.world.live(self.instance).await;
            if let Some(event) = std::future::poll_fn(|cx| self.poll_event(cx)).await {
                return Ok(self.deliver(event));
            }
            let event = self.inner.next_event().await?;
            let leg = self.world.leg(self.instance, Point::Event);
            let journey = Journey::begin(&self.world, self.instance, leg);
            *self.arriving.lock().unwrap_or_else(PoisonError::into_inner) = Some((event, journey));
        }
    }

    async fn commit(&self, offsets: &[PartitionOffset]) -> Result<(), TransportError> {
        self.world.live(self.instance).await;
        let place = |offset: &PartitionOffset| (offset.partition.partition, offset.offset);
        let places = offsets.iter().map(place).collect();
        self.world.note(Event::Commit(self.instance, places));
        if self.has_lost(offsets) {
            let source = "a loss is on its way".into();
            return Err(TransportError::Fenced { source });
        }
        // The broker's own faults hold it back: that it belongs to the assignments of this moment is
        // part of what is sent.
        let fate = self.world.fate(self.instance, Point::Commit);
        let control = &self.world.control;
        control.inject_next(FaultRule::next(Operation::Commit, fault_of(fate)).group(GROUP));
        let mut commit = pin!(self.inner.commit(offsets));
        let mut result = futures_util::poll!(&mut commit);
        for leg in [fate.there, fate.back] {
            let rest = Leg {
                delay: Duration::ZERO,
                ..leg
            };
            self.world.travel(self.instance, rest).await;
        }
        if result.is_pending() {
            result = Poll::Ready(commit.await);
        }
        self.world.live(self.instance).await;
        match result {
            Poll::Ready(result) => result,
            Poll::Pending => unreachable!("awaited above"),
        }
    }

    fn condition(&self) -> ClientCondition {
        self.inner.condition()
    }

    fn log_end(&self, partition: &TopicPartition) -> Option<Offset> {
        self.inner.log_end(partition)
    }

    fn prepare_to_close(&self) {
        self.inner.prepare_to_close();
    }

    async fn close(&self) -> Result<(), TransportError> {
        self.world.live(self.instance).await;
        self.world.note(Event::Leaving(self.instance));
        self.world
            .call(self.instance, Point::Leave, self.inner.close())
            .await
    }
}

fn fault_of(fate: Fate) -> Fault {
    let fault = match fate.effect {
        Effect::Nothing => Fault::NONE,
        Effect::Fail | Effect::ComeLate => Fault::fail(),
        Effect::LoseReply => Fault::fail_after_applying(),
    };
    fault.delayed(fate.there.delay).reply_delayed(fate.back.delay)
}

/// Something on its way, for those who poll.
struct Journey {
    instance: Instance,
    yields: u8,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Journey {
    fn begin(world: &Arc<World>, instance: Instance, leg: Leg) -> Self {
        if let Some(disturbance) = leg.disturbance {
            world.disturb(Some(instance), disturbance);
        }
        Self {
            instance,
            yields: leg.yields,
            sleep: (!leg.delay.is_zero()).then(|| Box::pin(sleep(leg.delay))),
        }
    }

    /// Never ready if the instance is killed.
    fn poll(&mut self, world: &World, cx: &mut Context<'_>) -> Poll<()> {
        if world.is_killed(self.instance) {
            return Poll::Pending;
        }
        if let Some(left) = self.yields.checked_sub(1) {
            self.yields = left;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.sleep
            .as_mut()
            .map_or(Poll::Ready(()), |sleep| sleep.as_mut().poll(cx))
    }
}

struct SimulatedStream {
    world: Arc<World>,
    tenure: Tenure,
    inner: Box<dyn PartitionStream>,
    call: Option<FetchCall>,
}

/// A fetch under way.
struct FetchCall {
    fate: Fate,
    journey: Journey,
    fetched: Option<Result<Fetched, TransportError>>,
}

impl SimulatedStream {
    fn deliver(&self, fetched: Fetched) -> Fetched {
        // What was on its way when the partition went is void.
        if !self.world.holds(self.tenure) {
            return Fetched::Ended;
        }
        match fetched {
            Fetched::Records(inner) => {
                let offsets = (0..inner.len()).map(|index| inner.offset(index)).collect();
                self.world.note(Event::Fetched(self.tenure, offsets));
                let epoch = self.tenure.epoch;
                Fetched::Records(Arc::new(Stamped { inner, epoch }))
            }
            Fetched::Position(offset) => {
                self.world.note(Event::Position(self.tenure, offset));
                Fetched::Position(offset)
            }
            Fetched::Ended => Fetched::Ended,
        }
    }
}

impl PartitionStream for SimulatedStream {
    fn poll_fetch(
        &mut self,
        cx: &mut Context<'_>,
        limits: FetchLimits,
    ) -> Poll<Result<Fetched, TransportError>> {
        let (world, instance) = (&self.world, self.tenure.instance);
        let call = self.call.get_or_insert_with(|| {
            let fate = world.fate(instance, Point::Fetch);
            FetchCall {
                fate,
                journey: Journey::begin(world, instance, fate.there),
                fetched: None,
            }
        });
        ready!(call.journey.poll(world, cx));
        if call.fetched.is_none() {
            // A reply that is lost is asked for again.
            let fetched = if call.fate.effect == Effect::Nothing {
                ready!(self.inner.poll_fetch(cx, limits))
            } else {
                Err(failure(Point::Fetch))
            };
            call.fetched = Some(fetched);
            call.journey = Journey::begin(world, instance, call.fate.back);
            ready!(call.journey.poll(world, cx));
        }
        let fetched = self.call.take().and_then(|call| call.fetched);
        let fetched = fetched.expect("set above")?;
        Poll::Ready(Ok(self.deliver(fetched)))
    }
}

/// Messages that know the epoch of their assignment.
struct Stamped {
    inner: Arc<dyn RecordBatch>,
    epoch: u64,
}

impl RecordBatch for Stamped {
    fn partition(&self) -> &TopicPartition {
        self.inner.partition()
    }

    fn len(&self) -> usize {
        self.inner.len()
    }

    fn offset(&self, index: usize) -> Offset {
        self.inner.offset(index)
    }

    fn key(&self, index: usize) -> Option<&[u8]> {
        self.inner.key(index)
    }

    fn payload(&self, index: usize) -> Option<&[u8]> {
        self.inner.payload(index)
    }

    fn timestamp(&self, index: usize) -> Option<Timestamp> {
        self.inner.timestamp(index)
    }

    fn header(&self, index: usize, name: &str) -> Option<&[u8]> {
        self.inner.header(index, name)
    }

    fn headers(&self, index: usize) -> Headers {
        self.inner.headers(index).with(EPOCH, self.epoch.to_string())
    }
}

/// Publishes dead letters: nothing else is published here.
pub(crate) struct SimulatedPublisher {
    world: Arc<World>,
    instance: Instance,
    inner: MemoryPublisher,
}

impl SimulatedPublisher {
    async fn publish_one(&self, letter: OutgoingMessage) -> Result<Delivery, TransportError> {
        let place = place_of(&letter.headers);
        let write = async {
            let written = self.inner.publish(vec![letter]).await.pop();
            let delivery = written.expect("one result for one message")?;
            let (partition, offset) = place.expect("a dead letter names the message's place");
            self.world.note(Event::Letter(partition, offset));
            Ok(delivery)
        };
        self.world.call(self.instance, Point::Publish, write).await
    }
}

/// Read where the message stood that a dead letter is about.
fn place_of(headers: &Headers) -> Option<(Partition, Offset)> {
    let number = |name| std::str::from_utf8(headers.get(name)?).ok()?.parse::<i64>().ok();
    let partition = Partition::try_from(number(names::ERRORS_PARTITION)?).ok()?;
    Some((partition, number(names::ERRORS_OFFSET)?))
}

impl Publisher for SimulatedPublisher {
    async fn publish(&self, messages: Vec<OutgoingMessage>) -> Vec<Result<Delivery, TransportError>> {
        let mut results = Vec::with_capacity(messages.len());
        for message in messages {
            results.push(self.publish_one(message).await);
        }
        results
    }

    async fn flush(&self, timeout: Duration) -> Result<(), TransportError> {
        self.inner.flush(timeout).await
    }
}

pub(crate) struct SimulatedAdmin {
    world: Arc<World>,
    instance: Instance,
    inner: MemoryAdmin,
}

impl Admin for SimulatedAdmin {
    async fn partitions(&self, topics: &[String]) -> Result<BTreeMap<String, Partition>, TransportError> {
        let call = self.inner.partitions(topics);
        self.world.call(self.instance, Point::Admin, call).await
    }

    async fn create_topics(&self, topics: &[NewTopic]) -> Result<(), TransportError> {
        let call = self.inner.create_topics(topics);
        self.world.call(self.instance, Point::Admin, call).await
    }

    async fn topic_settings(
        &self,
        topics: &[String],
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>, TransportError> {
        let call = self.inner.topic_settings(topics);
        self.world.call(self.instance, Point::Admin, call).await
    }

    async fn committed(
        &self,
        group_id: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<PartitionOffset>, TransportError> {
        let call = self.inner.committed(group_id, partitions);
        self.world.call(self.instance, Point::Admin, call).await
    }
}
