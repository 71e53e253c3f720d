//! What is not next: duplicates, conflicts, sequences that cannot be.

use athomic_core::ordering::{Action, FirstSequenceRule, OnRegression};

use super::stage::{Stage, counts, until_counted};

#[tokio::test(start_paused = true)]
async fn an_event_that_was_produced_twice_runs_once_wherever_it_stands() {
    let stage = Stage::new(2);
    for (partition, seq) in [(0, 1), (0, 1), (1, 1), (1, 3), (0, 3), (0, 2), (1, 2)] {
        stage.event(partition, "a", seq);
    }
    let (one, two) = (stage.start(0, |_| {}).await, stage.start(1, |_| {}).await);
    stage.until_all_committed().await;
    assert_eq!(stage.order("a"), [1, 2, 3]);
    one.stop().await;
    two.stop().await;
    stage.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn another_payload_with_the_last_sequence_is_given_up_and_blocks_nothing() {
    let stage = Stage::new(1);
    stage.event(0, "a", 1);
    let app = stage.start(0, |_| {}).await;
    stage.until_done(1).await;
    stage.publish(0, r#"{"of":"a","seq":1,"ms":3}"#);
    stage.event(0, "a", 2);
    stage.until_all_committed().await;
    until_counted(&app, "conflicts", |counts| counts.conflicts, 1).await;
    assert_eq!(stage.order("a"), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_sequence_below_the_first_or_without_a_next_is_given_up() {
    let stage = Stage::new(1);
    [4, u64::MAX, 5, 6]
        .iter()
        .for_each(|&seq| stage.event(0, "a", seq));
    let app = stage
        .start(0, |policies| {
            policies.first_sequence = Some(FirstSequenceRule::Exact(5))
        })
        .await;
    stage.until_all_committed().await;
    until_counted(&app, "invalid", |counts| counts.invalid, 2).await;
    assert_eq!(stage.order("a"), [5, 6]);
}

#[tokio::test(start_paused = true)]
async fn sequences_that_begin_anew_halt_where_that_is_wanted_until_somebody_resumes() {
    let stage = Stage::new(1);
    (1..=3).for_each(|seq| stage.event(0, "a", seq));
    let app = stage
        .start(0, |policies| policies.on_regression = Some(OnRegression::Halt))
        .await;
    stage.until_order("a", &[1, 2, 3]).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    stage.event(0, "a", 1);
    until_counted(&app, "regressions", |counts| counts.regressions, 1).await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    stage.event(0, "a", 4);
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(stage.order("a"), [1, 2, 3], "it is halted");
    let handler = app.ordering().handler("on_event").unwrap();
    handler.act("a", Action::Resume).await.unwrap();
    stage.until_order("a", &[1, 2, 3, 4]).await;
    stage.until_all_committed().await;
    assert_eq!(counts(&app).halted, 1);
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_what_was_done_does_not_run_while_the_next_one_waits_for_its_turn() {
    let stage = Stage::new(1);
    stage.event(0, "a", 1);
    let handler = stage.handler(0, |events| events.concurrency(1));
    let app = stage.app(crate::support::NO_JITTER, handler).build().unwrap();
    let app = app.start().await.unwrap();
    stage.until_done(1).await;
    stage.publish(0, r#"{"of":"b","seq":1,"ms":5000}"#);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    stage.event(0, "a", 2); // it is next, and b has the only permit
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    stage.event(0, "a", 1);
    stage.until_all_committed().await;
    assert_eq!(stage.order("a"), [1, 2]);
    assert_eq!(counts(&app).duplicates, 1);
}
