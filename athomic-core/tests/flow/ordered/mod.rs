//! Ordered consumption: the events of an aggregate in their order, wherever they arrive.

mod stage;

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
