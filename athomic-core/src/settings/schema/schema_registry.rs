//! The keys of the schema registry.

use super::keys::{key, unset};
use super::{Key, Kind};

pub(super) static SCHEMA_REGISTRY_KEYS: &[Key] = &[
    unset(
        "urls",
        Kind::TextList,
        "[\"http://localhost:8081\"]",
        "Where the registry is: servers of Confluent's HTTP API. If one does not answer, the next is asked. Unset, there is no registry.",
    ),
    unset(
        "username",
        Kind::Text,
        "\"orders\"",
        "The user, for servers that ask for one by HTTP Basic authentication.",
    ),
    unset(
        "password",
        Kind::Secret,
        "{ env = \"REGISTRY_PASSWORD\" }",
        "The password of that user.",
    ),
    unset(
        "token",
        Kind::Secret,
        "{ env = \"REGISTRY_TOKEN\" }",
        "The bearer token, for servers that ask for one in the place of a user.",
    ),
    unset(
        "ca_file",
        Kind::Text,
        "\"/etc/ssl/registry-ca.pem\"",
        "The certificates, in PEM, by which the servers are known; if unset, those of the system.",
    ),
    key(
        "timeout_ms",
        Kind::Milliseconds,
        "5000",
        "How long one server may take for an answer.",
    ),
    key(
        "cache_size",
        Kind::Integer,
        "1000",
        "How many schemas are kept; then the one that was used longest ago is asked for again.",
    ),
];
