//! Three brokers that are killed, hung, restarted and robbed of their leaders under load: consuming goes
//! on within ten seconds of the cluster, nothing is lost, and a fault of the brokers repeats nothing
//! beyond what was not committed.

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use athomic_rig::{Node, Tool, within};
use support::stage::Stage;
use support::{PARTITIONS, is_long};
use tokio::sync::Mutex;

/// One test at a time: three brokers and two groups are load enough.
static ALONE: Mutex<()> = Mutex::const_new(());

/// How long after the cluster serves all partitions again each of them must be consumed.
const RESUMED: Duration = Duration::from_secs(10);
/// How long the cluster may take to move copies.
const REASSIGNED: Duration = Duration::from_secs(60);
const EVENTS_PER_SECOND: u64 = 1000;

#[tokio::test(flavor = "multi_thread")]
async fn consuming_survives_the_kill_of_each_broker() {
    let _alone = ALONE.lock().await;
    let Some(mut stage) = Stage::start("kills", EVENTS_PER_SECOND, &[]).await else {
        return;
    };
    for id in 1..=3 {
        let begun = Instant::now();
        stage.cluster.node(id).kill().await;
        stage
            .until_resumed(&format!("broker {id} killed"), begun, Some(id), RESUMED)
            .await;
        let begun = Instant::now();
        stage.cluster.node(id).start().await;
        stage.cluster.node(id).wait_until_ready().await;
        stage.cluster.wait_until_in_sync().await;
        stage
            .until_resumed(&format!("broker {id} back"), begun, None, RESUMED)
            .await;
    }
    stage.finish(0).await;
}

/// How long a broker hangs: longer than its session with the controller, a request and, by the consumer
/// protocol, a member's session may take.
const HANG: Duration = Duration::from_secs(15);
/// Longer than a session of the classic protocol with default settings.
const LONG_HANG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn consuming_survives_hangs_moves_restarts_and_the_loss_of_the_whole_cluster() {
    let _alone = ALONE.lock().await;
    let Some(mut stage) = Stage::start("faults", EVENTS_PER_SECOND, &[]).await else {
        return;
    };
    stage.coordinator_hangs(HANG).await;
    stage.leaders_move().await;
    stage.partitions_are_reassigned().await;
    let restarted = if is_long() { 1..=3 } else { 1..=1 };
    for id in restarted {
        stage.restarts_cleanly(id).await;
    }
    stage.whole_cluster_is_down().await;
    stage.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consuming_survives_a_broker_that_hangs_for_longer_than_any_session() {
    if !is_long() {
        println!("skipped: it takes two minutes; ATHOMIC_TEST_LONG=1 asks for it");
        return;
    }
    let _alone = ALONE.lock().await;
    let Some(mut stage) = Stage::start("hangs", EVENTS_PER_SECOND, &[]).await else {
        return;
    };
    stage.coordinator_hangs(LONG_HANG).await;
    stage.finish(0).await;
}

/// Where the copies of a partition are to be.
struct Place {
    topic: String,
    partition: i32,
    nodes: BTreeSet<u32>,
}

impl Stage {
    /// The coordinator of the first group hangs with its connections open, and goes on.
    async fn coordinator_hangs(&mut self, hang: Duration) {
        let group = &self.groups[0].rig.group;
        let id = self.cluster.coordinator(group).await.expect("it is in sync");
        let begun = Instant::now();
        self.cluster.node(id).pause().await;
        self.until_resumed(&format!("broker {id} hangs"), begun, Some(id), RESUMED)
            .await;
        // The time is the fault itself: nothing tells when it is long enough.
        tokio::time::sleep_until((begun + hang).into()).await;
        let begun = Instant::now();
        self.cluster.node(id).resume().await;
        self.cluster.wait_until_in_sync().await;
        self.until_resumed(&format!("broker {id} goes on"), begun, None, RESUMED)
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
        self.until_resumed("leaders moved", begun, None, RESUMED).await;
    }

    /// Each partition is taken from the broker that leads it, copy and all, and gets it back afterwards.
    async fn partitions_are_reassigned(&mut self) {
        // Seen once in a dozen runs: four events that were under way when their partition left its leader
        // stand in the log twice, although the producer is idempotent. Who consumes repeats nothing.
        self.allow_written_twice(EVENTS_PER_SECOND);
        for away in [true, false] {
            let begun = Instant::now();
            let plan = self.places(away).await;
            self.reassign(&plan).await;
            within(REASSIGNED, "the copies are where they are wanted", async || {
                self.are_placed(&plan).await
            })
            .await;
            let what = if away {
                "leaders lost their copies"
            } else {
                "copies are back"
            };
            self.until_resumed(what, begun, None, RESUMED).await;
        }
    }

    /// Give each partition of the groups' topics to all nodes, or to all but the one that leads it.
    async fn places(&self, without_leaders: bool) -> Vec<Place> {
        let mut places = Vec::new();
        for group in &self.groups {
            for partition in 0..i32::try_from(PARTITIONS).expect("few") {
                let topic = group.rig.topic.clone();
                let leader = self.cluster.leader(&topic, partition).await;
                let ids = self.cluster.nodes().iter().map(Node::id);
                places.push(Place {
                    nodes: ids.filter(|id| !without_leaders || Some(*id) != leader).collect(),
                    topic,
                    partition,
                });
            }
        }
        places
    }

    async fn are_placed(&self, plan: &[Place]) -> bool {
        for place in plan {
            let (topic, partition) = (&place.topic, place.partition);
            let copies = self.cluster.copies(topic, partition).await;
            let in_sync = self.cluster.in_sync(topic, partition).await;
            let are_all = |ids: Option<Vec<u32>>| {
                ids.is_some_and(|ids| ids.into_iter().collect::<BTreeSet<_>>() == place.nodes)
            };
            if !are_all(copies) || !are_all(in_sync) {
                return false;
            }
        }
        true
    }

    async fn reassign(&self, plan: &[Place]) {
        let written = |place: &Place| {
            let nodes: Vec<_> = place.nodes.iter().collect();
            format!(
                r#"{{"topic":"{}","partition":{},"replicas":{nodes:?}}}"#,
                place.topic, place.partition
            )
        };
        let partitions: Vec<_> = plan.iter().map(written).collect();
        let plan = format!(r#"{{"version":1,"partitions":[{}]}}"#, partitions.join(","));
        let file = format!("{}/reassignment.json", self.groups[0].rig.folder());
        std::fs::write(&file, plan).expect("written");
        let (bootstrap, tools) = (self.cluster.bootstrap(), self.cluster.tools());
        let arguments = ["--execute", "--reassignment-json-file", &file];
        tools.run(Tool::ReassignPartitions, &bootstrap, &arguments).await;
    }

    async fn restarts_cleanly(&mut self, id: u32) {
        let begun = Instant::now();
        let node = self.cluster.node(id);
        node.terminate().await;
        node.start().await;
        node.wait_until_ready().await;
        self.cluster.wait_until_in_sync().await;
        self.until_resumed(&format!("broker {id} restarted cleanly"), begun, None, RESUMED)
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
        self.until_resumed("the whole cluster was down", begun, None, RESUMED)
            .await;
    }
}
