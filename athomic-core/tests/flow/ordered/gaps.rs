//! Sequences that do not come.

use std::time::Duration;

use athomic_core::ordering::{Action, GapAction, GapRule, OrderingOptions};
use athomic_core::transport::memory::{Fault, FaultRule, Operation};
use tokio::time::{Instant, sleep};

use super::stage::{Stage, counts, until_counted};

const TIMEOUT: Duration = Duration::from_secs(10);
/// How much later a gap may be noticed: a look a second, and one after it.
const LATER: Duration = Duration::from_secs(3);

fn after(action: GapAction) -> impl Fn(&mut OrderingOptions) {
    move |policies| {
        policies.on_gap = Some(GapRule::Act(action));
        policies.gap_timeout = Some(TIMEOUT);
    }
}

#[tokio::test(start_paused = true)]
async fn a_gap_waits_for_ever_without_a_policy() {
    let stage = Stage::new(1);
    [1, 3].iter().for_each(|&seq| stage.event(0, "a", seq));
    let app = stage.start(0, |_| {}).await;
    sleep(Duration::from_secs(600)).await;
    assert_eq!(stage.order("a"), [1]);
    assert_eq!(stage.cluster.committed(0), Some(1), "Kafka keeps what waits");
    stage.event(0, "a", 2);
    stage.until_order("a", &[1, 2, 3]).await;
    stage.until_all_committed().await;
    app.stop().await;
    stage.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn the_clock_of_a_gap_starts_with_it_and_anew_for_the_next() {
    let stage = Stage::new(1);
    stage.event(0, "a", 1);
    let app = stage.start(0, after(GapAction::Skip)).await;
    stage.until_done(1).await;
    for (seq, done) in [(3, 2), (5, 3)] {
        sleep(Duration::from_secs(60)).await;
        stage.event(0, "a", seq);
        let began = Instant::now();
        stage.until_done(done).await;
        let waited = began.elapsed();
        assert!((TIMEOUT..TIMEOUT + LATER).contains(&waited), "{seq}: {waited:?}");
    }
    assert_eq!(stage.order("a"), [1, 3, 5]);
    until_counted(&app, "skipped", |counts| counts.skipped, 2).await;
    // Each of them is late, whichever was skipped last.
    [2, 4].iter().for_each(|&seq| stage.event(0, "a", seq));
    stage.until_all_committed().await;
    until_counted(&app, "late", |counts| counts.late, 2).await;
    app.stop().await;
    stage.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn the_clock_of_a_gap_stands_still_while_a_partition_cannot_be_read() {
    let stage = Stage::new(1);
    [1, 3].iter().for_each(|&seq| stage.event(0, "a", seq));
    let app = stage.start(0, after(GapAction::Skip)).await;
    stage.until_done(1).await;
    sleep(Duration::from_secs(2)).await;
    let unreadable = FaultRule::next(Operation::Fetch, Fault::fail()).times(20);
    stage.cluster.control.inject_next(unreadable);
    stage.event(0, "b", 1); // ends the read that is under way
    sleep(Duration::from_secs(40)).await;
    assert_eq!(stage.order("a"), [1], "2 may stand where nobody can read");
    stage.event(0, "a", 2);
    stage.until_order("a", &[1, 2, 3]).await;
    assert_eq!(counts(&app).skipped, 0);
}

#[tokio::test(start_paused = true)]
async fn what_waits_behind_a_gap_is_given_up_where_that_is_wanted() {
    let stage = Stage::new(1);
    [1, 3, 4, 6].iter().for_each(|&seq| stage.event(0, "a", seq));
    let app = stage.start(0, after(GapAction::DeadLetter)).await;
    until_counted(&app, "gaps", |counts| counts.gap_timeouts, 1).await;
    stage.event(0, "a", 7);
    stage.until_order("a", &[1, 7]).await;
    stage.until_all_committed().await;
    app.stop().await;
    stage.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_gap_halts_its_aggregate_and_no_other_where_that_is_wanted() {
    let stage = Stage::new(1);
    [1, 3].iter().for_each(|&seq| stage.event(0, "a", seq));
    let app = stage.start(0, after(GapAction::Halt)).await;
    until_counted(&app, "halted", |counts| counts.halted, 1).await;
    stage.event(0, "b", 1);
    stage.until_order("b", &[1]).await;
    sleep(Duration::from_secs(600)).await;
    assert_eq!(stage.order("a"), [1]);
    let handler = app.ordering().handler("on_event").unwrap();
    handler.act("a", Action::Skip).await.unwrap();
    stage.until_order("a", &[1, 3]).await;
    stage.until_all_committed().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_room_is_tried_again_and_the_next_one_is_let_in() {
    let stage = Stage::new(1);
    (2..=20).for_each(|seq| stage.event(0, "a", seq));
    stage.event(0, "a", 1);
    let app = stage
        .start(0, |policies| policies.room_max_messages = Some(3))
        .await;
    stage.until_order("a", &(1..=20).collect::<Vec<_>>()).await;
    stage.until_all_committed().await;
    app.stop().await;
    stage.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_window_full_of_successors_lets_the_one_behind_them_in() {
    let stage = Stage::new(1);
    (2..=200).for_each(|seq| stage.event(0, "a", seq));
    stage.event(0, "a", 1);
    let window = "[integration.messaging.consumer]\nmax_in_flight_messages = 8\n";
    let _app = stage.start_with(0, window, |_| {}).await;
    stage.until_order("a", &(1..=200).collect::<Vec<_>>()).await;
    stage.until_all_committed().await;
}
