//! What OpenTelemetry's environment variables say beyond what its crates read of them.

use std::env;

use super::super::TelemetryError;
use crate::context::Propagation;
use crate::settings::MetricsExporter;

/// Say whether the environment switches telemetry off.
pub(super) fn is_disabled() -> bool {
    env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Say whether a variable says something.
pub(super) fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Say which headers take traces along: `OTEL_PROPAGATORS`.
pub(super) fn propagation() -> Result<Propagation, TelemetryError> {
    let name = "OTEL_PROPAGATORS";
    let words = words(name);
    let mut propagation = Propagation {
        trace: words.is_empty(),
        baggage: words.is_empty(),
    };
    for word in &words {
        match word.as_str() {
            "tracecontext" => propagation.trace = true,
            "baggage" => propagation.baggage = true,
            "none" if words.len() == 1 => {}
            _ => return Err(refused(name, word, "`tracecontext`, `baggage`, or `none` alone")),
        }
    }
    Ok(propagation)
}

/// Say whether spans are exported that the settings want to be: `OTEL_TRACES_EXPORTER`.
pub(super) fn exports_spans() -> Result<bool, TelemetryError> {
    let name = "OTEL_TRACES_EXPORTER";
    match &words(name)[..] {
        [] => Ok(true),
        [word] if word == "otlp" => Ok(true),
        [word] if word == "none" => Ok(false),
        [word, ..] => Err(refused(name, word, "`otlp` or `none`")),
    }
}

/// Say where metrics are to be had that the settings want to be had there: `OTEL_METRICS_EXPORTER`.
pub(super) fn metrics_exporters(
    settings: &[MetricsExporter],
) -> Result<Vec<MetricsExporter>, TelemetryError> {
    let name = "OTEL_METRICS_EXPORTER";
    let words = words(name);
    if words.is_empty() {
        return Ok(settings.to_vec());
    }
    if words == ["none"] {
        return Ok(Vec::new());
    }
    let exporter = |word: &String| match word.as_str() {
        "otlp" => Ok(MetricsExporter::Otlp),
        "prometheus" => Ok(MetricsExporter::Prometheus),
        _ => Err(refused(name, word, "`otlp`, `prometheus`, or `none` alone")),
    };
    words.iter().map(exporter).collect()
}

/// Return the words of a list with commas.
fn words(name: &str) -> Vec<String> {
    let list = env::var(name).unwrap_or_default();
    let words = list.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

fn refused(name: &'static str, value: &str, accepted: &'static str) -> TelemetryError {
    TelemetryError::Environment {
        name,
        value: value.to_owned(),
        accepted,
    }
}
