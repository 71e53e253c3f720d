//! Spans and metrics of what is consumed.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::metrics::{BoundHistogram, BoundUpDownCounter};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{FutureExt, SpanBuilder, SpanKind, Status, TraceContextExt};
use opentelemetry::{Context as Current, KeyValue};
use opentelemetry_sdk::propagation::BaggagePropagator;

use super::super::names::{self, operation};
use super::{Metrics, Spans, Telemetry, attribute, convert};
use crate::context::{BAGGAGE, Context, HeadersOrchestrator, TraceContext};
use crate::dead_letter::{bounded, error_type};
use crate::message::{MESSAGE_ID, RawMessage, TopicPartition};
use crate::outcome::FailureContext;

/// How much of an error's text stands on a span, in bytes.
const TEXT: usize = 1024;

/// What is recorded about a handler.
pub(crate) struct HandlerTelemetry {
    pub(super) shared: Arc<Telemetry>,
    pub(super) handler_id: String,
    /// What is the same for all its messages.
    pub(super) base: Vec<KeyValue>,
    /// Made once: what is the same for all messages of a topic.
    topics: Vec<Arc<OfTopic>>,
}

/// The attributes of metrics of a topic.
pub(super) struct OfTopic {
    topic: String,
    /// With the operation `process`.
    process: Vec<KeyValue>,
    /// With the operation `poll`.
    pub(super) poll: Vec<KeyValue>,
    /// With its type too.
    pub(super) receive: Vec<KeyValue>,
    /// With the operation `commit` and its type.
    pub(super) settle: Vec<KeyValue>,
    /// Without an operation.
    plain: Vec<KeyValue>,
    /// What every execution touches, found once; nothing where partitions are told apart.
    bound: Option<Bound>,
}

/// Instruments with the attributes of a topic: to record needs no look for them.
struct Bound {
    inflight: BoundUpDownCounter<i64>,
    /// For executions that end well.
    processed: BoundHistogram<f64>,
}

impl OfTopic {
    fn new(topic: &str, base: &[KeyValue]) -> Self {
        let plain = [base, &[attribute(names::DESTINATION, topic.to_owned())]].concat();
        let with = |operation| [&plain[..], &[attribute(names::OPERATION_NAME, operation)]].concat();
        let typed = |operation, kind| {
            let mut attributes = with(operation);
            attributes.push(attribute(names::OPERATION_TYPE, kind));
            attributes
        };
        Self {
            topic: topic.to_owned(),
            process: with(operation::PROCESS),
            poll: with(operation::POLL),
            receive: typed(operation::POLL, operation::RECEIVE),
            settle: typed(operation::COMMIT, operation::SETTLE),
            plain,
            bound: None,
        }
    }

    /// The same, for one of a handler's own topics.
    fn bound(topic: &str, base: &[KeyValue], metrics: Option<&Metrics>) -> Self {
        let unbound = Self::new(topic, base);
        let bind = |metrics: &Metrics| Bound {
            inflight: metrics.instruments.inflight.bind(&unbound.plain),
            processed: metrics.instruments.process_duration.bind(&unbound.process),
        };
        Self {
            bound: metrics.filter(|metrics| !metrics.with_partition).map(bind),
            ..unbound
        }
    }
}

impl HandlerTelemetry {
    pub(super) fn new(
        shared: Arc<Telemetry>,
        connection: &[KeyValue],
        handler_id: &str,
        group_id: &str,
        topics: &[String],
    ) -> Self {
        let base = [connection, &[attribute(names::GROUP, group_id.to_owned())]].concat();
        let of_topic = |topic: &String| Arc::new(OfTopic::bound(topic, &base, shared.metrics.as_ref()));
        Self {
            topics: topics.iter().map(of_topic).collect(),
            handler_id: handler_id.to_owned(),
            shared,
            base,
        }
    }

    /// Note that a message begins to be handled.
    pub(crate) fn begin(
        &self,
        headers: &HeadersOrchestrator,
        message: &RawMessage,
        attempt: u32,
    ) -> Processing {
        let spans = self.shared.spans.as_ref();
        let current = spans.map(|spans| self.start(spans, headers, message, attempt));
        self.processing(current, message.topic_partition())
    }

    /// Note that messages of one partition begin to be handled together.
    pub(crate) fn begin_batch(
        &self,
        headers: &HeadersOrchestrator,
        messages: &[RawMessage],
        attempt: u32,
    ) -> Processing {
        let spans = self.shared.spans.as_ref();
        let partition = messages[0].topic_partition();
        let current = spans.map(|spans| {
            let published = messages.iter().filter_map(|message| {
                let context = headers.restore(message);
                context.trace().map(convert::remote)
            });
            let mut builder = self.span(partition, attempt, convert::links(published));
            let count = i64::try_from(messages.len()).unwrap_or(i64::MAX);
            builder
                .attributes
                .get_or_insert_default()
                .push(attribute(names::BATCH_COUNT, count));
            let root = Current::new();
            root.with_span(builder.start_with_context(&spans.tracer, &root))
        });
        self.processing(current, partition)
    }

    fn start(
        &self,
        spans: &Spans,
        headers: &HeadersOrchestrator,
        message: &RawMessage,
        attempt: u32,
    ) -> Current {
        let context = headers.restore(message);
        let published = context.trace().map(convert::remote);
        let mut builder = self.span(
            message.topic_partition(),
            attempt,
            convert::links(published.clone()),
        );
        let attributes = builder.attributes.get_or_insert_default();
        attributes.extend(of_message(message, &context));
        let mut parent = match published {
            Some(published) if spans.is_child => Current::new().with_remote_span_context(published),
            _ => Current::new(),
        };
        if context.baggage().is_some() {
            parent = BaggagePropagator::new().extract_with_context(&parent, &Carried(&context));
        }
        let span = builder.start_with_context(&spans.tracer, &parent);
        parent.with_span(span)
    }

    /// Begin the description of an execution.
    fn span(
        &self,
        partition: &TopicPartition,
        attempt: u32,
        links: Vec<opentelemetry::trace::Link>,
    ) -> SpanBuilder {
        let mut attributes = self.base.clone();
        attributes.extend([
            attribute(names::OPERATION_NAME, operation::PROCESS),
            attribute(names::OPERATION_TYPE, operation::PROCESS),
            attribute(names::DESTINATION, partition.topic.to_string()),
            attribute(names::PARTITION, partition.partition.to_string()),
            attribute(names::HANDLER, self.handler_id.clone()),
        ]);
        if attempt > 1 {
            attributes.push(attribute(names::RETRY_ATTEMPT, i64::from(attempt)));
        }
        SpanBuilder::from_name(format!("{} {}", operation::PROCESS, partition.topic))
            .with_kind(SpanKind::Consumer)
            .with_attributes(attributes)
            .with_links(links)
    }

    fn processing(&self, current: Option<Current>, partition: &TopicPartition) -> Processing {
        let inflight = self.shared.metrics.as_ref().map(|metrics| {
            let inflight = InFlight {
                shared: Arc::clone(&self.shared),
                of: self.of(partition),
                partition: metrics.partition(partition),
                began: Instant::now(),
            };
            inflight.count(metrics, 1);
            inflight
        });
        Processing {
            traced: current.map(Traced),
            inflight,
        }
    }

    /// Return the attributes of a topic.
    pub(super) fn of(&self, partition: &TopicPartition) -> Arc<OfTopic> {
        let known = self.topics.iter().find(|of| *of.topic == *partition.topic);
        known.map_or_else(
            || Arc::new(OfTopic::new(&partition.topic, &self.base)),
            Arc::clone,
        )
    }

    /// Run what follows a failure as a part of the execution that failed.
    pub(crate) async fn within<F: Future>(&self, failure: &FailureContext, run: F) -> F::Output {
        let failed = failure.span.as_deref().map(convert::remote);
        let current = failed.map_or_else(Current::new, |span| Current::new().with_remote_span_context(span));
        run.with_context(current).await
    }

    /// Note that a message is tried again.
    pub(crate) fn retried(&self, failure: &FailureContext) {
        if let Some(metrics) = &self.shared.metrics {
            let (partition, of) = (
                failure.message.topic_partition(),
                self.of(failure.message.topic_partition()),
            );
            let reason = attribute(names::REASON, failure.stage.as_str());
            let attributes = and(
                &of.plain,
                metrics.partition(partition).into_iter().chain([reason]),
            );
            metrics.instruments.retries.add(1, &attributes);
        }
    }

    /// Note that a message was given up.
    pub(crate) fn given_up(&self, failure: &FailureContext) {
        if let Some(metrics) = &self.shared.metrics {
            let (partition, of) = (
                failure.message.topic_partition(),
                self.of(failure.message.topic_partition()),
            );
            let told = [
                attribute(names::STAGE, failure.stage.as_str()),
                attribute(names::ERROR_TYPE, error_type(failure.stage, &failure.error)),
            ];
            let attributes = and(&of.plain, metrics.partition(partition).into_iter().chain(told));
            metrics.instruments.dlq_messages.add(1, &attributes);
        }
    }

    /// Note that partitions were given or taken.
    pub(crate) fn rebalanced(&self) {
        if let Some(metrics) = &self.shared.metrics {
            metrics.instruments.rebalances.add(1, &self.base);
        }
    }

    /// Note how much later than due a delayed message was published to its topic.
    pub(crate) fn late(&self, topic: &str, by: Duration) {
        if let Some(metrics) = &self.shared.metrics {
            let attributes = [&self.base[..], &[attribute(names::DESTINATION, topic.to_owned())]].concat();
            metrics
                .instruments
                .delay_lateness
                .record(by.as_secs_f64(), &attributes);
        }
    }
}

impl fmt::Debug for HandlerTelemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerTelemetry")
            .field("handler_id", &self.handler_id)
            .finish()
    }
}

/// Return what is to be said of a single message.
fn of_message(message: &RawMessage, context: &Context) -> Vec<KeyValue> {
    let mut attributes = vec![attribute(names::OFFSET, message.offset())];
    let text = |bytes| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let key = message.key().and_then(text);
    let id = message.header(MESSAGE_ID).and_then(text);
    let conversation = context.correlation_id().map(str::to_owned);
    let texts = [
        (names::KEY, key),
        (names::MESSAGE_ID, id),
        (names::CONVERSATION_ID, conversation),
    ];
    attributes.extend(
        texts
            .into_iter()
            .filter_map(|(name, text)| Some(attribute(name, text?))),
    );
    if message.payload().is_none() {
        attributes.push(attribute(names::TOMBSTONE, true));
    }
    attributes
}

/// Shows OpenTelemetry the baggage of a context.
struct Carried<'a>(&'a Context);

impl Extractor for Carried<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.baggage().filter(|_| key == BAGGAGE)
    }

    fn keys(&self) -> Vec<&str> {
        vec![BAGGAGE]
    }
}

/// An execution of a handler that goes on.
pub(crate) struct Processing {
    traced: Option<Traced>,
    inflight: Option<InFlight>,
}

/// The span of an execution.
pub(crate) struct Traced(Current);

/// Counts an execution as one that goes on, until it is dropped.
struct InFlight {
    shared: Arc<Telemetry>,
    of: Arc<OfTopic>,
    partition: Option<KeyValue>,
    began: Instant,
}

impl InFlight {
    fn count(&self, metrics: &Metrics, executions: i64) {
        if let Some(bound) = &self.of.bound {
            return bound.inflight.add(executions);
        }
        let attributes = and(&self.of.plain, self.partition.clone());
        metrics.instruments.inflight.add(executions, &attributes);
    }
}

impl Processing {
    /// Return the span, if spans are recorded.
    pub(crate) fn traced(&self) -> Option<&Traced> {
        self.traced.as_ref()
    }

    /// Return the span for what follows a failure.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        self.traced
            .as_ref()
            .and_then(|traced| convert::local(traced.0.span().span_context()))
    }

    /// Note how it ended: well, or by an error of this type.
    pub(crate) fn end(self, failed: Option<(&str, &dyn fmt::Display)>) {
        if let Some(Traced(current)) = &self.traced {
            let span = current.span();
            if let Some((error_type, error)) = failed {
                let text = bounded(&error, TEXT);
                let told = vec![
                    attribute(names::EXCEPTION_TYPE, error_type.to_owned()),
                    attribute(names::EXCEPTION_MESSAGE, text.clone()),
                ];
                span.add_event(names::EXCEPTION, told);
                span.set_attribute(attribute(names::ERROR_TYPE, error_type.to_owned()));
                span.set_status(Status::error(text));
            }
            span.end();
        }
        if let Some(inflight) = &self.inflight
            && let Some(metrics) = &inflight.shared.metrics
        {
            let seconds = inflight.began.elapsed().as_secs_f64();
            if let (Some(bound), None) = (&inflight.of.bound, failed) {
                return bound.processed.record(seconds);
            }
            let error = failed.map(|(error_type, _)| attribute(names::ERROR_TYPE, error_type.to_owned()));
            let attributes = and(
                &inflight.of.process,
                inflight.partition.clone().into_iter().chain(error),
            );
            metrics.instruments.process_duration.record(seconds, &attributes);
        }
    }
}

impl Traced {
    /// Run something in the span.
    pub(crate) async fn run<F: Future>(&self, run: F) -> F::Output {
        run.with_context(self.0.clone()).await
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(metrics) = &self.shared.metrics {
            self.count(metrics, -1);
        }
    }
}

impl Metrics {
    /// Return the attribute that names a partition, where the settings want it.
    pub(super) fn partition(&self, partition: &TopicPartition) -> Option<KeyValue> {
        let named = || attribute(names::PARTITION, partition.partition.to_string());
        self.with_partition.then(named)
    }
}

/// Return attributes and some more; nothing is copied where there are none more.
pub(super) fn and(some: &[KeyValue], more: impl IntoIterator<Item = KeyValue>) -> Cow<'_, [KeyValue]> {
    let mut more = more.into_iter().peekable();
    if more.peek().is_none() {
        return Cow::Borrowed(some);
    }
    Cow::Owned(some.iter().cloned().chain(more).collect())
}
