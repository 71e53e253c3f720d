//! A store that fails: messages wait or come again, and none is lost.

use std::error::Error;
use std::time::Duration;

use athomic_core::health::Finding;
use tokio::time::{Instant, sleep};

use super::stage::{Fault, Faulty, LOCK, Stage, counts, guarded};
use crate::support::until;

/// Return an error's text with its causes.
fn chain(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[tokio::test(start_paused = true)]
async fn an_acquisition_whose_answer_is_lost_is_asked_for_again_under_the_same_token() {
    let stage = Stage::new(1);
    let (store, settings) = Faulty::new("acquire-lost");
    stage.publish(0, "a", 0);
    store.fail("acquire", [Fault::ReplyLost]);
    let began = Instant::now();
    let app = stage.start_with(&settings, stage.worker(0)).await;
    stage.cluster.until_committed(0, 1).await;
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "its own lock is no obstacle"
    );
    assert_eq!(stage.journal.offsets(), [0]);
    let counts = counts(&app);
    assert_eq!((counts.busy, counts.store_failures), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_may_be_held_is_given_up_before_the_message_is_asked_for_again() {
    let stage = Stage::new(1);
    let (store, settings) = Faulty::new("acquire-lost-twice");
    stage.publish(0, "a", 0);
    store.fail("acquire", [Fault::ReplyLost, Fault::ReplyLost]);
    let began = Instant::now();
    let _app = stage.start_with(&settings, stage.worker(0)).await;
    stage.cluster.until_committed(0, 1).await;
    assert!(began.elapsed() < LOCK / 2, "{:?}", began.elapsed());
    assert_eq!(stage.journal.offsets(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_is_repeated_until_it_is_answered() {
    for faults in [[Fault::ReplyLost; 3], [Fault::Dropped; 3]] {
        let stage = Stage::new(1);
        let (store, settings) = Faulty::new(&format!("confirm-{:?}", faults[0]).to_lowercase());
        store.fail("confirm", faults);
        stage.publish(0, "a", 0);
        stage.publish(0, "a", 0);
        let app = stage.start_with(&settings, stage.worker(0)).await;
        stage.cluster.until_committed(0, 2).await;
        assert_eq!(stage.journal.offsets(), [0]);
        assert_eq!(store.calls("confirm"), 4);
        let counts = counts(&app);
        assert_eq!(
            (counts.confirmed, counts.unconfirmed, counts.duplicates),
            (1, 0, 1)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_that_stays_unknown_is_counted_and_the_message_settled() {
    let stage = Stage::new(1);
    let (store, settings) = Faulty::new("confirm-never");
    store.fail("confirm", [Fault::Dropped; 1000]);
    stage.publish(0, "a", 0);
    let app = stage.start_with(&settings, stage.worker(0)).await;
    stage.cluster.until_committed(0, 1).await;
    assert_eq!(counts(&app).unconfirmed, 1);
    // Its lock is renewed no longer.
    sleep(LOCK).await;
    assert_eq!(store.inner.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_acknowledged_while_the_store_is_down_and_readiness_says_why() {
    let stage = Stage::new(1);
    let (store, settings) = Faulty::new("down");
    let app = stage.start_with(&settings, stage.worker(0)).await;
    store.set_down(true);
    stage.publish(0, "a", 0);
    let down = || {
        let health = app.health().check();
        let mut findings = health
            .consumers
            .into_iter()
            .flat_map(|consumer| consumer.findings);
        findings.any(|finding| matches!(finding, Finding::IdempotencyStoreDown { .. }))
    };
    until("it is told", down).await;
    sleep(Duration::from_secs(300)).await;
    assert!(down() && !app.health().check().is_ready());
    assert_eq!(
        (stage.journal.runs().len(), stage.cluster.committed(0)),
        (0, None)
    );
    store.set_down(false);
    stage.cluster.until_committed(0, 1).await;
    assert_eq!(stage.journal.offsets(), [0]);
    assert!(!down() && app.health().check().is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_start_waits_for_a_store_that_is_down_and_says_whose_and_where_it_is_set() {
    let stage = Stage::new(1);
    let (store, settings) = Faulty::new("down-at-the-start");
    store.set_down(true);
    let app = stage
        .cluster
        .app(&settings)
        .register(stage.worker(0))
        .build()
        .unwrap();
    let error = app.start().await.unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains("resilience.idempotency.kvstore") && text.contains("faulty"),
        "{text}"
    );
    let app = stage
        .cluster
        .app(&settings)
        .register(stage.worker(0))
        .build()
        .unwrap();
    let starting = tokio::spawn(app.start());
    sleep(Duration::from_secs(10)).await;
    store.set_down(false);
    let _app = starting.await.unwrap().unwrap();
    stage.publish(0, "a", 0);
    stage.cluster.until_committed(0, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_not_fit_ends_the_start_with_the_handler_and_the_settings_key() {
    let stage = Stage::new(1);
    let (store, settings) = Faulty::new("unfit");
    store.set_unfit();
    let app = stage
        .cluster
        .app(&settings)
        .register(stage.worker(0))
        .build()
        .unwrap();
    let text = chain(&app.start().await.unwrap_err());
    assert!(
        text.contains("stage.rs") && text.contains("resilience.idempotency.kvstore"),
        "{text}"
    );
    assert!(text.contains("it is read-only"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn handlers_share_one_connection_and_no_mark() {
    let stage = Stage::new(1);
    let (store, settings) = Faulty::new("shared");
    let app = stage.cluster.app(&settings);
    let app = app.register(stage.worker(0)).register(
        guarded()
            .handler_id("other")
            .group_id("other")
            .handler(stage.journal.worker(1)),
    );
    let _app = app.build().unwrap().start().await.unwrap();
    assert_eq!(store.calls("connect"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_nobody_waits_for_does_not_keep_an_application_from_being_ready() {
    let stage = Stage::new(1);
    let (store, settings) = Faulty::new("ready-again");
    stage.publish(0, "a", 0);
    store.fail("confirm", [Fault::Dropped; 1000]);
    let app = stage.start_with(&settings, stage.worker(0)).await;
    stage.cluster.until_committed(0, 1).await;
    assert!(!app.health().check().is_ready(), "it was asked a moment ago");
    until("it is ready", || app.health().check().is_ready()).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_not_asked_without_pause() {
    let stage = Stage::new(1);
    let (store, settings) = Faulty::new("down-long");
    stage.publish(0, "a", 0);
    let _app = stage.start_with(&settings, stage.worker(0)).await;
    stage.cluster.until_committed(0, 1).await;
    store.set_down(true);
    stage.publish(0, "b", 0);
    sleep(Duration::from_secs(600)).await;
    let calls = store.calls("acquire");
    assert!((60..400).contains(&calls), "{calls}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_forgets_costs_a_repeat_and_no_message() {
    let stage = Stage::new(1);
    for id in ["a", "b"] {
        stage.publish(0, id, 0);
    }
    let _app = stage.start(stage.worker(0)).await;
    stage.cluster.until_committed(0, 2).await;
    stage.marks().clear();
    for id in ["a", "c"] {
        stage.publish(0, id, 0);
    }
    stage.cluster.until_committed(0, 4).await;
    assert_eq!(stage.journal.offsets(), [0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_is_not_answered_is_made_up_for() {
    let stage = Stage::new(1);
    let (store, settings) = Faulty::new("release-dropped");
    store.fail("release", [Fault::Dropped]);
    stage.publish(0, "a", 0);
    let journal = stage.journal.clone();
    let once = super::stage::guarded().handler(move |_: u64, meta: athomic_core::handler::Meta| {
        journal.begin(0, &meta);
        async move {
            if meta.attempt() == 1 {
                Err("not yet")
            } else {
                Ok(())
            }
        }
    });
    let began = Instant::now();
    let _app = stage.start_with(&settings, once).await;
    stage.cluster.until_committed(0, 1).await;
    assert!(began.elapsed() < LOCK / 2, "{:?}", began.elapsed());
}
