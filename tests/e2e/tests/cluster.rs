//! Three brokers that are killed, hung, restarted and robbed of their leaders under load: consuming goes
//! on within ten seconds of the cluster, nothing is lost, and a fault of the brokers repeats nothing
//! beyond what was not committed.

mod support;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use athomic::transport::NewTopic;
use athomic_rig::{Account, Cluster, Feeder, Rig, Spec, Tool, Worker, within};
use support::{PARTITIONS, is_long, worker};

const KEYS: u64 = 500;
const EVENTS_PER_SECOND: u64 = 1000;
/// How long after the cluster serves all partitions again each of them must be consumed.
const RESUMED: Duration = Duration::from_secs(10);
/// How long a cluster may take to elect new leaders, on a machine that does other things as well.
const SERVED: Duration = Duration::from_secs(60);

/// A cluster, and a group under load of each protocol.
struct Stage {
    cluster: Cluster,
    groups: Vec<Group>,
}

/// Two workers of one group, and who feeds them.
struct Group {
    protocol: &'static str,
    rig: Rig,
    workers: Vec<Worker>,
    feeder: Feeder,
    account: Account,
}

impl Stage {
    async fn start(name: &str) -> Option<Self> {
        let spec = Spec::new(format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"))).nodes(3);
        let cluster = Cluster::start(spec).await?;
        let mut groups = Vec::new();
        for protocol in ["classic", "consumer"] {
            groups.push(Group::start(&cluster, name, protocol).await);
        }
        let mut stage = Self { cluster, groups };
        for group in &mut stage.groups {
            group.both_take_part().await;
        }
        stage.cluster.wait_until_in_sync().await;
        Some(stage)
    }

    /// Wait until each partition of each group yields again, and say how long that took from when the
    /// cluster served all of them, if need be without a node.
    async fn until_resumed(&mut self, fault: &str, begun: Instant, without: Option<u32>) {
        for group in &self.groups {
            within(SERVED, "the cluster serves all partitions", async || {
                is_served(&self.cluster, &group.rig, without).await
            })
            .await;
        }
        let served = Instant::now();
        let mark = now();
        for group in &mut self.groups {
            let what = format!(
                "{fault}: each partition of the {} group yields again",
                group.protocol
            );
            within(RESUMED, &what, async || group.has_yielded_since(mark)).await;
            println!(
                "{fault}, {}: served after {:.1} s, all partitions yield {:.1} s later",
                group.protocol,
                (served - begun).as_secs_f64(),
                served.elapsed().as_secs_f64()
            );
        }
    }

    /// Stop feeding, wait until all is handled, and check everything; `repeats` says how many are allowed
    /// for a group.
    async fn finish(self, repeats_allowed: usize) {
        for mut group in self.groups {
            let events = group.feeder.stop().await;
            group.account.until_complete(events, KEYS).await;
            for worker in &mut group.workers {
                worker.terminate().await;
            }
            group.account.update().assert_complete(events, KEYS);
            group.account.assert_in_order(|_note| true);
            let repeats = group.account.repeats();
            println!("{}: {events} events, {} repeated", group.protocol, repeats.len());
            assert!(
                repeats.len() <= repeats_allowed,
                "{} repeats, {:?} first; see {}",
                repeats.len(),
                repeats[0],
                group.account.folder()
            );
            let committed: i64 = group.rig.committed().await.values().sum();
            assert_eq!(
                u64::try_from(committed),
                Ok(events),
                "the lag is 0; see {}",
                group.account.folder()
            );
        }
        self.cluster.stop().await;
    }
}

impl Group {
    async fn start(cluster: &Cluster, name: &str, protocol: &'static str) -> Self {
        let mut topic = NewTopic::new(format!("{name}.{protocol}"), PARTITIONS);
        topic.replication = 3;
        let rig = Rig::on(cluster.bootstrap(), env!("CARGO_TARGET_TMPDIR"), &topic).await;
        let mut account = Account::new(&rig);
        let workers: Vec<_> = ["first", "second"]
            .map(|name| worker(&rig, name, protocol, &[]))
            .into();
        workers.iter().for_each(|worker| account.follow(worker));
        let feeder = Feeder::start(&rig, KEYS, EVENTS_PER_SECOND).await;
        Self {
            protocol,
            rig,
            workers,
            feeder,
            account,
        }
    }

    async fn both_take_part(&mut self) {
        within(SERVED, "both workers take part", async || {
            let account = self.account.update();
            ["first", "second"]
                .iter()
                .all(|name| account.handled_by(name) > 500)
        })
        .await;
    }

    fn has_yielded_since(&mut self, mark: u128) -> bool {
        let last = self.account.update().last_ends();
        last.len() == PARTITIONS as usize && last.values().all(|end| *end > mark)
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

#[tokio::test(flavor = "multi_thread")]
async fn consuming_survives_the_kill_of_each_broker() {
    let Some(mut stage) = Stage::start("kills").await else {
        return;
    };
    for id in 1..=3 {
        let begun = Instant::now();
        stage.cluster.node(id).kill().await;
        stage
            .until_resumed(&format!("broker {id} killed"), begun, Some(id))
            .await;
        let begun = Instant::now();
        stage.cluster.node(id).start().await;
        stage.cluster.node(id).wait_until_ready().await;
        stage.cluster.wait_until_in_sync().await;
        stage
            .until_resumed(&format!("broker {id} back"), begun, None)
            .await;
    }
    stage.finish(0).await;
}

/// How long a broker hangs: longer than its session with the controller, a request and, by the consumer
/// protocol, a member's session may take.
const HANG: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn consuming_survives_hangs_moves_restarts_and_the_loss_of_the_whole_cluster() {
    let Some(mut stage) = Stage::start("faults").await else {
        return;
    };
    stage.coordinator_hangs().await;
    stage.leaders_move().await;
    let restarted = if is_long() { 1..=3 } else { 1..=1 };
    for id in restarted {
        stage.restarts_cleanly(id).await;
    }
    stage.whole_cluster_is_down().await;
    stage.finish(0).await;
}

impl Stage {
    /// The coordinator of the first group hangs with its connections open, and goes on.
    async fn coordinator_hangs(&mut self) {
        let group = &self.groups[0].rig.group;
        let id = self.cluster.coordinator(group).await.expect("it is in sync");
        let begun = Instant::now();
        self.cluster.node(id).pause().await;
        self.until_resumed(&format!("broker {id} hangs"), begun, Some(id))
            .await;
        // The time is the fault itself: nothing tells when it is long enough.
        tokio::time::sleep_until((begun + HANG).into()).await;
        let begun = Instant::now();
        self.cluster.node(id).resume().await;
        self.cluster.wait_until_in_sync().await;
        self.until_resumed(&format!("broker {id} goes on"), begun, None)
            .await;
    }

    /// The leaders that fled from a broker go back to it.
    async fn leaders_move(&mut self) {
        let begun = Instant::now();
        let bootstrap = self.cluster.bootstrap();
        let all = ["--election-type", "preferred", "--all-topic-partitions"];
        let printed = self
            .cluster
            .tools()
            .run(Tool::LeaderElection, &bootstrap, &all)
            .await;
        println!("{}", printed.lines().next().unwrap_or("no leader moved"));
        self.until_resumed("leaders moved", begun, None).await;
    }

    async fn restarts_cleanly(&mut self, id: u32) {
        let begun = Instant::now();
        let node = self.cluster.node(id);
        node.terminate().await;
        node.start().await;
        node.wait_until_ready().await;
        self.cluster.wait_until_in_sync().await;
        self.until_resumed(&format!("broker {id} restarted cleanly"), begun, None)
            .await;
    }

    async fn whole_cluster_is_down(&mut self) {
        let begun = Instant::now();
        for node in self.cluster.nodes() {
            node.kill().await;
        }
        for node in self.cluster.nodes() {
            node.start().await;
        }
        for node in self.cluster.nodes() {
            node.wait_until_ready().await;
        }
        self.until_resumed("the whole cluster was down", begun, None)
            .await;
    }
}
