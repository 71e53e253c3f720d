//! The same without the feature `otel`: types that have no values, so that nothing of it is compiled.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::{Direction, Observed, TelemetryError, Written};
use crate::context::{HeadersOrchestrator, Propagation, TraceContext};
use crate::lifecycle::Lifecycle;
use crate::message::{PartitionOffset, RawMessage, RecordBatch, TopicPartition};
use crate::outcome::FailureContext;
use crate::payload::StepError;
use crate::publisher::PublishError;
use crate::settings::Settings;
use crate::transport::{Delivery, OutgoingMessage, TransportError};

#[derive(Debug)]
pub(crate) struct Telemetry(Infallible);

impl Telemetry {
    pub(crate) fn new(settings: &Settings) -> Result<Option<Arc<Self>>, TelemetryError> {
        let observability = &settings.observability;
        let key = match (observability.tracing_enabled, observability.metrics.enabled) {
            _ if !observability.enabled => None,
            (true, _) => Some("observability.tracing_enabled"),
            (_, true) => Some("observability.metrics.enabled"),
            _ => None,
        };
        key.map_or(Ok(None), |key| Err(TelemetryError::NotBuiltIn { key }))
    }

    pub(crate) fn propagation(&self) -> Propagation {
        match self.0 {}
    }

    pub(crate) fn observe(&self, _: Observed, _: &mut Lifecycle) {
        match self.0 {}
    }

    pub(crate) fn prometheus(&self) -> Option<String> {
        match self.0 {}
    }

    pub(crate) async fn shutdown(self: Arc<Self>, _: Duration) {
        match self.0 {}
    }
}

#[derive(Debug)]
pub(crate) struct ConnectionTelemetry(Infallible);

impl ConnectionTelemetry {
    pub(crate) fn new(telemetry: &Arc<Telemetry>, _: &'static str, _: &[String], _: &str) -> Self {
        match telemetry.0 {}
    }

    pub(crate) fn handler(&self, _: &str, _: &str, _: &[String]) -> HandlerTelemetry {
        match self.0 {}
    }

    pub(crate) fn delayed(&self, _: &str) {
        match self.0 {}
    }

    pub(crate) fn start(&self, _: &mut [OutgoingMessage], _: Written) -> Sending {
        match self.0 {}
    }

    pub(crate) fn finish(&self, _: Sending, _: &[Result<Delivery, PublishError>]) {
        match self.0 {}
    }
}

/// Records that are being written.
#[derive(Debug)]
pub(crate) struct Sending(Infallible);

impl Sending {
    pub(crate) async fn run<F: Future>(&self, _: F) -> F::Output {
        match self.0 {}
    }
}

#[derive(Debug)]
pub(crate) struct HandlerTelemetry(Infallible);

impl HandlerTelemetry {
    pub(crate) fn begin(&self, _: &HeadersOrchestrator, _: &RawMessage, _: u32) -> Processing {
        match self.0 {}
    }

    pub(crate) fn begin_batch(&self, _: &HeadersOrchestrator, _: &[RawMessage], _: u32) -> Processing {
        match self.0 {}
    }

    pub(crate) async fn within<F: Future>(&self, _: &FailureContext, _: F) -> F::Output {
        match self.0 {}
    }

    pub(crate) fn ask(&self) -> Asked {
        match self.0 {}
    }

    pub(crate) fn consumed(&self, _: &HeadersOrchestrator, _: &Arc<dyn RecordBatch>, _: &Asked) {
        match self.0 {}
    }

    pub(crate) fn not_consumed(&self, _: &TopicPartition, _: &TransportError, _: &Asked) {
        match self.0 {}
    }

    pub(crate) fn commit(&self, _: &[PartitionOffset]) -> Committing {
        match self.0 {}
    }

    pub(crate) fn retried(&self, _: &FailureContext) {
        match self.0 {}
    }

    pub(crate) fn given_up(&self, _: &FailureContext) {
        match self.0 {}
    }

    pub(crate) fn rebalanced(&self) {
        match self.0 {}
    }

    pub(crate) fn late(&self, _: &str, _: Duration) {
        match self.0 {}
    }
}

#[derive(Debug)]
pub(crate) struct Processing(Infallible);

/// The span of an execution, if spans are recorded.
#[derive(Debug)]
pub(crate) struct Traced(Infallible);

impl Processing {
    pub(crate) fn traced(&self) -> Option<&Traced> {
        match self.0 {}
    }

    pub(crate) fn trace(&self) -> Option<TraceContext> {
        match self.0 {}
    }

    pub(crate) fn end(self, _: Option<(&str, &dyn std::fmt::Display)>) {
        match self.0 {}
    }
}

impl Traced {
    pub(crate) async fn run<F: Future>(&self, _: F) -> F::Output {
        match self.0 {}
    }
}

#[derive(Debug)]
pub(crate) struct StepTelemetry(Infallible);

impl StepTelemetry {
    pub(crate) fn new(telemetry: &Arc<Telemetry>, _: &str) -> Option<Self> {
        match telemetry.0 {}
    }

    pub(crate) fn begin(&self) -> std::time::Instant {
        match self.0 {}
    }

    pub(crate) fn end(&self, _: Direction, _: std::time::Instant, _: usize, _: Result<usize, &StepError>) {
        match self.0 {}
    }
}

/// When messages were asked for.
#[derive(Debug)]
pub(crate) struct Asked(Infallible);

/// A commit that is under way.
#[derive(Debug)]
pub(crate) struct Committing(Infallible);

impl Committing {
    pub(crate) fn end(self, _: Result<(), &TransportError>) {
        match self.0 {}
    }
}
