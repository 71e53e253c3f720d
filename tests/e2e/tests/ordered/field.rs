//! A topic, a Redis, and workers of an ordered group: what each of these tests begins with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use athomic_rig::{Allowed, OrderedAccount, Redis, Rig, Shuffled, ShuffledFeeder, What, Worker, within};
use tokio::sync::{Mutex, MutexGuard};

const PARTITIONS: u32 = 6;
pub(crate) const AGGREGATES: u64 = 50;
/// After which silence a worker's aggregates go to others; the worker says so too.
pub(crate) const SESSION: Duration = Duration::from_secs(5);
/// How long everything may take, on a machine that does other things as well.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// One test at a time: each is a load test of its own.
static ALONE: Mutex<()> = Mutex::const_new(());

/// See the module's documentation.
pub(crate) struct Field {
    pub(crate) rig: Rig,
    pub(crate) redis: Redis,
    pub(crate) account: OrderedAccount,
    pub(crate) workers: Vec<Worker>,
    pub(crate) events: Shuffled,
    /// Told to each worker.
    environment: Vec<(&'static str, String)>,
    started: usize,
    /// Aggregates beside those of the feed, with the numbers of their events.
    others: BTreeMap<String, u64>,
    _alone: MutexGuard<'static, ()>,
}

impl Field {
    /// Make a topic and start a Redis; `None` where there are no servers.
    pub(crate) async fn new(name: &str, append_only: bool) -> Option<Self> {
        let alone = ALONE.lock().await;
        let folder = env!("CARGO_TARGET_TMPDIR");
        let rig = Rig::on_shared_broker(folder, name, PARTITIONS).await?;
        let redis = Redis::start(format!("{}/redis", rig.folder()), append_only).await?;
        let ledger = format!("{}/ledger", rig.folder());
        fs::create_dir_all(&ledger).expect("a folder for the ledger");
        let events = Shuffled {
            aggregates: AGGREGATES,
            partitions: PARTITIONS,
            seed: 1,
        };
        let kafka_session = "ATHOMIC_INTEGRATION__MESSAGING__CONSUMER__SESSION_TIMEOUT_MS";
        Some(Self {
            account: OrderedAccount::new(&rig),
            environment: vec![
                ("E2E_REDIS", redis.uri()),
                ("E2E_LEDGER", ledger),
                (kafka_session, SESSION.as_millis().to_string()),
            ],
            rig,
            redis,
            workers: Vec::new(),
            events,
            started: 0,
            others: BTreeMap::new(),
            _alone: alone,
        })
    }

    /// Tell workers that are started from now on something by their environment.
    pub(crate) fn tell(&mut self, name: &'static str, value: impl Into<String>) {
        self.environment.retain(|(told, _)| *told != name);
        self.environment.push((name, value.into()));
    }

    /// Let so many workers join.
    pub(crate) fn start_workers(&mut self, count: usize) {
        for _ in 0..count {
            self.start_worker();
        }
    }

    /// Let one more worker join.
    pub(crate) fn start_worker(&mut self) {
        self.started += 1;
        let name: &'static str = format!("worker-{}", self.started).leak();
        let further = self.environment.iter();
        let further: Vec<_> = further.map(|(name, value)| (*name, value.as_str())).collect();
        let worker = self
            .rig
            .worker(env!("CARGO_BIN_EXE_worker"), name, "classic", &further);
        self.account.follow(&worker);
        self.workers.push(worker);
    }

    /// Feed events at a steady rate, and wait until all workers have work.
    pub(crate) async fn feed(&mut self, per_second: usize) -> ShuffledFeeder {
        let feeder = ShuffledFeeder::start(&self.rig, self.events.clone(), per_second).await;
        self.until_all_work().await;
        feeder
    }

    /// Wait until each worker has ended some more events.
    pub(crate) async fn until_all_work(&mut self) {
        self.account.update();
        let before: Vec<u64> = self.ended();
        within(LIMIT, "each worker has work", async || {
            self.account.update();
            self.workers.iter_mut().for_each(Worker::assert_runs);
            self.ended()
                .iter()
                .zip(&before)
                .all(|(now, before)| now >= &(before + 20))
        })
        .await;
    }

    /// Wait until a message of each aggregate of the feed is done.
    pub(crate) async fn until_all_have_begun(&mut self) {
        within(LIMIT, "each aggregate has begun", async || {
            let turns = self.account.update().turns().iter();
            let done = turns.filter(|turn| turn.what == What::End);
            let begun: BTreeSet<_> = done.map(|turn| turn.aggregate.as_str()).collect();
            begun.len() as u64 >= AGGREGATES
        })
        .await;
    }

    /// Publish an event of an aggregate beside those of the feed.
    pub(crate) async fn publish(&mut self, partition: i32, of: &str, seq: u64, more: &str) {
        let event = format!(r#"{{"of":"{of}","seq":{seq}{more}}}"#);
        self.rig.publish_event(partition, &event).await;
        *self.others.entry(of.to_owned()).or_default() += 1;
    }

    /// Return what a worker that was killed has begun and not ended: aggregates, with its tokens.
    pub(crate) fn begun_by(&mut self, worker: &str) -> BTreeMap<String, u64> {
        let mut begun = BTreeMap::new();
        for turn in self
            .account
            .update()
            .turns()
            .iter()
            .filter(|turn| turn.worker == worker)
        {
            match turn.what {
                What::Start => _ = begun.insert(turn.aggregate.clone(), turn.token),
                _ => _ = begun.remove(&turn.aggregate),
            }
        }
        begun
    }

    /// Say whether an attempt at an aggregate has begun under a higher token.
    pub(crate) fn is_begun_above(&mut self, aggregate: &str, token: u64) -> bool {
        let turns = self.account.update().turns().iter();
        let mut of_it = turns.filter(|turn| turn.aggregate == aggregate);
        of_it.any(|turn| turn.token > token)
    }

    /// Take out who runs a message of an aggregate, of those that are still here.
    pub(crate) async fn take_out_owner(&mut self, aggregate: &str) -> Worker {
        let here: Vec<_> = self.workers.iter().map(|worker| worker.name).collect();
        let mut owner = None;
        within(LIMIT, &format!("`{aggregate}` runs"), async || {
            let turns = self.account.update().turns().iter();
            let start = turns
                .rev()
                .find(|turn| turn.aggregate == aggregate && here.contains(&turn.worker));
            owner = start.map(|turn| turn.worker);
            owner.is_some()
        })
        .await;
        let place = self.workers.iter().position(|worker| Some(worker.name) == owner);
        self.workers.remove(place.expect("it is one of them"))
    }

    /// Say whether messages that wait in Redis are committed, as was told to the workers.
    fn redis_keeps_what_waits(&self) -> bool {
        self.environment.contains(&("E2E_DURABILITY", "redis".to_owned()))
    }

    fn ended(&self) -> Vec<u64> {
        let ended = |worker: &Worker| self.account.ended_by(worker.name);
        self.workers.iter().map(ended).collect()
    }

    /// Wait until so many events are done and committed, stop the workers, and check everything.
    pub(crate) async fn finish(mut self, events: u64, allowed: Allowed<'_>) {
        let mut counts = self.events.counts(events);
        counts.append(&mut self.others);
        let events: u64 = counts.values().sum();
        let expected = usize::try_from(events).expect("few") - allowed.dead.len();
        self.account.until_ended(&self.rig, expected, LIMIT).await;
        let folder = self.rig.folder();
        within(LIMIT, &format!("C6: the lag is 0; see {folder}"), async || {
            self.rig.committed().await.values().sum::<i64>() == i64::try_from(events).expect("few")
        })
        .await;
        for worker in &mut self.workers {
            worker.terminate().await;
        }
        self.account.update().assert_in_order(&counts, allowed);
        if !self.redis_keeps_what_waits() {
            self.account.assert_no_early_commit(allowed);
        }
        let left = self.redis.leftovers().await;
        assert!(left.is_empty(), "C9: left behind are {left:?}; see {folder}");
    }
}

/// Say whether the long forms of the tests are wanted.
pub(crate) fn is_long() -> bool {
    std::env::var_os("ATHOMIC_TEST_LONG").is_some()
}
