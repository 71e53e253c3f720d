//! A log that is cut by an unclean election: what is written afterwards, at offsets that were handled once
//! before, is handled, and the commit follows the log.

mod support;

use std::path::Path;

use athomic::transport::NewTopic;
use athomic_rig::{Cluster, Rig, Spec, Tool, Worker, until};
use support::worker;
use tokio::sync::Mutex;

/// One test at a time: three brokers are load enough.
static ALONE: Mutex<()> = Mutex::const_new(());

fn events(key: &str, count: u64) -> String {
    (0..count)
        .map(|number| format!("{key}-{number}:{{\"key\":\"{key}-{number}\",\"seq\":1}}\n"))
        .collect()
}

/// Wait until all of a kind are handled, and committed up to an offset.
async fn until_handled(worker: &Worker, rig: &Rig, key: &str, count: usize, committed: i64) {
    until(
        &format!("{count} `{key}` are handled and {committed} committed"),
        async || {
            let notes = worker.journal();
            let ended = notes
                .iter()
                .filter(|note| note.is_end && note.key.starts_with(key));
            ended.count() == count && rig.committed().await.values().sum::<i64>() == committed
        },
    )
    .await;
}

/// Two copies, of which the one left behind becomes the leader while the other is away.
async fn is_followed_where_it_ends(protocol: &str) {
    let _alone = ALONE.lock().await;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("truncation-{protocol}"));
    let Some(cluster) = Cluster::start(Spec::new(folder).nodes(3)).await else {
        return;
    };
    let mut topic = NewTopic::new(format!("cut.{protocol}"), 1);
    topic.replication = 2;
    let rig = Rig::on(cluster.bootstrap(), env!("CARGO_TARGET_TMPDIR"), &topic).await;
    let tools = cluster.tools();
    let of_topic = ["--alter", "--entity-type", "topics", "--entity-name", &rig.topic];
    let one_is_enough = [&of_topic[..], &["--add-config", "min.insync.replicas=1"]].concat();
    tools.run(Tool::Configs, &rig.bootstrap, &one_is_enough).await;
    let mut worker = worker(&rig, "reader", protocol, &[]);
    rig.produce(events("kept", 100)).await;
    until_handled(&worker, &rig, "kept", 100, 100).await;

    let leader = cluster.leader(&rig.topic, 0).await.expect("it is led");
    let copies = cluster.copies(&rig.topic, 0).await.expect("it is known");
    let behind = copies.into_iter().find(|id| *id != leader).expect("two copies");
    cluster.node(behind).kill().await;
    rig.produce(events("lost", 50)).await;
    until_handled(&worker, &rig, "lost", 50, 150).await;
    until("only one copy is in sync", async || {
        cluster.in_sync(&rig.topic, 0).await == Some(vec![leader])
    })
    .await;
    cluster.node(leader).kill().await;
    cluster.node(behind).start().await;
    cluster.node(behind).wait_until_ready().await;
    let uncleanly = [
        "--election-type",
        "unclean",
        "--topic",
        &rig.topic,
        "--partition",
        "0",
    ];
    until("the copy that was left behind leads", async || {
        let mut election = tools.command(Tool::LeaderElection, &rig.bootstrap, &uncleanly);
        // It is refused until the controllers have seen who is there.
        let _refused = election.output().await.expect("java is installed");
        cluster.leader(&rig.topic, 0).await == Some(behind)
    })
    .await;

    rig.produce(events("after", 30)).await;
    until_handled(&worker, &rig, "after", 30, 130).await;
    cluster.node(leader).start().await;
    cluster.node(leader).wait_until_ready().await;
    rig.produce(events("later", 5)).await;
    until_handled(&worker, &rig, "later", 5, 135).await;
    worker.terminate().await;
    assert_eq!(rig.committed().await.values().sum::<i64>(), 135, "the lag is 0");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_after_a_cut_is_handled_with_the_classic_protocol() {
    is_followed_where_it_ends("classic").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_after_a_cut_is_handled_with_the_consumer_protocol() {
    is_followed_where_it_ends("consumer").await;
}
