//! What is recorded for OpenTelemetry, and where it goes.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::settings::choice::choice;

/// What is recorded for OpenTelemetry, and where it goes: section `observability`. Needs the feature `otel`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ObservabilitySettings {
    /// Whether anything of this section has an effect. Default `true`.
    pub enabled: bool,
    /// Whether there is a port with `/metrics`, `/live` and `/ready`. Needs the feature `http`. Default `false`.
    pub exporter_enabled: bool,
    /// The address of the port. Default `127.0.0.1`.
    pub exporter_host: IpAddr,
    /// The port; 0 lets the system choose one. Default 9464.
    pub exporter_port: u16,
    /// Whether spans are recorded and exported by OTLP. Default `false`.
    pub tracing_enabled: bool,
    /// Where OTLP goes. Default `http://localhost:4318`.
    pub otlp_endpoint: String,
    /// How OTLP goes. Default `http/protobuf`.
    pub otlp_protocol: OtlpProtocol,
    /// The share of traces that begin here and are recorded, from 0 to 1. Default 1.
    pub sampling_rate: f64,
    /// How a message's execution is tied to where it was published. Default `producer`.
    pub process_span_parent: ProcessSpanParent,
    /// Whether fetching messages is a span too. Default `false`: there is one for each answer of a broker.
    pub poll_spans: bool,
    /// The metrics: section `observability.metrics`.
    pub metrics: MetricsSettings,
}

impl Default for ObservabilitySettings {
    fn default() -> Self {
        Self {
            enabled: true,
            exporter_enabled: false,
            exporter_host: Ipv4Addr::LOCALHOST.into(),
            exporter_port: 9464,
            tracing_enabled: false,
            otlp_endpoint: "http://localhost:4318".to_owned(),
            otlp_protocol: OtlpProtocol::Http,
            sampling_rate: 1.0,
            process_span_parent: ProcessSpanParent::Producer,
            poll_spans: false,
            metrics: MetricsSettings::default(),
        }
    }
}

/// The metrics: section `observability.metrics`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricsSettings {
    /// Whether metrics are recorded. Default `false`.
    pub enabled: bool,
    /// Where they are to be had. Default: as text for Prometheus.
    pub exporters: Vec<MetricsExporter>,
    /// How often they are pushed by OTLP. Default 60 s.
    pub collection_interval: Duration,
    /// Whether each partition is a series of its own. Default `false`.
    pub partition_attribute: bool,
    /// How often the waiting rooms of ordered handlers are looked into: one call of the store for each bucket.
    /// Default 15 s.
    pub waiting_rooms_interval: Duration,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            exporters: vec![MetricsExporter::Prometheus],
            collection_interval: Duration::from_secs(60),
            partition_attribute: false,
            waiting_rooms_interval: Duration::from_secs(15),
        }
    }
}

choice! {
    /// How OTLP goes.
    pub enum OtlpProtocol {
        /// Protobuf over HTTP.
        Http = "http/protobuf",
        /// gRPC.
        Grpc = "grpc",
    }
    not built: []
}

choice! {
    /// How a message's execution is tied to the span in which the message was published.
    pub enum ProcessSpanParent {
        /// It is its child, in the same trace, and links to it.
        Producer = "producer",
        /// It begins a trace of its own and links to it.
        Link = "link",
    }
    not built: []
}

choice! {
    /// Where metrics are to be had.
    pub enum MetricsExporter {
        /// As text, from `RunningApp::metrics_text` and the exporter's port.
        Prometheus = "prometheus",
        /// Pushed by OTLP.
        Otlp = "otlp",
    }
    not built: []
}
