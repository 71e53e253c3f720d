//! Groups on the embedded broker under any sequence of joins, deaths, cuts and stops.
//!
//! Whatever happens: nobody reads beside the owner, epochs rise, commits come from owners only. And
//! once all is healed, everything is owned, and every message that was published was read.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use athomic_core::message::{Offset, PartitionOffset, TopicPartition};
use athomic_core::transport::memory::{BrokerControl, MemoryBroker, MemoryConsumer, MemoryConsumerConfig};
use athomic_core::transport::{
    Assignment, AssignmentEpoch, Consumer, ConsumerEvent, FetchLimits, FetchOverrides, Fetched,
    OutgoingMessage, Revocation, Subscription, Transport,
};
use futures_util::FutureExt;
use proptest::prelude::*;

const GROUP: &str = "g";
const TOPICS: [&str; 2] = ["a", "b"];
const LIMITS: FetchLimits = FetchLimits {
    messages: 2,
    bytes: usize::MAX,
};

#[derive(Debug, Clone, Copy)]
enum Action {
    Join { both_topics: bool },
    Close(usize),
    Kill(usize),
    Listen(usize),
    Read(usize),
    Commit(usize),
    GiveBack(usize),
    Publish(usize, i32),
    WriteUnseen(usize, i32),
    Grow(usize),
    Silence(usize),
    Reconnect(usize),
    Expire(usize),
    Rebalance,
    Stop,
    Start,
    Wait(u64),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let who = 0..4_usize;
    let topic = 0..2_usize;
    let action = prop_oneof![
        3 => any::<bool>().prop_map(|both_topics| Action::Join { both_topics }),
        1 => who.clone().prop_map(Action::Close),
        1 => who.clone().prop_map(Action::Kill),
        6 => who.clone().prop_map(Action::Listen),
        4 => who.clone().prop_map(Action::Read),
        2 => who.clone().prop_map(Action::Commit),
        3 => who.clone().prop_map(Action::GiveBack),
        4 => (topic.clone(), 0..3).prop_map(|(topic, partition)| Action::Publish(topic, partition)),
        1 => (topic.clone(), 0..3).prop_map(|(topic, partition)| Action::WriteUnseen(topic, partition)),
        1 => topic.prop_map(Action::Grow),
        1 => who.clone().prop_map(Action::Silence),
        1 => who.clone().prop_map(Action::Reconnect),
        1 => who.prop_map(Action::Expire),
        1 => Just(Action::Rebalance),
        1 => Just(Action::Stop),
        2 => Just(Action::Start),
        2 => (1..400_u64).prop_map(Action::Wait),
    ];
    prop::collection::vec(action, 1..80)
}

/// A consumer that a test moves by hand.
struct Actor {
    consumer: MemoryConsumer,
    streams: Vec<Assignment>,
    revocations: Vec<Revocation>,
    /// How far each assigned partition was read; committed from here.
    positions: BTreeMap<TopicPartition, Offset>,
    epochs: BTreeMap<TopicPartition, AssignmentEpoch>,
}

struct World {
    broker: MemoryBroker,
    control: BrokerControl,
    actors: Vec<Actor>,
    /// Streams whose consumer is gone; they must have ended.
    orphans: Vec<Assignment>,
    published: BTreeSet<(TopicPartition, Offset)>,
    read: BTreeSet<(TopicPartition, Offset)>,
}

impl Actor {
    fn new(consumer: MemoryConsumer) -> Self {
        Self {
            consumer,
            streams: Vec::new(),
            revocations: Vec::new(),
            positions: BTreeMap::new(),
            epochs: BTreeMap::new(),
        }
    }

    /// Take all events that there are.
    fn listen(&mut self) -> bool {
        let mut heard = false;
        while let Some(event) = self.consumer.next_event().now_or_never() {
            heard = true;
            match event.unwrap() {
                ConsumerEvent::Assigned(assignments) => {
                    for assignment in assignments {
                        let epoch = self.epochs.insert(assignment.partition.clone(), assignment.epoch);
                        assert!(epoch < Some(assignment.epoch), "{assignment:?} after {epoch:?}");
                        assert!(
                            self.streams
                                .iter()
                                .all(|held| held.partition != assignment.partition)
                        );
                        self.streams.push(assignment);
                    }
                }
                ConsumerEvent::Revoked(revocation) => self.revocations.push(revocation),
                ConsumerEvent::Lost(partitions) => {
                    // It may name what was given back too late: the member could not know.
                    partitions.iter().for_each(|partition| self.forget(partition));
                    // A loss takes with it what was asked back before.
                    self.revocations.clear();
                }
                ConsumerEvent::Trouble(_passing) => {}
            }
        }
        heard
    }

    fn forget(&mut self, partition: &TopicPartition) {
        self.streams.retain(|held| held.partition != *partition);
        self.positions.remove(partition);
    }

    /// Read all that there is; return what was read.
    fn read(&mut self) -> Vec<(TopicPartition, Offset)> {
        let mut read = Vec::new();
        for held in &mut self.streams {
            while let Poll::Ready(fetched) = poll(held) {
                match fetched {
                    Fetched::Records(batch) => {
                        for index in 0..batch.len() {
                            let offset = batch.offset(index);
                            let position = self.positions.insert(held.partition.clone(), offset + 1);
                            assert!(position <= Some(offset), "{}: {offset} again", held.partition);
                            read.push((held.partition.clone(), offset));
                        }
                    }
                    Fetched::Position(offset) => {
                        self.positions.insert(held.partition.clone(), offset);
                    }
                    Fetched::Ended => break,
                }
            }
        }
        read
    }

    fn commit(&self, control: &BrokerControl) {
        let offset = |(partition, offset): (&TopicPartition, &Offset)| PartitionOffset {
            partition: partition.clone(),
            offset: *offset,
        };
        let offsets: Vec<_> = self.positions.iter().map(offset).collect();
        let committed = self.consumer.commit(&offsets).now_or_never();
        if committed.expect("no fault delays it").is_ok() {
            let members = control.members(GROUP);
            let me = members
                .iter()
                .find(|member| member.id == self.consumer.member_id())
                .unwrap();
            assert!(
                offsets
                    .iter()
                    .all(|offset| me.partitions.contains(&offset.partition))
            );
        }
    }

    fn give_back(&mut self, control: &BrokerControl) -> bool {
        self.commit(control);
        let revocations = std::mem::take(&mut self.revocations);
        let any = !revocations.is_empty();
        for revocation in revocations {
            for partition in &revocation.partitions {
                self.forget(partition);
            }
            revocation.complete();
        }
        any
    }
}

fn poll(held: &mut Assignment) -> Poll<Fetched> {
    let mut context = Context::from_waker(Waker::noop());
    held.stream.poll_fetch(&mut context, LIMITS).map(Result::unwrap)
}

impl World {
    fn new() -> Self {
        let broker = MemoryBroker::new();
        let control = broker.control();
        TOPICS.iter().for_each(|topic| control.create_topic(topic, 2));
        Self {
            broker,
            control,
            actors: Vec::new(),
            orphans: Vec::new(),
            published: BTreeSet::new(),
            read: BTreeSet::new(),
        }
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Join { both_topics } => self.join(both_topics).await,
            Action::Close(who) => {
                if let Some(actor) = self.remove(who) {
                    let _told_or_not = actor.consumer.close().await;
                    self.orphans.extend(actor.streams);
                }
            }
            Action::Kill(who) => {
                if let Some(actor) = self.remove(who) {
                    drop(actor.consumer);
                    self.orphans.extend(actor.streams);
                }
            }
            Action::Listen(who) => self.on(who, |actor, _| {
                actor.listen();
            }),
            Action::Read(who) => {
                let read = self.actors.get_mut(who).map(Actor::read);
                self.read.extend(read.unwrap_or_default());
            }
            Action::Commit(who) => self.on(who, |actor, control| actor.commit(control)),
            Action::GiveBack(who) => self.on(who, |actor, control| {
                actor.give_back(control);
            }),
            Action::Publish(topic, partition) => self.publish(topic, partition),
            Action::WriteUnseen(topic, partition) => {
                let _no_such = self
                    .control
                    .write_unseen(&TopicPartition::new(TOPICS[topic], partition), 1);
            }
            Action::Grow(topic) => self.control.add_partitions(TOPICS[topic], 3).unwrap(),
            Action::Silence(who) => self.on(who, |actor, control| {
                control.silence(GROUP, actor.consumer.member_id());
            }),
            Action::Reconnect(who) => self.on(who, |actor, control| {
                control.reconnect(GROUP, actor.consumer.member_id());
            }),
            Action::Expire(who) => self.on(who, |actor, control| {
                control.expire_session(GROUP, actor.consumer.member_id());
            }),
            Action::Rebalance => self.control.rebalance(GROUP),
            Action::Stop => self.control.stop(),
            Action::Start => self.control.start(),
            Action::Wait(seconds) => tokio::time::advance(Duration::from_secs(seconds)).await,
        }
    }

    async fn join(&mut self, both_topics: bool) {
        let topics = if both_topics { &TOPICS[..] } else { &TOPICS[..1] };
        let subscription = Subscription {
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            group_id: GROUP.into(),
            handler_id: "h".into(),
            fetch: FetchOverrides::default(),
        };
        let transport = self.broker.transport(MemoryConsumerConfig::default());
        if let Ok(consumer) = transport.consumer(subscription).await {
            self.actors.push(Actor::new(consumer));
        }
    }

    fn remove(&mut self, who: usize) -> Option<Actor> {
        (who < self.actors.len()).then(|| self.actors.remove(who))
    }

    fn on(&mut self, who: usize, act: impl FnOnce(&mut Actor, &BrokerControl)) {
        if let Some(actor) = self.actors.get_mut(who) {
            act(actor, &self.control);
        }
    }

    fn publish(&mut self, topic: usize, partition: i32) {
        let message = OutgoingMessage {
            topic: TOPICS[topic].into(),
            partition: Some(partition),
            ..OutgoingMessage::default()
        };
        if let Ok(delivery) = self.control.publish(message) {
            self.published.insert((delivery.partition, delivery.offset));
        }
    }

    /// What must hold at any time.
    fn check(&mut self) {
        for orphan in &mut self.orphans {
            assert!(
                matches!(poll(orphan), Poll::Ready(Fetched::Ended)),
                "{orphan:?} goes on"
            );
        }
        let members = self.control.members(GROUP);
        let owned: Vec<_> = members.iter().flat_map(|member| &member.partitions).collect();
        assert_eq!(
            owned.iter().collect::<BTreeSet<_>>().len(),
            owned.len(),
            "owned twice: {members:?}"
        );
        // Who is not the owner reads nothing, not even what was there before.
        for actor in &mut self.actors {
            let me = members
                .iter()
                .find(|member| member.id == actor.consumer.member_id());
            let owned = me.map(|member| member.partitions.as_slice()).unwrap_or_default();
            for held in actor
                .streams
                .iter_mut()
                .filter(|held| !owned.contains(&held.partition))
            {
                let fetched = poll(held);
                assert!(
                    matches!(fetched, Poll::Pending | Poll::Ready(Fetched::Ended)),
                    "{held:?} is read beside its owner"
                );
            }
        }
    }

    /// Mend everything, and let everybody behave until nothing happens any more.
    async fn heal(&mut self) {
        self.control.start();
        self.join(true).await;
        for actor in &self.actors {
            self.control.reconnect(GROUP, actor.consumer.member_id());
        }
        // The dead are gone after their session; a drain may wait for one before it.
        tokio::time::advance(Duration::from_secs(46)).await;
        loop {
            let mut busy = false;
            for actor in &mut self.actors {
                busy |= actor.listen();
                let read = actor.read();
                busy |= !read.is_empty();
                self.read.extend(read);
                busy |= actor.give_back(&self.control);
            }
            self.check();
            if !busy {
                break;
            }
        }
    }

    /// What must hold once all is mended.
    fn check_healed(&self) {
        let members = self.control.members(GROUP);
        assert!(
            members.iter().all(|member| member.alive && member.joined),
            "{members:?}"
        );
        let owned: usize = members.iter().map(|member| member.partitions.len()).sum();
        let held: usize = self.actors.iter().map(|actor| actor.streams.len()).sum();
        let exist = TOPICS.iter().map(|topic| {
            let exists = |number: &i32| {
                self.control
                    .offsets(&TopicPartition::new(*topic, *number))
                    .is_ok()
            };
            (0..3).filter(exists).count()
        });
        let exist: usize = exist.sum();
        assert_eq!((owned, held), (exist, exist), "{members:?}");
        let missed: Vec<_> = self.published.difference(&self.read).collect();
        assert!(missed.is_empty(), "never read: {missed:?}");
    }
}

fn run(actions: &[Action]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new();
        for action in actions {
            world.act(*action).await;
            world.check();
        }
        world.heal().await;
        world.check_healed();
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn groups_survive_anything(actions in actions()) {
        run(&actions);
    }
}
