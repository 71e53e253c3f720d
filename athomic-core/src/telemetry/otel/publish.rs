//! Spans and metrics of what is published.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::{Injector, TextMapPropagator};
use opentelemetry::trace::{FutureExt, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt};
use opentelemetry::{Context as Current, KeyValue};
use opentelemetry_sdk::propagation::BaggagePropagator;

use super::super::Written;
use super::super::names::{self, operation};
use super::process::HandlerTelemetry;
use super::{Spans, Telemetry, attribute, convert};
use crate::context::{BAGGAGE, Propagation};
use crate::dead_letter::headers::{DLQ_ID, REDRIVE_OF, RETRY_ATTEMPTS};
use crate::delay::ENVELOPE;
use crate::message::{Headers, MESSAGE_ID};
use crate::publisher::PublishError;
use crate::transport::{Delivery, OutgoingMessage};

/// The result of one record.
type Sent = Result<Delivery, PublishError>;

/// What is recorded about a connection.
pub(crate) struct ConnectionTelemetry {
    shared: Arc<Telemetry>,
    /// What is the same for all that goes over it.
    base: Vec<KeyValue>,
}

impl ConnectionTelemetry {
    /// Describe a connection; of its servers the first is named.
    pub(crate) fn new(
        shared: &Arc<Telemetry>,
        system: &'static str,
        servers: &[String],
        client_id: &str,
    ) -> Self {
        let mut base = vec![
            attribute(names::SYSTEM, system),
            attribute(names::CLIENT_ID, client_id.to_owned()),
        ];
        let server = servers.first().and_then(|server| server.rsplit_once(':'));
        if let Some((host, port)) = server {
            base.push(attribute(names::SERVER_ADDRESS, host.to_owned()));
            base.extend(port.parse().map(|port: i64| attribute(names::SERVER_PORT, port)));
        }
        Self {
            shared: Arc::clone(shared),
            base,
        }
    }

    /// Describe a handler that consumes over the connection.
    pub(crate) fn handler(&self, handler_id: &str, group_id: &str, topics: &[String]) -> HandlerTelemetry {
        HandlerTelemetry::new(Arc::clone(&self.shared), &self.base, handler_id, group_id, topics)
    }

    /// Note that a message was published with a delay.
    pub(crate) fn delayed(&self, topic: &str) {
        if let Some(metrics) = &self.shared.metrics {
            let attributes = [&self.base[..], &[attribute(names::DESTINATION, topic.to_owned())]].concat();
            metrics.instruments.delay_published.add(1, &attributes);
        }
    }

    /// Note that records begin to be written; those that are new get the span in which they are.
    pub(crate) fn start(&self, records: &mut [OutgoingMessage], written: Written) -> Sending {
        Sending {
            began: Instant::now(),
            topics: records.iter().map(|record| record.topic.clone()).collect(),
            redriven: records.iter().filter(|record| is_replay(record)).count(),
            traced: self
                .shared
                .spans
                .as_ref()
                .map(|spans| self.spans(spans, records, written)),
        }
    }

    fn spans(&self, spans: &Spans, records: &mut [OutgoingMessage], written: Written) -> SendSpans {
        let one = records.len() == 1 || written == Written::Copy;
        let operation = if one { operation::SEND } else { operation::CREATE };
        let each: Vec<Current> = records
            .iter_mut()
            .map(|record| self.span_of(spans, record, operation, written))
            .collect();
        let together = (!one).then(|| self.span_of_all(spans, records, &each));
        SendSpans { each, together }
    }

    /// Start the span of one record.
    fn span_of(
        &self,
        spans: &Spans,
        record: &mut OutgoingMessage,
        operation: &'static str,
        written: Written,
    ) -> Current {
        let Propagation { trace, baggage } = spans.propagation;
        let named = convert::named_by(&record.headers).filter(|_| trace);
        let is_replay = is_replay(record);
        let (parent, links) = if is_replay {
            (Current::new(), convert::links(named))
        } else {
            (current_or(named), Vec::new())
        };
        let mut attributes = self.of_operation(operation);
        attributes.push(attribute(names::DESTINATION, record.topic.clone()));
        attributes.extend(told_by(&record.headers));
        let span = SpanBuilder::from_name(format!("{operation} {}", record.topic))
            .with_kind(SpanKind::Producer)
            .with_attributes(attributes)
            .with_links(links)
            .start_with_context(&spans.tracer, &parent);
        let current = parent.with_span(span);
        if trace && (is_replay || written == Written::Message) {
            convert::inject(current.span().span_context(), &mut record.headers);
        }
        if baggage && written == Written::Message && !current.baggage().is_empty() {
            BaggagePropagator::new().inject_context(&current, &mut Put(&mut record.headers));
        }
        current
    }

    /// Start the span of records that are written together.
    fn span_of_all(&self, spans: &Spans, records: &[OutgoingMessage], each: &[Current]) -> Current {
        let links = each.iter().map(|current| current.span().span_context().clone());
        let mut attributes = self.of_operation(operation::SEND);
        let count = i64::try_from(records.len()).unwrap_or(i64::MAX);
        attributes.push(attribute(names::BATCH_COUNT, count));
        let mut name = operation::SEND.to_owned();
        if let Some(topic) = same_topic(records) {
            attributes.push(attribute(names::DESTINATION, topic.to_owned()));
            name = format!("{name} {topic}");
        }
        let parent = current_or(None);
        let span = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Client)
            .with_attributes(attributes)
            .with_links(convert::links(links))
            .start_with_context(&spans.tracer, &parent);
        parent.with_span(span)
    }

    /// Note how writing ended.
    pub(crate) fn finish(&self, sending: Sending, results: &[Sent]) {
        if let Some(spans) = sending.traced {
            spans.end(results);
        }
        let Some(metrics) = &self.shared.metrics else {
            return;
        };
        let mut sent: BTreeMap<(&str, Option<&'static str>), u64> = BTreeMap::new();
        for (topic, result) in sending.topics.iter().zip(results) {
            let error = result.as_ref().err().map(PublishError::kind);
            *sent.entry((topic, error)).or_default() += 1;
        }
        let seconds = sending.began.elapsed().as_secs_f64();
        for ((topic, error), count) in sent {
            let mut attributes = self.base.clone();
            attributes.push(attribute(names::OPERATION_NAME, operation::SEND));
            attributes.push(attribute(names::DESTINATION, topic.to_owned()));
            attributes.extend(error.map(|error| attribute(names::ERROR_TYPE, error)));
            metrics.instruments.sent.add(count, &attributes);
            attributes.push(attribute(names::OPERATION_TYPE, operation::SEND));
            metrics
                .instruments
                .operation_duration
                .record(seconds, &attributes);
        }
        if sending.redriven > 0 {
            metrics
                .instruments
                .dlq_redriven
                .add(sending.redriven as u64, &self.base);
        }
    }

    fn of_operation(&self, operation: &'static str) -> Vec<KeyValue> {
        let mut attributes = self.base.clone();
        attributes.push(attribute(names::OPERATION_NAME, operation));
        attributes.push(attribute(names::OPERATION_TYPE, operation));
        attributes
    }
}

impl fmt::Debug for ConnectionTelemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionTelemetry")
            .field("base", &self.base)
            .finish()
    }
}

/// Records that are being written.
pub(crate) struct Sending {
    began: Instant,
    topics: Vec<String>,
    redriven: usize,
    traced: Option<SendSpans>,
}

struct SendSpans {
    /// That of each record.
    each: Vec<Current>,
    /// One more about all of them, where there are several.
    together: Option<Current>,
}

impl Sending {
    /// Run what writes the records.
    pub(crate) async fn run<F: Future>(&self, write: F) -> F::Output {
        let span = self
            .traced
            .as_ref()
            .and_then(|spans| spans.together.as_ref().or(spans.each.first()));
        match span {
            None => write.await,
            Some(span) => write.with_context(span.clone()).await,
        }
    }
}

impl SendSpans {
    fn end(self, results: &[Sent]) {
        for (current, result) in self.each.iter().zip(results) {
            let span = current.span();
            match result {
                Ok(delivery) => {
                    let partition = delivery.partition.partition.to_string();
                    span.set_attribute(attribute(names::PARTITION, partition));
                    span.set_attribute(attribute(names::OFFSET, delivery.offset));
                }
                Err(error) => fail(current, error),
            }
            span.end();
        }
        if let Some(together) = self.together {
            if let Some(error) = results.iter().find_map(|result| result.as_ref().err()) {
                fail(&together, error);
            }
            together.span().end();
        }
    }
}

fn fail(current: &Current, error: &PublishError) {
    let span = current.span();
    span.set_attribute(attribute(names::ERROR_TYPE, error.kind()));
    span.set_status(Status::error(error.to_string()));
}

/// Return the context in which this runs, if it has a span; else one with the span that a record names.
fn current_or(named: Option<SpanContext>) -> Current {
    let current = Current::current();
    match named {
        Some(named) if !current.has_active_span() => current.with_remote_span_context(named),
        _ => current,
    }
}

/// Say whether a record is a dead letter that is published again.
fn is_replay(record: &OutgoingMessage) -> bool {
    let has = |name| record.headers.get(name).is_some();
    // Retries and dead letters of what was replayed say so too.
    has(REDRIVE_OF) && !has(RETRY_ATTEMPTS) && !has(DLQ_ID)
}

fn same_topic(records: &[OutgoingMessage]) -> Option<&str> {
    let topic = records.first()?.topic.as_str();
    records
        .iter()
        .all(|record| record.topic == topic)
        .then_some(topic)
}

/// Return what a record says of itself: its id, and what kind of copy it is.
fn told_by(headers: &Headers) -> Vec<KeyValue> {
    let text = |name: &str| std::str::from_utf8(headers.get(name)?).ok();
    let mut attributes = Vec::new();
    attributes.extend(text(MESSAGE_ID).map(|id| attribute(names::MESSAGE_ID, id.to_owned())));
    let attempt = text(RETRY_ATTEMPTS).and_then(|made| made.parse().ok());
    attributes.extend(attempt.map(|made: i64| attribute(names::RETRY_ATTEMPT, made.saturating_add(1))));
    attributes.extend(text(DLQ_ID).map(|id| attribute(names::DLQ_ID, id.to_owned())));
    attributes.extend(text(REDRIVE_OF).map(|id| attribute(names::REDRIVE_OF, id.to_owned())));
    if headers.get(ENVELOPE).is_some() {
        attributes.push(attribute(names::DELAYED, true));
    }
    attributes
}

/// Has OpenTelemetry put the baggage on a message.
struct Put<'a>(&'a mut Headers);

impl Injector for Put<'_> {
    fn set(&mut self, key: &str, value: String) {
        if key == BAGGAGE {
            self.0.set(BAGGAGE, value);
        }
    }
}
