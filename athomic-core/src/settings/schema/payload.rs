//! The keys of payloads.

use super::keys::{key, one_of, unset};
use super::{Key, Kind};
use crate::settings::resolved::{CryptoAlgorithm, StorageBackend};

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

pub(super) static CRYPTO_KEYS: &[Key] = &[
    key(
        "algorithm",
        one_of::<CryptoAlgorithm>(),
        "\"xchacha20poly1305\"",
        "How payloads are encrypted. AES-GCM bears 2^32 messages a key at most.",
    ),
    unset(
        "active_key",
        Kind::Text,
        "\"2026-11\"",
        "The id of the key that payloads are encrypted with.",
    ),
];

pub(super) static KEY_KEYS: &[Key] = &[
    unset(
        "id",
        Kind::Text,
        "\"2026-11\"",
        "The name of the key, which stands in each message that it encrypts. Required.",
    ),
    unset(
        "secret",
        Kind::Secret,
        "{ env = \"ATHOMIC_KEY_2026_11\" }",
        "The key: 64 hexadecimal digits. Better kept elsewhere, by `{ env = \"NAME\" }` or `{ file = \"PATH\" }`; required.",
    ),
    unset(
        "wrapped_by",
        Kind::Text,
        "\"master\"",
        "The id of another key that this one is encrypted with; `secret` is then what `wrap_key` has made.",
    ),
];

pub(super) static STORAGE_KEYS: &[Key] = &[
    key(
        "backend",
        one_of::<StorageBackend>(),
        "\"memory\"",
        "In the process, with which it ends, or in a folder that all programs see.",
    ),
    unset(
        "base_path",
        Kind::Text,
        "\"./.storage\"",
        "The folder, with `backend = \"local\"`. Made if it is missing.",
    ),
];
