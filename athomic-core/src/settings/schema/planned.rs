//! The rest of the schema: what is known and not built yet.

use crate::settings::tree::Node;

/// A part of the schema whose runtime does not exist yet.
pub(in crate::settings) struct Planned {
    /// The section, or the single key.
    pub(in crate::settings) path: &'static str,
    /// Its keys, as paths below it; empty if `path` is a key itself.
    pub(super) keys: &'static [&'static str],
    /// Return whether a value, at a path below the section, only says what athomic does anyway.
    pub(in crate::settings) idle: fn(&str, &Node) -> bool,
}

impl Planned {
    /// Return how many leading names of a key's path are those of the section.
    pub(in crate::settings) fn depth(&self) -> usize {
        self.path.split('.').count()
    }

    /// Return whether a key, by its path below the section, names the format of payloads.
    pub(in crate::settings) fn takes_format(&self, below: &[String]) -> bool {
        matches!(below, [name] if name == "format")
    }
}

const fn planned(path: &'static str, keys: &'static [&'static str]) -> Planned {
    Planned {
        path,
        keys,
        idle: |_, _| false,
    }
}

/// The rest of the schema. A section with `enabled = false` is idle as a whole.
pub(in crate::settings) static PLANNED: &[Planned] = &[
    planned("integration.messaging.dlq.ordered_mode", &[]),
    planned("integration.messaging.ordering.room_ttl_seconds", &[]),
    planned(
        "integration.messaging.handler_tuning.[].ordering.room_ttl_seconds",
        &[],
    ),
    Planned {
        path: "serializer",
        keys: &["format"],
        idle: |key, node| key == "format" && is_json(node),
    },
    planned("security.crypto", &["fernet_key"]),
    planned("storage", &["enabled"]),
    planned("resilience.rate_limiter", &["policies.*"]),
    Planned {
        path: "observability",
        keys: &["metrics.metrics_protection_enabled", "metrics.allow_metrics_ips"],
        idle: |key, node| key.ends_with("enabled") && is_false(node),
    },
    planned("console", &["enabled", "bind", "actions", "auth"]),
];

fn is_false(node: &Node) -> bool {
    matches!(node, Node::Boolean(false))
}

fn is_json(node: &Node) -> bool {
    matches!(node, Node::Text(word) if word == "json" || word == ORJSON)
}

/// The Python framework's word for JSON.
pub(in crate::settings) const ORJSON: &str = "orjson";
