//! Run events as OpenLineage 2-0-2 has them, and the facets that athomic writes.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::context::LineageRun;
use crate::message::Timestamp;

/// The part of the specification that an event is an instance of.
const RUN_EVENT: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";

/// Further facts about a run, a job or a dataset, by their names; each has its own schema.
pub type Facets = BTreeMap<String, Value>;

/// A change in a run's state. What a producer adds beyond the specification is kept.
///
/// ```
/// use athomic_core::lineage::{EventType, LineageEvent};
///
/// let event: LineageEvent = serde_json::from_str(r#"{
///     "eventTime": "2026-11-02T10:00:00.000Z", "eventType": "START",
///     "producer": "https://example.org/shop",
///     "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
///     "run": { "runId": "01934bb1-7e0c-7cc1-9d57-000000000001" },
///     "job": { "namespace": "shop", "name": "shop::on_order" }
/// }"#)?;
/// assert_eq!(event.event_type, Some(EventType::Start));
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LineageEvent {
    /// When it happened, as RFC 3339 has it.
    pub event_time: String,
    /// What happened to the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<EventType>,
    /// Who says so, as a URI.
    pub producer: String,
    /// The schema of the event, as a URI.
    #[serde(rename = "schemaURL")]
    pub schema_url: String,
    /// The run.
    pub run: Run,
    /// What is run.
    pub job: Job,
    /// What it reads.
    #[serde(default)]
    pub inputs: Vec<Dataset>,
    /// What it writes.
    #[serde(default)]
    pub outputs: Vec<Dataset>,
    /// What else the event says.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// What happened to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum EventType {
    /// It began.
    Start,
    /// It goes on.
    Running,
    /// It ended well.
    Complete,
    /// It was cut off.
    Abort,
    /// It ended with an error.
    Fail,
    /// Something is added about it.
    Other,
}

/// One run of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Its id, a UUID.
    pub run_id: String,
    /// What is known of it.
    #[serde(default)]
    pub facets: Facets,
}

/// Something that is run again and again: a handler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Whose it is.
    pub namespace: String,
    /// Its name there.
    pub name: String,
    /// What is known of it.
    #[serde(default)]
    pub facets: Facets,
}

/// Something that is read or written: a topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dataset {
    /// Where it is: `kafka://HOST:PORT` for topics of Kafka.
    pub namespace: String,
    /// Its name there: the topic.
    pub name: String,
    /// What is known of it.
    #[serde(default, skip_serializing_if = "Facets::is_empty")]
    pub facets: Facets,
    /// What was read of it.
    #[serde(default, skip_serializing_if = "Facets::is_empty")]
    pub input_facets: Facets,
    /// What was written to it.
    #[serde(default, skip_serializing_if = "Facets::is_empty")]
    pub output_facets: Facets,
}

impl LineageEvent {
    pub(super) fn new(
        now: Timestamp,
        event_type: EventType,
        producer: &str,
        run: Run,
        job: Job,
        inputs: Vec<Dataset>,
        outputs: Vec<Dataset>,
    ) -> Self {
        let time = DateTime::from_timestamp_millis(now.as_millis()).unwrap_or_default();
        Self {
            event_time: time.to_rfc3339_opts(SecondsFormat::Millis, true),
            event_type: Some(event_type),
            producer: producer.to_owned(),
            schema_url: RUN_EVENT.to_owned(),
            run,
            job,
            inputs,
            outputs,
            other: BTreeMap::new(),
        }
    }
}

impl Dataset {
    pub(super) fn topic(namespace: &str, topic: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: topic.to_owned(),
            facets: Facets::new(),
            input_facets: Facets::new(),
            output_facets: Facets::new(),
        }
    }
}

/// Makes facets, each with its producer and the schema that it follows.
#[derive(Debug, Clone)]
pub(super) struct FacetWriter {
    /// Who says so, as a URI.
    pub(super) producer: String,
}

impl FacetWriter {
    /// Say what kind of job a handler is.
    pub(super) fn job_type(&self, emits_every: u64) -> (String, Value) {
        self.facet(
            "jobType",
            "2-0-4/JobTypeJobFacet",
            json!({
                "processingType": "STREAMING",
                "integration": "ATHOMIC",
                "jobType": "CONSUMER",
                "emissionPattern": {
                    "eventTrigger": "PERIODIC",
                    "eventContentMode": "ACCUMULATIVE",
                    "windowDuration": emits_every,
                },
            }),
        )
    }

    /// Say what runs the handler.
    pub(super) fn engine(&self) -> (String, Value) {
        let version = env!("CARGO_PKG_VERSION");
        self.facet(
            "processing_engine",
            "1-1-1/ProcessingEngineRunFacet",
            json!({ "name": "athomic", "version": version, "openlineageAdapterVersion": version }),
        )
    }

    /// Say why a run failed.
    pub(super) fn error(&self, message: &str) -> (String, Value) {
        self.facet(
            "errorMessage",
            "1-0-1/ErrorMessageRunFacet",
            json!({ "message": message, "programmingLanguage": "RUST" }),
        )
    }

    /// Say of which run an execution is a part, and of which one its message comes.
    pub(super) fn parent(&self, run: &str, job: &Job, origin: Option<&LineageRun>) -> (String, Value) {
        let named = |run: &str, namespace: &str, job: &str| json!({ "run": { "runId": run }, "job": { "namespace": namespace, "name": job } });
        let mut parent = named(run, &job.namespace, &job.name);
        if let Some(origin) = origin {
            parent["root"] = named(&origin.run, &origin.namespace, &origin.job);
        }
        self.facet("parent", "1-2-0/ParentRunFacet", parent)
    }

    /// Say where a run's messages are from.
    pub(super) fn tags(&self, tags: &[(&str, &str)]) -> (String, Value) {
        let tags: Vec<Value> = tags
            .iter()
            .map(|(key, value)| json!({ "key": key, "value": value, "source": "ATHOMIC" }))
            .collect();
        self.facet("tags", "1-0-0/TagsRunFacet", json!({ "tags": tags }))
    }

    /// Say how much was read of a dataset.
    pub(super) fn read(&self, rows: u64, bytes: u64) -> (String, Value) {
        self.facet(
            "inputStatistics",
            "1-0-0/InputStatisticsInputDatasetFacet",
            json!({ "rowCount": rows, "size": bytes }),
        )
    }

    /// Say how much was written to a dataset.
    pub(super) fn written(&self, rows: u64, bytes: u64) -> (String, Value) {
        self.facet(
            "outputStatistics",
            "1-0-2/OutputStatisticsOutputDatasetFacet",
            json!({ "rowCount": rows, "size": bytes }),
        )
    }

    fn facet(&self, name: &str, schema: &str, mut value: Value) -> (String, Value) {
        let kind = schema.rsplit('/').next().unwrap_or(schema);
        value["_producer"] = self.producer.as_str().into();
        value["_schemaURL"] =
            format!("https://openlineage.io/spec/facets/{schema}.json#/$defs/{kind}").into();
        (name.to_owned(), value)
    }
}
