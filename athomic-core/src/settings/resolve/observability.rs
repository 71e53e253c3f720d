//! What was written about telemetry, checked.

use std::net::IpAddr;

use super::{Resolver, value_or};
use crate::settings::error::Problem;
use crate::settings::raw::{RawMetrics, RawObservability};
use crate::settings::resolved::{MetricsSettings, ObservabilitySettings};

impl Resolver<'_> {
    pub(super) fn observability(
        &mut self,
        raw: &RawObservability,
        metrics: &RawMetrics,
    ) -> ObservabilitySettings {
        let default = ObservabilitySettings::default();
        if let Some(written) = &raw.sampling_rate
            && !(0.0..=1.0).contains(&written.value)
        {
            self.faults
                .push(written.fault(Problem::invalid("must be a number from 0 to 1")));
        }
        if let Some(written) = &raw.otlp_endpoint
            && !["http://", "https://"]
                .iter()
                .any(|scheme| written.value.starts_with(scheme))
        {
            let reason = "must begin with `http://` or `https://`, such as \"http://localhost:4318\"";
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
        ObservabilitySettings {
            enabled: value_or(&raw.enabled, default.enabled),
            exporter_enabled: value_or(&raw.exporter_enabled, default.exporter_enabled),
            exporter_host: self.exporter_host(raw).unwrap_or(default.exporter_host),
            exporter_port: self
                .whole(&raw.exporter_port, 0, u16::MAX.into())
                .unwrap_or(default.exporter_port),
            tracing_enabled: value_or(&raw.tracing_enabled, default.tracing_enabled),
            otlp_endpoint: self.text(&raw.otlp_endpoint).unwrap_or(default.otlp_endpoint),
            otlp_protocol: self.choice(&raw.otlp_protocol, default.otlp_protocol),
            sampling_rate: value_or(&raw.sampling_rate, default.sampling_rate),
            process_span_parent: self.choice(&raw.process_span_parent, default.process_span_parent),
            poll_spans: value_or(&raw.poll_spans, default.poll_spans),
            metrics: self.metrics(metrics, default.metrics),
        }
    }

    fn exporter_host(&mut self, raw: &RawObservability) -> Option<IpAddr> {
        let written = raw.exporter_host.as_ref()?;
        let host = written.value.parse().ok();
        if host.is_none() {
            let reason =
                "must be an IP address of this machine, such as \"127.0.0.1\", or \"0.0.0.0\" for all";
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
        host
    }

    fn metrics(&mut self, raw: &RawMetrics, default: MetricsSettings) -> MetricsSettings {
        if let Some(written) = &raw.exporters
            && written.value.is_empty()
        {
            let reason =
                "must name at least one; to have no metrics set `observability.metrics.enabled = false`";
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
        MetricsSettings {
            enabled: value_or(&raw.enabled, default.enabled),
            exporters: self.choices(&raw.exporters, default.exporters),
            collection_interval: self
                .some_seconds(&raw.collection_interval_seconds, default.collection_interval),
            partition_attribute: value_or(&raw.partition_attribute, default.partition_attribute),
            waiting_rooms_interval: self.some_seconds(
                &raw.waiting_rooms_interval_seconds,
                default.waiting_rooms_interval,
            ),
        }
    }
}
