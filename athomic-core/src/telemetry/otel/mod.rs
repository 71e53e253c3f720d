//! What records and exports.

mod client;
mod convert;
mod environment;
mod export;
mod instruments;
mod observed;
mod payload;
mod process;
mod publish;
mod rooms;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::trace::TracerProvider;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use prometheus::{Registry, TextEncoder};

use super::{Observed, TelemetryError, names};
use crate::context::Propagation;
use crate::lifecycle::Lifecycle;
use crate::settings::{ProcessSpanParent, Settings};
use instruments::Instruments;
pub(crate) use payload::StepTelemetry;
pub(crate) use process::{HandlerTelemetry, Processing};
pub(crate) use publish::ConnectionTelemetry;
use rooms::{Rooms, RoomsWatch};

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
    /// Whether fetching is recorded.
    polls: bool,
    /// Which headers take them along.
    propagation: Propagation,
}

struct Metrics {
    instruments: Instruments,
    meter: Meter,
    provider: SdkMeterProvider,
    /// What is scraped; `None` if the metrics are only pushed.
    registry: Option<Registry>,
    with_partition: bool,
    /// How often waiting rooms are looked into.
    rooms_interval: Duration,
}

impl Telemetry {
    /// Make what the settings ask for; `None` if that is nothing, or the environment says
    /// `OTEL_SDK_DISABLED=true`.
    pub(crate) fn new(settings: &Settings) -> Result<Option<Arc<Self>>, TelemetryError> {
        let observability = &settings.observability;
        if !observability.enabled || environment::is_disabled() {
            return Ok(None);
        }
        let scope = InstrumentationScope::builder(names::SCOPE)
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(names::SCHEMA_URL)
            .build();
        let traces = observability.tracing_enabled && environment::exports_spans()?;
        let spans = traces.then(|| {
            let propagation = environment::propagation()?;
            let provider = export::tracer_provider(settings)?;
            Ok(Spans {
                tracer: provider.tracer_with_scope(scope.clone()),
                provider,
                is_child: observability.process_span_parent == ProcessSpanParent::Producer,
                polls: observability.poll_spans,
                propagation,
            })
        });
        let exporters = environment::metrics_exporters(&observability.metrics.exporters)?;
        let metrics = (observability.metrics.enabled && !exporters.is_empty()).then(|| {
            let (provider, registry) = export::meter_provider(settings, &exporters)?;
            let meter = provider.meter_with_scope(scope);
            Ok(Metrics {
                instruments: Instruments::new(&meter),
                meter,
                provider,
                registry,
                with_partition: observability.metrics.partition_attribute,
                rooms_interval: observability.metrics.waiting_rooms_interval,
            })
        });
        let (spans, metrics) = (spans.transpose()?, metrics.transpose()?);
        let any = spans.is_some() || metrics.is_some();
        Ok(any.then(|| Arc::new(Self { spans, metrics })))
    }

    /// Return which headers take traces along.
    pub(crate) fn propagation(&self) -> Propagation {
        self.spans
            .as_ref()
            .map(|spans| spans.propagation)
            .unwrap_or_default()
    }

    /// Have metrics tell what is kept elsewhere; what is not there to be read is looked at by a service.
    pub(crate) fn observe(&self, observed: Observed, lifecycle: &mut Lifecycle) {
        let Some(metrics) = &self.metrics else {
            return;
        };
        let rooms = Arc::new(Rooms::default());
        if observed.ordering.handlers().next().is_some() {
            lifecycle.register(RoomsWatch {
                desk: observed.ordering.clone(),
                rooms: Arc::clone(&rooms),
                interval: metrics.rooms_interval,
            });
        }
        observed::register(&metrics.meter, observed, &rooms);
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
