//! One run: instances, messages and disturbances for a while, then calm, and all must be committed.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use athomic_core::app::{App, RunningApp};
use athomic_core::settings::Settings;
use athomic_core::store::{IdempotencyBackend, IdempotencyStores, OrderingBackend};
use athomic_core::testing::{eventually, seed_jitter};
use athomic_core::transport::{TransportBackend, memory::MemoryConsumerConfig};
use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

use crate::event::{End, Event, Instance};
use crate::fate::{Kind, Point};
use crate::handlers::{MAX_ATTEMPTS, Strategy, TIMEOUT, WINDOW};
use crate::marks::{LOCK, SimulatedMarks};
use crate::ordered::dead_letters::DeadLetters;
use crate::ordered::{Plan, Producer, last_processed, operator, store::SimulatedStore};
use crate::transport::SimulatedTransport;
use crate::world::{LETTERS, PARTITIONS, World};

const MESSAGES: u64 = 60;
const KEYS: u64 = 5;
const STEPS: usize = 8;
/// By then all must be committed once nothing goes wrong any more: sessions lapse, delays grow at most
/// to half a minute, and poison takes its attempts.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long what runs may take to end when an application is told to stop.
const DRAIN: Duration = Duration::from_secs(5);
/// What it takes beyond that at most, when a broker does not answer.
const GRACE: Duration = Duration::from_secs(2);

/// What a run came to.
pub(crate) struct Report {
    pub(crate) violations: Vec<String>,
    /// Tells the trace from others.
    pub(crate) hash: u64,
    world: Arc<World>,
}

impl Report {
    /// Write down all that happened.
    pub(crate) fn trace(&self) -> String {
        self.world.inspect(|_, trace| {
            let mut text = String::new();
            for (time, event) in trace.events() {
                writeln!(text, "{time:>7} {event:?}").expect("a string takes all");
            }
            text
        })
    }

    /// Say how attempts at messages ended.
    pub(crate) fn ends(&self) -> BTreeSet<(Strategy, End)> {
        let strategy = Strategy::of(self.world.seed);
        self.world.inspect(|_, trace| {
            let ends = trace.events().iter().filter_map(|(_, event)| match event {
                Event::Ended { ends, .. } => Some(ends.iter().map(|(_, end)| *end).collect()),
                Event::TurnEnded { end, .. } => Some(vec![*end]),
                _ => None,
            });
            ends.flatten().map(|end| (strategy, end)).collect()
        })
    }

    /// Say which kinds of trouble struck where.
    pub(crate) fn strikes(&self) -> BTreeSet<(Point, Kind)> {
        self.world.inspect(|_, trace| {
            let strikes = trace.events().iter().filter_map(|(_, event)| match event {
                Event::Struck(_, point, fate) => Some((*point, fate)),
                _ => None,
            });
            strikes
                .flat_map(|(point, fate)| fate.kinds().map(move |kind| (point, kind)))
                .collect()
        })
    }
}

/// Run a seed.
pub(crate) fn run(seed: u64) -> Report {
    seed_jitter(seed);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    runtime
        .expect("it needs nothing from the system")
        .block_on(async {
            let strategy = Strategy::of(seed);
            let plan = (strategy == Strategy::Ordered).then(|| Plan::new(seed));
            let world = World::new(seed, Strategy::rules_of(seed), plan, Strategy::is_once(seed));
            let _letters = DeadLetters::of(&world);
            Run::new(&world).finish().await;
            let (violations, hash) = world.inspect(|checker, trace| {
                checker.finish();
                (checker.violations().to_vec(), trace.hash())
            });
            Report {
                violations,
                hash,
                world,
            }
        })
}

struct Run {
    world: Arc<World>,
    /// Applications by the number of their instance; `None` once stopped.
    apps: Vec<Option<RunningApp>>,
    /// Writes messages of aggregates, in runs of that.
    producer: Option<Producer>,
}

impl Run {
    fn new(world: &Arc<World>) -> Self {
        Self {
            world: Arc::clone(world),
            apps: Vec::new(),
            producer: world.plan.as_ref().map(|_| Producer::new(world)),
        }
    }

    async fn finish(mut self) {
        self.write(MESSAGES / 2);
        self.start().await;
        self.start().await;
        for _ in 0..STEPS {
            self.write(MESSAGES / 2 / STEPS as u64);
            sleep(self.world.draw(|chance| chance.millis(1_500))).await;
            self.step().await;
            self.world.snapshot();
        }
        self.world.calm();
        self.write(MESSAGES);
        if self.alive().is_empty() {
            self.start().await;
        }
        let committed = || {
            operator(&self.world);
            (0..PARTITIONS).all(|partition| {
                let (committed, end) = self.world.progress(partition);
                committed == end
            }) && self
                .world
                .plan
                .as_ref()
                .is_none_or(|plan| plan.is_settled(&self.world))
        };
        if !eventually(PATIENCE, committed).await {
            let progress: Vec<_> = (0..PARTITIONS)
                .map(|partition| self.world.progress(partition))
                .collect();
            self.complain(format!(
                "committed and end of the partitions are {progress:?} for ever"
            ));
        }
        for instance in self.alive() {
            self.stop(instance).await;
        }
        self.nothing_is_left().await;
    }

    /// Nothing of the ordering is left in the store.
    async fn nothing_is_left(&self) {
        if let (Some(plan), Some(store)) = (&self.world.plan, self.world.store()) {
            let left = plan.left(&store).await;
            if !left.is_empty() {
                self.complain(format!("{left:?} is left in the ordering store"));
            }
        }
    }

    fn complain(&self, violation: String) {
        self.world.inspect(|checker, _| checker.complain(violation));
    }

    fn write(&mut self, messages: u64) {
        if let Some(producer) = &mut self.producer {
            return producer.write(&self.world, messages);
        }
        for _ in 0..messages {
            let (partition, key, decodable) = self.world.draw(|chance| {
                let partition = chance.below(PARTITIONS.unsigned_abs().into());
                (partition, chance.below(KEYS), !chance.one_in(40))
            });
            let partition = i32::try_from(partition).expect("a few");
            self.world.write(partition, key, decodable);
        }
    }

    fn alive(&self) -> Vec<Instance> {
        let is_alive = |(instance, app): (Instance, &Option<RunningApp>)| {
            (app.is_some() && !self.world.is_killed(instance)).then_some(instance)
        };
        self.apps.iter().enumerate().filter_map(is_alive).collect()
    }

    /// Do what an operator or fate does now and then.
    async fn step(&mut self) {
        self.look_after();
        let alive = self.alive();
        match self.world.draw(|chance| chance.below(8)) {
            _ if alive.len() < 2 => self.start().await,
            0 if alive.len() < 4 => self.start().await,
            1 => {
                let instance = self.world.draw(|chance| chance.pick(&alive));
                self.stop(instance).await;
            }
            _ => self.world.disturb_by_chance(),
        }
    }

    /// An application that fails is a fault of the runtime: nothing here is for good.
    fn look_after(&mut self) {
        let mut failures = Vec::new();
        for (instance, app) in self.apps.iter_mut().enumerate() {
            if let Some(failure) = app.as_mut().and_then(|app| app.failed().now_or_never()) {
                failures.push(format!("instance {instance} failed: {failure:?}"));
            }
        }
        failures.into_iter().for_each(|failure| self.complain(failure));
    }

    async fn start(&mut self) {
        let instance = self.world.new_instance();
        self.world.note(Event::Starting(instance));
        CONNECTING.set(Some((Arc::clone(&self.world), instance)));
        let plan = self.world.plan.as_ref();
        let handler = Strategy::of(self.world.seed).handler(&self.world, instance);
        let mut app = App::builder()
            .without_discovery()
            .settings(settings(plan.map(Plan::settings).or_else(|| self.once())))
            .register(handler);
        if plan.is_some_and(Plan::asks) {
            let world = Arc::clone(&self.world);
            app = app.resync("on_event", move |of| {
                last_processed(Arc::clone(&world), instance, of)
            });
        }
        // It may be told to start while the broker is away for longer than it waits, or be killed.
        let started = app.build().expect("it is valid").start().await;
        self.apps.push(started.ok());
    }

    /// Return the settings of runs with idempotency.
    fn once(&self) -> Option<String> {
        self.world.marks.as_ref().map(|_| {
            format!(
                "
                [resilience.idempotency]
                all_handlers = true
                default_lock_timeout_seconds = {}
                [resilience.idempotency.kvstore.provider]
                backend = \"redis\"
                uri = \"redis://simulated\"
                ",
                LOCK.as_secs()
            )
        })
    }

    async fn stop(&mut self, instance: Instance) {
        self.look_after();
        let Some(app) = self.apps[instance].take() else {
            return;
        };
        let began = Instant::now();
        app.stop().await;
        let time = began.elapsed();
        if time > DRAIN + GRACE {
            self.complain(format!("instance {instance} took {time:?} to stop"));
        }
        if !self.world.is_killed(instance) {
            self.world.note(Event::Stopped(instance));
        }
    }
}

thread_local! {
    /// Whose application is being built on this thread.
    static CONNECTING: RefCell<Option<(Arc<World>, Instance)>> = const { RefCell::new(None) };
}

// Found by its name in the settings, as any other backend.
inventory::submit! {
    TransportBackend {
        name: "kafka",
        connect: |_, connection| {
            let (world, instance) = connecting();
            let config = MemoryConsumerConfig::from(&connection.consumer);
            let inner = world.broker.transport(config);
            Ok(Arc::new(SimulatedTransport { world, instance, inner }))
        },
    }
}

inventory::submit! {
    OrderingBackend {
        name: "redis",
        connect: |_, scope| {
            let (world, instance) = connecting();
            Ok(Arc::new(SimulatedStore::new(&world, instance, scope)))
        },
    }
}

inventory::submit! {
    IdempotencyBackend {
        name: "redis",
        connect: |_| {
            let (world, instance) = connecting();
            let marks = SimulatedMarks { world, instance };
            Ok(IdempotencyStores::new(move |_| Arc::new(marks.clone())))
        },
    }
}

fn connecting() -> (Arc<World>, Instance) {
    CONNECTING.with_borrow(|connecting| connecting.clone().expect("an application is being built"))
}

fn settings(stores: Option<String>) -> Settings {
    let text = format!(
        "
        [integration.messaging.provider]
        backend = \"kafka\"
        [integration.messaging.consumer]
        commit_interval_ms = 200
        session_timeout_ms = 6000
        max_poll_interval_ms = 8000
        revoke_timeout_ms = 1000
        handler_timeout_ms = {}
        max_in_flight_messages = {WINDOW}
        [integration.messaging.dlq]
        strategy = \"keep\"
        topic = \"{LETTERS}\"
        parking_lot_topic = \"{LETTERS}\"
        index_in_kv = false
        max_attempts = {MAX_ATTEMPTS}
        [integration.messaging.dlq.retry]
        min_delay_seconds = 1
        max_delay_seconds = 1
        [lifecycle]
        startup_timeout_seconds = 20
        shutdown_timeout_seconds = {}
        {}
        ",
        TIMEOUT.as_millis(),
        DRAIN.as_secs(),
        stores.unwrap_or_default()
    );
    let none: [(&str, &str); 0] = [];
    let loader = Settings::loader().text("simulation.toml", text).environment(none);
    loader.load().expect("the settings are valid").settings
}
