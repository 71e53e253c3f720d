//! Each message once on real Kafka and Redis: processes that are killed, events that stand in the log twice,
//! a Redis that loses what it knows.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use athomic_rig::{Note, Redis, Rig, Worker, within};
use support::{rig, worker};

const LIMIT: Duration = Duration::from_secs(90);
const EVENTS: u64 = 600;

/// A topic, a Redis, and workers that handle each event once.
struct Field {
    rig: Rig,
    redis: Redis,
    workers: Vec<Worker>,
    uri: String,
}

impl Field {
    async fn new(name: &str) -> Option<Self> {
        let rig = rig(name).await?;
        let redis = Redis::start(format!("{}/redis", rig.folder()), false).await?;
        Some(Self {
            uri: redis.uri(),
            rig,
            redis,
            workers: Vec::new(),
        })
    }

    fn start(&mut self, name: &'static str) {
        let settings = [
            ("E2E_IDEMPOTENT", "1"),
            (
                "ATHOMIC_RESILIENCE__IDEMPOTENCY__KVSTORE__PROVIDER__BACKEND",
                "redis",
            ),
            (
                "ATHOMIC_RESILIENCE__IDEMPOTENCY__KVSTORE__PROVIDER__URI",
                &*self.uri,
            ),
            (
                "ATHOMIC_RESILIENCE__IDEMPOTENCY__DEFAULT_LOCK_TIMEOUT_SECONDS",
                "5",
            ),
            (
                "ATHOMIC_INTEGRATION__MESSAGING__CONSUMER__SESSION_TIMEOUT_MS",
                "6000",
            ),
        ];
        self.workers.push(worker(&self.rig, name, "classic", &settings));
    }

    /// Write events, each so many times and to other partitions each time.
    async fn publish(&self, numbers: std::ops::Range<u64>, times: u64) {
        let mut lines = String::new();
        for time in 0..times {
            for seq in numbers.clone() {
                let line = format!("{seq}-{time}:{{\"key\":\"event\",\"seq\":{seq}}}");
                writeln!(lines, "{line}").expect("a string takes it");
            }
        }
        self.rig.produce(lines).await;
    }

    fn notes(&self) -> Vec<Note> {
        self.workers.iter().flat_map(Worker::journal).collect()
    }

    /// Return how often the handler ended for each event.
    fn ends(&self) -> BTreeMap<u64, usize> {
        let mut ends = BTreeMap::new();
        for note in self
            .notes()
            .iter()
            .filter(|note| note.is_end && note.key == "event")
        {
            *ends.entry(note.seq).or_default() += 1;
        }
        ends
    }

    async fn until_committed(&self, offsets: i64) {
        within(LIMIT, "all is committed", async || {
            self.rig.committed().await.values().sum::<i64>() == offsets
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_handle_each_event_once_however_often_it_was_sent() {
    let Some(mut field) = Field::new("idempotency-two").await else {
        return;
    };
    field.start("one");
    field.start("other");
    // What is there before the second joins may all be handled by the first.
    within(LIMIT, "both have a share", async || {
        field.workers.iter().all(|worker| worker.given() > 0)
    })
    .await;
    field.publish(0..EVENTS, 3).await;
    field.until_committed(3 * EVENTS as i64).await;
    for worker in &mut field.workers {
        worker.assert_runs();
        worker.terminate().await;
    }
    let ends = field.ends();
    assert_eq!(ends.len() as u64, EVENTS);
    assert!(ends.values().all(|times| *times == 1), "{ends:?}");
    let by_worker = field.workers.iter().map(|worker| worker.journal().len());
    assert!(by_worker.into_iter().all(|notes| notes > 0), "both take part");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_had_begun_is_handled_when_its_lock_has_ended() {
    let Some(mut field) = Field::new("idempotency-killed").await else {
        return;
    };
    field.start("killed");
    field.publish(0..EVENTS, 1).await;
    field
        .rig
        .produce("slow:{\"key\":\"slow\",\"seq\":0}\n".to_owned())
        .await;
    let begun = |worker: &Worker| worker.journal().iter().any(|note| note.key == "slow");
    within(LIMIT, "the slow event is begun", async || {
        begun(&field.workers[0])
    })
    .await;
    // Longer than its lock would last if nobody renewed it.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let locks = field.redis.ask(&["KEYS", "ath:*:d:=key:slow/0"]).await.texts();
    assert_eq!(locks.len(), 1, "its lock is renewed");
    field.workers[0].kill().await;
    field.start("heir");
    let waited = within(LIMIT, "the slow event is begun elsewhere", async || {
        begun(&field.workers[1])
    })
    .await;
    println!(
        "the event of a killed worker began elsewhere after {:.1} s",
        waited.as_secs_f64()
    );
    within(LIMIT, "nothing is lost", async || {
        field.ends().len() as u64 == EVENTS
    })
    .await;
    // What ended before the kill was marked before its commit: at most what ran at that moment came again.
    let repeated: usize = field.ends().values().filter(|times| **times > 1).count();
    assert!(repeated <= 16, "{repeated}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_restarts_without_its_data_loses_no_event() {
    let Some(mut field) = Field::new("idempotency-loss").await else {
        return;
    };
    field.start("one");
    field.start("other");
    field.publish(0..EVENTS, 1).await;
    within(LIMIT, "half is handled", async || {
        field.ends().len() as u64 > EVENTS / 2
    })
    .await;
    field.redis.restart().await;
    field.publish(EVENTS..2 * EVENTS, 2).await;
    field.until_committed(3 * EVENTS as i64).await;
    let ends = field.ends();
    assert_eq!(ends.len() as u64, 2 * EVENTS, "nothing is lost");
    let repeated: usize = ends.values().filter(|times| **times > 1).count();
    println!("{repeated} events were handled twice");
    // Of those that were written once none can be; of the others those whose first mark was lost.
    assert!(ends.range(..EVENTS).all(|(_, times)| *times <= 2), "{ends:?}");
    assert!(repeated <= 64, "{repeated}");
    for worker in &mut field.workers {
        worker.assert_runs();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_hangs_nothing_is_committed_and_then_all_is_handled() {
    let Some(mut field) = Field::new("idempotency-hangs").await else {
        return;
    };
    field.start("one");
    field.publish(0..10, 1).await;
    field.until_committed(10).await;
    field.redis.pause().await;
    field.publish(10..EVENTS, 1).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(field.rig.committed().await.values().sum::<i64>(), 10);
    within(LIMIT, "readiness says why", async || {
        field.workers[0].log().contains("its idempotency store")
    })
    .await;
    assert_eq!(field.rig.committed().await.values().sum::<i64>(), 10);
    field.redis.resume().await;
    field.until_committed(EVENTS as i64).await;
    let ends = field.ends();
    assert_eq!(ends.len() as u64, EVENTS);
    assert!(ends.values().all(|times| *times == 1), "{ends:?}");
}
