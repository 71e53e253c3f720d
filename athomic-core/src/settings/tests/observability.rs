//! What is recorded for OpenTelemetry, and where it goes.

use std::time::Duration;

use super::*;

#[test]
fn telemetry_is_read() {
    let text = "[observability]\ntracing_enabled = true\notlp_protocol = 'grpc'\nsampling_rate = 0.25\n\
        process_span_parent = 'link'\n[observability.metrics]\nexporters = ['prometheus', 'otlp']\n\
        collection_interval_seconds = 5";
    let observability = loaded(loader(text)).settings.observability;
    assert_eq!(observability.otlp_protocol, OtlpProtocol::Grpc);
    assert_eq!(observability.process_span_parent, ProcessSpanParent::Link);
    assert!(observability.enabled && (observability.sampling_rate - 0.25).abs() < f64::EPSILON);
    assert_eq!(observability.metrics.exporters.len(), 2);
    assert_eq!(observability.metrics.collection_interval, Duration::from_secs(5));
}

#[test]
fn telemetry_that_cannot_be_is_named() {
    check_faults(
        "[observability]\nsampling_rate = 2\notlp_endpoint = 'localhost:4317'\notlp_protocol = 'http/json'\n\
         metrics.exporters = []\nexporter_host = 'localhost'\nexporter_port = 65536",
        &[
            "settings.toml:2:17: `observability.sampling_rate`: must be a number from 0 to 1",
            "settings.toml:3:17: `observability.otlp_endpoint`: must begin with `http://` or `https://`, such as \
             \"http://localhost:4318\"",
            "settings.toml:4:17: `observability.otlp_protocol`: `http/json` is not one of `http/protobuf`, `grpc`",
            "settings.toml:5:21: `observability.metrics.exporters`: must name at least one; to have no metrics set \
             `observability.metrics.enabled = false`",
            "settings.toml:6:17: `observability.exporter_host`: must be an IP address of this machine, such as \
             \"127.0.0.1\", or \"0.0.0.0\" for all",
            "settings.toml:7:17: `observability.exporter_port`: must be between 0 and 65535",
        ],
    );
}

#[cfg(not(feature = "otel"))]
#[test]
fn without_the_feature_telemetry_is_refused_by_name_when_the_application_is_built() {
    for key in ["tracing_enabled", "metrics.enabled"] {
        let settings = load(&format!("observability.{key} = true"));
        let app = crate::app::App::builder().without_discovery().settings(settings);
        let refused = app
            .build()
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(
            refused.contains(key) && refused.contains("--features otel"),
            "{refused}"
        );
    }
}
