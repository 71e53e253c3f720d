//! Three brokers that are killed, hung, restarted and robbed of their leaders under load: consuming goes
//! on within ten seconds of the cluster, nothing is lost, and a fault of the brokers repeats nothing
//! beyond what was not committed.

mod support;

use std::time::{Duration, Instant};

use athomic_rig::Tool;
use support::is_long;
use support::stage::Stage;
use tokio::sync::Mutex;

/// One test at a time: three brokers and two groups are load enough.
static ALONE: Mutex<()> = Mutex::const_new(());

/// How long after the cluster serves all partitions again each of them must be consumed.
const RESUMED: Duration = Duration::from_secs(10);
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

#[tokio::test(flavor = "multi_thread")]
async fn consuming_survives_hangs_moves_restarts_and_the_loss_of_the_whole_cluster() {
    let _alone = ALONE.lock().await;
    let Some(mut stage) = Stage::start("faults", EVENTS_PER_SECOND, &[]).await else {
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
        self.until_resumed(&format!("broker {id} hangs"), begun, Some(id), RESUMED)
            .await;
        // The time is the fault itself: nothing tells when it is long enough.
        tokio::time::sleep_until((begun + HANG).into()).await;
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
