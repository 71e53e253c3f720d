//! Concurrency: messages of one key in order, others side by side, within limits.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::Poll;
use std::time::Duration;

use athomic_core::handler::{Meta, Ordering};
use athomic_core::outcome::HandlerError;
use proptest::prelude::*;

use crate::support::{Cluster, Journal, MS, NO_JITTER, Run, handler};

#[tokio::test(start_paused = true)]
async fn keys_of_a_partition_keep_their_order_and_others_do_not_wait() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish(0, Some("a"), 100);
    cluster.publish(0, Some("a"), 10);
    cluster.publish(0, Some("b"), 10);
    cluster.publish(0, Some("b"), 10);
    let _app = cluster
        .start(handler().concurrency(8).handler(journal.worker(0)))
        .await;
    journal.until_ended(4).await;
    assert_eq!(journal.offsets(), [0, 2, 3, 1]);
    assert_per_key_order(&journal.runs());
}

#[tokio::test(start_paused = true)]
async fn null_keys_wait_for_each_other_and_not_for_the_empty_key() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish(0, None, 20);
    cluster.publish(0, Some(""), 5);
    cluster.publish(0, None, 5);
    let _app = cluster
        .start(handler().concurrency(8).handler(journal.worker(0)))
        .await;
    journal.until_ended(3).await;
    assert_eq!(journal.offsets(), [0, 1, 2]);
    assert_eq!(journal.peak(), 2);
    let runs = journal.runs();
    assert!(Some(runs[2].began) >= runs[0].ended);
}

#[tokio::test(start_paused = true)]
async fn ordering_none_frees_all_messages() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [20, 20]);
    cluster.publish(0, Some("a"), 20);
    cluster.publish(0, Some("a"), 20);
    let free = handler().concurrency(8).ordering(Ordering::None);
    let _app = cluster.start(free.handler(journal.worker(0))).await;
    journal.until_ended(4).await;
    assert_eq!(journal.peak(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_limit_counts_executions_of_the_process_over_all_partitions() {
    let (cluster, journal) = (Cluster::new(4), Journal::new());
    for partition in 0..4 {
        for message in 0..10 {
            cluster.publish(partition, Some(&message.to_string()), 10);
        }
    }
    let _app = cluster
        .start(handler().concurrency(3).handler(journal.worker(0)))
        .await;
    journal.until_ended(40).await;
    assert_eq!(journal.peak(), 3);
    for partition in 0..4 {
        let first_runs = journal.places();
        let served = first_runs[..24]
            .iter()
            .filter(|place| place.0 == partition)
            .count();
        assert!(
            served >= 3,
            "partition {partition} waits for the others: {first_runs:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_window_closes_by_count_and_opens_again_when_it_is_low() {
    let (cluster, journal) = (Cluster::new(2), Journal::new());
    for message in 0..40_u64 {
        cluster.publish(0, Some(&message.to_string()), (message % 10 + 1) * 10);
    }
    cluster.publish_all(1, [1; 3]);
    let settings = "[integration.messaging.consumer]\nmax_in_flight_messages = 10";
    let _app = cluster
        .start_with(settings, handler().concurrency(100).handler(journal.worker(0)))
        .await;
    journal.until_ended(12).await;
    let runs = journal.runs();
    let of_first: Vec<_> = runs
        .iter()
        .filter(|run| run.partition == 0)
        .map(|run| run.began)
        .collect();
    assert!(of_first[..10].iter().all(|began| *began == of_first[0]));
    // The first three end after 10, 20 and 30 ms: seven in flight are the low mark.
    assert!(
        of_first[10..].iter().all(|began| *began >= of_first[0] + 30),
        "{of_first:?}"
    );
    cluster.until_committed(1, 3).await;
    journal.until_ended(43).await;
}

#[tokio::test(start_paused = true)]
async fn the_window_closes_by_bytes() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    for message in 0..10 {
        cluster.publish(0, Some(&message.to_string()), format!("{:>999}", 10));
    }
    let settings = "[integration.messaging.consumer]\nmax_in_flight_bytes = 3000\nfetch_max_bytes = 1000";
    let _app = cluster
        .start_with(settings, handler().concurrency(100).handler(journal.worker(0)))
        .await;
    journal.until_ended(10).await;
    assert_eq!(journal.peak(), 3);
    cluster.until_committed(0, 10).await;
}

#[tokio::test(start_paused = true)]
async fn a_stuck_message_closes_the_window_of_its_partition_alone() {
    let (cluster, journal) = (Cluster::new(2), Journal::new());
    cluster.publish(0, Some("stuck"), 1_000_000);
    for message in 0..100 {
        cluster.publish(0, Some(&message.to_string()), 1);
        cluster.publish(1, Some(&message.to_string()), 1);
    }
    let settings = "[integration.messaging.consumer]\nmax_in_flight_messages = 20";
    let _app = cluster
        .start_with(settings, handler().concurrency(8).handler(journal.worker(0)))
        .await;
    cluster.until_committed(1, 100).await;
    let of_first = journal.places().iter().filter(|place| place.0 == 0).count();
    assert_eq!(of_first, 20);
    assert_eq!(cluster.committed(0), None);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_for_its_next_attempt_lets_others_run() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish(0, Some("a"), 0);
    cluster.publish(0, Some("b"), 0);
    cluster.publish(0, Some("a"), 0);
    let fails_first = failing_once(&journal, 0);
    let _app = cluster
        .start_with(NO_JITTER, handler().concurrency(1).handler(fails_first))
        .await;
    journal.until_ended(4).await;
    let tried: Vec<_> = journal
        .runs()
        .iter()
        .map(|run| (run.offset, run.attempt))
        .collect();
    assert_eq!(tried, [(0, 1), (1, 1), (0, 2), (2, 1)]);
    assert_eq!(journal.peak(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_lets_no_later_message_of_the_key_overtake() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    for _ in 0..5 {
        cluster.publish(0, Some("a"), 0);
    }
    let _app = cluster
        .start_with(
            NO_JITTER,
            handler().concurrency(8).handler(failing_once(&journal, 2)),
        )
        .await;
    journal.until_ended(6).await;
    assert_eq!(journal.offsets(), [0, 1, 2, 2, 3, 4]);
}

/// A handler that fails at the first attempt of one offset.
fn failing_once(
    journal: &Journal,
    fails: i64,
) -> impl Fn(u64, Meta) -> futures_util::future::BoxFuture<'static, Result<(), &'static str>> + use<> {
    let journal = journal.clone();
    move |_, meta| {
        let journal = journal.clone();
        Box::pin(async move {
            let run = journal.begin(0, &meta);
            tokio::time::sleep(MS).await;
            journal.end(run);
            if meta.offset() == fails && meta.attempt() == 1 {
                return Err("busy");
            }
            Ok(())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_keeps_waking_itself_leaves_the_thread_to_others() {
    let cluster = Cluster::new(1);
    cluster.publish(0, Some("a"), 0);
    let released = Arc::new(AtomicBool::new(false));
    let on_message = {
        let released = Arc::clone(&released);
        move |_: u64| {
            let released = Arc::clone(&released);
            poll_fn(move |cx| {
                if released.load(SeqCst) {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
        }
    };
    let _app = cluster.start(handler().concurrency(2).handler(on_message)).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    released.store(true, SeqCst);
    cluster.until_committed(0, 1).await;
}

fn assert_per_key_order(runs: &[Run]) {
    let mut last: HashMap<_, &Run> = HashMap::new();
    for run in runs {
        if let Some(before) = last.insert((run.partition, run.key.clone()), run) {
            assert!(before.offset <= run.offset, "{before:?} before {run:?}");
            assert!(
                before.ended.is_some_and(|ended| ended <= run.began),
                "{before:?} during {run:?}"
            );
        }
    }
}

/// What becomes of a message: its key, how long each attempt takes, how many attempts fail.
type Plan = (Option<u8>, u64, u32);

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    proptest::collection::vec((proptest::option::of(0..6u8), 0..20u64, 0..4u32), 1..60)
}

/// Handle messages by a plan, two partitions in turn.
async fn run_plans(plans: Vec<Plan>, concurrency: usize) -> Vec<Run> {
    let (cluster, journal) = (Cluster::new(2), Journal::new());
    for (place, (key, ..)) in (0..).zip(&plans) {
        let key = key.map(|key| key.to_string());
        cluster.publish(place % 2, key.as_deref(), place);
    }
    let count = i64::try_from(plans.len()).unwrap();
    let (plans, notes) = (Arc::new(plans), journal.clone());
    let on_message = move |place: usize, meta: Meta| {
        let (plans, journal) = (Arc::clone(&plans), notes.clone());
        async move {
            let (_, millis, failures) = plans[place];
            let run = journal.begin(0, &meta);
            tokio::time::sleep(Duration::from_millis(millis)).await;
            journal.end(run);
            match meta.attempt() <= failures {
                true => Err(HandlerError::retry("not yet")),
                false => Ok(()),
            }
        }
    };
    let app = cluster
        .start(handler().concurrency(concurrency).handler(on_message))
        .await;
    cluster.until_committed(0, (count + 1) / 2).await;
    if count > 1 {
        cluster.until_committed(1, count / 2).await;
    }
    app.stop().await;
    assert!(journal.peak() <= concurrency);
    journal.runs()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_keys_durations_and_failures_keys_keep_their_order_and_all_is_settled(
        plans in plans(),
        concurrency in 1..9usize,
    ) {
        let expected: usize = plans.iter().map(|(_, _, failures)| (*failures as usize + 1).min(3)).sum();
        let runs = paused().block_on(run_plans(plans, concurrency));
        assert_per_key_order(&runs);
        prop_assert_eq!(runs.len(), expected);
    }
}

fn paused() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true);
    runtime.build().expect("a runtime without I/O needs nothing")
}
