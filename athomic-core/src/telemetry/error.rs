//! Why telemetry cannot be recorded as the settings say.

use std::error::Error;

/// Telemetry cannot be recorded as the settings say.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The program was built without it.
    #[error(
        "`{key}` is true, and this program was built without OpenTelemetry; add the feature: `cargo add athomic --features otel`"
    )]
    NotBuiltIn {
        /// The key that asks for it.
        key: &'static str,
    },
    /// The program was built without a port.
    #[error(
        "`observability.exporter_enabled` is true, and this program was built without HTTP; add the feature: `cargo add \
         athomic --features http`"
    )]
    NoPort,
    /// gRPC needs a runtime to run in.
    #[error(
        "`observability.otlp_protocol` is `grpc`, which needs a runtime: build the application inside of it, as in \
         `#[tokio::main] async fn main`, or use `http/protobuf`"
    )]
    NoRuntime,
    /// An environment variable of OpenTelemetry has a value that is not known here.
    #[error("environment variable {name} says `{value}`; use {accepted}")]
    Environment {
        /// The variable.
        name: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        accepted: &'static str,
    },
    /// An exporter cannot be made.
    #[error(
        "cannot export {what}; look at `observability.otlp_endpoint` and the variables OTEL_EXPORTER_OTLP_*"
    )]
    Exporter {
        /// `spans` or `metrics`.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}
