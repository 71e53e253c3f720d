//! Ordered handlers in the simulation: what is written, how it is handled, and who keeps its order.

pub(crate) mod checker;
pub(crate) mod dead_letters;
pub(crate) mod store;

use std::future::pending;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use athomic_core::handler::Meta;
use athomic_core::handler::register::{HandlerDefinition, ordered};
use athomic_core::message::Partition;
use athomic_core::outcome::Outcome;
use athomic_core::store::memory::MemoryOrdering;
use athomic_core::store::ordering::{Aggregate, FencingToken, OrderingStore, Steering};
use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

use crate::chance::Chance;
use crate::event::{End, Event, Instance};
use crate::fate::Point;
use crate::handlers::{CONCURRENCY, Deed, TIMEOUT, deed, end_of, outcome_of};
use crate::world::{GROUP, PARTITIONS, TOPIC, World};

pub(crate) const AGGREGATES: u64 = 4;
const MESSAGES: u64 = 60;
const BUCKETS: u16 = 4;
/// How far a message may stand from its place.
const DISPLACEMENT: u64 = 12;

/// How long sessions live.
const SESSION: Duration = Duration::from_secs(4);

/// How aggregates are ordered in a run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    first: &'static str,
    on_gap: &'static str,
    on_poison: &'static str,
    durability: &'static str,
    complete: &'static str,
    sticky: bool,
    room: u64,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance::of(seed, [1, 2, 3]);
        let on_gap = chance.pick(&["wait", "wait", "wait", "halt", "skip", "dlq"]);
        // Without a policy for gaps a room that is full of successors waits for ever.
        let moves_on = matches!(on_gap, "skip" | "dlq");
        let room = if moves_on { chance.pick(&[3, 100]) } else { 100 };
        let first = chance.pick(&["1", "1", "\"first_seen\"", "\"hook\""]);
        Self {
            first: if moves_on { "1" } else { first },
            on_gap,
            on_poison: chance.pick(&["dlq_and_continue", "dlq_and_continue", "dlq_sequence"]),
            durability: chance.pick(&["kafka", "kafka", "redis"]),
            complete: chance.pick(&["sync", "pipelined"]),
            sticky: chance.below(2) == 0,
            room,
        }
    }

    pub(crate) fn settings(&self) -> String {
        let Self {
            first,
            on_gap,
            on_poison,
            durability,
            complete,
            sticky,
            room,
        } = self;
        let gap = if self.on_gap == "wait" { 0 } else { 4 };
        let settle = if self.begins_anywhere() {
            "first_seen_settle_ms = 1500"
        } else {
            ""
        };
        format!(
            "
            [integration.messaging.ordering]
            first_sequence = {first}
            {settle}
            on_gap = \"{on_gap}\"
            gap_timeout_seconds = {gap}
            on_poison = \"{on_poison}\"
            durability = \"{durability}\"
            complete = \"{complete}\"
            sticky = {sticky}
            room_max_messages = {room}
            buckets = {BUCKETS}
            max_deliveries = 1000
            session_ttl_ms = {}
            [database.kvstore.ordering.provider]
            backend = \"redis\"
            uri = \"redis://simulated\"
            ",
            SESSION.as_millis()
        )
    }

    /// Say whether messages may be given up because others do not come.
    pub(crate) fn acts_on_gaps(&self) -> bool {
        matches!(self.on_gap, "skip" | "dlq")
    }

    /// Say whether an aggregate begins with the lowest message that came in a while.
    pub(crate) fn begins_anywhere(&self) -> bool {
        self.first == "\"first_seen\""
    }

    /// Say whether the application is asked where aggregates stand.
    pub(crate) fn asks(&self) -> bool {
        self.first == "\"hook\""
    }

    /// Return how many messages of an aggregate the application had handled before.
    pub(crate) fn handled_before(&self, of: u64) -> u64 {
        if self.asks() { of % 3 * 2 } else { 0 }
    }

    /// Say whether a poison message takes all later ones of its aggregate with it.
    pub(crate) fn condemns(&self) -> bool {
        self.on_poison == "dlq_sequence"
    }

    /// Say whether a message that waits in the store may be committed.
    pub(crate) fn trusts_the_store(&self) -> bool {
        self.durability == "redis"
    }

    /// Say whether all is well in the end although the store forgets.
    pub(crate) fn survives_loss(&self) -> bool {
        !self.trusts_the_store() && !self.acts_on_gaps() && !self.begins_anywhere()
    }

    /// Say whether nothing waits in the store.
    pub(crate) fn is_settled(&self, world: &World) -> bool {
        let buckets: Vec<u16> = (0..BUCKETS).collect();
        let survey = world
            .store()
            .and_then(|store| store.survey(&buckets).now_or_never());
        survey.is_none_or(|survey| survey.iter().flatten().all(|bucket| bucket.messages == 0))
    }

    /// Say what is left in the store that must not be.
    pub(crate) async fn left(&self, store: &MemoryOrdering) -> Vec<String> {
        let mut left = Vec::new();
        for bucket in store.survey(&(0..BUCKETS).collect::<Vec<_>>()).await {
            let bucket = bucket.expect("it answers");
            if bucket.messages + bucket.bytes + bucket.rooms > 0 {
                left.push(format!("{bucket:?}"));
            }
        }
        for of in 0..AGGREGATES {
            let report = store.inspect(&name(of), 1).await.expect("it answers");
            if let Some(owner) = report.and_then(|report| report.owner) {
                left.push(format!("the lease of {of} by {owner}"));
            }
        }
        left
    }
}

fn name(of: u64) -> Aggregate {
    Aggregate::new(&of.to_string(), BUCKETS)
}

/// Writes the messages of all aggregates, out of order, some twice.
pub(crate) struct Producer {
    /// What is still to be written, the next one last.
    messages: Vec<(u64, u64)>,
}

impl Producer {
    pub(crate) fn new(world: &World) -> Self {
        let mut messages: Vec<(u64, (u64, u64))> = Vec::new();
        for place in 0..MESSAGES {
            let message = (place % AGGREGATES, place / AGGREGATES + 1);
            let copies = if world.draw(|chance| chance.one_in(12)) {
                2
            } else {
                1
            };
            for _ in 0..copies {
                messages.push((place + world.draw(|chance| chance.below(DISPLACEMENT)), message));
            }
        }
        messages.sort();
        let messages = messages.into_iter().rev().map(|(_, message)| message);
        Self {
            messages: messages.collect(),
        }
    }

    /// Write some messages, while the broker is there.
    pub(crate) fn write(&mut self, world: &World, messages: u64) {
        for _ in 0..messages {
            let Some(&(of, sequence)) = self.messages.last() else {
                return;
            };
            let partition = world.draw(|chance| chance.below(PARTITIONS.unsigned_abs().into()));
            let partition = Partition::try_from(partition).expect("a few");
            if world.draw(|chance| chance.one_in(40)) {
                world.write(partition, 0, false);
            }
            if world.send(partition, of, sequence) {
                self.messages.pop();
            }
        }
    }
}

/// Do what an operator does: resume what was halted, and say after a loss where aggregates go on of which nobody
/// else knows it.
pub(crate) fn operator(world: &World) {
    let (Some(plan), Some(store)) = (&world.plan, world.store()) else {
        return;
    };
    for of in 0..AGGREGATES {
        let next = world.inspect(|checker, _| {
            let ordered = checker.ordered.as_ref().filter(|ordered| ordered.was_lost());
            // Where the application is asked, it says so itself.
            ordered.filter(|_| !plan.asks()).map(|ordered| ordered.next(of))
        });
        let report = store.inspect(&name(of), 1).now_or_never();
        let Some(report) = report.and_then(Result::ok).flatten() else {
            continue;
        };
        let waits = report.owner.is_none() && report.parked > 0;
        let stuck = next.is_some() && waits && report.next < next;
        if stuck || report.halted.is_some() {
            let _done = store.steer(&name(of), Steering::Resume { next }).now_or_never();
        }
    }
}

/// Say what the application has handled of an aggregate; now and then it cannot.
pub(crate) async fn last_processed(
    world: Arc<World>,
    instance: Instance,
    of: String,
) -> Result<Option<u64>, String> {
    world.live(instance).await;
    sleep(world.draw(|chance| chance.millis(300))).await;
    if world.draw(|chance| chance.one_in(6)) {
        return Err("the seed wants it so".to_owned());
    }
    let of = of.parse().expect("aggregates are numbers");
    let next = world.inspect(|checker, _| checker.ordered.as_ref().map(|ordered| ordered.next(of)));
    Ok(next.map(|next| next - 1).filter(|last| *last > 0))
}

/// Make an instance's handler.
pub(crate) fn handler(world: &Arc<World>, instance: Instance) -> HandlerDefinition {
    let world = Arc::clone(world);
    ordered(TOPIC)
        .group_id(GROUP)
        .handler_id("on_event")
        .concurrency(CONCURRENCY)
        .key(|event: &(u64, u64)| event.0)
        .sequence(|event: &(u64, u64)| event.1)
        .handler(
            move |(of, sequence): (u64, u64), meta: Meta, token: FencingToken| {
                let turn = Turn {
                    world: Arc::clone(&world),
                    instance,
                    of,
                    sequence,
                    begun: None,
                };
                turn.run(meta.attempt(), token.get())
            },
        )
}

/// A call of the handler. Dropped before its end, it was cancelled, or its time was over.
struct Turn {
    world: Arc<World>,
    instance: Instance,
    of: u64,
    sequence: u64,
    begun: Option<(usize, Instant)>,
}

impl Turn {
    async fn run(mut self, attempt: u32, token: u64) -> Outcome {
        self.world.live(self.instance).await;
        let execution = self.world.next_execution();
        self.begun = Some((execution, Instant::now()));
        self.world.note(Event::TurnBegun {
            execution,
            instance: self.instance,
            of: self.of,
            sequence: self.sequence,
            token,
        });
        let there = self.world.leg(self.instance, Point::Handler);
        self.world.travel(self.instance, there).await;
        let (time, deed) = deed(self.world.seed, [self.of, self.sequence], attempt);
        if !time.is_zero() {
            sleep(time).await;
        }
        let back = self.world.leg(self.instance, Point::Handler);
        self.world.travel(self.instance, back).await;
        match deed {
            Deed::Hang => pending().await,
            Deed::Panic => {
                self.end(End::Failed);
                resume_unwind(Box::new("the seed wants it so"));
            }
            deed => {
                self.end(end_of(deed));
                outcome_of(deed)
            }
        }
    }

    fn end(&mut self, end: End) {
        if let Some((execution, _)) = self.begun.take() {
            self.world.note(Event::TurnEnded { execution, end });
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some((_, began)) = self.begun
            && !self.world.is_killed(self.instance)
        {
            let timed_out = began.elapsed() >= TIMEOUT;
            self.end(if timed_out { End::TimedOut } else { End::Cancelled });
        }
    }
}
