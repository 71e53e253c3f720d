//! The table of all settings keys: the one place that says what exists.
//!
//! [`SECTIONS`] lists what athomic understands today, each key with its kind, default and text; the
//! reference file, the messages and the matching of environment variables come from it. [`PLANNED`] lists
//! the rest of the schema, so that such a key is called "not built yet" and not "unknown".

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::choice::{Choice, Words};
use super::resolved::{
    AutoCreate, Backend, DlqStrategy, GroupProtocol, IsolationLevel, OffsetReset, Priority, RetryMode,
    SaslMechanism, SecurityProtocol, WireCompression,
};
use super::tree::{Node, Step};

/// The top-level tables that are sections; every other top-level table is a profile.
pub(super) const ROOTS: [&str; 12] = [
    "app",
    "integration",
    "database",
    "resilience",
    "observability",
    "lineage",
    "security",
    "storage",
    "serializer",
    "context",
    "lifecycle",
    "console",
];

/// A table of the settings file, and its keys.
pub(super) struct Section {
    /// Where the table may stand. `*` is any name, `[]` any item of a list. The first place is the one
    /// that the reference file shows; at the others, missing keys are inherited from it.
    pub(super) paths: &'static [&'static str],
    /// What the section is about.
    pub(super) doc: &'static str,
    /// The keys.
    pub(super) keys: &'static [Key],
}

/// A settings key.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) preset: Preset,
    pub(super) doc: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    TextList,
    Boolean,
    Integer,
    Number,
    /// Milliseconds, a whole number.
    Milliseconds,
    /// Seconds, with or without fractions.
    Seconds,
    /// One of a few words.
    Choice(Words),
    /// Text, or the place where it is kept.
    Secret,
    /// A table of options of the client library: any name, any plain value.
    Options,
    /// A plain value, kept as text.
    Scalar,
}

impl Kind {
    /// Say what the key takes, for messages.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Text | Self::Choice(_) => "text",
            Self::TextList => "a list of texts",
            Self::Boolean => "true or false",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Milliseconds => "an integer of milliseconds",
            Self::Seconds => "a number of seconds",
            Self::Secret => "text, { env = \"NAME\" } or { file = \"PATH\" }",
            Self::Options => "a table of options",
            Self::Scalar => "text, a number or a boolean",
        }
    }

    /// Say what the key takes, its words included, for documentation.
    pub(super) fn described(self) -> String {
        match self {
            Self::Choice(words) => words.accepted().join(" | "),
            other => other.expected().to_owned(),
        }
    }

    /// Return whether the key takes text, so that an environment variable need not be quoted.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Choice(_) | Self::Secret | Self::Scalar)
    }
}

/// What holds if a key is not set.
pub(super) enum Preset {
    /// This value, as TOML.
    Is(&'static str),
    /// Nothing; the text is an example, as TOML.
    Unset(&'static str),
}

const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        preset: Preset::Is(default),
        doc,
    }
}

const fn unset(name: &'static str, kind: Kind, example: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        preset: Preset::Unset(example),
        doc,
    }
}

const fn one_of<C: Choice>() -> Kind {
    Kind::Choice(C::WORDS)
}

pub(super) const CONSUMER: &str = "integration.messaging.consumer";
pub(super) const PRODUCER: &str = "integration.messaging.producer";
pub(super) const SECURITY: &str = "integration.messaging.security";
pub(super) const CONNECTIONS: &str = "integration.messaging.connections";
pub(super) const TUNING: &str = "integration.messaging.handler_tuning";

/// Everything that athomic understands today.
pub(super) static SECTIONS: &[Section] = &[
    Section {
        paths: &["app"],
        doc: "Who the program is.",
        keys: &[
            key(
                "name",
                Kind::Text,
                "\"athomic\"",
                "The name under which brokers and telemetry know the program.",
            ),
            key("version", Kind::Text, "\"0.0.0\"", "The version of the program."),
        ],
    },
    Section {
        paths: &["integration.messaging"],
        doc: "Consuming and publishing.",
        keys: &[key(
            "enabled",
            Kind::Boolean,
            "true",
            "Whether the program consumes and publishes at all.",
        )],
    },
    Section {
        paths: &["integration.messaging.provider"],
        doc: "The kind of broker.",
        keys: &[key(
            "backend",
            one_of::<Backend>(),
            "\"memory\"",
            "The embedded broker, or Kafka (needs the feature `kafka`).",
        )],
    },
    Section {
        paths: &[CONSUMER, "integration.messaging.connections.*.consumer"],
        doc: "How to consume. What `connections.NAME.consumer` lacks is inherited from here.",
        keys: CONSUMER_KEYS,
    },
    Section {
        paths: &[PRODUCER, "integration.messaging.connections.*.producer"],
        doc: "How to publish. What `connections.NAME.producer` lacks is inherited from here.",
        keys: PRODUCER_KEYS,
    },
    Section {
        paths: &[SECURITY, "integration.messaging.connections.*.security"],
        doc: "Encryption and identity. A connection that names servers of its own inherits nothing of this, \
              so that no password reaches a foreign server.",
        keys: SECURITY_KEYS,
    },
    Section {
        paths: &["integration.messaging.topics"],
        doc: "Creation of missing topics.",
        keys: &[
            key(
                "auto_create",
                one_of::<AutoCreate>(),
                "\"dev\"",
                "Whether missing topics are created; `dev` means only on the embedded broker.",
            ),
            key(
                "default_partitions",
                Kind::Integer,
                "3",
                "The partitions of a created topic.",
            ),
            key(
                "default_replication",
                Kind::Integer,
                "1",
                "The copies of each partition of a created topic.",
            ),
        ],
    },
    Section {
        paths: &["integration.messaging.dlq"],
        doc: "What happens to messages that fail.",
        keys: &[
            key(
                "enabled",
                Kind::Boolean,
                "true",
                "Whether messages that failed for good go to the strategy.",
            ),
            key(
                "max_attempts",
                Kind::Integer,
                "3",
                "How often a message is tried in all.",
            ),
            key(
                "strategy",
                one_of::<DlqStrategy>(),
                "\"logging_only\"",
                "What happens to a message after its last attempt; `logging_only` logs its coordinates and settles it.",
            ),
        ],
    },
    Section {
        paths: &["integration.messaging.dlq.retry"],
        doc: "The time between attempts.",
        keys: &[
            key(
                "mode",
                one_of::<RetryMode>(),
                "\"in_place\"",
                "Where a message waits for its next attempt; `in_place` holds back the messages behind it.",
            ),
            key(
                "min_delay_seconds",
                Kind::Seconds,
                "1",
                "The wait before the second attempt.",
            ),
            key("max_delay_seconds", Kind::Seconds, "300", "The longest wait."),
            key(
                "factor",
                Kind::Number,
                "2.0",
                "What each wait is multiplied by to get the next; at least 1.",
            ),
            key(
                "jitter",
                Kind::Boolean,
                "true",
                "Whether waits are varied at random.",
            ),
        ],
    },
    Section {
        paths: &["integration.messaging.handler_tuning.[]"],
        doc: "Changes to single handlers without a rebuild. What an entry lacks stays as the attribute says.",
        keys: &[
            unset(
                "handler_id",
                Kind::Text,
                "\"orders::handlers::on_order\"",
                "The handler, as module path and function name. Required.",
            ),
            unset(
                "concurrency",
                Kind::Integer,
                "25",
                "How many executions may run at once in the process.",
            ),
            unset(
                "priority",
                one_of::<Priority>(),
                "\"normal\"",
                "How urgent the handler is.",
            ),
            unset(
                "paused",
                Kind::Boolean,
                "false",
                "Whether the handler starts paused.",
            ),
        ],
    },
    Section {
        paths: &["lifecycle"],
        doc: "Start and stop.",
        keys: &[
            key(
                "startup_timeout_seconds",
                Kind::Seconds,
                "60",
                "How long all services together may take to start.",
            ),
            key(
                "shutdown_timeout_seconds",
                Kind::Seconds,
                "30",
                "How long work in flight may take to drain.",
            ),
        ],
    },
];

static CONSUMER_KEYS: &[Key] = &[
    key(
        "bootstrap_servers",
        Kind::TextList,
        "[\"localhost:9092\"]",
        "Brokers to ask first. If only one of consumer and producer names servers, both use them.",
    ),
    unset(
        "group_id",
        Kind::Text,
        "\"orders\"",
        "The consumer group of handlers that name none.",
    ),
    key(
        "auto_offset_reset",
        one_of::<OffsetReset>(),
        "\"earliest\"",
        "Where a group without a committed offset begins; `fail` stops the consumer instead.",
    ),
    key(
        "commit_interval_ms",
        Kind::Milliseconds,
        "1000",
        "How often offsets are committed.",
    ),
    key(
        "session_timeout_ms",
        Kind::Milliseconds,
        "45000",
        "How long a silent member keeps its partitions; with `group_protocol = \"consumer\"` the broker decides.",
    ),
    key(
        "max_poll_records",
        Kind::Integer,
        "500",
        "The most messages taken from the client at once.",
    ),
    key(
        "fetch_max_bytes",
        Kind::Integer,
        "1048576",
        "The most bytes in one answer of a broker.",
    ),
    key(
        "fetch_max_wait_ms",
        Kind::Milliseconds,
        "500",
        "How long a broker may wait for messages to send.",
    ),
    key(
        "isolation_level",
        one_of::<IsolationLevel>(),
        "\"read_committed\"",
        "Whether records of open and aborted transactions are seen.",
    ),
    key(
        "group_protocol",
        one_of::<GroupProtocol>(),
        "\"classic\"",
        "Who shares out the partitions: the broker (`consumer`, KIP-848, Kafka 4.0) or a member.",
    ),
    unset(
        "group_instance_id",
        Kind::Text,
        "\"orders-0\"",
        "The name of a static member, unique in the group.",
    ),
    unset(
        "client_id",
        Kind::Text,
        "\"orders\"",
        "The name that brokers log and count by; if unset, the name of the program.",
    ),
    key(
        "max_poll_interval_ms",
        Kind::Milliseconds,
        "300000",
        "How long the client may go without polling before it leaves the group.",
    ),
    key(
        "revoke_timeout_ms",
        Kind::Milliseconds,
        "20000",
        "How long a revoked partition may take to drain; less than `max_poll_interval_ms`.",
    ),
    key(
        "handler_timeout_ms",
        Kind::Milliseconds,
        "0",
        "How long one execution of a handler may take; 0 means as long as it likes.",
    ),
    key(
        "max_in_flight_messages",
        Kind::Integer,
        "1000",
        "The most messages in flight in one partition.",
    ),
    key(
        "max_in_flight_bytes",
        Kind::Integer,
        "16777216",
        "The most bytes in flight in one partition.",
    ),
    key(
        "queued_max_kbytes",
        Kind::Integer,
        "8192",
        "The most kilobytes fetched ahead by one consumer.",
    ),
    unset(
        "librdkafka",
        Kind::Options,
        "{ \"socket.keepalive.enable\" = true }",
        "Options of librdkafka, handed over as they are.",
    ),
];

static PRODUCER_KEYS: &[Key] = &[
    key(
        "bootstrap_servers",
        Kind::TextList,
        "[\"localhost:9092\"]",
        "Brokers to ask first. If only one of consumer and producer names servers, both use them.",
    ),
    key(
        "linger_ms",
        Kind::Milliseconds,
        "5",
        "How long a record may wait for others to share a request with.",
    ),
    key(
        "batch_max_bytes",
        Kind::Integer,
        "1048576",
        "The most bytes in one batch of records.",
    ),
    key(
        "wire_compression",
        one_of::<WireCompression>(),
        "\"none\"",
        "Compression of record batches; not of payloads.",
    ),
    key(
        "delivery_timeout_ms",
        Kind::Milliseconds,
        "120000",
        "How long publishing may take, retries included; not less than `linger_ms`.",
    ),
    unset(
        "librdkafka",
        Kind::Options,
        "{ \"socket.keepalive.enable\" = true }",
        "Options of librdkafka, handed over as they are.",
    ),
];

static SECURITY_KEYS: &[Key] = &[
    key(
        "protocol",
        one_of::<SecurityProtocol>(),
        "\"plaintext\"",
        "What the connection is wrapped in.",
    ),
    unset(
        "mechanism",
        one_of::<SaslMechanism>(),
        "\"SCRAM-SHA-512\"",
        "How the program proves who it is, with `sasl_plaintext` and `sasl_ssl`.",
    ),
    unset("username", Kind::Text, "\"orders\"", "The SASL user."),
    unset(
        "password",
        Kind::Secret,
        "{ env = \"KAFKA_PASSWORD\" }",
        "The SASL password: text, an environment variable, or `{ file = \"PATH\" }`.",
    ),
    unset(
        "ca_file",
        Kind::Text,
        "\"certs/ca.pem\"",
        "The authorities to trust (PEM); if unset, those of the system.",
    ),
    unset(
        "certificate_file",
        Kind::Text,
        "\"certs/client.pem\"",
        "The certificate that the program shows (PEM).",
    ),
    unset(
        "key_file",
        Kind::Text,
        "\"certs/client.key\"",
        "The key of the certificate (PEM).",
    ),
    unset(
        "key_password",
        Kind::Secret,
        "{ file = \"certs/key-password\" }",
        "The password of the key file.",
    ),
];

/// A part of the schema whose runtime does not exist yet.
pub(super) struct Planned {
    /// The section, or the single key.
    pub(super) path: &'static str,
    /// Its keys, as paths below it; empty if `path` is a key itself.
    keys: &'static [&'static str],
    /// Return whether a value, at a path below the section, only says what athomic does anyway.
    pub(super) idle: fn(&str, &Node) -> bool,
}

impl Planned {
    /// Return how many leading names of a key's path are those of the section.
    pub(super) fn depth(&self) -> usize {
        self.path.split('.').count()
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
pub(super) static PLANNED: &[Planned] = &[
    planned(
        "integration.messaging.republisher",
        &[
            "enabled",
            "delay_strategy_backend",
            "consumer.*",
            "producer.*",
            "delay_topics.*",
        ],
    ),
    planned("integration.messaging.payload.max_decoded_bytes", &[]),
    Planned {
        path: "integration.messaging.payload.pipeline",
        keys: &[],
        idle: |_, node| is_plain_json(node),
    },
    planned("integration.messaging.dlq.topic", &[]),
    planned("integration.messaging.dlq.parking_lot_topic", &[]),
    planned("integration.messaging.dlq.format", &[]),
    planned("integration.messaging.dlq.header_sets", &[]),
    planned("integration.messaging.dlq.error_max_bytes", &[]),
    planned("integration.messaging.dlq.error_redact", &[]),
    Planned {
        path: "integration.messaging.dlq.index_in_kv",
        keys: &[],
        idle: |_, node| is_false(node),
    },
    planned("integration.messaging.dlq.index_ttl_seconds", &[]),
    planned("integration.messaging.dlq.ordered_mode", &[]),
    planned(
        "integration.messaging.ordering",
        &[
            "kvstore",
            "first_sequence",
            "room_ttl_seconds",
            "room_max_messages",
            "gap_timeout_seconds",
            "on_gap",
        ],
    ),
    Planned {
        path: "serializer",
        keys: &[
            "format",
            "schema_registry_url",
            "schema_id_location",
            "subject_strategy",
            "auto_register",
        ],
        idle: |key, node| key == "format" && is_json(node),
    },
    planned(
        "security.crypto",
        &["algorithm", "active_key", "keys", "fernet_key"],
    ),
    planned(
        "storage",
        &[
            "enabled",
            "provider.backend",
            "provider.base_path",
            "provider.bucket",
            "provider.endpoint",
            "provider.region",
        ],
    ),
    planned(
        "database.kvstore.*",
        &["enabled", "namespace", "provider.backend", "provider.uri"],
    ),
    planned(
        "resilience.idempotency",
        &[
            "enabled",
            "default_ttl_seconds",
            "default_lock_timeout_seconds",
            "kvstore.namespace",
            "kvstore.provider.backend",
            "kvstore.provider.uri",
        ],
    ),
    planned("resilience.rate_limiter", &["policies.*"]),
    planned("context", &["propagate"]),
    planned(
        "lineage",
        &[
            "enabled",
            "collector_topic",
            "granularity",
            "producer.job_namespace",
            "producer.producer_uri",
            "store.backend",
        ],
    ),
    Planned {
        path: "observability",
        keys: &[
            "enabled",
            "exporter_enabled",
            "exporter_port",
            "tracing_enabled",
            "otlp_endpoint",
            "otlp_protocol",
            "sampling_rate",
            "process_span_parent",
            "metrics.enabled",
            "metrics.collection_interval_seconds",
            "metrics.partition_attribute",
            "metrics.metrics_protection_enabled",
            "metrics.allow_metrics_ips",
        ],
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
pub(super) const ORJSON: &str = "orjson";

/// Return whether a payload pipeline is one JSON serializer, which is what athomic does without one.
fn is_plain_json(node: &Node) -> bool {
    let Node::List(steps) = node else { return false };
    let [step] = steps.as_slice() else { return false };
    let Node::Table(step) = &step.node else {
        return false;
    };
    let serializer =
        matches!(step.get("step").map(|entry| &entry.node), Some(Node::Text(name)) if name == "serializer");
    let settings_are_json = step.get("settings").is_none_or(|settings| {
        let table = settings.node.as_table();
        table.is_some_and(|table| {
            table
                .iter()
                .all(|(name, entry)| name == "backend" && is_json(&entry.node))
        })
    });
    serializer && settings_are_json && step.keys().all(|name| name == "step" || name == "settings")
}

/// The schema as a tree, in which a path is followed name by name.
#[derive(Debug)]
pub(super) enum Spec {
    /// A table with known names, or with any name, or both.
    Table {
        names: BTreeMap<&'static str, Spec>,
        any: Option<Box<Spec>>,
    },
    /// A list of such items.
    List(Box<Spec>),
    /// A key that is understood.
    Value(Kind),
    /// A key that is not built yet, by its place in [`PLANNED`].
    Planned(usize),
}

static SPEC: LazyLock<Spec> = LazyLock::new(|| {
    let mut root = Spec::table();
    for section in SECTIONS {
        for path in section.paths {
            for key in section.keys {
                root.insert(path.split('.').chain([key.name]), Spec::of(key.kind));
            }
        }
    }
    for (index, part) in PLANNED.iter().enumerate() {
        if part.keys.is_empty() {
            root.insert(part.path.split('.'), Spec::Planned(index));
        }
        for key in part.keys {
            root.insert(part.path.split('.').chain(key.split('.')), Spec::Planned(index));
        }
    }
    root
});

/// Return the schema as a tree.
pub(super) fn spec() -> &'static Spec {
    &SPEC
}

impl Spec {
    fn table() -> Self {
        Self::Table {
            names: BTreeMap::new(),
            any: None,
        }
    }

    fn of(kind: Kind) -> Self {
        match kind {
            Kind::TextList => Self::List(Box::new(Self::Value(Kind::Text))),
            Kind::Options => Self::Table {
                names: BTreeMap::new(),
                any: Some(Box::new(Self::Value(Kind::Scalar))),
            },
            other => Self::Value(other),
        }
    }

    fn insert(&mut self, path: impl IntoIterator<Item = &'static str>, leaf: Self) {
        let mut spec = self;
        for name in path {
            if name == "[]" && matches!(spec, Self::Table { .. }) {
                *spec = Self::List(Box::new(Self::table()));
            }
            spec = match spec {
                Self::Table { any, .. } if name == "*" => any.get_or_insert_with(|| Box::new(Self::table())),
                Self::Table { names, .. } => names.entry(name).or_insert_with(Self::table),
                Self::List(item) => item,
                Self::Value(_) | Self::Planned(_) => return,
            };
        }
        *spec = leaf;
    }

    /// Return the names that may stand here, for suggestions.
    pub(super) fn names(&self) -> Vec<&'static str> {
        match self {
            Self::Table { names, .. } => names.keys().copied().collect(),
            _ => Vec::new(),
        }
    }

    /// Return what may stand under `name`.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Table { names, any } => names.get(name).or(any.as_deref()),
            Self::List(item) => name.parse::<usize>().is_ok().then_some(item),
            Self::Value(_) | Self::Planned(_) => None,
        }
    }

    /// Tell tables from lists on the way along a path.
    pub(super) fn steps(&self, path: &[String]) -> Vec<Step> {
        let mut spec = Some(self);
        let step = |name: &String| {
            let item = if matches!(spec, Some(Self::List(_))) {
                name.parse().ok()
            } else {
                None
            };
            spec = spec.and_then(|spec| spec.child(name));
            item.map_or_else(|| Step::Name(name.clone()), Step::Item)
        };
        path.iter().map(step).collect()
    }

    /// Follow a whole path.
    pub(super) fn at(&self, path: &[String]) -> Option<&Self> {
        path.iter().try_fold(self, |spec, name| spec.child(name))
    }
}

/// Return the table's entry for a key, whichever of its places `path` names.
pub(super) fn key_at(path: &[String]) -> Option<&'static Key> {
    let (name, place) = path.split_last()?;
    let stands_at = |pattern: &&str| {
        let mut pattern = pattern.split('.');
        let fits = |name: &String| match pattern.next() {
            Some("*") => true,
            Some("[]") => name.parse::<usize>().is_ok(),
            other => other == Some(name.as_str()),
        };
        place.iter().all(fits) && pattern.next().is_none()
    };
    let mut sections = SECTIONS
        .iter()
        .filter(|section| section.paths.iter().any(stands_at));
    sections.find_map(|section| section.keys.iter().find(|key| key.name == name))
}

/// A settings key, for documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyDoc {
    /// The full path; `*` stands for a name of the user's choice, `[]` for any item of a list.
    pub path: String,
    /// What it takes.
    pub takes: String,
    /// The default as TOML; none if there is none.
    pub default: Option<&'static str>,
    /// A value as TOML to show in documentation: the default, if there is one.
    pub example: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// What its section is for.
    pub section: &'static str,
}

/// List every key that the settings understand today, in the order of the reference file.
pub fn keys() -> impl Iterator<Item = KeyDoc> {
    SECTIONS
        .iter()
        .flat_map(|section| section.keys.iter().map(|key| document(section, key)))
}

fn document(section: &Section, key: &Key) -> KeyDoc {
    let (default, example) = match key.preset {
        Preset::Is(default) => (Some(default), default),
        Preset::Unset(example) => (None, example),
    };
    KeyDoc {
        path: format!("{}.{}", section.paths[0], key.name),
        takes: key.kind.described(),
        default,
        example,
        doc: key.doc,
        section: section.doc,
    }
}
