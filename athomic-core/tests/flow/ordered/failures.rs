//! Handlers that panic, hang or cannot read their messages, and what is given up because of its place.

use std::sync::Arc;
use std::time::Duration;

use athomic_core::ordering::{GapAction, GapRule, OnLate, OnRegression};
use athomic_core::outcome::HandlerError;

use super::stage::{Event, Stage, events, until_counted};

const LETTERS: &str = "letters";
const ONCE: &str =
    "[integration.messaging.dlq]\nstrategy = \"keep\"\ntopic = \"letters\"\nmax_attempts = 1\n";

/// Count what was given up.
fn given_up(stage: &Stage) -> usize {
    stage.cluster.control.messages(LETTERS).unwrap_or_default().len()
}

#[tokio::test(start_paused = true)]
async fn a_panic_and_a_time_out_are_failures_of_their_message_and_of_nothing_else() {
    let stage = Stage::new(1);
    for seq in 1..=5 {
        stage.event(0, "panics", seq);
        stage.event(0, "hangs", seq);
        stage.event(0, "works", seq);
    }
    let done = Arc::new(std::sync::Mutex::new(Vec::new()));
    let journal = Arc::clone(&done);
    let handler = events().handler(move |event: Event| {
        let done = Arc::clone(&journal);
        async move {
            match (event.of.as_str(), event.seq) {
                ("panics", 2) => panic!("told to"),
                ("hangs", 3) => std::future::pending().await,
                _ => done.lock().unwrap().push((event.of, event.seq)),
            }
            Ok::<(), HandlerError>(())
        }
    });
    let settings = format!("{ONCE}[integration.messaging.consumer]\nhandler_timeout_ms = 2000\n");
    let app = stage.app(&settings, handler).build().unwrap();
    let app = app.start().await.unwrap();
    stage.until_all_committed().await;
    let order = |of: &str| -> Vec<u64> {
        let done = done.lock().unwrap();
        done.iter()
            .filter(|(by, _)| by == of)
            .map(|(_, seq)| *seq)
            .collect()
    };
    assert_eq!(order("panics"), [1, 3, 4, 5]);
    assert_eq!(order("hangs"), [1, 2, 4, 5]);
    assert_eq!(order("works"), [1, 2, 3, 4, 5]);
    assert_eq!(given_up(&stage), 2);
    app.stop().await;
    stage.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_given_up_and_blocks_no_aggregate() {
    let stage = Stage::new(1);
    stage.event(0, "a", 1);
    stage.publish(0, "no JSON");
    stage.publish(0, r#"{"of":"a"}"#);
    stage.event(0, "a", 2);
    let app = stage.start_with(0, ONCE, |_| {}).await;
    stage.until_all_committed().await;
    assert_eq!(stage.order("a"), [1, 2]);
    assert_eq!(given_up(&stage), 2);
    app.stop().await;
    stage.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn numbers_that_begin_anew_are_dropped_or_given_up_as_the_policy_says() {
    for (policy, dead) in [(OnRegression::Drop, 0), (OnRegression::DeadLetter, 2)] {
        let stage = Stage::new(1);
        (1..=3).for_each(|seq| stage.event(0, "a", seq));
        let app = stage
            .start_with(0, ONCE, |policies| policies.on_regression = Some(policy))
            .await;
        stage.until_done(3).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        (1..=2).for_each(|seq| stage.event(0, "a", seq));
        stage.event(0, "a", 4);
        stage.until_all_committed().await;
        until_counted(&app, "regressions", |counts| counts.regressions, 2).await;
        assert_eq!(stage.order("a"), [1, 2, 3, 4]);
        assert_eq!(given_up(&stage), dead, "{policy:?}");
        app.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_it_was_skipped_is_dropped_or_given_up_as_the_policy_says() {
    for (policy, dead) in [(OnLate::Drop, 0), (OnLate::DeadLetter, 1)] {
        let stage = Stage::new(1);
        [1, 3].iter().for_each(|&seq| stage.event(0, "a", seq));
        let app = stage
            .start_with(0, ONCE, |policies| {
                policies.on_late = Some(policy);
                policies.on_gap = Some(GapRule::Act(GapAction::Skip));
                policies.gap_timeout = Some(Duration::from_secs(5));
            })
            .await;
        stage.until_order("a", &[1, 3]).await;
        stage.event(0, "a", 2);
        stage.until_all_committed().await;
        until_counted(&app, "late", |counts| counts.late, 1).await;
        assert_eq!(stage.order("a"), [1, 3]);
        assert_eq!(given_up(&stage), dead, "{policy:?}");
        app.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_aggregate_with_many_messages_does_not_starve_the_others() {
    let stage = Stage::new(1);
    for seq in 1..=500 {
        stage.publish(0, &format!(r#"{{"of":"hot","seq":{seq},"ms":10}}"#));
    }
    stage.publish(0, r#"{"of":"other","seq":1,"ms":10}"#);
    let handler = stage.handler(0, |events| events.concurrency(1));
    let app = stage.app(crate::support::NO_JITTER, handler).build().unwrap();
    let _app = app.start().await.unwrap();
    stage.until_order("other", &[1]).await;
    assert!(
        stage.order("hot").len() <= 3,
        "{} ran before",
        stage.order("hot").len()
    );
    stage.until_done(501).await;
    assert_eq!(stage.order("hot"), (1..=500).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn bytes_that_wait_are_bounded_and_all_are_let_in_by_and_by() {
    for in_bucket in [false, true] {
        let stage = Stage::new(1);
        (2..=30).for_each(|seq| stage.event(0, "a", seq));
        let app = stage
            .start(0, |policies| {
                let bytes = Some(600);
                if in_bucket {
                    policies.bucket_max_bytes = bytes;
                } else {
                    policies.room_max_bytes = bytes;
                }
            })
            .await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let waiting: u64 = stage.survey().await.iter().map(|bucket| bucket.bytes).sum();
        assert!((100..=600).contains(&waiting), "{waiting} bytes wait");
        stage.event(0, "a", 1);
        stage.until_order("a", &(1..=30).collect::<Vec<_>>()).await;
        stage.until_all_committed().await;
        app.stop().await;
        stage.nothing_is_left().await;
    }
}
