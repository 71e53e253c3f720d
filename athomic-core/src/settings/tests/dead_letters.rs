//! Retries and dead letters.

use std::time::Duration;

use super::*;
use crate::outcome::FailureStage;

#[test]
fn where_dead_letters_go_is_read() {
    let text = "[integration.messaging.dlq]\nstrategy = 'keep'\ntopic = 'dlq.{topic}'\n\
        format = 'envelope'\nheader_sets = ['kafka', 'spring', 'connect', 'smallrye']\nmax_replays = 0\nretry.retry_on = ['timeout']";
    let dlq = load(text).messaging.dlq;
    assert_eq!(dlq.topic.expand("orders", "g"), "dlq.orders");
    assert_eq!((dlq.header_sets.len(), dlq.max_replays), (4, 0));
    assert!(dlq.retry.retry_on.contains(FailureStage::Timeout));
    assert!(!dlq.retry.retry_on.contains(FailureStage::Panic));
}

#[test]
fn retries_of_single_handlers_are_read() {
    let text = "[[integration.messaging.handler_tuning]]\nhandler_id = 'h'\n\
        retry = { max_attempts = 7, backoff = 'fixed', min_delay_seconds = 0.5, retry_on = ['timeout'] }";
    let retry = load(text).messaging.handler_tuning[0].retry;
    assert_eq!((retry.max_attempts, retry.mode), (Some(7), None));
    assert_eq!(retry.min_delay, Some(Duration::from_millis(500)));
    assert!(retry.retry_on.unwrap().contains(FailureStage::Timeout));
    check_faults(
        "[[integration.messaging.handler_tuning]]\nhandler_id = 'h'\n\
         retry = { max_attempts = 0, mode = 'topic', min_delay_seconds = 5, max_delay_seconds = 1 }",
        &[
            "settings.toml:3:26: `integration.messaging.handler_tuning.0.retry.max_attempts`: must be between 1 and 2147483647",
            "settings.toml:3:36: `integration.messaging.handler_tuning.0.retry.mode`: `topic` is not one of `in_place`, `republish`, `delay_topic`",
            "settings.toml:3:65: `integration.messaging.handler_tuning.0.retry.min_delay_seconds`: `min_delay_seconds` (5) must not be more than `max_delay_seconds` (1)",
        ],
    );
}

#[test]
fn what_cannot_be_is_refused_with_what_can() {
    check_faults(
        "[integration.messaging.dlq]\ntopic = 'dlq.{name}'\nheader_sets = ['kafka', 'x']\nretry.retry_on = ['panics']",
        &[
            "settings.toml:2:9: `integration.messaging.dlq.topic`: `dlq.{name}` has braces around something else than `{topic}` and `{group}`",
            "settings.toml:3:15: `integration.messaging.dlq.header_sets`: `x` is not one of `kafka`, `spring`, `connect`, `smallrye`",
            "settings.toml:4:18: `integration.messaging.dlq.retry.retry_on`: `panics` is not one of `handler`, `panic`, `timeout`, `decode`; did you mean `panic`?",
        ],
    );
}
