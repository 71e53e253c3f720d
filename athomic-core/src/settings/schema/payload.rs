//! The keys of payloads.

use super::keys::{key, unset};
use super::{Key, Kind};

pub(super) static PAYLOAD_KEYS: &[Key] = &[
    key(
        "max_decoded_bytes",
        Kind::Integer,
        "16777216",
        "The largest payload that a step may make of what was fetched; a larger one goes to the dead letters.",
    ),
    key(
        "max_ratio",
        Kind::Integer,
        "1000",
        "How many times larger than the fetched bytes a payload may become, once it is over 1 MiB.",
    ),
];

pub(super) static STEP_KEYS: &[Key] = &[
    unset(
        "step",
        Kind::Text,
        "\"serializer\"",
        "The step: `serializer` (the first), `compression`, `crypto`, `claim_check` (the last), or one that the application has registered. Required.",
    ),
    unset(
        "settings",
        Kind::Options,
        "{ backend = \"json\" }",
        "What the step is told, see the guide \"Payloads\".",
    ),
];
