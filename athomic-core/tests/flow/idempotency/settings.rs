//! Who has idempotency, and by which settings.

use std::time::Duration;

use athomic_core::handler::IdempotencyOptions;

use super::stage::{ID, Stage, guarded};
use crate::support::handler;

const OFF: &str = "[resilience.idempotency]\nenabled = false\n";
const ALL: &str = "[resilience.idempotency]\nall_handlers = true\n";

/// Run two messages with one id through a handler; say how often it ran.
async fn runs(settings: &str, begin: athomic_core::handler::register::Subscribe) -> usize {
    let stage = Stage::new(1);
    for _ in 0..2 {
        stage.publish(0, "a", 0);
    }
    let _app = stage
        .start_with(settings, begin.handler(stage.journal.worker(0)))
        .await;
    stage.cluster.until_committed(0, 2).await;
    stage.journal.runs().len()
}

fn tuned(what: &str) -> String {
    format!("[[integration.messaging.handler_tuning]]\nhandler_id = \"{ID}\"\nidempotency = {{ {what} }}\n")
}

#[tokio::test(start_paused = true)]
async fn handlers_have_it_that_ask_for_it() {
    let plain = || handler().handler_id(ID);
    assert_eq!(runs("", plain()).await, 2);
    assert_eq!(runs("", guarded()).await, 1);
    assert_eq!(runs(ALL, plain()).await, 1);
    assert_eq!(runs(OFF, guarded()).await, 2);
    let off = IdempotencyOptions {
        enabled: Some(false),
        ..Default::default()
    };
    assert_eq!(runs(ALL, plain().idempotency(off)).await, 2);
    assert_eq!(runs(&tuned("enabled = true"), plain()).await, 1);
    assert_eq!(runs(&tuned("enabled = false"), guarded()).await, 2);
    assert_eq!(runs(&(tuned("enabled = true") + OFF), guarded()).await, 2);
}

#[tokio::test(start_paused = true)]
async fn the_strongest_source_of_each_key_wins() {
    let remembered = async |settings: &str, attribute: Option<u64>| {
        let stage = Stage::new(1);
        let options = IdempotencyOptions {
            ttl: attribute.map(Duration::from_secs),
            ..Default::default()
        };
        let handler = handler().handler_id(ID).idempotency(options);
        stage.publish(0, "a", 0);
        let app = stage.cluster.app(settings).stores(stage.stores.clone());
        let app = app
            .register(handler.handler(stage.journal.worker(0)))
            .build()
            .unwrap();
        app.describe().handlers[0].remember_seconds
    };
    let settings = "[resilience.idempotency]\ndefault_ttl_seconds = 100\n";
    assert_eq!(remembered("", None).await, Some(86_400));
    assert_eq!(remembered(settings, None).await, Some(100));
    assert_eq!(remembered(settings, Some(200)).await, Some(200));
    let tuned = tuned("ttl_seconds = 300") + settings;
    assert_eq!(remembered(&tuned, Some(200)).await, Some(300));
}

#[tokio::test(start_paused = true)]
async fn a_mark_lasts_as_long_as_its_handler_says() {
    let stage = Stage::new(1);
    let options = IdempotencyOptions {
        ttl: Some(Duration::from_secs(600)),
        ..Default::default()
    };
    let handler = handler().handler_id(ID).idempotency(options);
    let _app = stage.start(handler.handler(stage.journal.worker(0))).await;
    for (pause, handled) in [(0, 1), (590, 1), (20, 2)] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        let offset = stage.publish(0, "a", 0);
        stage.cluster.until_committed(0, offset + 1).await;
        assert_eq!(stage.journal.runs().len(), handled);
    }
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let refused = |ttl, lock_timeout| {
        let options = IdempotencyOptions {
            enabled: None,
            ttl: Some(Duration::from_millis(ttl)),
            lock_timeout: Some(Duration::from_millis(lock_timeout)),
        };
        let definition = handler().idempotency(options).handler(async |_: u64| {});
        let app = athomic_core::app::App::builder()
            .without_discovery()
            .register(definition);
        app.settings(Default::default())
            .build()
            .err()
            .map(|error| error.to_string())
    };
    assert_eq!(refused(1_000, 1_000), None);
    let error = refused(60_000, 999).unwrap();
    assert!(
        error.contains("`lock_timeout`") && error.contains("1 s or more"),
        "{error}"
    );
    let error = refused(5_000, 10_000).unwrap();
    assert!(error.contains("`ttl`") && error.contains("shorter"), "{error}");
}
