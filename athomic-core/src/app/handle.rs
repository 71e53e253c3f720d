//! What can be asked of an application, before it starts and while it runs.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Description;
use crate::circuit_breaker::CircuitMonitor;
use crate::consumer::ConsumptionMonitor;
use crate::dead_letter::{DeadLetterDesk, DeadLetterIndex};
use crate::delay::RepublisherMonitor;
use crate::health::HealthProbe;
use crate::idempotency::IdempotencyMonitor;
use crate::lineage::{LineageCounts, Reporter};
use crate::ordering::OrderingDesk;
use crate::publisher::Publisher;
use crate::settings::DEFAULT_CONNECTION;
use crate::telemetry::{Listening, Telemetry};
use crate::transport::Connections;
use crate::transport::memory::MemoryBroker;

const ALWAYS: &str = "the settings always have it";

/// What an application lets others see and do: its health, its publishers, what waits. Cheap to clone, for whoever serves HTTP
/// beside it, say; [`App`](super::App) and [`RunningApp`](super::RunningApp) have all its methods themselves.
///
/// ```
/// use athomic_core::app::App;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let app = App::builder().settings(Default::default()).build()?.start().await?;
/// let handle = app.handle();
/// let elsewhere = tokio::spawn(async move { handle.health().check().is_ready() });
/// assert!(elsewhere.await?);
/// app.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct AppHandle(pub(super) Arc<Parts>);

/// What there is to be asked.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) connections: Arc<Connections>,
    pub(super) broker: MemoryBroker,
    pub(super) description: Description,
    pub(super) health: HealthProbe,
    pub(super) ordering: OrderingDesk,
    pub(super) idempotency: IdempotencyMonitor,
    pub(super) consumption: ConsumptionMonitor,
    pub(super) circuit_breakers: CircuitMonitor,
    pub(super) index: Option<DeadLetterIndex>,
    pub(super) republisher: Option<Arc<RepublisherMonitor>>,
    pub(super) lineage: Option<Arc<Reporter>>,
    pub(super) telemetry: Option<Arc<Telemetry>>,
    pub(super) exporter: Option<Listening>,
}

impl AppHandle {
    /// Return another one, to be given away.
    #[must_use]
    pub fn handle(&self) -> Self {
        self.clone()
    }

    /// Return what the application is made of, and the settings that differ from the defaults.
    #[must_use]
    pub fn describe(&self) -> &Description {
        &self.0.description
    }

    /// Return what tells whether the application lives and is ready: for an HTTP endpoint, say.
    #[must_use]
    pub fn health(&self) -> HealthProbe {
        self.0.health.clone()
    }

    /// Return the ordered handlers: what waits, and what can be done about it.
    #[must_use]
    pub fn ordering(&self) -> OrderingDesk {
        self.0.ordering.clone()
    }

    /// Return what is counted about the handlers that handle each message once.
    #[must_use]
    pub fn idempotency(&self) -> IdempotencyMonitor {
        self.0.idempotency.clone()
    }

    /// Return what shows what the consumers have at the moment: partitions, lag, what is unsettled.
    #[must_use]
    pub fn consumption(&self) -> ConsumptionMonitor {
        self.0.consumption.clone()
    }

    /// Return the circuit breakers of the handlers that have one.
    #[must_use]
    pub fn circuit_breakers(&self) -> CircuitMonitor {
        self.0.circuit_breakers.clone()
    }

    /// Return what is counted about delayed messages that are published when they are due, if this program does that
    /// (`integration.messaging.republisher.enabled`).
    #[must_use]
    pub fn republisher(&self) -> Option<&RepublisherMonitor> {
        self.0.republisher.as_deref()
    }

    /// Return what became of lineage events so far (`lineage.enabled`).
    #[must_use]
    pub fn lineage(&self) -> LineageCounts {
        self.0
            .lineage
            .as_ref()
            .map(|reporter| reporter.counts())
            .unwrap_or_default()
    }

    /// Return where `/metrics`, `/live` and `/ready` are (`observability.exporter_enabled`).
    #[must_use]
    pub fn exporter_address(&self) -> Option<SocketAddr> {
        self.0.exporter.as_ref()?.get().copied()
    }

    /// Return the metrics in the text format of Prometheus, for whoever serves them himself; `None`
    /// without the feature `otel` or `observability.metrics.enabled`, or if `observability.metrics.exporters`
    /// does not name `prometheus`.
    #[must_use]
    pub fn metrics_text(&self) -> Option<String> {
        self.0.telemetry.as_ref()?.prometheus()
    }

    /// Return the dead letters on the default connection: what there is, and how it is replayed.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetterDesk {
        self.dead_letters_for(DEFAULT_CONNECTION).expect(ALWAYS)
    }

    /// Return the index of dead letters, which lists them without reading their topics; nothing if the
    /// settings want none (`integration.messaging.dlq.index_in_kv`, `strategy`).
    #[must_use]
    pub fn dead_letter_index(&self) -> Option<DeadLetterIndex> {
        self.0.index.clone()
    }

    /// Return the dead letters on a named connection; nothing if the settings do not have it.
    #[must_use]
    pub fn dead_letters_for(&self, connection: &str) -> Option<DeadLetterDesk> {
        let (name, connection) = (connection, self.0.connections.get(connection)?);
        let desk = DeadLetterDesk::new(connection.transport(), connection.publisher().clone());
        Some(desk.with_index(self.0.index.as_ref(), name))
    }

    /// Return a publisher over the default connection.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.publisher_for(DEFAULT_CONNECTION).expect(ALWAYS)
    }

    /// Return a publisher over a named connection; nothing if the settings do not have it.
    #[must_use]
    pub fn publisher_for(&self, connection: &str) -> Option<Publisher> {
        Some(self.0.connections.get(connection)?.publisher().clone())
    }

    /// Return the embedded broker, which is in use unless the settings name another.
    #[must_use]
    pub fn broker(&self) -> &MemoryBroker {
        &self.0.broker
    }
}
