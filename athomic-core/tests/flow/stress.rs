//! Several instances under faults chosen by a seed: nothing is lost, nothing is committed too early,
//! keys keep their order. A failing seed fails again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use athomic_core::app::RunningApp;
use athomic_core::handler::register::HandlerDefinition;
use athomic_core::handler::{Message, Meta, Ordering};
use athomic_core::message::{Offset, Partition};
use athomic_core::transport::memory::{Call, Fault, FaultPlan, Operation};
use tokio::time::sleep;

use crate::support::{Cluster, GROUP, handler, until};

const SEEDS: u64 = 200;
const PARTITIONS: Partition = 4;
const MESSAGES: usize = 80;
const CONCURRENCY: usize = 3;
const SETTINGS: &str = "
[integration.messaging.consumer]
commit_interval_ms = 200
session_timeout_ms = 6000
revoke_timeout_ms = 1000
max_in_flight_messages = 20
[integration.messaging.dlq.retry]
min_delay_seconds = 1
max_delay_seconds = 1
";

/// Numbers that a seed determines (SplitMix64).
#[derive(Clone)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// Sees all that happens and panics in the end if something must not have happened.
#[derive(Default)]
struct Checker {
    /// Offsets by partition and key, as they were written.
    written: BTreeMap<(Partition, String), Vec<Offset>>,
    /// What was handled with success at least once.
    done: BTreeSet<(Partition, Offset)>,
    running: BTreeMap<usize, Vec<(Partition, String)>>,
    faults: Vec<String>,
}

type Shared = Arc<Mutex<Checker>>;

fn with<R>(checker: &Mutex<Checker>, act: impl FnOnce(&mut Checker) -> R) -> R {
    act(&mut checker.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Checker {
    fn begin(&mut self, instance: usize, place: &(Partition, String), keyed: bool) {
        let running = self.running.entry(instance).or_default();
        if running.contains(place) {
            self.faults.push(format!("two of {place:?} run at once"));
        }
        running.push(place.clone());
        if keyed && running.len() > CONCURRENCY {
            self.faults.push(format!("{} run at once", running.len()));
        }
    }

    fn end(&mut self, instance: usize, place: &(Partition, String)) {
        let running = self.running.entry(instance).or_default();
        let index = running.iter().position(|other| other == place);
        running.swap_remove(index.expect("it began"));
    }

    /// A message was handled. Those of its key that were written before it must have been.
    fn done(&mut self, place: &(Partition, String), offset: Offset) {
        let before = self.written[place].iter().take_while(|other| **other < offset);
        let overtaken: Vec<_> = before
            .filter(|before| !self.done.contains(&(place.0, **before)))
            .collect();
        if !overtaken.is_empty() {
            self.faults
                .push(format!("{offset} of {place:?} overtakes {overtaken:?}"));
        }
        self.done.insert((place.0, offset));
    }

    /// A commit is asked for. All below it must have been handled.
    fn commit(&mut self, partition: Partition, offset: Offset) {
        let open = (0..offset).find(|below| !self.done.contains(&(partition, *below)));
        if let Some(open) = open {
            self.faults.push(format!(
                "partition {partition} is committed at {offset}, {open} is open"
            ));
        }
    }
}

/// An execution; it ends when this is dropped, also if it is cancelled.
struct Execution {
    checker: Shared,
    instance: usize,
    place: (Partition, String),
}

impl Execution {
    fn begin(checker: &Shared, instance: usize, place: (Partition, String), keyed: bool) -> Self {
        with(checker, |checker| checker.begin(instance, &place, keyed));
        Self {
            checker: Arc::clone(checker),
            instance,
            place,
        }
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        with(&self.checker, |checker| checker.end(self.instance, &self.place));
    }
}

fn place_of(meta: &Meta) -> (Partition, String) {
    let key = meta.key().map(String::from_utf8_lossy).unwrap_or_default();
    (meta.partition(), key.into_owned())
}

/// How long an attempt takes and whether it fails: by place and attempt, so that no run differs.
fn fate(seed: u64, meta: &Meta) -> (Duration, bool) {
    let place = u64::try_from(meta.offset()).unwrap_or(0) * 64 + u64::try_from(meta.partition()).unwrap_or(0);
    let mut chance = Chance(seed ^ place.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ u64::from(meta.attempt()));
    let long = if chance.one_in(20) { 2_000 } else { 60 };
    let millis = chance.below(long);
    (
        Duration::from_millis(millis),
        meta.attempt() < 3 && chance.one_in(15),
    )
}

fn single(seed: u64, instance: usize, checker: &Shared, limit: Option<Ordering>) -> HandlerDefinition {
    let checker = Arc::clone(checker);
    let keyed = limit.is_some();
    let on_message = move |_: u64, meta: Meta| {
        let checker = Arc::clone(&checker);
        async move {
            // In a partition without concurrency nothing runs at once, whatever its key.
            let place = place_of(&meta);
            let execution = Execution::begin(&checker, instance, place, keyed);
            let (time, fails) = fate(seed, &meta);
            sleep(time).await;
            if fails {
                return Err("not yet");
            }
            with(&checker, |checker| {
                checker.done(&execution.place, meta.offset());
            });
            Ok(())
        }
    };
    let subscription = handler().options(|options| {
        options.concurrency = limit.map(|_| CONCURRENCY);
        options.ordering = limit;
    });
    subscription.handler(on_message)
}

fn batch(seed: u64, instance: usize, checker: &Shared) -> HandlerDefinition {
    let checker = Arc::clone(checker);
    let on_batch = move |messages: Vec<Message<u64>>| {
        let checker = Arc::clone(&checker);
        async move {
            let place = (messages[0].meta().partition(), "batch".to_owned());
            let _execution = Execution::begin(&checker, instance, place, false);
            let (time, fails) = fate(seed, messages[0].meta());
            sleep(time).await;
            if fails {
                return Err("not yet");
            }
            for message in &messages {
                let meta = message.meta();
                with(&checker, |checker| checker.done(&place_of(meta), meta.offset()));
            }
            Ok(())
        }
    };
    handler().max_batch_linger_ms(20).batch_handler(7, on_batch)
}

fn consumer(seed: u64, instance: usize, checker: &Shared) -> HandlerDefinition {
    match seed % 4 {
        0 => single(seed, instance, checker, None),
        1 => single(seed, instance, checker, Some(Ordering::Key)),
        2 => single(seed, instance, checker, Some(Ordering::Partition)),
        _ => batch(seed, instance, checker),
    }
}

/// Check each commit, and let calls fail and dawdle.
fn faults(seed: u64, checker: &Shared) -> FaultPlan {
    let (mut chance, checker) = (Chance(seed ^ 0xfa01), Arc::clone(checker));
    FaultPlan::new().driven_by(move |call: &Call<'_>| {
        with(&checker, |checker| {
            for commit in call.offsets {
                checker.commit(commit.partition.partition, commit.offset);
            }
        });
        let fault = match chance.below(20) {
            0 | 1 => Fault::fail(),
            2 => Fault::fail_after_applying(),
            3 => Fault::delay(Duration::from_millis(chance.below(800))),
            4 => Fault::NONE.reply_delayed(Duration::from_millis(chance.below(800))),
            _ => Fault::NONE,
        };
        match call.operation {
            Operation::Commit => fault,
            Operation::Fetch if chance.one_in(4) => fault,
            _ => Fault::NONE,
        }
    })
}

async fn run(seed: u64) {
    let (cluster, checker) = (Cluster::new(PARTITIONS.unsigned_abs()), Shared::default());
    let mut chance = Chance(seed);
    for message in 0..MESSAGES {
        let partition = Partition::try_from(message).unwrap_or(0) % PARTITIONS;
        let key = format!("{}", chance.below(5));
        let offset = cluster.publish(partition, Some(&key), message);
        with(&checker, |checker| {
            checker.written.entry((partition, key)).or_default().push(offset);
        });
    }
    cluster.control.inject(faults(seed, &checker));
    let mut apps = Vec::new();
    for instance in 0..3 {
        apps.push(Some(
            cluster
                .start_with(SETTINGS, consumer(seed, instance, &checker))
                .await,
        ));
    }
    for _ in 0..10 {
        sleep(Duration::from_millis(chance.below(1_500))).await;
        disturb(seed, &cluster, &mut chance, &mut apps, &checker).await;
    }
    for member in cluster.control.members(GROUP) {
        cluster.control.reconnect(GROUP, member.id);
    }
    if apps.iter().all(Option::is_none) {
        let last = consumer(seed, apps.len(), &checker);
        apps.push(Some(cluster.start_with(SETTINGS, last).await));
    }
    let end = i64::try_from(MESSAGES).unwrap_or(0) / i64::from(PARTITIONS);
    let settled = || (0..PARTITIONS).all(|partition| cluster.committed(partition) == Some(end));
    until(&format!("seed {seed} to be committed"), settled).await;
    for app in apps.into_iter().flatten() {
        app.stop().await;
    }
    with(&checker, |checker| {
        assert!(checker.faults.is_empty(), "seed {seed}: {:#?}", checker.faults);
    });
}

/// Do something that may happen to a group.
async fn disturb(
    seed: u64,
    cluster: &Cluster,
    chance: &mut Chance,
    apps: &mut Vec<Option<RunningApp>>,
    checker: &Shared,
) {
    let control = &cluster.control;
    let members = control.members(GROUP);
    let member = (!members.is_empty()).then(|| {
        let index = chance.below(members.len() as u64);
        members[usize::try_from(index).unwrap_or(0)].id
    });
    match (chance.below(8), member) {
        (0 | 1, _) => control.rebalance(GROUP),
        (2, Some(member)) => control.expire_session(GROUP, member),
        (3, Some(member)) => control.silence(GROUP, member),
        (4, Some(member)) => control.reconnect(GROUP, member),
        (5, _) => {
            control.stop();
            sleep(Duration::from_millis(chance.below(10_000))).await;
            control.start();
        }
        (6, _) => {
            let index = usize::try_from(chance.below(apps.len() as u64)).unwrap_or(0);
            if let Some(app) = apps[index].take() {
                app.stop().await;
            }
        }
        _ => {
            let instance = apps.len();
            let app = cluster
                .start_with(SETTINGS, consumer(seed, instance, checker))
                .await;
            apps.push(Some(app));
        }
    }
}

#[test]
fn whatever_happens_nothing_is_lost_nothing_committed_early_and_keys_keep_their_order() {
    let seeds: Vec<u64> = match std::env::var("ATHOMIC_STRESS_SEED") {
        Ok(seed) => vec![seed.parse().expect("a seed is a number")],
        Err(_) => (0..SEEDS).collect(),
    };
    for seed in seeds {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(seed));
    }
}
