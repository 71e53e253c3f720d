//! A store that forgets, and one that is trusted.

use std::time::Duration;

use athomic_core::ordering::{CompleteMode, DurabilityRule};
use tokio::time::sleep;

use super::stage::{Stage, counts};
use crate::support::until;

#[tokio::test(start_paused = true)]
async fn a_store_that_lost_everything_is_told_what_is_remembered_here() {
    let stage = Stage::new(2);
    (1..=10).for_each(|seq| stage.event(i32::try_from(seq % 2).unwrap(), "a", seq));
    let app = stage.start(0, |_| {}).await;
    stage.until_done(10).await;
    stage.event(0, "a", 12);
    sleep(Duration::from_secs(5)).await;
    stage.store().lose_everything();
    until("the loss to be noticed", || counts(&app).state_losses > 0).await;
    stage.event(1, "a", 11);
    stage.until_order("a", &(1..=12).collect::<Vec<_>>()).await;
    stage.until_all_committed().await;
    app.stop().await;
    // The session of before the loss has nothing to end it.
    sleep(Duration::from_secs(11)).await;
    stage.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fell_back_is_told_what_is_remembered_here() {
    let stage = Stage::new(1);
    (1..=3).for_each(|seq| stage.event(0, "a", seq));
    let app = stage.start(0, |_| {}).await;
    stage.until_done(3).await;
    stage.until_all_committed().await;
    let before = stage.store().snapshot();
    (4..=8).for_each(|seq| stage.event(0, "a", seq));
    stage.event(0, "a", 10);
    stage.until_done(8).await;
    sleep(Duration::from_secs(5)).await;
    stage.store().restore(before);
    until("the loss to be noticed", || counts(&app).state_losses > 0).await;
    stage.event(0, "a", 9);
    stage.until_order("a", &(1..=10).collect::<Vec<_>>()).await;
    stage.until_all_committed().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_in_a_trusted_store_is_committed_and_survives_all_instances() {
    let stage = Stage::new(1);
    (2..=5).for_each(|seq| stage.event(0, "a", seq));
    let redis = |policies: &mut athomic_core::ordering::OrderingOptions| {
        policies.durability = Some(DurabilityRule::Redis);
    };
    let first = stage.start(0, redis).await;
    stage.until_all_committed().await;
    assert!(stage.done().is_empty());
    first.stop().await;
    let second = stage.start(1, redis).await;
    stage.event(0, "a", 1);
    stage.until_order("a", &[1, 2, 3, 4, 5]).await;
    stage.until_all_committed().await;
    second.stop().await;
    stage.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn the_next_message_need_not_wait_for_the_store_and_keeps_its_order() {
    let stage = Stage::new(3);
    stage.shuffled(&["a", "b", "c"], 60, 3, 11);
    let app = stage
        .start(0, |policies| policies.complete = Some(CompleteMode::Pipelined))
        .await;
    stage.until_done(180).await;
    for of in ["a", "b", "c"] {
        assert_eq!(stage.order(of), (1..=60).collect::<Vec<_>>(), "{of}");
    }
    stage.until_all_committed().await;
    app.stop().await;
    stage.nothing_is_left().await;
}
