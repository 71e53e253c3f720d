//! Ordered consumption: the events of an aggregate in their order, wherever they arrive.

mod admission;
mod desk;
mod failures;
mod first;
mod gaps;
mod handover;
mod losses;
mod outages;
mod poison;
pub(crate) mod stage;

use stage::Stage;

#[tokio::test(start_paused = true)]
async fn what_comes_in_order_runs_in_order() {
    let stage = Stage::new(1);
    (1..=100).for_each(|seq| stage.event(0, "a", seq));
    let _app = stage.start(0, |_| {}).await;
    stage.until_done(100).await;
    assert_eq!(stage.order("a"), (1..=100).collect::<Vec<_>>());
    stage.until_all_committed().await;
}

#[tokio::test(start_paused = true)]
async fn the_reverse_order_runs_in_order() {
    let stage = Stage::new(1);
    (1..=100).rev().for_each(|seq| stage.event(0, "a", seq));
    let _app = stage.start(0, |_| {}).await;
    stage.until_done(100).await;
    assert_eq!(stage.order("a"), (1..=100).collect::<Vec<_>>());
    stage.until_all_committed().await;
}

#[tokio::test(start_paused = true)]
async fn shuffled_events_run_in_order_in_each_of_several_instances() {
    let stage = Stage::new(4);
    let aggregates = ["a", "b", "c", "d", "e", "f", "g"];
    stage.shuffled(&aggregates, 40, 4, 7);
    let _apps = (
        stage.start(0, |_| {}).await,
        stage.start(1, |_| {}).await,
        stage.start(2, |_| {}).await,
    );
    stage.until_done(aggregates.len() * 40).await;
    for of in aggregates {
        assert_eq!(stage.order(of), (1..=40).collect::<Vec<_>>(), "{of}");
    }
    stage.until_all_committed().await;
}

#[tokio::test(start_paused = true)]
async fn every_permutation_over_any_number_of_partitions_runs_in_order() {
    for seed in 0..24 {
        let partitions = 1 + u32::try_from(seed % 4).unwrap();
        let stage = Stage::new(partitions);
        let aggregates = ["a", "b", "c"];
        stage.shuffled(&aggregates, 15, partitions.try_into().unwrap(), seed);
        let app = stage.start(0, |_| {}).await;
        stage.until_done(45).await;
        for of in aggregates {
            assert_eq!(stage.order(of), (1..=15).collect::<Vec<_>>(), "seed {seed}, {of}");
        }
        stage.until_all_committed().await;
        app.stop().await;
        stage.nothing_is_left().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_arrives_while_the_next_message_waits_for_its_turn_is_not_run() {
    let stage = Stage::new(2);
    stage.publish(0, r#"{"of":"a","seq":1}"#);
    stage.publish(0, r#"{"of":"long","seq":1,"ms":1000}"#);
    stage.publish(0, r#"{"of":"a","seq":2}"#);
    let handler = stage.handler(0, |events| events.concurrency(1));
    let app = stage.app(crate::support::NO_JITTER, handler).build().unwrap();
    let _app = app.start().await.unwrap();
    stage.until_done(1).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    stage.publish(1, r#"{"of":"a","seq":1}"#);
    stage.until_done(3).await;
    stage.until_all_committed().await;
    assert_eq!(stage.order("a"), [1, 2]);
}
