//! What entries of `handler_tuning` say of a handler's circuit breaker.

use std::time::Duration;

use super::*;
use crate::handler::CircuitBreakerOptions;

const TUNING: &str = "[[integration.messaging.handler_tuning]]\nhandler_id = 'h'\n";

#[test]
fn what_is_written_is_meant() {
    let text = format!(
        "{TUNING}circuit_breaker = {{ enabled = true, failure_percent = 20, window_seconds = 90.5, \
         minimum_calls = 7, open_seconds = 5, trials = 2 }}"
    );
    let settings = loaded(loader(&text)).settings;
    let expected = CircuitBreakerOptions {
        enabled: Some(true),
        failure_percent: Some(20),
        window: Some(Duration::from_millis(90_500)),
        window_calls: None,
        minimum_calls: Some(7),
        open_for: Some(Duration::from_secs(5)),
        trials: Some(2),
    };
    assert_eq!(settings.messaging.handler_tuning[0].circuit_breaker, expected);
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    let path = "integration.messaging.handler_tuning.0.circuit_breaker";
    let text = format!("{TUNING}circuit_breaker.failure_percent = 101\ncircuit_breaker.open_seconds = 0\n");
    check_faults(
        &text,
        &[
            &format!("settings.toml:3:35: `{path}.failure_percent`: must be between 1 and 100"),
            &format!("settings.toml:4:32: `{path}.open_seconds`: must be more than 0 seconds"),
        ],
    );
}
