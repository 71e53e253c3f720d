//! A store that forgets, and one that is trusted.

use std::time::Duration;

use athomic_core::app::RunningApp;
use athomic_core::ordering::{Action, CompleteMode, DurabilityRule, FirstSequenceRule};
use tokio::time::{Instant, sleep};

use super::stage::{Stage, counts, until_counted};
use crate::support::{NO_JITTER, until};

/// How long sessions live by default.
const SESSION: Duration = Duration::from_secs(10);

/// Do and commit events 1 to `last` of an aggregate in an instance that ends.
async fn history(stage: &Stage, of: &str, last: u64) {
    (1..=last).for_each(|seq| stage.event(0, of, seq));
    let app = stage.start(0, |_| {}).await;
    stage.until_order(of, &(1..=last).collect::<Vec<_>>()).await;
    stage.until_all_committed().await;
    app.stop().await;
}

/// Start an instance whose application has done events 1 to 6 of each aggregate.
async fn start_with_resync(stage: &Stage, instance: usize) -> RunningApp {
    let handler = stage.handler(instance, |events| events);
    let app = stage.app(NO_JITTER, handler);
    let app = app.resync("on_event", async |_: String| Ok::<_, std::io::Error>(Some(6)));
    app.build().unwrap().start().await.unwrap()
}

async fn halted(app: &RunningApp) -> Vec<String> {
    let report = app.ordering().handler("on_event").unwrap().report().await;
    report.unwrap().halted
}

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
async fn who_begins_late_after_a_loss_is_halted_loudly_and_goes_on_from_where_it_is_released() {
    let stage = Stage::new(1);
    history(&stage, "old", 6).await;
    stage.store().lose_everything();
    stage.event(0, "old", 8);
    stage.event(0, "old", 7);
    let app = stage.start(1, |_| {}).await;
    until_counted(&app, "losses", |counts| counts.state_losses, 1).await;
    // One that is new waits no longer than for its first event.
    [3, 2, 1].iter().for_each(|&seq| stage.event(0, "new", seq));
    stage.until_order("new", &[1, 2, 3]).await;
    until_counted(&app, "halted aggregates", |counts| counts.halted, 1).await;
    assert_eq!(halted(&app).await, ["old"]);
    let desk = app.ordering().handler("on_event").unwrap();
    let events = desk.events(10).await.unwrap();
    assert!(
        events[0].starts_with("old: halted: the ordering store lost state"),
        "{events:?}"
    );
    assert!(events[1].starts_with("the store has lost state"), "{events:?}");
    desk.act("old", Action::Resume).await.unwrap();
    stage.until_order("old", &[1, 2, 3, 4, 5, 6, 7, 8]).await;
    stage.until_all_committed().await;
}

#[tokio::test(start_paused = true)]
async fn who_starts_long_after_a_loss_knows_of_it() {
    let stage = Stage::new(1);
    history(&stage, "old", 6).await;
    stage.store().lose_everything();
    stage.start(1, |_| {}).await.stop().await;
    sleep(Duration::from_secs(3600)).await;
    let app = stage.start(2, |_| {}).await;
    [7, 8].iter().for_each(|&seq| stage.event(0, "old", seq));
    until_counted(&app, "halted aggregates", |counts| counts.halted, 1).await;
    // It was noticed and counted by the one before.
    assert_eq!(counts(&app).state_losses, 0);
    // A first event that comes late ends the halt of a new one.
    stage.event(0, "new", 2);
    until_counted(&app, "halted aggregates", |counts| counts.halted, 2).await;
    stage.event(0, "new", 1);
    stage.until_order("new", &[1, 2]).await;
    assert_eq!(halted(&app).await, ["old"]);
}

#[tokio::test(start_paused = true)]
async fn the_application_says_where_aggregates_stand_that_a_store_lost() {
    let stage = Stage::new(1);
    history(&stage, "old", 6).await;
    stage.store().lose_everything();
    [8, 7].iter().for_each(|&seq| stage.event(0, "old", seq));
    let without = stage.start(1, |_| {}).await;
    until_counted(&without, "halted aggregates", |counts| counts.halted, 1).await;
    without.stop().await;
    // Also of one that was halted before it was asked.
    let app = start_with_resync(&stage, 2).await;
    stage.until_order("old", &[1, 2, 3, 4, 5, 6, 7, 8]).await;
    stage.until_all_committed().await;
    assert_eq!(counts(&app).halted, 0);
    assert!(halted(&app).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_application_says_where_aggregates_stand_of_which_a_store_lost_the_last_writes() {
    let stage = Stage::new(1);
    history(&stage, "old", 3).await;
    let before = stage.store().snapshot();
    (4..=6).for_each(|seq| stage.event(0, "old", seq));
    let app = stage.start(1, |_| {}).await;
    stage.until_order("old", &[1, 2, 3, 4, 5, 6]).await;
    stage.until_all_committed().await;
    app.stop().await;
    // Nobody lives who would remember.
    stage.store().restore(before);
    let began = Instant::now();
    let app = start_with_resync(&stage, 2).await;
    [8, 7].iter().for_each(|&seq| stage.event(0, "old", seq));
    stage.until_order("old", &[1, 2, 3, 4, 5, 6, 7, 8]).await;
    // Until then somebody who lives after all might run 6 once more.
    assert!(began.elapsed() >= SESSION);
    until_counted(&app, "losses", |counts| counts.state_losses, 1).await;
    stage.until_all_committed().await;
}

#[tokio::test(start_paused = true)]
async fn who_starts_when_no_lease_from_before_a_loss_is_left_asks_the_application_at_once() {
    let stage = Stage::new(1);
    history(&stage, "old", 6).await;
    stage.store().lose_everything();
    // It has no hook; it writes the loss down.
    stage.start(1, |_| {}).await.stop().await;
    sleep(SESSION).await;
    let began = Instant::now();
    let _app = start_with_resync(&stage, 2).await;
    [8, 7].iter().for_each(|&seq| stage.event(0, "old", seq));
    stage.until_order("old", &[1, 2, 3, 4, 5, 6, 7, 8]).await;
    assert!(began.elapsed() < SESSION / 2, "{:?}", began.elapsed());
    stage.until_all_committed().await;
}

#[tokio::test(start_paused = true)]
async fn where_the_lowest_may_begin_it_does_so_when_all_was_read_again() {
    let first_seen = |policies: &mut athomic_core::ordering::OrderingOptions| {
        policies.first_sequence = Some(FirstSequenceRule::FirstSeen);
        policies.first_seen_settle = Some(Duration::from_secs(2));
    };
    let stage = Stage::new(2);
    (1..=6).for_each(|seq| stage.event(0, "old", seq));
    let app = stage.start(0, first_seen).await;
    stage.until_done(6).await;
    stage.until_all_committed().await;
    app.stop().await;
    stage.store().lose_everything();
    stage.event(0, "old", 9);
    let app = stage.start(1, first_seen).await;
    until_counted(&app, "parked events", |counts| counts.parked, 1).await;
    [8, 7].iter().for_each(|&seq| stage.event(1, "old", seq));
    stage.until_order("old", &(1..=9).collect::<Vec<_>>()).await;
    stage.until_all_committed().await;
    assert_eq!((counts(&app).state_losses, counts(&app).halted), (1, 0));
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
