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
        "In the process, with which it ends, in a folder that all programs see, or in a cloud's store (features `claim-check-s3`, `claim-check-gcs`, `claim-check-azure`).",
    ),
    unset(
        "base_path",
        Kind::Text,
        "\"./.storage\"",
        "The folder, with `backend = \"local\"`. Made if it is missing.",
    ),
    unset(
        "bucket",
        Kind::Text,
        "\"claims\"",
        "The bucket, or on Azure the container. It has to be there.",
    ),
    unset(
        "region",
        Kind::Text,
        "\"eu-central-1\"",
        "The bucket's region, with `backend = \"s3\"`; without it `AWS_REGION` of the environment says it.",
    ),
    unset(
        "endpoint",
        Kind::Text,
        "\"https://s3.example.org\"",
        "Where the service is, if it is not the provider's own.",
    ),
    unset(
        "account",
        Kind::Text,
        "\"orders\"",
        "The storage account, with `backend = \"azure\"`; without it `AZURE_STORAGE_ACCOUNT_NAME` of the environment says it.",
    ),
    unset(
        "access_key_id",
        Kind::Text,
        "\"AKIAIOSFODNN7EXAMPLE\"",
        "The id of the access key whose other half is `secret`, with `backend = \"s3\"`.",
    ),
    unset(
        "secret",
        Kind::Secret,
        "{ env = \"ATHOMIC_STORAGE_SECRET\" }",
        "The secret access key (`s3`), the service account's key file (`gcs`), the account's key (`azure`). Without it the provider's own variables or the machine's role say who asks.",
    ),
    key(
        "allow_http",
        Kind::Boolean,
        "false",
        "Whether an endpoint of this machine may be spoken to in the clear, for tests.",
    ),
    key(
        "check_at_start",
        Kind::Boolean,
        "true",
        "Whether an object is written to a cloud's store and read again before the application is at work.",
    ),
];
