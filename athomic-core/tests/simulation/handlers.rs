//! Handlers that do what the seed wants of them: succeed, dawdle, fail, panic, refuse, hang.

use std::future::pending;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use athomic_core::handler::register::{HandlerDefinition, subscribe};
use athomic_core::handler::{Message, Meta, Ordering};
use athomic_core::outcome::Outcome;
use tokio::time::{Instant, sleep};

use crate::chance::Chance;
use crate::checker::{Order, Rules};
use crate::event::{End, Event, Instance, Tenure};
use crate::fate::Point;
use crate::ordered;
use crate::transport::EPOCH;
use crate::world::{GROUP, TOPIC, World};

/// How long one execution may take.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(1_500);
pub(crate) const MAX_ATTEMPTS: u32 = 3;
pub(crate) const WINDOW: usize = 12;
pub(crate) const CONCURRENCY: usize = 3;
const BATCH: usize = 5;

/// How messages are handled in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Strategy {
    /// One after the other in each partition.
    Single,
    /// The same, with few partitions at a time.
    SingleLimited,
    /// Side by side, those of a key in order.
    Keyed,
    /// Side by side in no order.
    Unordered,
    /// In batches, with one result for all.
    Batch,
    /// In batches, with a result for each message, and few batches at a time.
    BatchLimited,
    /// Side by side, those of an aggregate in order wherever they arrive.
    Ordered,
}

impl Strategy {
    pub(crate) const ALL: [Self; 7] = [
        Self::Single,
        Self::Keyed,
        Self::Batch,
        Self::SingleLimited,
        Self::Unordered,
        Self::BatchLimited,
        Self::Ordered,
    ];

    pub(crate) fn of(seed: u64) -> Self {
        // Every other run is of ordered handlers: they have most that can go wrong.
        if seed % 2 == 1 {
            return Self::Ordered;
        }
        let index = seed / 2 % (Self::ALL.len() as u64 - 1);
        Self::ALL[usize::try_from(index).expect("below a usize")]
    }

    /// Return what a run is to keep to.
    pub(crate) fn rules_of(seed: u64) -> Rules {
        let strategy = Self::of(seed);
        let is_batch = matches!(strategy, Self::Batch | Self::BatchLimited);
        Rules {
            overtakes: is_batch && Self::is_once(seed),
            ..strategy.rules()
        }
    }

    /// Say whether the messages of a run are handled once: in half of those that are not of ordered handlers.
    pub(crate) fn is_once(seed: u64) -> bool {
        Self::of(seed) != Self::Ordered && seed / 2 / (Self::ALL.len() as u64 - 1) % 2 == 1
    }

    pub(crate) fn rules(self) -> Rules {
        let (order, concurrency) = match self {
            Self::Single | Self::Batch => (Order::Partition, None),
            Self::SingleLimited | Self::BatchLimited => (Order::Partition, Some(2)),
            Self::Keyed => (Order::Key, Some(CONCURRENCY)),
            Self::Unordered | Self::Ordered => (Order::Nothing, Some(CONCURRENCY)),
        };
        Rules {
            order,
            concurrency,
            window: WINDOW,
            max_attempts: MAX_ATTEMPTS,
            overtakes: false,
        }
    }

    /// List the ways in which attempts at messages end.
    pub(crate) fn ends(self) -> Vec<End> {
        let mut ends = vec![End::Done, End::Failed, End::TimedOut, End::Cancelled];
        // Of a batch with one result for all nobody can say whose fault it is.
        ends.extend((self != Self::Batch).then_some(End::Refused));
        ends
    }

    /// Make an instance's handler.
    pub(crate) fn handler(self, world: &Arc<World>, instance: Instance) -> HandlerDefinition {
        if self == Self::Ordered {
            return ordered::handler(world, instance);
        }
        let Rules {
            order, concurrency, ..
        } = self.rules();
        let world = Arc::clone(world);
        let subscription = subscribe(TOPIC).group_id(GROUP).options(|options| {
            options.concurrency = concurrency;
            options.ordering = concurrency.map(|_| match order {
                Order::Partition => Ordering::Partition,
                Order::Key => Ordering::Key,
                Order::Nothing => Ordering::None,
            });
        });
        let batches = || subscription.clone().max_batch_linger_ms(20);
        match self {
            Self::Batch => batches().batch_handler(BATCH, move |messages: Vec<Message<u64>>| {
                let execution = Execution::new(&world, instance, metas(&messages), false);
                async move { execution.run().await.pop().expect("a batch is not empty") }
            }),
            Self::BatchLimited => batches().batch_handler(BATCH, move |messages: Vec<Message<u64>>| {
                let execution = Execution::new(&world, instance, metas(&messages), true);
                execution.run()
            }),
            _ => subscription.handler(move |_: u64, meta: Meta| {
                let execution = Execution::new(&world, instance, vec![meta], true);
                async move { execution.run().await.pop().expect("one message, one outcome") }
            }),
        }
    }
}

fn metas(messages: &[Message<u64>]) -> Vec<Meta> {
    messages.iter().map(|message| message.meta().clone()).collect()
}

/// What an attempt at a message comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Succeed,
    Fail,
    FailAndSayWhen(Duration),
    Refuse,
    Panic,
    Hang,
}

/// What a message does to its handler: by its place and the attempt, so that no run differs.
fn deed_at(seed: u64, meta: &Meta) -> (Duration, Deed) {
    let place = [
        meta.partition().unsigned_abs().into(),
        meta.offset().unsigned_abs(),
    ];
    deed(seed, place, meta.attempt())
}

pub(crate) fn deed(seed: u64, place: [u64; 2], attempt: u32) -> (Duration, Deed) {
    let mut character = Chance::of(seed, [place[0], place[1], 0]);
    let mut mood = Chance::of(seed, [place[0], place[1], u64::from(attempt)]);
    let time = match mood.below(20) {
        0..=5 => Duration::ZERO,
        6..=17 => mood.millis(60),
        _ => mood.millis(1_400),
    };
    const BAD: [Deed; 5] = [
        Deed::Fail,
        Deed::FailAndSayWhen(Duration::from_millis(300)),
        Deed::Refuse,
        Deed::Panic,
        Deed::Hang,
    ];
    let is_poison = character.one_in(25);
    let deed = if is_poison {
        character.pick(&BAD)
    } else if attempt < MAX_ATTEMPTS && mood.one_in(12) {
        // It may be refused or hang, but a message that is not poison is not given up by chance.
        mood.pick(&[BAD[0], BAD[1], BAD[3], BAD[4]])
    } else {
        Deed::Succeed
    };
    (time, deed)
}

/// A call of the handler. Dropped before its end, it was cancelled, or its time was over.
struct Execution {
    world: Arc<World>,
    instance: Instance,
    metas: Vec<Meta>,
    /// Whether messages that fail do so for themselves.
    each: bool,
    /// Its number and when it began.
    begun: Option<(usize, Instant)>,
}

impl Execution {
    fn new(world: &Arc<World>, instance: Instance, metas: Vec<Meta>, each: bool) -> Self {
        Self {
            world: Arc::clone(world),
            instance,
            metas,
            each,
            begun: None,
        }
    }

    async fn run(mut self) -> Vec<Outcome> {
        self.world.live(self.instance).await;
        self.begin();
        let there = self.world.leg(self.instance, Point::Handler);
        self.world.travel(self.instance, there).await;
        let deeds: Vec<_> = self
            .metas
            .iter()
            .map(|meta| deed_at(self.world.seed, meta))
            .collect();
        let time = deeds.iter().map(|(time, _)| *time).max().unwrap_or_default();
        if !time.is_zero() {
            sleep(time).await;
        }
        let back = self.world.leg(self.instance, Point::Handler);
        self.world.travel(self.instance, back).await;
        let mut deeds: Vec<_> = deeds.into_iter().map(|(_, deed)| deed).collect();
        if deeds.contains(&Deed::Hang) {
            return pending().await;
        }
        if deeds.contains(&Deed::Panic) {
            self.end(&vec![End::Failed; deeds.len()]);
            resume_unwind(Box::new("the seed wants it so"));
        }
        if !self.each {
            // Nobody can say whose fault it is.
            let worst = deeds.iter().copied().find(|deed| *deed != Deed::Succeed);
            let worst = worst.map_or(Deed::Succeed, |_| Deed::Fail);
            deeds.fill(worst);
        }
        self.end(&deeds.iter().map(|deed| end_of(*deed)).collect::<Vec<_>>());
        deeds.into_iter().map(outcome_of).collect()
    }

    fn begin(&mut self) {
        let execution = self.world.next_execution();
        let first = &self.metas[0];
        let headers = first.headers();
        let epoch = headers.get(EPOCH).map(String::from_utf8_lossy);
        let tenure = Tenure {
            instance: self.instance,
            partition: first.partition(),
            epoch: epoch
                .and_then(|epoch| epoch.parse().ok())
                .expect("stamped on the way"),
        };
        let messages = self
            .metas
            .iter()
            .map(|meta| (meta.offset(), meta.attempt()))
            .collect();
        self.begun = Some((execution, Instant::now()));
        self.world.note(Event::Begun {
            execution,
            tenure,
            messages,
        });
    }

    fn end(&mut self, ends: &[End]) {
        if let Some((execution, _)) = self.begun.take() {
            let offsets = self.metas.iter().map(Meta::offset);
            let ends = offsets.zip(ends.iter().copied()).collect();
            self.world.note(Event::Ended { execution, ends });
        }
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        if let Some((_, began)) = self.begun
            && !self.world.is_killed(self.instance)
        {
            let end = if began.elapsed() >= TIMEOUT {
                End::TimedOut
            } else {
                End::Cancelled
            };
            self.end(&vec![end; self.metas.len()]);
        }
    }
}

pub(crate) fn end_of(deed: Deed) -> End {
    match deed {
        Deed::Succeed => End::Done,
        Deed::Refuse => End::Refused,
        Deed::Fail | Deed::FailAndSayWhen(_) | Deed::Panic | Deed::Hang => End::Failed,
    }
}

pub(crate) fn outcome_of(deed: Deed) -> Outcome {
    const WHY: &str = "the seed wants it so";
    match deed {
        Deed::Succeed => Outcome::Ack,
        Deed::FailAndSayWhen(time) => Outcome::retry_after(WHY, time),
        Deed::Refuse => Outcome::dead_letter(WHY),
        Deed::Fail | Deed::Panic | Deed::Hang => Outcome::retry(WHY),
    }
}
