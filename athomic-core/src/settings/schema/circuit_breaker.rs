//! The keys of circuit breakers.

use super::keys::unset;
use super::{Key, Kind};

pub(super) static CIRCUIT_BREAKER_KEYS: &[Key] = &[
    unset(
        "enabled",
        Kind::Boolean,
        "true",
        "Whether the handler has a circuit breaker.",
    ),
    unset(
        "failure_percent",
        Kind::Integer,
        "50",
        "It opens when so many percent of the messages in the window failed; 1 to 100.",
    ),
    unset(
        "window_seconds",
        Kind::Seconds,
        "60",
        "The outcomes of this last time are looked at. One of the two windows; the last 100 outcomes if neither is given.",
    ),
    unset(
        "window_calls",
        Kind::Integer,
        "100",
        "So many last outcomes are looked at.",
    ),
    unset(
        "minimum_calls",
        Kind::Integer,
        "20",
        "It does not open before so many outcomes are in the window; at most `window_calls`.",
    ),
    unset(
        "open_seconds",
        Kind::Seconds,
        "30",
        "How long nothing runs when it has opened.",
    ),
    unset(
        "trials",
        Kind::Integer,
        "3",
        "How many messages are tried then, before it closes or opens again.",
    ),
];
