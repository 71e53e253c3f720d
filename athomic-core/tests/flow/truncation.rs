//! Logs that are cut under their readers, as an unclean leader election cuts them.

use std::time::Duration;

use athomic_core::handler::{Meta, Ordering};
use athomic_core::message::{Offset, TopicPartition};
use athomic_core::transport::memory::BrokerControl;

use crate::support::{Cluster, GROUP, Journal, TOPIC, handler};

fn cut(control: &BrokerControl, offset: Offset) {
    control.cut(&TopicPartition::new(TOPIC, 0), offset).unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_written_after_a_cut_is_handled_and_the_commit_falls_with_the_log() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [1; 10]);
    let _app = cluster.start(handler().handler(journal.worker(0))).await;
    cluster.until_committed(0, 10).await;

    cut(&cluster.control, 4);
    cluster.publish_all(0, [1; 3]);
    cluster.until_committed(0, 7).await;
    let expected: Vec<_> = (0..10).chain(4..7).collect();
    assert_eq!(journal.offsets(), expected);
}

/// The new messages grow beyond where the reader was before it looks again.
#[tokio::test(start_paused = true)]
async fn a_cut_is_noticed_although_the_log_has_grown_again() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [1; 10]);
    let _app = cluster.start(handler().handler(journal.worker(0))).await;
    cluster.until_committed(0, 10).await;

    cut(&cluster.control, 4);
    cluster.publish_all(0, [1; 12]);
    cluster.until_committed(0, 16).await;
    let expected: Vec<_> = (0..10).chain(4..16).collect();
    assert_eq!(journal.offsets(), expected);
}

/// What was fetched before the cut settles nothing that was written after it.
#[tokio::test(start_paused = true)]
async fn handlers_of_messages_that_were_cut_off_commit_nothing() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    let write = |millis: u64, count: usize| {
        (0..count).for_each(|number| {
            cluster.publish(0, Some(&format!("{millis}/{number}")), millis);
        });
    };
    write(500, 6);
    cluster.control.record_commits(GROUP);
    let side_by_side = handler().concurrency(20).ordering(Ordering::Key);
    let _app = cluster.start(side_by_side.handler(journal.worker(0))).await;
    journal.until_begun(6).await;

    cut(&cluster.control, 0);
    write(10_000, 2);
    journal.until_ended(6).await;
    cluster.until_committed(0, 2).await;
    assert!(journal.now() >= 10_000);
    let commits = cluster.control.recorded_commits(GROUP);
    let offsets: Vec<_> = commits.iter().map(|commit| commit.offset).collect();
    assert_eq!(
        offsets,
        [2],
        "nothing was committed before the new messages were handled"
    );
}

#[tokio::test(start_paused = true)]
async fn where_the_settings_name_no_place_a_cut_ends_the_consumer_with_its_cause() {
    let cluster = Cluster::new(1);
    cluster.publish_all(0, [1; 3]);
    let earliest = cluster.start(handler().handler(async |_: u64, _: Meta| {})).await;
    cluster.until_committed(0, 3).await;
    earliest.stop().await;

    let settings = "[integration.messaging.consumer]\nauto_offset_reset = \"fail\"";
    let mut app = cluster
        .start_with(settings, handler().handler(async |_: u64, _: Meta| {}))
        .await;
    cluster.publish_all(0, [1; 1]);
    cluster.until_committed(0, 4).await;
    cut(&cluster.control, 1);
    let failed = tokio::time::timeout(Duration::from_secs(60), app.failed()).await;
    let cause = format!("{:?}", failed.expect("it fails at once"));
    assert!(cause.contains("OffsetOutOfRange"), "{cause}");
    app.stop().await;
}
