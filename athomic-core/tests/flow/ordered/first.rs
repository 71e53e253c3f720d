//! Where an aggregate begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use athomic_core::ordering::FirstSequenceRule;
use tokio::time::sleep;

use super::stage::Stage;
use crate::support::NO_JITTER;

#[tokio::test(start_paused = true)]
async fn the_lowest_that_came_in_the_settle_time_is_the_first() {
    let stage = Stage::new(2);
    stage.event(0, "a", 8);
    let _app = stage
        .start(0, |policies| {
            policies.first_sequence = Some(FirstSequenceRule::FirstSeen);
            policies.first_seen_settle = Some(Duration::from_secs(5));
        })
        .await;
    sleep(Duration::from_secs(3)).await;
    [9, 7].iter().for_each(|&seq| stage.event(1, "a", seq));
    stage.until_order("a", &[7, 8, 9]).await;
    stage.event(0, "a", 6);
    stage.event(0, "a", 10);
    stage.until_order("a", &[7, 8, 9, 10]).await;
    stage.until_all_committed().await;
}

#[tokio::test(start_paused = true)]
async fn the_application_says_where_an_aggregate_begins_and_is_asked_until_it_does() {
    let stage = Stage::new(1);
    [3, 6, 5].iter().for_each(|&seq| stage.event(0, "a", seq));
    [2, 1].iter().for_each(|&seq| stage.event(0, "b", seq));
    let asked = Arc::new(AtomicU32::new(0));
    let handler = stage.handler(0, |events| {
        events.policies(|policies| policies.first_sequence = Some(FirstSequenceRule::Hook))
    });
    let count = Arc::clone(&asked);
    let hook = move |of: String| {
        let asked = count.fetch_add(1, Ordering::Relaxed);
        async move {
            match of.as_str() {
                "a" if asked < 3 => Err(std::io::Error::other("not now")),
                "a" => Ok(Some(4)),
                _ => Ok(None),
            }
        }
    };
    let app = stage.app(NO_JITTER, handler).resync("on_event", hook);
    let _app = app.build().unwrap().start().await.unwrap();
    stage.until_order("a", &[5, 6]).await;
    stage.until_order("b", &[1, 2]).await;
    stage.until_all_committed().await;
    assert!(asked.load(Ordering::Relaxed) > 3);
}
