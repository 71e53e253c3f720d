//! Duplicates, and messages that another one handles.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use athomic_core::handler::Meta;
use athomic_core::outcome::HandlerError;
use athomic_core::store::idempotency::{Hold, IdempotencyStore as _};
use tokio::time::{Instant, sleep};

use super::stage::{LOCK, Stage, counts, guarded};
use crate::support::{GROUP, NO_JITTER, until};

#[tokio::test(start_paused = true)]
async fn a_duplicate_is_acknowledged_and_counted_and_not_handled() {
    let stage = Stage::new(1);
    for id in ["a", "a", "b", "a"] {
        stage.publish(0, id, 0);
    }
    let app = stage.start(stage.worker(0)).await;
    stage.cluster.until_committed(0, 4).await;
    assert_eq!(stage.journal.offsets(), [0, 2]);
    let counts = counts(&app);
    assert_eq!((counts.duplicates, counts.confirmed), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn what_was_handled_and_not_committed_is_not_handled_again() {
    let stage = Stage::new(1);
    stage.cluster.publish_all(0, [0, 0, 0]);
    let settings = "[integration.messaging.consumer]\ncommit_interval_ms = 3600000\n";
    let app = stage.start_with(settings, stage.worker(0)).await;
    until("three are remembered", || counts(&app).confirmed == 3).await;
    let member = stage.cluster.control.members(GROUP)[0].id;
    stage.cluster.control.expire_session(GROUP, member);
    until("they came again", || counts(&app).duplicates == 3).await;
    assert_eq!(stage.journal.offsets(), [0, 1, 2]);
    app.stop().await;
    assert_eq!(stage.cluster.committed(0), Some(3));
}

#[tokio::test(start_paused = true)]
async fn of_two_instances_that_get_the_same_message_one_handles_it() {
    let stage = Stage::new(2);
    for number in 0..20 {
        stage.publish(0, &number.to_string(), 50);
        stage.publish(1, &number.to_string(), 70);
    }
    let one = stage.start(stage.worker(0)).await;
    let other = stage.start(stage.worker(1)).await;
    stage.cluster.until_committed(0, 20).await;
    stage.cluster.until_committed(1, 20).await;
    let mut keys: Vec<_> = stage
        .journal
        .runs()
        .into_iter()
        .filter_map(|run| run.key)
        .collect();
    keys.sort();
    let total = keys.len();
    keys.dedup();
    assert_eq!((total, keys.len()), (20, 20));
    let (one, other) = (counts(&one), counts(&other));
    assert_eq!(one.duplicates + other.duplicates, 20);
    assert_eq!(one.confirmed + other.confirmed, 20);
}

#[tokio::test(start_paused = true)]
async fn what_the_dead_had_locked_waits_no_longer_than_the_lock_lasts() {
    let stage = Stage::new(1);
    stage.publish(0, "a", 0);
    stage.lock_as_the_dead("a").await;
    let began = Instant::now();
    let app = stage.start(stage.worker(0)).await;
    stage.cluster.until_committed(0, 1).await;
    let waited = began.elapsed();
    assert!(
        waited >= LOCK && waited < LOCK + Duration::from_secs(3),
        "{waited:?}"
    );
    assert_eq!(stage.journal.offsets(), [0]);
    assert!(counts(&app).busy > 0);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_outlives_its_lock_keeps_it() {
    let stage = Stage::new(2);
    stage.publish(0, "a", 300_000);
    let _one = stage.start(stage.worker(0)).await;
    stage.journal.until_begun(1).await;
    stage.publish(1, "a", 300_000);
    stage.cluster.until_committed(0, 1).await;
    stage.cluster.until_committed(1, 1).await;
    assert_eq!(stage.journal.runs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_keeps_its_thread_is_renewed_all_the_same() {
    // A task of its own renews: here it only shows that no lane has to be polled for it.
    let stage = Stage::new(1);
    stage.publish(0, "a", 60_000);
    let _app = stage.start(stage.worker(0)).await;
    stage.journal.until_begun(1).await;
    for _ in 0..5 {
        sleep(LOCK).await;
        assert_eq!(stage.marks().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_the_store_lost_is_taken_again_and_reported() {
    let stage = Stage::new(1);
    stage.publish(0, "a", 30_000);
    let app = stage.start(stage.worker(0)).await;
    stage.journal.until_begun(1).await;
    stage.marks().clear();
    until("it is taken again", || counts(&app).lapsed == 1).await;
    stage.publish(0, "a", 0);
    stage.cluster.until_committed(0, 2).await;
    assert_eq!(stage.journal.offsets(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_another_took_is_lost_and_its_confirmation_refused() {
    let stage = Stage::new(1);
    stage.publish(0, "a", 3_000);
    let app = stage.start(stage.worker(0)).await;
    stage.journal.until_begun(1).await;
    stage.marks().clear();
    let other = stage.lock_as_the_dead("a").await;
    until("it ended", || counts(&app).lost == 1).await;
    // The other's lock is untouched, and so is what it says.
    let confirmed = stage.marks().confirm(&[other], LOCK).await;
    assert!(matches!(confirmed[..], [Ok(Hold::Kept)]));
    // The message was handled all the same.
    stage.cluster.until_committed(0, 1).await;
    assert_eq!(counts(&app).confirmed, 0);
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_given_up_before_the_next_attempt() {
    let stage = Stage::new(1);
    stage.publish(0, "a", 0);
    let journal = stage.journal.clone();
    let flaky = guarded().handler(move |_: u64, meta: Meta| {
        let run = journal.begin(0, &meta);
        journal.end(run);
        async move {
            match meta.attempt() {
                1 => Err(HandlerError::retry("not yet")),
                2 => panic!("nor now"),
                _ => Ok(()),
            }
        }
    });
    let app = stage.start_with(NO_JITTER, flaky).await;
    stage.cluster.until_committed(0, 1).await;
    let times = stage.journal.times();
    let pauses: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]) / 1000).collect();
    assert_eq!(pauses, [1, 2]);
    let counts = counts(&app);
    assert_eq!((counts.released, counts.confirmed, counts.busy), (2, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_is_no_duplicate() {
    let stage = Stage::new(1);
    stage.publish(0, "a", 0);
    stage.publish(0, "a", 0);
    let journal = stage.journal.clone();
    let failing = guarded().handler(move |_: u64, meta: Meta| {
        journal.begin(0, &meta);
        async move { Err::<(), _>(HandlerError::dead_letter("never")) }
    });
    let app = stage.start(failing).await;
    stage.cluster.until_committed(0, 2).await;
    assert_eq!(stage.journal.offsets(), [0, 1]);
    assert_eq!(counts(&app).confirmed, 0);
    assert!(stage.marks().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_decoded_is_not_locked() {
    let stage = Stage::new(1);
    stage.cluster.publish(0, None, "no number");
    let app = stage.start(stage.worker(0)).await;
    stage.cluster.until_committed(0, 1).await;
    assert_eq!(counts(&app), Default::default());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_another_holds_up_no_other_key_and_no_execution() {
    let stage = Stage::new(1);
    stage.lock_as_the_dead("a").await;
    stage.publish(0, "a", 0);
    for number in 0..10 {
        stage.publish(0, &number.to_string(), 10);
    }
    let one_at_a_time = guarded().concurrency(1).handler(stage.journal.worker(0));
    let began = Instant::now();
    let _app = stage.start(one_at_a_time).await;
    stage.journal.until_ended(10).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(stage.cluster.committed(0), None);
    stage.cluster.until_committed(0, 11).await;
    assert_eq!(stage.journal.offsets(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_another() {
    let stage = Stage::new(1);
    stage.lock_as_the_dead("a").await;
    stage.publish(0, "a", 0);
    let app = stage.start(stage.worker(0)).await;
    until("it waits", || counts(&app).busy > 0).await;
    let began = Instant::now();
    app.stop().await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(stage.cluster.committed(0), None);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_handler_gives_its_lock_up_at_once() {
    let stage = Stage::new(1);
    stage.publish(0, "a", 30_000);
    let app = stage.start(stage.worker(0)).await;
    stage.journal.until_begun(1).await;
    let member = stage.cluster.control.members(GROUP)[0].id;
    stage.cluster.control.expire_session(GROUP, member);
    stage.journal.until_begun(2).await;
    let times = stage.journal.times();
    assert!(times[1] - times[0] < 5_000, "{times:?}");
    stage.cluster.until_committed(0, 1).await;
    assert_eq!(counts(&app).confirmed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_too_long_gives_its_lock_up() {
    let stage = Stage::new(1);
    stage.publish(0, "a", 0);
    let tries = Arc::new(AtomicUsize::new(0));
    let slow_once = guarded().handler({
        let tries = Arc::clone(&tries);
        move |_: u64| {
            let is_first = tries.fetch_add(1, Relaxed) == 0;
            async move { sleep(Duration::from_secs(if is_first { 600 } else { 0 })).await }
        }
    });
    let settings = "[integration.messaging.consumer]\nhandler_timeout_ms = 1000\n";
    let app = stage.start_with(settings, slow_once).await;
    stage.cluster.until_committed(0, 1).await;
    let counts = counts(&app);
    assert_eq!((counts.released, counts.confirmed, counts.busy), (1, 1, 0));
}
