//! What records and exports.

mod convert;
mod export;
mod instruments;
mod process;
mod publish;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::trace::TracerProvider;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use prometheus::{Registry, TextEncoder};

use super::{TelemetryError, names};
use crate::idempotency::IdempotencyMonitor;
use crate::ordering::OrderingDesk;
use crate::settings::{ProcessSpanParent, Settings};
use instruments::Instruments;
pub(crate) use process::{HandlerTelemetry, Processing};
pub(crate) use publish::ConnectionTelemetry;

/// The spans and metrics of an application.
pub(crate) struct Telemetry {
    spans: Option<Spans>,
    metrics: Option<Metrics>,
}

struct Spans {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    /// Whether a message's execution is a child of the span in which it was published.
    is_child: bool,
}

struct Metrics {
    instruments: Instruments,
    meter: Meter,
    provider: SdkMeterProvider,
    /// What is scraped; `None` if the metrics are only pushed.
    registry: Option<Registry>,
    with_partition: bool,
}

impl Telemetry {
    /// Make what the settings ask for; `None` if that is nothing, or the environment says
    /// `OTEL_SDK_DISABLED=true`.
    pub(crate) fn new(settings: &Settings) -> Result<Option<Arc<Self>>, TelemetryError> {
        let observability = &settings.observability;
        if !observability.enabled || export::is_disabled() {
            return Ok(None);
        }
        let scope = InstrumentationScope::builder(names::SCOPE)
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(names::SCHEMA_URL)
            .build();
        let spans = observability.tracing_enabled.then(|| {
            let provider = export::tracer_provider(settings)?;
            Ok(Spans {
                tracer: provider.tracer_with_scope(scope.clone()),
                provider,
                is_child: observability.process_span_parent == ProcessSpanParent::Producer,
            })
        });
        let metrics = observability.metrics.enabled.then(|| {
            let (provider, registry) = export::meter_provider(settings)?;
            let meter = provider.meter_with_scope(scope);
            Ok(Metrics {
                instruments: Instruments::new(&meter),
                meter,
                provider,
                registry,
                with_partition: observability.metrics.partition_attribute,
            })
        });
        let (spans, metrics) = (spans.transpose()?, metrics.transpose()?);
        let any = spans.is_some() || metrics.is_some();
        Ok(any.then(|| Arc::new(Self { spans, metrics })))
    }

    /// Have metrics tell what is counted elsewhere.
    pub(crate) fn observe(&self, idempotency: IdempotencyMonitor, ordering: OrderingDesk) {
        if let Some(metrics) = &self.metrics {
            instruments::observe(&metrics.meter, &idempotency, ordering);
        }
    }

    /// Return the metrics in the text format of Prometheus, if they are to be had so.
    pub(crate) fn prometheus(&self) -> Option<String> {
        let registry = self.metrics.as_ref()?.registry.as_ref()?;
        let text = TextEncoder::new().encode_to_string(&registry.gather());
        text.inspect_err(|error| tracing::warn!(%error, "the metrics cannot be written as text"))
            .ok()
    }

    /// Export what is left.
    pub(crate) async fn shutdown(self: Arc<Self>, timeout: Duration) {
        // Exporters block until they are done.
        let shutdown = tokio::task::spawn_blocking(move || {
            if let Some(Err(error)) = self
                .spans
                .as_ref()
                .map(|spans| spans.provider.shutdown_with_timeout(timeout))
            {
                tracing::warn!(%error, "not all spans were exported");
            }
            if let Some(Err(error)) = self
                .metrics
                .as_ref()
                .map(|metrics| metrics.provider.shutdown_with_timeout(timeout))
            {
                tracing::warn!(%error, "not all metrics were exported");
            }
        });
        if tokio::time::timeout(timeout, shutdown).await.is_err() {
            tracing::warn!("telemetry was not exported in time");
        }
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("spans", &self.spans.is_some())
            .field("metrics", &self.metrics.is_some())
            .finish()
    }
}

/// Note an attribute, text or number.
fn attribute(name: &'static str, value: impl Into<opentelemetry::Value>) -> KeyValue {
    KeyValue::new(name, value)
}
