//! Commits: when, how far, and what a failed one costs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use athomic_core::message::{Offset, TopicPartition};
use athomic_core::transport::memory::{Fault, FaultPlan, FaultRule, Operation};
use tokio::time::Instant;

use crate::support::{Cluster, Journal, MS, TOPIC, handler};

/// Note each commit of partition 0, with its time, and let it happen.
fn watch(cluster: &Cluster) -> Arc<Mutex<Vec<(u128, Offset)>>> {
    watch_with(cluster, |_| Fault::NONE)
}

/// The same, with a fault for each commit by its number.
fn watch_with(
    cluster: &Cluster,
    fault: impl Fn(usize) -> Fault + Send + 'static,
) -> Arc<Mutex<Vec<(u128, Offset)>>> {
    let (commits, opened) = (Arc::new(Mutex::new(Vec::new())), Instant::now());
    let notes = Arc::clone(&commits);
    cluster.control.inject(FaultPlan::new().driven_by(move |call| {
        if call.operation != Operation::Commit {
            return Fault::NONE;
        }
        let mut notes: std::sync::MutexGuard<'_, Vec<_>> = notes.lock().unwrap();
        let of_first = call
            .offsets
            .iter()
            .filter(|commit| commit.partition.partition == 0);
        notes.extend(of_first.map(|commit| (opened.elapsed().as_millis(), commit.offset)));
        fault(notes.len())
    }));
    commits
}

fn offsets(commits: &Mutex<Vec<(u128, Offset)>>) -> Vec<Offset> {
    let commits = commits.lock().unwrap();
    commits.iter().map(|commit| commit.1).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_settled_is_committed_at_the_interval() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [300; 10]);
    let commits = watch(&cluster);
    let settings = "[integration.messaging.consumer]\ncommit_interval_ms = 500";
    let _app = cluster
        .start_with(settings, handler().handler(journal.worker(0)))
        .await;
    cluster.until_committed(0, 10).await;
    let commits = commits.lock().unwrap();
    assert_eq!(
        commits.iter().map(|commit| commit.1).collect::<Vec<_>>(),
        [1, 3, 5, 6, 8, 10]
    );
    for pair in commits.windows(2) {
        assert!((499..=501).contains(&(pair[1].0 - pair[0].0)), "{commits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_committed_when_nothing_is_new() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [0; 3]);
    let commits = watch(&cluster);
    let _app = cluster.start(handler().handler(journal.worker(0))).await;
    cluster.until_committed(0, 3).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(offsets(&commits), [3]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_a_silence_is_committed_at_the_interval() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    let commits = watch(&cluster);
    let _app = cluster.start(handler().handler(journal.worker(0))).await;
    for count in 1..=3 {
        tokio::time::sleep(Duration::from_secs(63)).await;
        let published = Instant::now();
        cluster.publish(0, None, 2500);
        cluster.until_committed(0, count).await;
        let late = published.elapsed() - Duration::from_millis(2500);
        assert!(
            late <= Duration::from_millis(1050),
            "committed {late:?} after it was settled"
        );
    }
    assert_eq!(offsets(&commits), [0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_waits_for_the_slow_message_below() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    for (key, millis) in [("a", 0), ("slow", 10_000), ("b", 0), ("c", 0)] {
        cluster.publish(0, Some(key), millis);
    }
    let _app = cluster
        .start(handler().concurrency(4).handler(journal.worker(0)))
        .await;
    journal.until_ended(3).await;
    cluster.until_committed(0, 1).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.committed(0), Some(1));
    cluster.until_committed(0, 4).await;
}

#[tokio::test(start_paused = true)]
async fn holes_in_the_log_are_no_obstacle() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    let partition = TopicPartition::new(TOPIC, 0);
    cluster.control.write_unseen(&partition, 2).unwrap();
    cluster.publish_all(0, [0; 6]);
    cluster.control.write_unseen(&partition, 0).unwrap();
    cluster.publish_all(0, [0]);
    cluster
        .control
        .compact(&partition, |record| record.offset % 2 == 0)
        .unwrap();
    let _app = cluster.start(handler().handler(journal.worker(0))).await;
    cluster.until_committed(0, 11).await;
    assert_eq!(journal.offsets(), [4, 6, 8, 10]);
}

#[tokio::test(start_paused = true)]
async fn trailing_markers_leave_no_lag() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    let partition = TopicPartition::new(TOPIC, 0);
    cluster.publish_all(0, [5_000]);
    cluster.control.write_unseen(&partition, 3).unwrap();
    let _app = cluster
        .start(handler().concurrency(2).handler(journal.worker(0)))
        .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(cluster.committed(0), None, "the message runs");
    cluster.until_committed(0, 5).await;
    cluster.control.write_unseen(&partition, 0).unwrap();
    cluster.until_committed(0, 6).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_commit_is_made_up_for_by_the_next() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [0; 3]);
    cluster
        .control
        .inject_next(FaultRule::next(Operation::Commit, Fault::fail()).times(2));
    let _app = cluster.start(handler().handler(journal.worker(0))).await;
    cluster.until_committed(0, 3).await;
    assert_eq!(journal.offsets(), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_of_unknown_outcome_is_asked_again() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [0; 3]);
    let commits = watch_with(&cluster, |number| match number {
        1 => Fault::fail_after_applying(),
        _ => Fault::NONE,
    });
    let _app = cluster.start(handler().handler(journal.worker(0))).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(offsets(&commits), [3, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_commit_is_never_overtaken_by_a_later_one() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [100; 100]);
    let commits = watch_with(&cluster, |number| match number {
        2 => Fault::delay(Duration::from_millis(3_500)),
        _ => Fault::NONE,
    });
    let app = cluster.start(handler().handler(journal.worker(0))).await;
    let mut before = None;
    while journal.runs().len() < 50 {
        tokio::time::sleep(MS).await;
        let committed = cluster.committed(0);
        assert!(committed >= before, "{committed:?} after {before:?}");
        before = committed;
    }
    app.stop().await;
    let offsets = offsets(&commits);
    assert!(offsets.is_sorted(), "{offsets:?}");
    assert_eq!(cluster.committed(0), Some(journal.runs().len() as i64));
}

#[tokio::test(start_paused = true)]
async fn a_slow_commit_holds_up_neither_messages_nor_the_stop() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [10; 1000]);
    cluster.control.inject(FaultPlan::new().with(FaultRule::next(
        Operation::Commit,
        Fault::delay(Duration::from_secs(3_600)),
    )));
    let app = cluster.start(handler().handler(journal.worker(0))).await;
    journal.until_ended(500).await;
    let began = Instant::now();
    app.stop().await;
    assert!(
        began.elapsed() <= Duration::from_secs(32),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_group_goes_on_where_it_committed() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [1; 10]);
    let app = cluster.start(handler().handler(journal.worker(0))).await;
    journal.until_ended(4).await;
    app.stop().await;
    let done = journal.runs().len();
    assert_eq!(cluster.committed(0), Some(done as i64));
    let _app = cluster.start(handler().handler(journal.worker(1))).await;
    cluster.until_committed(0, 10).await;
    assert_eq!(journal.offsets(), (0..10).collect::<Vec<_>>());
}
