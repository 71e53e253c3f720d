//! Workers that are killed, stall, come and go, and messages that kill them.

use std::time::Duration;

use athomic_rig::{Allowed, Signal, What, within};

use crate::field::{AGGREGATES, Field, LIMIT, SESSION, is_long};

/// How many events a second these tests feed.
const PER_SECOND: usize = 400;
/// What was done and not told when a worker died is done again: a message of each aggregate at most.
const REPEATS: usize = AGGREGATES as usize;

/// Within which time, beyond the session of a worker that died, others begin what it ran. Two seconds are
/// promised; the short form is for machines that do other things as well.
fn takeover() -> Duration {
    Duration::from_secs(if is_long() { 2 } else { 10 })
}

async fn survives_a_killed_worker(name: &str, durability: &str) {
    let Some(mut field) = Field::new(name, false).await else {
        return;
    };
    field.tell("E2E_DURABILITY", durability);
    field.start_workers(3);
    let feeder = field.feed(PER_SECOND).await;
    // One that certainly runs when its worker dies.
    field.publish(0, "long", 1, r#","ms":1500"#).await;
    let mut killed = field.take_out_owner("long").await;
    killed.kill().await;
    let begun = field.begun_by(killed.name);
    let limit = SESSION + takeover();
    let taken = within(limit, "what the killed worker ran runs elsewhere", async || {
        begun.iter().all(|(of, token)| field.is_begun_above(of, *token))
    })
    .await;
    println!(
        "{durability}: {} aggregates ran elsewhere {:.1} s after the kill",
        begun.len(),
        taken.as_secs_f64()
    );
    field.start_worker();
    field.until_all_work().await;
    let events = feeder.stop().await;
    let allowed = Allowed {
        repeats: REPEATS,
        ..Allowed::default()
    };
    field.finish(events, allowed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_held_is_taken_over_and_kafka_loses_nothing() {
    survives_a_killed_worker("ordered-killed-kafka", "kafka").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_held_is_taken_over_and_redis_loses_nothing() {
    survives_a_killed_worker("ordered-killed-redis", "redis").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stalled_past_its_session_is_fenced_and_its_write_refused() {
    let Some(mut field) = Field::new("ordered-stalled", false).await else {
        return;
    };
    field.start_workers(2);
    let feeder = field.feed(PER_SECOND).await;
    field.publish(0, "long", 1, r#","ms":1500"#).await;
    let stalled = field.take_out_owner("long").await;
    stalled.signal(Signal::STOP);
    within(LIMIT, "another worker has done what it ran", async || {
        let turns = field.account.update().turns();
        turns
            .iter()
            .any(|turn| turn.what == What::End && turn.aggregate == "long")
    })
    .await;
    stalled.signal(Signal::CONT);
    let name = stalled.name;
    field.workers.push(stalled);
    within(LIMIT, "the stalled worker begins anew", async || {
        let stalled = field.workers.last().expect("it was put back");
        stalled
            .log()
            .contains("the session in the ordering store is over")
    })
    .await;
    field.until_all_work().await;
    let mut ends = field.account.turns().iter().filter(|turn| turn.what == What::End);
    assert!(
        !ends.any(|turn| turn.worker == name && turn.aggregate == "long"),
        "its write was refused, or it was cancelled before"
    );
    let events = feeder.stop().await;
    let allowed = Allowed {
        repeats: REPEATS,
        stalled: &[name],
        ..Allowed::default()
    };
    field.finish(events, allowed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_come_and_go_lose_and_repeat_nothing() {
    let Some(mut field) = Field::new("ordered-rebalances", false).await else {
        return;
    };
    field.start_workers(2);
    let feeder = field.feed(PER_SECOND).await;
    for _ in 0..2 {
        field.start_worker();
        field.until_all_work().await;
        let mut leaving = field.workers.remove(0);
        leaving.terminate().await;
    }
    let events = feeder.stop().await;
    field.finish(events, Allowed::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_kills_its_process_is_given_up_and_its_neighbours_go_on() {
    let Some(mut field) = Field::new("ordered-deadly", false).await else {
        return;
    };
    field.tell("E2E_MAX_DELIVERIES", "2");
    field.start_workers(2);
    // Who dies has begun some of these as well, the first time and later.
    let feeder = field.feed(PER_SECOND).await;
    field.publish(0, "deadly", 1, r#","deadly":true"#).await;
    field.publish(1, "deadly", 2, "").await;
    for _ in 0..2 {
        let mut dead = field.take_out_owner("deadly").await;
        dead.until_ended().await;
        field.start_worker();
    }
    within(LIMIT, "its successor is done", async || {
        let turns = field.account.update().turns();
        turns
            .iter()
            .any(|turn| turn.what == What::End && turn.aggregate == "deadly" && turn.seq == 2)
    })
    .await;
    let begun = field
        .account
        .turns()
        .iter()
        .filter(|turn| turn.aggregate == "deadly" && turn.seq == 1);
    assert_eq!(begun.count(), 2, "it ran twice");
    let events = feeder.stop().await;
    let allowed = Allowed {
        repeats: 2 * REPEATS,
        // None of its neighbours.
        dead: &[("deadly", 1)],
        ..Allowed::default()
    };
    field.finish(events, allowed).await;
}
