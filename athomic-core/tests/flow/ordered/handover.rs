//! From one instance to another.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::stage::{Stage, counts};

#[tokio::test(start_paused = true)]
async fn a_clean_stop_hands_over_at_once_and_repeats_nothing() {
    let stage = Stage::new(2);
    for seq in 1..=60 {
        let partition = seq % 2;
        stage.publish(partition, &format!(r#"{{"of":"a","seq":{seq},"ms":50}}"#));
    }
    let first = stage.start(0, |_| {}).await;
    let second = stage.start(1, |_| {}).await;
    stage.until_done(20).await;
    let began = Instant::now();
    first.stop().await;
    let done = stage.done().len();
    stage.until_done(done + 1).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    stage.until_done(60).await;
    stage.until_all_committed().await;
    assert_eq!(stage.order("a"), (1..=60).collect::<Vec<_>>(), "each once");
    second.stop().await;
    stage.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn what_runs_under_a_session_that_lapsed_runs_again_under_a_higher_token() {
    let stage = Stage::new(1);
    stage.event(0, "a", 1);
    let app = stage.start(0, |_| {}).await;
    stage.until_done(1).await;
    stage.publish(0, r#"{"of":"a","seq":2,"ms":5000}"#);
    stage.event(0, "a", 3);
    sleep(Duration::from_secs(2)).await;
    stage.store().clock().shift(20_000_000);
    stage.until_order("a", &[1, 2, 3]).await;
    let tokens: Vec<u64> = stage.done().iter().map(|done| done.token).collect();
    assert!(tokens[0] < tokens[1] && tokens[1] == tokens[2], "{tokens:?}");
    assert_eq!(counts(&app).lapses, 1);
    stage.until_all_committed().await;
}

#[tokio::test(start_paused = true)]
async fn a_kept_lease_is_given_up_when_a_message_comes_elsewhere() {
    let stage = Stage::new(2);
    let apps = [stage.start(0, |_| {}).await, stage.start(1, |_| {}).await];
    sleep(Duration::from_secs(30)).await;
    let mut instances = BTreeSet::new();
    for (seq, partition) in [(1, 0), (2, 1), (3, 0), (4, 1)] {
        let began = Instant::now();
        stage.event(partition, "a", seq);
        stage.until_done(usize::try_from(seq).unwrap()).await;
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "{seq}: {:?}",
            began.elapsed()
        );
        instances.insert(stage.done().last().unwrap().instance);
    }
    let wanted: u64 = apps.iter().map(|app| counts(app).not_keyed).sum();
    assert!(wanted > 0, "somebody was asked for it");
    stage.until_all_committed().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_in_time_and_gives_back_although_a_handler_hangs() {
    let stage = Stage::new(1);
    stage.publish(0, r#"{"of":"a","seq":1,"ms":3600000}"#);
    let app = stage.start(0, |_| {}).await;
    sleep(Duration::from_secs(5)).await;
    let began = Instant::now();
    app.stop().await;
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    stage.nothing_is_left().await;
    let next = stage.start(1, |_| {}).await;
    stage.publish(0, r#"{"of":"b","seq":1}"#);
    stage.until_order("b", &[1]).await;
    drop(next);
}
