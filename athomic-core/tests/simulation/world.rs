//! What all instances of a run share: the broker, the seed's decisions, the trace and the checker.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use athomic_core::message::{Offset, Partition, Timestamp, TopicPartition};
use athomic_core::store::memory::{MemoryOrdering, OrderingSnapshot, StoreClock};
use athomic_core::transport::memory::{BrokerControl, MemberId, MemoryBroker};
use athomic_core::transport::{OutgoingMessage, TransportError};
use tokio::time::{Instant, sleep};

use crate::chance::Chance;
use crate::checker::{Checker, Rules};
use crate::event::{Event, Instance, Tenure, Trace};
use crate::fate::{Disturbance, Effect, Fate, Leg, Point, Weather};
use crate::marks::Marks;
use crate::ordered::{Plan, checker::OrderChecker};

pub(crate) const TOPIC: &str = "t";
/// Where dead letters go.
pub(crate) const LETTERS: &str = "letters";
pub(crate) const GROUP: &str = "g";
pub(crate) const PARTITIONS: Partition = 3;

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) broker: MemoryBroker,
    pub(crate) control: BrokerControl,
    /// How aggregates are ordered, in runs of that.
    pub(crate) plan: Option<Plan>,
    /// What is remembered of messages, in runs with idempotency.
    pub(crate) marks: Option<Marks>,
    pub(crate) clock: StoreClock,
    began: Instant,
    state: Mutex<State>,
}

struct State {
    chance: Chance,
    weather: Weather,
    is_calm: bool,
    trace: Trace,
    checker: Checker,
    /// By the number of the instance.
    instances: Vec<Process>,
    executions: usize,
    /// Outages that are not over.
    outages: usize,
    /// How many of the broker's commits are in the trace.
    commits: usize,
    /// What keeps the order, once somebody was connected to it.
    store: Option<MemoryOrdering>,
    snapshot: Option<OrderingSnapshot>,
    store_outages: usize,
    /// When the store counted something of each aggregate last, by its clock.
    counted: BTreeMap<u64, i64>,
}

/// One instance as the world sees it.
#[derive(Default)]
struct Process {
    killed: bool,
    /// Its present member of the group.
    member: Option<MemberId>,
}

/// More events than any run has that makes progress.
const TOO_MANY_EVENTS: usize = 100_000;

impl World {
    pub(crate) fn new(seed: u64, rules: Rules, plan: Option<Plan>, once: bool) -> Arc<Self> {
        let broker = MemoryBroker::started_at(Timestamp::from_millis(0));
        let control = broker.control();
        for topic in [TOPIC, LETTERS] {
            control.create_topic(topic, PARTITIONS.unsigned_abs());
        }
        control.record_commits(GROUP);
        let mut chance = Chance::new(seed);
        let state = State {
            weather: Weather::new(&mut chance, PARTITIONS, plan.is_some() || once),
            chance,
            is_calm: false,
            trace: Trace::default(),
            checker: Checker::new(rules, plan.as_ref().map(OrderChecker::new)),
            instances: Vec::new(),
            executions: 0,
            outages: 0,
            commits: 0,
            store: None,
            snapshot: None,
            store_outages: 0,
            counted: BTreeMap::new(),
        };
        let clock = StoreClock::starting_at(0);
        Arc::new(Self {
            seed,
            broker,
            control,
            plan,
            marks: once.then(|| Marks::new(&clock)),
            clock,
            began: Instant::now(),
            state: Mutex::new(state),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Take note of what happens, after what the broker has done since the last time.
    pub(crate) fn note(&self, event: Event) {
        let known = self.state().commits;
        for commit in self.control.recorded_commits_after(GROUP, known) {
            self.state().commits += 1;
            self.push(Event::Committed {
                epoch: commit.epoch.0,
                partition: commit.partition.partition,
                offset: commit.offset,
            });
        }
        self.push(event);
    }

    fn push(&self, event: Event) {
        let now = self.began.elapsed().as_millis();
        let mut state = self.state();
        if let (Some(marks), Event::Begun { tenure, messages, .. }) = (&self.marks, &event) {
            for (offset, _) in messages {
                let wrong = marks.check(tenure.instance, (tenure.partition, *offset));
                wrong.into_iter().for_each(|wrong| state.checker.complain(wrong));
            }
        }
        state.checker.see(&event);
        state.trace.push(now, event);
        assert!(
            state.trace.events().len() < TOO_MANY_EVENTS,
            "seed {}: there is no end to it",
            self.seed
        );
    }

    /// Draw from the seed.
    pub(crate) fn draw<R>(&self, draw: impl FnOnce(&mut Chance) -> R) -> R {
        draw(&mut self.state().chance)
    }

    /// Look at what the checker found, and at the trace.
    pub(crate) fn inspect<R>(&self, look: impl FnOnce(&mut Checker, &Trace) -> R) -> R {
        let state = &mut *self.state();
        look(&mut state.checker, &state.trace)
    }

    /// Write a message.
    pub(crate) fn write(&self, partition: Partition, key: u64, decodable: bool) {
        let message = OutgoingMessage {
            topic: TOPIC.into(),
            partition: Some(partition),
            key: Some(key.to_string().into()),
            payload: Some(if decodable { "1" } else { "no number" }.into()),
            ..OutgoingMessage::default()
        };
        // While the broker is away nobody writes.
        if let Ok(delivery) = self.control.publish(message) {
            let offset = delivery.offset;
            self.note(Event::Written {
                partition,
                offset,
                key,
                decodable,
            });
        }
    }

    /// Write a message of an aggregate; `false` while the broker is away.
    pub(crate) fn send(&self, partition: Partition, of: u64, sequence: u64) -> bool {
        let message = OutgoingMessage {
            topic: TOPIC.into(),
            partition: Some(partition),
            payload: Some(format!("[{of},{sequence}]").into()),
            ..OutgoingMessage::default()
        };
        let Ok(delivery) = self.control.publish(message) else {
            return false;
        };
        let offset = delivery.offset;
        self.note(Event::Sent {
            partition,
            offset,
            of,
            sequence,
        });
        true
    }

    /// Return the ordering store, once somebody was connected to it.
    pub(crate) fn store(&self) -> Option<MemoryOrdering> {
        self.state().store.clone()
    }

    /// Return the ordering store, made by whoever comes first.
    pub(crate) fn connect_store(&self, make: impl FnOnce() -> MemoryOrdering) -> MemoryOrdering {
        self.state().store.get_or_insert_with(make).clone()
    }

    /// Take note that the store has counted something of an aggregate.
    pub(crate) fn counted(&self, of: u64) {
        let now = self.clock.millis();
        self.state().counted.insert(of, now);
    }

    /// Check that a gap of an aggregate can be as old as the store says.
    pub(crate) fn check_gap(&self, of: u64, limit: Duration) {
        let counted = self.state().counted.get(&of).copied();
        let open = counted.map(|counted| self.clock.millis() - counted);
        if open.is_some_and(|open| i128::from(open) < limit.as_millis().cast_signed()) {
            let violation = format!("a gap of {of} is acted upon {open:?} ms after it could begin");
            self.inspect(|checker, _| checker.complain(violation));
        }
    }

    pub(crate) fn store_is_down(&self) -> bool {
        self.state().store_outages > 0
    }

    /// Keep what the ordering store knows, to fall back to later.
    pub(crate) fn snapshot(&self) {
        let snapshot = self.store().map(|store| store.snapshot());
        self.state().snapshot = snapshot;
    }

    /// Return up to where a partition is committed, and where it ends.
    pub(crate) fn progress(&self, partition: Partition) -> (Offset, Offset) {
        let partition = TopicPartition::new(TOPIC, partition);
        let committed = self.control.committed(GROUP);
        let committed = committed.iter().find(|commit| commit.partition == partition);
        let end = self.control.offsets(&partition).expect("the topic is there").end;
        (committed.map_or(0, |commit| commit.offset), end)
    }

    // Instances.

    pub(crate) fn new_instance(&self) -> Instance {
        let mut state = self.state();
        state.instances.push(Process::default());
        state.instances.len() - 1
    }

    pub(crate) fn has_joined(&self, instance: Instance, member: MemberId) {
        self.state().instances[instance].member = Some(member);
    }

    pub(crate) fn is_killed(&self, instance: Instance) -> bool {
        self.state().instances[instance].killed
    }

    fn member(&self, instance: Instance) -> Option<MemberId> {
        self.state().instances[instance].member
    }

    /// Number an execution of a handler.
    pub(crate) fn next_execution(&self) -> usize {
        let mut state = self.state();
        state.executions += 1;
        state.executions
    }

    /// Say whether an instance may still give what it has fetched for an assignment.
    pub(crate) fn holds(&self, tenure: Tenure) -> bool {
        self.state().checker.holds(tenure)
    }

    // What goes wrong.

    /// Let nothing go wrong any more, and what went wrong end.
    pub(crate) fn calm(&self) {
        {
            let mut state = self.state();
            state.is_calm = true;
            state.weather.calm();
        }
        self.state().store_outages = 0;
        self.control.start();
        let instances = self.state().instances.len();
        (0..instances).for_each(|instance| self.reconnect(instance));
    }

    fn reconnect(&self, instance: Instance) {
        if let Some(member) = self.member(instance).filter(|_| !self.is_killed(instance)) {
            self.control.reconnect(GROUP, member);
        }
    }

    /// Make a call as the seed wants it.
    pub(crate) async fn call<T>(
        self: &Arc<Self>,
        instance: Instance,
        point: Point,
        call: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        let fate = self.fate(instance, point);
        self.travel(instance, fate.there).await;
        if fate.effect == Effect::Fail {
            return Err(failure(point));
        }
        let result = call.await;
        self.travel(instance, fate.back).await;
        if fate.effect == Effect::LoseReply {
            return Err(failure(point));
        }
        result
    }

    /// Decide about a call.
    pub(crate) fn fate(&self, instance: Instance, point: Point) -> Fate {
        let state = &mut *self.state();
        let fate = state.weather.fate(&mut state.chance, point);
        if !fate.is_smooth() {
            state.trace.push(
                self.began.elapsed().as_millis(),
                Event::Struck(instance, point, fate),
            );
        }
        fate
    }

    /// Decide about something that is only one way long.
    pub(crate) fn leg(&self, instance: Instance, point: Point) -> Leg {
        let there = {
            let state = &mut *self.state();
            state.weather.leg(&mut state.chance)
        };
        let fate = Fate {
            there,
            ..Fate::default()
        };
        if !fate.is_smooth() {
            self.note(Event::Struck(instance, point, fate));
        }
        there
    }

    /// Let time pass and things happen. Never ends if the instance is killed.
    pub(crate) async fn travel(self: &Arc<Self>, instance: Instance, leg: Leg) {
        if let Some(disturbance) = leg.disturbance {
            self.disturb(Some(instance), disturbance);
        }
        for _ in 0..leg.yields {
            tokio::task::yield_now().await;
        }
        if !leg.delay.is_zero() {
            sleep(leg.delay).await;
        }
        self.live(instance).await;
    }

    /// End at once, unless the instance is killed: then never.
    pub(crate) async fn live(&self, instance: Instance) {
        if self.is_killed(instance) {
            pending().await
        }
    }

    /// Let something happen that the seed chooses, beside all calls.
    pub(crate) fn disturb_by_chance(self: &Arc<Self>) {
        let (disturbance, instance) = {
            let state = &mut *self.state();
            let disturbance = state.weather.disturbance(&mut state.chance);
            let alive: Vec<_> = (0..state.instances.len())
                .filter(|instance| !state.instances[*instance].killed)
                .collect();
            (
                disturbance,
                (!alive.is_empty()).then(|| state.chance.pick(&alive)),
            )
        };
        if let Some(disturbance) = disturbance {
            self.note(Event::Disturbed(disturbance));
            self.disturb(instance, disturbance);
        }
    }

    pub(crate) fn disturb(self: &Arc<Self>, instance: Option<Instance>, disturbance: Disturbance) {
        let member = instance.and_then(|instance| self.member(instance));
        match (disturbance, instance, member) {
            (Disturbance::Revoke(partition), ..) => {
                self.control
                    .revoke(GROUP, &[TopicPartition::new(TOPIC, partition)]);
            }
            (Disturbance::Rebalance, ..) => self.control.rebalance(GROUP),
            (Disturbance::Expire, _, Some(member)) => self.control.expire_session(GROUP, member),
            (Disturbance::Silence(time), Some(instance), Some(member)) => {
                self.control.silence(GROUP, member);
                self.later(time, move |world| world.reconnect(instance));
            }
            (Disturbance::Outage(time), ..) => {
                self.state().outages += 1;
                self.control.stop();
                self.later(time, World::end_outage);
            }
            (Disturbance::Kill, Some(instance), _) => self.kill(instance),
            (Disturbance::StoreOutage(time), ..) => {
                self.state().store_outages += 1;
                self.later(time, |world| {
                    let mut state = world.state();
                    state.store_outages = state.store_outages.saturating_sub(1);
                });
            }
            (Disturbance::StoreClock(time), ..) => {
                self.clock
                    .shift(i64::try_from(time.as_micros()).expect("a few seconds"));
                self.note(Event::StoreShaken { lost: false });
            }
            (Disturbance::StoreLoss, ..) => self.lose_state(MemoryOrdering::lose_everything),
            (Disturbance::StoreFallback, ..) => {
                let snapshot = self.state().snapshot.clone();
                if let Some(snapshot) = snapshot {
                    self.lose_state(|store| store.restore(snapshot));
                }
            }
            (Disturbance::Expire | Disturbance::Silence(_) | Disturbance::Kill, ..) => {}
        }
    }

    /// Nothing comes from the instance any more: its calls never return, and the broker hears nothing.
    fn kill(&self, instance: Instance) {
        // What struck before the calm and is on its way is too late: nobody would start another one.
        if self.is_killed(instance) || self.state().is_calm {
            return;
        }
        self.note(Event::Killed(instance));
        self.state().instances[instance].killed = true;
        if let Some(member) = self.member(instance) {
            self.control.silence(GROUP, member);
        }
    }

    /// Let the stores forget: that of order where Kafka still has what waits.
    fn lose_state(&self, lose: impl FnOnce(&MemoryOrdering)) {
        if let Some(marks) = &self.marks {
            marks.lose();
            self.note(Event::StoreShaken { lost: true });
        }
        if self.plan.as_ref().is_some_and(Plan::survives_loss)
            && let Some(store) = self.store()
        {
            lose(&store);
            // No server loses its data and grants leases again within the same millisecond: its time keeps new
            // tokens above the old ones.
            self.clock.shift(1000);
            self.note(Event::StoreShaken { lost: true });
        }
    }

    fn end_outage(self: &Arc<Self>) {
        let mut state = self.state();
        state.outages -= 1;
        let over = state.outages == 0;
        drop(state);
        if over {
            self.control.start();
        }
    }

    fn later(self: &Arc<Self>, time: Duration, act: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let world = Arc::clone(self);
        tokio::spawn(async move {
            sleep(time).await;
            act(&world);
        });
    }
}

/// The error of a call that the seed lets fail.
pub(crate) fn failure(point: Point) -> TransportError {
    TransportError::Other {
        action: format!("get through ({point:?})"),
        retriable: true,
        source: "the seed wants it so".into(),
    }
}
