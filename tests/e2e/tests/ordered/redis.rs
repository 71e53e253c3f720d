//! Redis that is killed, hangs, answers late or not at all, with its data or without.

use std::time::Duration;

use athomic_rig::{Allowed, Proxy, Replies};

use crate::field::{AGGREGATES, Field, is_long};

/// How many events a second these tests feed.
const PER_SECOND: usize = 400;
/// What was done and not told when the leases ended is done again: a message of each aggregate, each time.
const REPEATS: usize = AGGREGATES as usize;

/// Run two workers, let something happen under load, and check everything.
async fn survives(mut field: Field, repeats: usize, fault: impl AsyncFnOnce(&mut Field)) {
    field.start_workers(2);
    let feeder = field.feed(PER_SECOND).await;
    fault(&mut field).await;
    field.until_all_work().await;
    let events = feeder.stop().await;
    let allowed = Allowed {
        repeats,
        ..Allowed::default()
    };
    field.finish(events, allowed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_restarts_without_its_data_loses_nothing_of_kafkas() {
    let Some(field) = Field::new("ordered-state-lost", false).await else {
        return;
    };
    // The workers remember what they have begun. Of what they have not, nobody could tell afterwards
    // whether it had a past: with a first sequence it is halted until somebody says.
    // Repeated is what the empty store refused, and what was begun anew before all had told what they knew.
    survives(field, 2 * REPEATS, async |field| {
        field.until_all_have_begun().await;
        field.redis.restart().await;
    })
    .await;
}

async fn survives_a_restart_with_data(durability: &'static str) {
    let Some(mut field) = Field::new(&format!("ordered-restart-{durability}"), true).await else {
        return;
    };
    field.tell("E2E_DURABILITY", durability);
    survives(field, REPEATS, async |field| field.redis.restart().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_restarts_with_its_data_goes_on_where_kafka_keeps_what_waits() {
    survives_a_restart_with_data("kafka").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_restarts_with_its_data_goes_on_where_it_keeps_what_waits() {
    survives_a_restart_with_data("redis").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_hangs_for_longer_than_the_session_stops_the_work_and_nothing_else() {
    let Some(field) = Field::new("ordered-hung", false).await else {
        return;
    };
    survives(field, REPEATS, async |field| {
        field.redis.pause().await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        field.redis.resume().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_come_late_are_lost_or_are_cut_off_are_asked_for_again() {
    let Some(mut field) = Field::new("ordered-proxied", false).await else {
        return;
    };
    let proxy = Proxy::start(field.redis.port()).await;
    field.tell("E2E_REDIS", proxy.uri());
    let rounds = if is_long() { 20 } else { 2 };
    survives(field, rounds * REPEATS, async |field| {
        for _ in 0..rounds {
            for replies in [Replies::Late(Duration::from_millis(30)), Replies::Lost] {
                proxy.replies(replies);
                tokio::time::sleep(Duration::from_millis(500)).await;
                proxy.replies(Replies::Pass);
                field.until_all_work().await;
            }
            proxy.cut();
            field.until_all_work().await;
        }
    })
    .await;
}
