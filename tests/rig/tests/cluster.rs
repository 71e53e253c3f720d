//! The rig itself: a cluster survives the loss of a node, and nothing survives the test.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use athomic_rig::{Cluster, Spec, Tool, within};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(60);

fn spec(name: &str) -> Spec {
    Spec::new(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
}

fn runs(pid: u32) -> bool {
    let ps = std::process::Command::new("ps")
        .args(["-o", "stat=", "-p", &pid.to_string()])
        .output();
    let state = String::from_utf8(ps.expect("ps is installed").stdout).expect("text");
    !(state.is_empty() || state.starts_with('Z'))
}

fn lines(numbers: std::ops::Range<u32>) -> String {
    numbers
        .map(|number| format!("key{number}:value{number}\n"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_goes_on_without_any_one_of_its_nodes() {
    let Some(cluster) = Cluster::start(spec("rig-cluster").nodes(3)).await else {
        return;
    };
    let (tools, bootstrap) = (cluster.tools(), cluster.bootstrap());
    let create = ["--create", "--topic", "orders", "--partitions", "3"];
    tools.run(Tool::Topics, &bootstrap, &create).await;
    let mut consumer = tools.consume(&bootstrap, "orders", &["--group", "foreign"]);
    tools.produce(&bootstrap, "orders", &lines(0..100)).await;
    assert_eq!(consumer.read(100).await.len(), 100);

    let coordinator = cluster
        .coordinator("foreign")
        .await
        .expect("somebody coordinates");
    for id in [coordinator, coordinator % 3 + 1] {
        let led = 0..3;
        let node = cluster.node(id);
        node.kill().await;
        assert_eq!(node.pid().await, None);
        within(SOON, "the others lead all", async || {
            for partition in led.clone() {
                let leader = cluster.leader("orders", partition).await;
                if leader.is_none_or(|leader| leader == id) {
                    return false;
                }
            }
            cluster
                .coordinator("foreign")
                .await
                .is_some_and(|other| other != id)
        })
        .await;
        tools.produce(&bootstrap, "orders", &lines(0..100)).await;
        assert_eq!(consumer.read(100).await.len(), 100);
        node.start().await;
        node.wait_until_ready().await;
        cluster.wait_until_in_sync().await;
    }
    let paused = cluster.node(1);
    paused.pause().await;
    within(SOON, "the others lead what it led", async || {
        let leader = cluster.leader("orders", 0).await;
        leader.is_some_and(|leader| leader != 1)
    })
    .await;
    paused.resume().await;
    cluster.wait_until_in_sync().await;
    paused.terminate().await;
    paused.start().await;
    paused.wait_until_ready().await;

    let mut pids = Vec::new();
    for node in cluster.nodes() {
        pids.push(node.pid().await.expect("it runs"));
    }
    assert!(pids.iter().all(|pid| runs(*pid)));
    let folder = cluster.folder().to_owned();
    cluster.stop().await;
    assert!(!pids.iter().any(|pid| runs(*pid)));
    assert!(!folder.exists());
}

/// Said to the program that is killed, which is this one, run once more.
const TOLD: &str = "ATHOMIC_RIG_START_AND_WAIT";

#[tokio::test(flavor = "multi_thread")]
async fn nodes_end_with_the_process_that_started_them() {
    if std::env::var_os(TOLD).is_some() {
        return start_and_wait().await;
    }
    if std::env::var_os("ATHOMIC_TEST_KAFKA_LIBS").is_none() {
        return println!("skipped: ATHOMIC_TEST_KAFKA_LIBS is not set; `cargo xtask test` sets it");
    }
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "nodes_end_with_the_process_that_started_them",
            "--nocapture",
        ])
        .env(TOLD, "1")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("this program");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let pid = loop {
        let line = lines
            .next_line()
            .await
            .expect("text")
            .expect("the node's process id");
        if let Some((_, pid)) = line.split_once("started ") {
            break pid.parse().expect("a process id");
        }
    };
    assert!(runs(pid));
    child.kill().await.expect("killed");
    within(SOON, "the node is gone", async || !runs(pid)).await;
}

async fn start_and_wait() {
    let cluster = Cluster::start(spec("rig-orphans")).await.expect("there are jars");
    println!("started {}", cluster.nodes()[0].pid().await.expect("it runs"));
    std::future::pending().await
}
