//! The metrics.

use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};

use super::super::names;
use super::attribute;

pub(super) struct Instruments {
    pub(super) operation_duration: Histogram<f64>,
    pub(super) sent: Counter<u64>,
    pub(super) consumed: Counter<u64>,
    pub(super) process_duration: Histogram<f64>,
    pub(super) inflight: UpDownCounter<i64>,
    pub(super) retries: Counter<u64>,
    pub(super) dlq_messages: Counter<u64>,
    pub(super) dlq_redriven: Counter<u64>,
    pub(super) delay_published: Counter<u64>,
    pub(super) delay_lateness: Histogram<f64>,
    pub(super) rebalances: Counter<u64>,
    pub(super) step_duration: Histogram<f64>,
    pub(super) payload_bytes: Counter<u64>,
    pub(super) payload_errors: Counter<u64>,
}

impl Instruments {
    pub(super) fn new(meter: &Meter) -> Self {
        let seconds = |name: &'static str, doc: &'static str| {
            let histogram = meter.f64_histogram(name).with_unit("s").with_description(doc);
            histogram.with_boundaries(names::BOUNDARIES.to_vec()).build()
        };
        let messages = |name: &'static str, doc: &'static str| {
            let counter = meter.u64_counter(name).with_unit("{message}");
            counter.with_description(doc).build()
        };
        let version = [attribute(names::VERSION, env!("CARGO_PKG_VERSION"))];
        let info = meter
            .u64_gauge(names::BUILD_INFO)
            .with_description("The version of athomic.");
        info.build().record(1, &version);
        Self {
            operation_duration: seconds(
                names::OPERATION_DURATION,
                "How long an operation of the client took.",
            ),
            sent: messages(names::SENT_MESSAGES, "Messages that were to be sent."),
            consumed: messages(names::CONSUMED_MESSAGES, "Messages that were fetched."),
            process_duration: seconds(names::PROCESS_DURATION, "How long a handler took."),
            inflight: meter
                .i64_up_down_counter(names::INFLIGHT)
                .with_unit("{execution}")
                .with_description("Executions of handlers that run.")
                .build(),
            retries: messages(names::RETRIES, "Messages that are tried again."),
            dlq_messages: messages(names::DLQ_MESSAGES, "Messages that were given up."),
            dlq_redriven: messages(names::DLQ_REDRIVEN, "Dead letters that were replayed."),
            delay_published: messages(
                names::DELAY_PUBLISHED,
                "Messages that were published with a delay.",
            ),
            delay_lateness: seconds(
                names::DELAY_LATENESS,
                "How much later than due a delayed message was published to its topic.",
            ),
            rebalances: meter
                .u64_counter(names::REBALANCES)
                .with_unit("{rebalance}")
                .with_description("Times that partitions were given to a consumer or taken from it.")
                .build(),
            step_duration: seconds(
                names::PAYLOAD_STEP_DURATION,
                "How long a step of a payload pipeline took.",
            ),
            // Without a unit: the name says it already, and Prometheus would say it twice.
            payload_bytes: meter
                .u64_counter(names::PAYLOAD_BYTES)
                .with_description("Bytes that went into the steps of payload pipelines and came out.")
                .build(),
            payload_errors: messages(names::PAYLOAD_ERRORS, "Payloads that did not pass a step."),
        }
    }
}
