//! Retries and dead letters.

use super::*;
use crate::outcome::FailureStage;

#[test]
fn where_dead_letters_go_is_read() {
    let text = "[integration.messaging.dlq]\nstrategy = 'keep'\ntopic = 'dlq.{topic}'\n\
        header_sets = ['kafka', 'spring']\nmax_replays = 0\nretry.retry_on = ['timeout']";
    let dlq = load(text).messaging.dlq;
    assert_eq!(dlq.topic.expand("orders", "g"), "dlq.orders");
    assert_eq!((dlq.header_sets.len(), dlq.max_replays), (2, 0));
    assert!(dlq.retry.retry_on.contains(FailureStage::Timeout));
    assert!(!dlq.retry.retry_on.contains(FailureStage::Panic));
}

#[test]
fn what_cannot_be_is_refused_with_what_can() {
    check_faults(
        "[integration.messaging.dlq]\ntopic = 'dlq.{name}'\nheader_sets = ['connect', 'x']\nretry.retry_on = ['panics']",
        &[
            "settings.toml:2:9: `integration.messaging.dlq.topic`: `dlq.{name}` has braces around something else than `{topic}` and `{group}`",
            "settings.toml:3:15: `integration.messaging.dlq.header_sets`: `connect` is not built yet; use `kafka`, `spring`",
            "settings.toml:3:15: `integration.messaging.dlq.header_sets`: `x` is not one of `kafka`, `spring`",
            "settings.toml:4:18: `integration.messaging.dlq.retry.retry_on`: `panics` is not one of `handler`, `panic`, `timeout`, `decode`; did you mean `panic`?",
        ],
    );
}
