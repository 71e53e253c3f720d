//! What all that is said about a handler's circuit breaker comes to.
//!
//! Precedence: `handler_tuning`, then the attribute (or the registration by hand), then the defaults; key by
//! key, but for the two ways to give a window, which are one.

use std::time::Duration;

use serde::Serialize;

use crate::handler::CircuitBreakerOptions;

/// The most outcomes that a window may hold: each takes a byte.
pub(crate) const MOST_CALLS: u32 = 1_000_000;

/// When a circuit opens, and how it closes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CircuitBreakerPolicy {
    /// It opens when so many percent of the messages in the window failed. Default 50.
    pub failure_percent: u8,
    /// Which outcomes are looked at. Default: the last 100.
    pub window: Window,
    /// It does not open before so many outcomes are in the window. Default 20, or the window if that is smaller.
    pub minimum_calls: u32,
    /// How long nothing runs. Default 30 s.
    pub open_for: Duration,
    /// How many messages are tried then, before it is decided anew. Default 3.
    pub trials: u32,
}

/// Which outcomes a circuit breaker looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Window {
    /// The last ones.
    Calls(u32),
    /// Those of the last time.
    Time(Duration),
}

impl Default for CircuitBreakerPolicy {
    fn default() -> Self {
        Self {
            failure_percent: 50,
            window: Window::Calls(100),
            minimum_calls: 20,
            open_for: Duration::from_secs(30),
            trials: 3,
        }
    }
}

/// Put together what is said; nothing if the handler has no circuit breaker.
pub(crate) fn resolve(
    attribute: Option<CircuitBreakerOptions>,
    tuning: CircuitBreakerOptions,
) -> Option<CircuitBreakerPolicy> {
    let is_asked_for = attribute.is_some() || tuning != CircuitBreakerOptions::new();
    let said = tuning.or(attribute.unwrap_or_default());
    let default = CircuitBreakerPolicy::default();
    said.enabled.unwrap_or(is_asked_for).then(|| {
        let window = match (said.window, said.window_calls) {
            (Some(length), _) => Window::Time(length),
            (None, Some(calls)) => Window::Calls(calls),
            (None, None) => default.window,
        };
        let most = match window {
            Window::Calls(calls) => calls,
            Window::Time(_) => u32::MAX,
        };
        CircuitBreakerPolicy {
            failure_percent: said.failure_percent.unwrap_or(default.failure_percent),
            window,
            minimum_calls: said.minimum_calls.unwrap_or(default.minimum_calls.min(most)),
            open_for: said.open_for.unwrap_or(default.open_for),
            trials: said.trials.unwrap_or(default.trials),
        }
    })
}

/// Return what cannot be, each with its remedy: what stands in one place first, then what it comes to.
pub(crate) fn faults(
    attribute: Option<CircuitBreakerOptions>,
    tuning: CircuitBreakerOptions,
) -> Vec<(String, &'static str)> {
    let mut faults = Vec::new();
    let two_windows =
        |options: &CircuitBreakerOptions| options.window.is_some() && options.window_calls.is_some();
    if [attribute.unwrap_or_default(), tuning].iter().any(two_windows) {
        faults.push((
            "its `circuit_breaker` has two windows".to_owned(),
            "keep one of `window` and `window_calls`",
        ));
    }
    let Some(policy) = resolve(attribute, tuning) else {
        return faults;
    };
    if !(1..=100).contains(&policy.failure_percent) {
        let problem = format!(
            "`failure_percent` of its `circuit_breaker` is {}",
            policy.failure_percent
        );
        faults.push((problem, "set it to 1 to 100"));
    }
    let calls = match policy.window {
        Window::Calls(calls) => calls,
        Window::Time(_) => MOST_CALLS,
    };
    for (name, number) in [
        ("window_calls", calls),
        ("minimum_calls", policy.minimum_calls),
        ("trials", policy.trials),
    ] {
        if !(1..=MOST_CALLS).contains(&number) {
            let problem = format!("`{name}` of its `circuit_breaker` is {number}");
            faults.push((problem, "set it to 1 to 1000000"));
        }
    }
    if policy.minimum_calls > calls {
        let problem = format!(
            "`minimum_calls` of its `circuit_breaker` ({}) is more than `window_calls` ({calls}): it would never open",
            policy.minimum_calls
        );
        faults.push((problem, "lower `minimum_calls`, or raise `window_calls`"));
    }
    if policy.open_for.is_zero() || policy.window == Window::Time(Duration::ZERO) {
        let problem = "`open_for` or `window` of its `circuit_breaker` is zero".to_owned();
        faults.push((problem, "set both to more, such as `\"30s\"`"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: CircuitBreakerOptions = CircuitBreakerOptions::new();

    #[test]
    fn who_says_nothing_has_none_and_who_says_anything_has_one() {
        assert_eq!(resolve(None, NONE), None);
        assert_eq!(resolve(Some(NONE), NONE), Some(CircuitBreakerPolicy::default()));
        let trials = CircuitBreakerOptions {
            trials: Some(7),
            ..NONE
        };
        assert_eq!(resolve(None, trials).map(|policy| policy.trials), Some(7));
        let off = CircuitBreakerOptions {
            enabled: Some(false),
            ..NONE
        };
        assert_eq!(resolve(Some(trials), off), None);
    }

    #[test]
    fn tuning_wins_key_by_key_and_a_window_as_a_whole() {
        let by_time = CircuitBreakerOptions {
            window: Some(Duration::from_secs(60)),
            trials: Some(5),
            ..NONE
        };
        let by_number = CircuitBreakerOptions {
            window_calls: Some(10),
            ..NONE
        };
        let policy = resolve(Some(by_time), by_number).expect("it is asked for");
        assert_eq!(policy.window, Window::Calls(10));
        assert_eq!((policy.trials, policy.minimum_calls), (5, 10));
        assert_eq!(faults(Some(by_time), by_number), []);
    }

    #[test]
    fn what_would_never_open_or_never_close_is_refused() {
        let check = |options: CircuitBreakerOptions, expected: &str| {
            let found = faults(Some(options), NONE);
            let [(problem, _)] = &found[..] else {
                panic!("one fault, not {found:?}");
            };
            assert!(problem.contains(expected), "{problem}");
        };
        check(
            CircuitBreakerOptions {
                failure_percent: Some(101),
                ..NONE
            },
            "is 101",
        );
        check(
            CircuitBreakerOptions {
                trials: Some(0),
                ..NONE
            },
            "`trials`",
        );
        check(
            CircuitBreakerOptions {
                open_for: Some(Duration::ZERO),
                ..NONE
            },
            "zero",
        );
        let never = CircuitBreakerOptions {
            window_calls: Some(5),
            minimum_calls: Some(6),
            ..NONE
        };
        check(never, "never open");
        let two = CircuitBreakerOptions {
            window_calls: Some(50),
            window: Some(Duration::from_secs(1)),
            ..NONE
        };
        check(two, "two windows");
    }
}
