//! A cluster of three brokers and, for each protocol, a group under load on it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use athomic::transport::NewTopic;
use athomic_rig::{Account, Cluster, Feeder, Rig, Spec, Worker, within};

use super::{PARTITIONS, worker};

/// How many keys the events have.
const KEYS: u64 = 500;
/// How long a cluster may take to elect new leaders, on a machine that does other things as well.
const SERVED: Duration = Duration::from_secs(60);

/// A cluster, and a group under load of each protocol.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) groups: Vec<Group>,
}

/// Two workers of one group, and who feeds them.
pub(crate) struct Group {
    pub(crate) protocol: &'static str,
    pub(crate) rig: Rig,
    pub(crate) workers: Vec<Worker>,
    pub(crate) account: Account,
    feeder: Feeder,
    /// Told to each worker by its environment.
    settings: Vec<(&'static str, &'static str)>,
    started: u32,
    /// How many events may stand in the log twice.
    written_twice_allowed: u64,
}

impl Stage {
    /// Start everything, each group with so many events a second, and wait until all members take part.
    /// The settings are for the classic protocol's workers; those of the other take them from the broker.
    pub(crate) async fn start(
        name: &str,
        per_second: u64,
        settings: &[(&'static str, &'static str)],
    ) -> Option<Self> {
        let spec = Spec::new(format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"))).nodes(3);
        let cluster = Cluster::start(spec).await?;
        let mut groups = Vec::new();
        for (protocol, settings) in [("classic", settings), ("consumer", &[])] {
            groups.push(Group::start(&cluster, name, protocol, per_second, settings).await);
        }
        for group in &mut groups {
            group.until_both_take_part().await;
        }
        cluster.wait_until_in_sync().await;
        Some(Self { cluster, groups })
    }

    /// Wait until each partition of each group yields again, a `limit` after the cluster serves all of them,
    /// if need be without a node. Returns how long that took at most.
    pub(crate) async fn until_resumed(
        &mut self,
        fault: &str,
        begun: Instant,
        without: Option<u32>,
        limit: Duration,
    ) -> Duration {
        for group in &self.groups {
            within(SERVED, "the cluster serves all partitions", async || {
                is_served(&self.cluster, &group.rig, without).await
            })
            .await;
        }
        let (served, mark) = (Instant::now(), now());
        for group in &mut self.groups {
            let what = format!("{fault}: each partition of the {} group yields", group.protocol);
            within(limit, &what, async || group.has_yielded_since(mark)).await;
            println!(
                "{fault}, {}: served after {:.1} s, all partitions yield {:.1} s later",
                group.protocol,
                (served - begun).as_secs_f64(),
                served.elapsed().as_secs_f64()
            );
        }
        served.elapsed()
    }

    /// Let the producer have written so many events of each group twice.
    pub(crate) fn allow_written_twice(&mut self, events: u64) {
        for group in &mut self.groups {
            group.written_twice_allowed = events;
        }
    }

    /// Stop feeding, wait until all is handled, and check everything: nothing is lost or overtaken, and no
    /// more is repeated in a group than is allowed.
    pub(crate) async fn finish(self, repeats_allowed: u64) {
        for group in self.groups {
            group.finish(repeats_allowed).await;
        }
        self.cluster.stop().await;
    }
}

impl Group {
    async fn start(
        cluster: &Cluster,
        name: &str,
        protocol: &'static str,
        per_second: u64,
        settings: &[(&'static str, &'static str)],
    ) -> Self {
        let mut topic = NewTopic::new(format!("{name}.{protocol}"), PARTITIONS);
        topic.replication = 3;
        let rig = Rig::on(cluster.bootstrap(), env!("CARGO_TARGET_TMPDIR"), &topic).await;
        let mut group = Self {
            protocol,
            feeder: Feeder::start(&rig, KEYS, per_second).await,
            account: Account::new(&rig),
            rig,
            workers: Vec::new(),
            settings: settings.to_vec(),
            started: 0,
            written_twice_allowed: 0,
        };
        group.start_worker();
        group.start_worker();
        group
    }

    /// Let one more worker join.
    pub(crate) fn start_worker(&mut self) {
        self.started += 1;
        let name: &'static str = format!("worker-{}", self.started).leak();
        let worker = worker(&self.rig, name, self.protocol, &self.settings);
        self.account.follow(&worker);
        self.workers.push(worker);
    }

    async fn until_both_take_part(&mut self) {
        within(SERVED, "both workers take part", async || {
            let account = self.account.update();
            self.workers
                .iter()
                .all(|worker| account.handled_by(worker.name) > 200)
        })
        .await;
    }

    fn has_yielded_since(&mut self, mark: u128) -> bool {
        let last = self.account.update().last_ends();
        last.len() == PARTITIONS as usize && last.values().all(|end| *end > mark)
    }

    async fn finish(mut self, repeats_allowed: u64) {
        let events = self.feeder.stop().await;
        self.account.until_complete(events, KEYS).await;
        for worker in &mut self.workers {
            worker.terminate().await;
        }
        self.account.update().assert_complete(events, KEYS);
        self.account.assert_in_order(|_note| true);
        let repeats = self.account.repeats();
        println!("{}: {events} events, {} repeated", self.protocol, repeats.len());
        assert!(
            repeats.len() as u64 <= repeats_allowed,
            "{} repeats, {:?} first; see {}",
            repeats.len(),
            repeats[0],
            self.account.folder()
        );
        let written_twice = self.account.written_twice();
        println!("{}: {written_twice} written twice", self.protocol);
        let folder = self.account.folder();
        assert!(
            written_twice <= self.written_twice_allowed,
            "{written_twice} stand in the log twice; see {folder}"
        );
        let committed: i64 = self.rig.committed().await.values().sum();
        assert_eq!(
            u64::try_from(committed),
            Ok(events + written_twice),
            "the lag is 0; see {folder}"
        );
    }
}

/// Say whether each partition of the topic is led and the group is coordinated, by others than one node.
async fn is_served(cluster: &Cluster, rig: &Rig, without: Option<u32>) -> bool {
    let serves = |node: Option<u32>| node.is_some() && node != without;
    for partition in 0..i32::try_from(PARTITIONS).expect("few") {
        if !serves(cluster.leader(&rig.topic, partition).await) {
            return false;
        }
    }
    serves(cluster.coordinator(&rig.group).await)
}

fn now() -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_nanos()
}
