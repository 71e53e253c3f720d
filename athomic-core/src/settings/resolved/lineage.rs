//! What is reported of where data comes from and goes to.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::settings::choice::choice;
use crate::settings::secret::Secret;

/// What is reported of where data comes from and goes to: section `lineage`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LineageSettings {
    /// Whether handlers report at all. Default `false`.
    pub enabled: bool,
    /// The topic of lineage events. Default `platform.lineage.events`.
    pub collector_topic: String,
    /// What is a run. Default [`LineageGranularity::Run`].
    pub granularity: LineageGranularity,
    /// How often a handler that runs reports. Default 60 s.
    pub interval: Duration,
    /// How many events wait for a store at most. Default 10,000.
    pub max_queued_events: NonZeroUsize,
    /// The namespace of the jobs; none is the application's name.
    pub job_namespace: Option<String>,
    /// The URI that says who produces the events. Default `urn:athomic`.
    pub producer_uri: String,
    /// Where events go, each once. Default [`LineageStoreKind::Logging`].
    pub stores: Vec<LineageStoreKind>,
    /// The server of the store `http`.
    pub server: LineageServerSettings,
    /// The collector.
    pub collector: LineageCollectorSettings,
}

/// A server of OpenLineage's HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LineageServerSettings {
    /// Where it is; set wherever a store is `http`.
    pub url: Option<String>,
    /// The bearer token.
    pub api_key: Option<Secret>,
    /// How long a request may take. Default 5 s.
    pub timeout: Duration,
}

/// The consumer of the lineage topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LineageCollectorSettings {
    /// Whether this program collects. Default `false`.
    pub enabled: bool,
    /// The consumer group. Default `athomic-lineage-collector`.
    pub group_id: String,
    /// Where it writes to, each once. Default [`CollectorStore::Logging`].
    pub stores: Vec<CollectorStore>,
    /// The file of [`CollectorStore::JsonFile`]. Default `lineage.jsonl`.
    pub path: PathBuf,
}

impl Default for LineageSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            collector_topic: "platform.lineage.events".to_owned(),
            granularity: LineageGranularity::Run,
            interval: Duration::from_secs(60),
            max_queued_events: const { NonZeroUsize::new(10_000).expect("not zero") },
            job_namespace: None,
            producer_uri: "urn:athomic".to_owned(),
            stores: vec![LineageStoreKind::Logging],
            server: LineageServerSettings {
                url: None,
                api_key: None,
                timeout: Duration::from_secs(5),
            },
            collector: LineageCollectorSettings {
                enabled: false,
                group_id: "athomic-lineage-collector".to_owned(),
                stores: vec![CollectorStore::Logging],
                path: "lineage.jsonl".into(),
            },
        }
    }
}

choice! {
    /// What is a run.
    pub enum LineageGranularity {
        /// A handler's consumer, from start to end.
        Run = "run",
        /// Besides, each execution of a batch handler.
        Batch = "batch",
        /// Besides, each execution of any handler.
        Message = "message",
    }
    not built: []
}

choice! {
    /// Where lineage events go.
    pub enum LineageStoreKind {
        /// The log.
        Logging = "logging",
        /// The lineage topic.
        Topic = "topic",
        /// A server; needs the feature `lineage-http`.
        Http = "http",
        /// Several of the others.
        Composite = "composite",
    }
    not built: []
}

choice! {
    /// Where the collector writes lineage events to.
    pub enum CollectorStore {
        /// The log.
        Logging = "logging",
        /// A file, one event in each line.
        JsonFile = "json_file",
        /// A server; needs the feature `lineage-http`.
        Http = "http",
    }
    not built: []
}
