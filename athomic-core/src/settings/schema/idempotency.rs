//! The keys of idempotency.

use super::keys::{key, unset};
use super::{Key, Kind};

pub(super) static IDEMPOTENCY_KEYS: &[Key] = &[
    key(
        "enabled",
        Kind::Boolean,
        "true",
        "Whether handlers that ask for idempotency get it; `false` switches it off for all.",
    ),
    key(
        "all_handlers",
        Kind::Boolean,
        "false",
        "Whether handlers are idempotent, too, that say nothing about it.",
    ),
    key(
        "default_ttl_seconds",
        Kind::Seconds,
        "86400",
        "How long a handled message is remembered; longer than messages may come again.",
    ),
    key(
        "default_lock_timeout_seconds",
        Kind::Seconds,
        "10",
        "After what time another may handle a message if the process that handles it dies; at least 1. Renewed while the handler runs.",
    ),
];

pub(super) static IDEMPOTENCY_STORE_KEYS: &[Key] = &[key(
    "namespace",
    Kind::Text,
    "\"idempotency\"",
    "What tells the keys of applications apart that share a server.",
)];

pub(super) static IDEMPOTENCY_TUNING_KEYS: &[Key] = &[
    unset(
        "enabled",
        Kind::Boolean,
        "true",
        "Whether the handler's messages are handled once.",
    ),
    unset(
        "ttl_seconds",
        Kind::Seconds,
        "86400",
        "How long its handled messages are remembered.",
    ),
    unset(
        "lock_timeout_seconds",
        Kind::Seconds,
        "10",
        "How long its messages are locked against others, see `default_lock_timeout_seconds`.",
    ),
];
