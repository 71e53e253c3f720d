//! Spans and metrics of what a consumer asks of its broker: fetching and committing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use opentelemetry::trace::{Span, SpanBuilder, SpanKind, Status, Tracer};
use opentelemetry::{Context as Current, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;

use super::super::names::{self, operation};
use super::process::{HandlerTelemetry, and};
use super::{Metrics, Telemetry, attribute, convert};
use crate::context::HeadersOrchestrator;
use crate::message::{PartitionOffset, RawMessage, RecordBatch, TopicPartition};
use crate::transport::TransportError;

/// When messages were asked for.
pub(crate) struct Asked {
    began: Instant,
    since: SystemTime,
}

/// A commit that is under way.
pub(crate) struct Committing {
    shared: Arc<Telemetry>,
    began: Instant,
    /// The attributes of each topic whose offsets are committed.
    topics: Vec<Vec<KeyValue>>,
    /// The span of each, where spans are recorded.
    spans: Vec<<SdkTracer as Tracer>::Span>,
}

impl HandlerTelemetry {
    /// Note that messages are asked for.
    pub(crate) fn ask(&self) -> Asked {
        Asked {
            began: Instant::now(),
            since: SystemTime::now(),
        }
    }

    /// Note that messages were fetched.
    pub(crate) fn consumed(
        &self,
        headers: &HeadersOrchestrator,
        batch: &Arc<dyn RecordBatch>,
        asked: &Asked,
    ) {
        let partition = batch.partition();
        if let Some(metrics) = &self.shared.metrics {
            let of = self.of(partition);
            let attributes = and(&of.poll, metrics.partition(partition));
            metrics.instruments.consumed.add(batch.len() as u64, &attributes);
        }
        self.polled(partition, asked, None);
        if let Some(spans) = self.shared.spans.as_ref().filter(|spans| spans.polls) {
            let messages = (0..batch.len()).map(|index| RawMessage::new(Arc::clone(batch), index));
            let published =
                messages.filter_map(|message| headers.restore(&message).trace().map(convert::remote));
            let mut builder = self.client_span(operation::POLL, operation::RECEIVE, &partition.topic);
            builder.links = Some(convert::links(published));
            builder.start_time = Some(asked.since);
            let count = i64::try_from(batch.len()).unwrap_or(i64::MAX);
            builder.attributes.get_or_insert_default().extend([
                attribute(names::PARTITION, partition.partition.to_string()),
                attribute(names::BATCH_COUNT, count),
            ]);
            builder.start_with_context(&spans.tracer, &Current::new()).end();
        }
    }

    /// Note that messages could not be fetched.
    pub(crate) fn not_consumed(&self, partition: &TopicPartition, error: &TransportError, asked: &Asked) {
        self.polled(partition, asked, Some(error));
    }

    fn polled(&self, partition: &TopicPartition, asked: &Asked, error: Option<&TransportError>) {
        if let Some(metrics) = &self.shared.metrics {
            let of = self.of(partition);
            let attributes = and(
                &of.receive,
                metrics.partition(partition).into_iter().chain(failed(error)),
            );
            metrics.took(asked.began, &attributes);
        }
    }

    /// Note that offsets begin to be committed.
    pub(crate) fn commit(&self, offsets: &[PartitionOffset]) -> Committing {
        let mut topics: BTreeMap<&str, Vec<&TopicPartition>> = BTreeMap::new();
        for PartitionOffset { partition, .. } in offsets {
            topics.entry(&partition.topic).or_default().push(partition);
        }
        let span = |(topic, partitions): (&&str, &Vec<&TopicPartition>)| {
            let spans = self.shared.spans.as_ref()?;
            let mut builder = self.client_span(operation::COMMIT, operation::SETTLE, topic);
            if let [partition] = partitions[..] {
                let partition = attribute(names::PARTITION, partition.partition.to_string());
                builder.attributes.get_or_insert_default().push(partition);
            }
            Some(builder.start_with_context(&spans.tracer, &Current::new()))
        };
        Committing {
            shared: Arc::clone(&self.shared),
            began: Instant::now(),
            spans: topics.iter().filter_map(span).collect(),
            topics: topics
                .values()
                .map(|partitions| self.of(partitions[0]).settle.clone())
                .collect(),
        }
    }

    /// Begin the description of a call of the broker.
    fn client_span(&self, name: &'static str, kind: &'static str, topic: &str) -> SpanBuilder {
        let mut attributes = self.base.clone();
        attributes.extend([
            attribute(names::OPERATION_NAME, name),
            attribute(names::OPERATION_TYPE, kind),
            attribute(names::DESTINATION, topic.to_owned()),
            attribute(names::HANDLER, self.handler_id.clone()),
        ]);
        SpanBuilder::from_name(format!("{name} {topic}"))
            .with_kind(SpanKind::Client)
            .with_attributes(attributes)
    }
}

impl Committing {
    /// Note how it ended.
    pub(crate) fn end(mut self, result: Result<(), &TransportError>) {
        let error = result.err();
        for span in &mut self.spans {
            if let Some(error) = error {
                span.set_attribute(attribute(names::ERROR_TYPE, error.kind()));
                span.set_status(Status::error(error.to_string()));
            }
            span.end();
        }
        if let Some(metrics) = &self.shared.metrics {
            for topic in &self.topics {
                metrics.took(self.began, &and(topic, failed(error)));
            }
        }
    }
}

impl Metrics {
    /// Note how long a call of the broker took.
    fn took(&self, began: Instant, attributes: &[KeyValue]) {
        let seconds = began.elapsed().as_secs_f64();
        self.instruments.operation_duration.record(seconds, attributes);
    }
}

fn failed(error: Option<&TransportError>) -> Option<KeyValue> {
    error.map(|error| attribute(names::ERROR_TYPE, error.kind()))
}
