//! Where spans and metrics go. What OpenTelemetry's environment variables say goes before the settings.

use std::env;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use prometheus::Registry;

use super::super::{TelemetryError, names};
use super::environment::is_set;
use crate::settings::{MetricsExporter, ObservabilitySettings, OtlpProtocol, Settings};

/// Say who tells.
fn resource(settings: &Settings) -> Resource {
    let mut builder = Resource::builder();
    let attributes = env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let told = |name: &str| {
        attributes
            .split(',')
            .any(|item| item.trim_start().starts_with(&format!("{name}=")))
    };
    if !is_set("OTEL_SERVICE_NAME") && !told("service.name") {
        builder = builder.with_service_name(settings.app.name.clone());
    }
    if !told("service.version") {
        builder = builder.with_attribute(KeyValue::new("service.version", settings.app.version.clone()));
    }
    builder.with_schema_url([], names::SCHEMA_URL).build()
}

/// One kind of what is exported.
struct Signal {
    what: &'static str,
    path: &'static str,
    endpoint_variable: &'static str,
    protocol_variable: &'static str,
}

const SPANS: Signal = Signal {
    what: "spans",
    path: "/v1/traces",
    endpoint_variable: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    protocol_variable: "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
};

const METRICS: Signal = Signal {
    what: "metrics",
    path: "/v1/metrics",
    endpoint_variable: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    protocol_variable: "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
};

impl Signal {
    /// Return how it is exported, when all who may say have been heard.
    fn protocol(&self, settings: &ObservabilitySettings) -> Result<OtlpProtocol, TelemetryError> {
        for name in [self.protocol_variable, "OTEL_EXPORTER_OTLP_PROTOCOL"] {
            return match env::var(name).unwrap_or_default().as_str() {
                "" => continue,
                "grpc" => Ok(OtlpProtocol::Grpc),
                "http/protobuf" => Ok(OtlpProtocol::Http),
                value => Err(TelemetryError::Environment {
                    name,
                    value: value.to_owned(),
                    accepted: "`grpc` or `http/protobuf`",
                }),
            };
        }
        Ok(settings.otlp_protocol)
    }

    /// Return the endpoint of the settings, unless the environment names one.
    fn endpoint(&self, settings: &ObservabilitySettings, protocol: OtlpProtocol) -> Option<String> {
        if is_set(self.endpoint_variable) || is_set("OTEL_EXPORTER_OTLP_ENDPOINT") {
            return None;
        }
        let endpoint = settings.otlp_endpoint.trim_end_matches('/');
        let (port_of_other, other) = match protocol {
            OtlpProtocol::Grpc => (":4318", "http/protobuf"),
            OtlpProtocol::Http => (":4317", "grpc"),
        };
        if endpoint.ends_with(port_of_other) {
            tracing::warn!(
                endpoint,
                %protocol,
                "this is the usual port of `observability.otlp_protocol = \"{other}\"`"
            );
        }
        Some(match protocol {
            OtlpProtocol::Grpc => endpoint.to_owned(),
            OtlpProtocol::Http => format!("{endpoint}{}", self.path),
        })
    }

    /// Make the exporter, by the builder that fits.
    fn exporter<E>(
        &self,
        settings: &ObservabilitySettings,
        build: impl FnOnce(OtlpProtocol, Option<String>) -> Result<E, ExporterBuildError>,
    ) -> Result<E, TelemetryError> {
        let protocol = self.protocol(settings)?;
        if protocol == OtlpProtocol::Grpc && tokio::runtime::Handle::try_current().is_err() {
            return Err(TelemetryError::NoRuntime);
        }
        crate::tls::provide();
        build(protocol, self.endpoint(settings, protocol)).map_err(|source| TelemetryError::Exporter {
            what: self.what,
            source: source.into(),
        })
    }
}

fn at<B: WithExportConfig>(builder: B, endpoint: Option<String>) -> B {
    match endpoint {
        Some(endpoint) => builder.with_endpoint(endpoint),
        None => builder,
    }
}

/// Make what exports spans.
pub(super) fn tracer_provider(settings: &Settings) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SPANS.exporter(&settings.observability, |protocol, endpoint| match protocol {
        OtlpProtocol::Grpc => {
            let builder = SpanExporter::builder().with_tonic();
            at(builder.with_protocol(Protocol::Grpc), endpoint).build()
        }
        OtlpProtocol::Http => {
            let builder = SpanExporter::builder().with_http();
            at(builder.with_protocol(Protocol::HttpBinary), endpoint).build()
        }
    })?;
    let mut builder = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource(settings));
    if !is_set("OTEL_TRACES_SAMPLER") {
        let ratio = Sampler::TraceIdRatioBased(settings.observability.sampling_rate);
        builder = builder.with_sampler(Sampler::ParentBased(Box::new(ratio)));
    }
    Ok(builder.build())
}

/// Make what exports metrics, and what is scraped if that is among the exporters.
pub(super) fn meter_provider(
    settings: &Settings,
    exporters: &[MetricsExporter],
) -> Result<(SdkMeterProvider, Option<Registry>), TelemetryError> {
    let metrics = &settings.observability.metrics;
    let mut builder = SdkMeterProvider::builder().with_resource(resource(settings));
    let mut registry = None;
    if exporters.contains(&MetricsExporter::Prometheus) {
        let own = Registry::new();
        let exporter = opentelemetry_prometheus::exporter().with_registry(own.clone());
        let exporter = exporter.build().map_err(|source| TelemetryError::Exporter {
            what: "metrics",
            source: source.into(),
        })?;
        builder = builder.with_reader(exporter);
        registry = Some(own);
    }
    if exporters.contains(&MetricsExporter::Otlp) {
        let exporter = METRICS.exporter(&settings.observability, |protocol, endpoint| match protocol {
            OtlpProtocol::Grpc => {
                let builder = MetricExporter::builder().with_tonic();
                at(builder.with_protocol(Protocol::Grpc), endpoint).build()
            }
            OtlpProtocol::Http => {
                let builder = MetricExporter::builder().with_http();
                at(builder.with_protocol(Protocol::HttpBinary), endpoint).build()
            }
        })?;
        let mut reader = PeriodicReader::builder(exporter);
        if !is_set("OTEL_METRIC_EXPORT_INTERVAL") {
            reader = reader.with_interval(metrics.collection_interval.max(Duration::from_millis(1)));
        }
        builder = builder.with_reader(reader.build());
    }
    Ok((builder.build(), registry))
}
