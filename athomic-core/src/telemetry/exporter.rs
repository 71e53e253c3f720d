//! A port for probes and scrapers, with the feature `http`: `/metrics`, `/live` and `/ready`.
//!
//! It is there before the consumers start and until they have drained, so that a probe sees a start that
//! takes long and a stop that does. It asks nobody who he is: that is for whoever opens it beyond loopback.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::{Telemetry, TelemetryError};
use crate::health::{Health, HealthProbe};
use crate::lifecycle::{Service, ServiceError, ServiceHandle};
use crate::settings::ObservabilitySettings;

/// How long answers that are under way at the stop may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The format of the text of Prometheus.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves the port.
pub(crate) struct Exporter {
    address: SocketAddr,
    shared: Shared,
    listening: Listening,
}

/// Where the port is, once it listens.
pub(crate) type Listening = Arc<OnceLock<SocketAddr>>;

/// What the answers are made of.
#[derive(Clone)]
struct Shared {
    health: HealthProbe,
    telemetry: Option<Arc<Telemetry>>,
}

impl Exporter {
    /// Make the port that the settings ask for; `None` if they ask for none.
    pub(crate) fn new(
        settings: &ObservabilitySettings,
        health: HealthProbe,
        telemetry: Option<Arc<Telemetry>>,
    ) -> Result<Option<Self>, TelemetryError> {
        if !(settings.enabled && settings.exporter_enabled) {
            return Ok(None);
        }
        Ok(Some(Self {
            address: SocketAddr::new(settings.exporter_host, settings.exporter_port),
            shared: Shared { health, telemetry },
            listening: Listening::default(),
        }))
    }

    /// Return what says where it listens.
    pub(crate) fn listening(&self) -> Listening {
        Arc::clone(&self.listening)
    }
}

impl Service for Exporter {
    fn name(&self) -> &str {
        "exporter"
    }

    /// Before everything that it tells of.
    fn priority(&self) -> i32 {
        -1000
    }

    async fn start(&self, handle: ServiceHandle) -> Result<(), ServiceError> {
        let listener = TcpListener::bind(self.address)
            .await
            .map_err(|source| CannotListen {
                address: self.address,
                source,
            })?;
        let address = *self
            .listening
            .get_or_init(|| listener.local_addr().unwrap_or(self.address));
        tracing::info!(%address, "metrics, liveness and readiness are at /metrics, /live and /ready");
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/live", get(live))
            .route("/ready", get(ready))
            .with_state(self.shared.clone());
        let (stopping, overdue) = (handle.clone(), handle.clone());
        let served = axum::serve(listener, router)
            .with_graceful_shutdown(async move { stopping.stopping().await })
            .into_future();
        handle.spawn(async move {
            tokio::select! {
                served = served => Ok(served?),
                () = overdue.overdue(PATIENCE) => Ok(()),
            }
        });
        Ok(())
    }
}

/// The port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}: choose another `observability.exporter_port`, or an `observability.exporter_host` \
     that is an address of this machine"
)]
struct CannotListen {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let text = shared.telemetry.and_then(|telemetry| telemetry.prometheus());
    match text {
        Some(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        None => {
            let missing = "no metrics: they are there with the feature `otel`, `observability.metrics.enabled = true` \
                and `prometheus` among `observability.metrics.exporters`\n";
            (StatusCode::NOT_FOUND, missing).into_response()
        }
    }
}

async fn live(State(shared): State<Shared>) -> Response {
    let health = shared.health.check();
    verdict(health.is_live(), &health)
}

async fn ready(State(shared): State<Shared>) -> Response {
    let health = shared.health.check();
    verdict(health.is_ready(), &health)
}

/// Answer yes or no by the status, with what was found.
fn verdict(is_well: bool, health: &Health) -> Response {
    let status = if is_well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    match serde_json::to_string(health) {
        Ok(json) => (status, [(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
