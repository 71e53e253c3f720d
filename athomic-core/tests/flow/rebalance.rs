//! Partitions that come and go: nothing lost, nothing committed that is not ours, others undisturbed.

use std::time::Duration;

use athomic_core::handler::Ordering;
use athomic_core::message::TopicPartition;
use athomic_core::transport::memory::{Fault, FaultPlan, FaultRule, Operation};
use tokio::time::{Instant, sleep};

use crate::support::{Cluster, GROUP, Journal, MS, Run, TOPIC, handler, until};

const SECOND: Duration = Duration::from_secs(1);

/// Take the only partition from its owner; it comes back to it.
fn revoke(cluster: &Cluster) {
    cluster.control.revoke(GROUP, &[TopicPartition::new(TOPIC, 0)]);
}

/// Throw the only member out; it joins again.
fn lose(cluster: &Cluster) {
    let member = cluster.control.members(GROUP)[0].id;
    cluster.control.expire_session(GROUP, member);
}

fn of(journal: &Journal, instance: usize) -> Vec<Run> {
    let runs = journal.runs().into_iter();
    runs.filter(|run| run.instance == instance).collect()
}

#[tokio::test(start_paused = true)]
async fn a_revoked_partition_is_drained_and_committed_before_it_is_given_back() {
    let (cluster, journal) = (Cluster::new(2), Journal::new());
    for partition in 0..2 {
        cluster.publish_all(partition, [5_000, 5_000]);
    }
    let _first = cluster.start(handler().handler(journal.worker(0))).await;
    sleep(SECOND).await;
    let _second = cluster.start(handler().handler(journal.worker(1))).await;
    journal.until_ended(4).await;
    assert_eq!(journal.runs().len(), 4, "nothing ran twice");
    let taken = of(&journal, 1);
    assert_eq!((taken.len(), taken[0].offset), (1, 1));
    let drained = of(&journal, 0)
        .into_iter()
        .find(|run| run.partition == taken[0].partition)
        .unwrap();
    assert!(Some(taken[0].began) >= drained.ended);
}

#[tokio::test(start_paused = true)]
async fn retained_partitions_go_on_undisturbed() {
    let (cluster, journal) = (Cluster::new(2), Journal::new());
    cluster.publish_all(0, [100; 50]);
    cluster.publish_all(1, [100; 50]);
    let _first = cluster.start(handler().handler(journal.worker(0))).await;
    sleep(SECOND).await;
    let _second = cluster.start(handler().handler(journal.worker(1))).await;
    journal.until_ended(100).await;
    let taken = of(&journal, 1)[0].partition;
    let runs = of(&journal, 0);
    let retained: Vec<_> = runs.iter().filter(|run| run.partition != taken).collect();
    assert_eq!(retained.len(), 50);
    for pair in retained.windows(2) {
        assert!(pair[1].began <= pair[0].began + 102, "{pair:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_runs_beyond_the_revoke_timeout_is_cancelled_and_comes_again() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [60_000]);
    let settings = "[integration.messaging.consumer]\nrevoke_timeout_ms = 2000";
    let _app = cluster
        .start_with(settings, handler().handler(journal.worker(0)))
        .await;
    sleep(SECOND).await;
    revoke(&cluster);
    journal.until_begun(2).await;
    let runs = journal.runs();
    assert_eq!(runs[0].ended, None, "cancelled");
    assert!(
        (2_990..3_010).contains(&(runs[1].began - runs[0].began)),
        "{runs:?}"
    );
    assert_eq!(cluster.committed(0), None);
    cluster.until_committed(0, 1).await;
}

#[tokio::test(start_paused = true)]
async fn messages_that_wait_are_dropped_and_come_again_in_order() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    for key in 0..10 {
        cluster.publish(0, Some(&key.to_string()), 1_000);
    }
    let _app = cluster
        .start(handler().concurrency(2).handler(journal.worker(0)))
        .await;
    sleep(SECOND / 2).await;
    revoke(&cluster);
    sleep(SECOND / 4).await;
    assert_eq!(journal.offsets(), [0, 1], "nothing new begins");
    cluster.until_committed(0, 10).await;
    assert_eq!(
        journal.offsets(),
        (0..10).collect::<Vec<_>>(),
        "nothing ran twice"
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_for_an_execution_does_not_hold_up_a_revocation() {
    let (cluster, journal) = (Cluster::new(2), Journal::new());
    cluster.publish_all(0, [15_000]);
    let settings = "[integration.messaging.consumer]\nrevoke_timeout_ms = 60000";
    let limited = || handler().concurrency(1).ordering(Ordering::Partition);
    let _first = cluster
        .start_with(settings, limited().handler(journal.worker(0)))
        .await;
    journal.until_begun(1).await;
    cluster.publish_all(1, [10]);
    sleep(SECOND).await;
    cluster.control.rebalance(GROUP);
    cluster.control.revoke(GROUP, &[TopicPartition::new(TOPIC, 1)]);
    let began = Instant::now();
    let _second = cluster.start(limited().handler(journal.worker(1))).await;
    journal.until_ended(1).await;
    // The first message ran to its end, the second was not begun by who had to give it back.
    assert!(began.elapsed() < 15 * SECOND);
    cluster.until_committed(1, 1).await;
    assert_eq!(journal.runs().len(), 2, "nothing ran twice");
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_the_next_attempt_does_not_hold_up_a_revocation() {
    for limit in [None, Some(4)] {
        let (cluster, journal) = (Cluster::new(1), Journal::new());
        cluster.publish_all(0, [0]);
        let notes = journal.clone();
        let on_message = move |_: u64, meta: athomic_core::handler::Meta| {
            let run = notes.begin(0, &meta);
            notes.end(run);
            let outcome = match notes.runs().len() {
                1 => athomic_core::outcome::Outcome::retry_after("busy", 3_600 * SECOND),
                _ => athomic_core::outcome::Outcome::Ack,
            };
            async { outcome }
        };
        let subscription = handler().options(|options| options.concurrency = limit);
        let _app = cluster.start(subscription.handler(on_message)).await;
        journal.until_begun(1).await;
        revoke(&cluster);
        cluster.until_committed(0, 1).await;
        let attempts: Vec<_> = journal.runs().iter().map(|run| run.attempt).collect();
        assert_eq!(attempts, [1, 1], "the new assignment counts anew");
        assert!(journal.now() < 10_000);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_settled_is_committed_with_the_revocation_and_asked_again_if_that_fails() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [10; 5]);
    let settings = "[integration.messaging.consumer]\ncommit_interval_ms = 3600000";
    let _app = cluster
        .start_with(settings, handler().handler(journal.worker(0)))
        .await;
    journal.until_ended(5).await;
    cluster
        .control
        .inject_next(FaultRule::next(Operation::Commit, Fault::fail()).times(3));
    revoke(&cluster);
    cluster.until_committed(0, 5).await;
    sleep(SECOND).await;
    assert_eq!(journal.runs().len(), 5, "nothing ran twice");
}

#[tokio::test(start_paused = true)]
async fn a_lost_partition_is_not_committed_and_its_handlers_are_cancelled() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [10, 5_000]);
    let settings = "[integration.messaging.consumer]\ncommit_interval_ms = 2000";
    let _app = cluster
        .start_with(settings, handler().handler(journal.worker(0)))
        .await;
    sleep(SECOND).await;
    lose(&cluster);
    sleep(SECOND * 3 / 2).await;
    let runs = journal.runs();
    // The first message was handled and not committed in time: both come again.
    assert_eq!(journal.offsets(), [0, 1, 0, 1]);
    assert!(runs[1].ended.is_none(), "cancelled");
    cluster.until_committed(0, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_lost_while_it_drains_is_not_committed_any_more() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [10_000]);
    let _app = cluster.start(handler().handler(journal.worker(0))).await;
    sleep(SECOND).await;
    revoke(&cluster);
    sleep(SECOND).await;
    lose(&cluster);
    journal.until_ended(1).await;
    let runs = journal.runs();
    assert_eq!(
        (runs.len(), runs[0].ended),
        (2, None),
        "the drain is cut short: {runs:?}"
    );
    cluster.until_committed(0, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_zombie_commits_nothing_below_the_new_owner() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [500; 300]);
    let _first = cluster.start(handler().handler(journal.worker(0))).await;
    sleep(5 * SECOND).await;
    let zombie = cluster.control.members(GROUP)[0].id;
    let _second = cluster.start(handler().handler(journal.worker(1))).await;
    cluster.control.silence(GROUP, zombie);
    until("the second to take over", || !of(&journal, 1).is_empty()).await;
    sleep(5 * SECOND).await;
    cluster.control.reconnect(GROUP, zombie);
    let mut before = cluster.committed(0);
    while before < Some(300) {
        sleep(100 * MS).await;
        let committed = cluster.committed(0);
        assert!(committed >= before, "{committed:?} after {before:?}");
        before = committed;
    }
}

#[tokio::test(start_paused = true)]
async fn who_stops_hands_over_without_repeats() {
    let (cluster, journal) = (Cluster::new(3), Journal::new());
    for partition in 0..3 {
        cluster.publish_all(partition, [100; 40]);
    }
    let first = cluster.start(handler().handler(journal.worker(0))).await;
    let _second = cluster.start(handler().handler(journal.worker(1))).await;
    sleep(SECOND).await;
    first.stop().await;
    journal.until_ended(120).await;
    sleep(SECOND).await;
    assert_eq!(journal.runs().len(), 120, "nothing ran twice");
    for partition in 0..3 {
        cluster.until_committed(partition, 40).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_of_the_broker_repeats_nothing() {
    let (cluster, journal) = (Cluster::new(2), Journal::new());
    cluster.publish_all(0, [100; 100]);
    let _app = cluster.start(handler().handler(journal.worker(0))).await;
    sleep(SECOND).await;
    cluster.control.stop();
    sleep(20 * SECOND).await;
    cluster.control.start();
    cluster.publish_all(0, [100]);
    cluster.until_committed(0, 101).await;
    assert_eq!(journal.runs().len(), 101);
}

#[tokio::test(start_paused = true)]
async fn a_long_outage_costs_the_assignment_and_loses_nothing() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [1_000; 100]);
    let _app = cluster.start(handler().handler(journal.worker(0))).await;
    sleep(5 * SECOND).await;
    cluster.control.stop();
    sleep(300 * SECOND).await;
    cluster.control.start();
    cluster.until_committed(0, 100).await;
    let mut offsets = journal.offsets();
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets, (0..100).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn reads_that_fail_are_tried_again_and_less_and_less_often() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [10; 3]);
    let failing = FaultRule::next(Operation::Fetch, Fault::fail()).times(8);
    cluster.control.inject(FaultPlan::new().with(failing));
    let _app = cluster
        .start(handler().concurrency(2).handler(journal.worker(0)))
        .await;
    cluster.until_committed(0, 3).await;
    // 100 ms, doubled seven times up to 10 s, and each shortened by half at most.
    assert!((11_000..24_000).contains(&journal.times()[0]), "{journal:?}");
}

#[tokio::test(start_paused = true)]
async fn partitions_that_are_added_are_read_from_their_first_message() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    let _app = cluster.start(handler().handler(journal.worker(0))).await;
    sleep(SECOND).await;
    cluster.control.add_partitions(TOPIC, 2).unwrap();
    cluster.publish_all(1, [1, 1]);
    cluster.until_committed(1, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_deleted_and_made_again_is_read_again() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [1; 5]);
    let mut app = cluster.start(handler().handler(journal.worker(0))).await;
    cluster.until_committed(0, 5).await;
    cluster.control.delete_topic(TOPIC).unwrap();
    let failed = tokio::time::timeout(60 * SECOND, app.failed()).await;
    assert!(failed.is_err(), "{failed:?}");
    cluster.control.create_topic(TOPIC, 1);
    cluster.publish_all(0, [1; 2]);
    cluster.until_committed(0, 2).await;
    assert_eq!(journal.runs().len(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_a_revocation_waits_for_both() {
    let (cluster, journal) = (Cluster::new(2), Journal::new());
    cluster.publish_all(0, [5_000]);
    cluster.publish_all(1, [5_000]);
    let app = cluster.start(handler().handler(journal.worker(0))).await;
    sleep(SECOND).await;
    revoke(&cluster);
    sleep(SECOND).await;
    app.stop().await;
    assert_eq!((cluster.committed(0), cluster.committed(1)), (Some(1), Some(1)));
    assert!(cluster.control.members(GROUP).is_empty());
}
