//! The application: handlers, states and settings together, from build to stop.

mod builder;
mod delays;
mod describe;
mod error;
mod lineage;
mod signals;

pub use builder::AppBuilder;
pub use describe::{Description, SettingDescription};
pub use error::{BuildError, RunError};

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::circuit_breaker::CircuitMonitor;
use crate::consumer::ConsumptionMonitor;
use crate::dead_letter::{DeadLetterDesk, DeadLetterIndex};
use crate::delay::RepublisherMonitor;
use crate::health::{HealthProbe, Phase};
use crate::idempotency::IdempotencyMonitor;
use crate::lifecycle::{Lifecycle, RunningLifecycle, ServiceFailure};
use crate::lineage::{LineageCounts, Reporter};
use crate::ordering::OrderingDesk;
use crate::publisher::Publisher;
use crate::settings::{DEFAULT_CONNECTION, Settings};
use crate::telemetry::{Listening, Telemetry};
use crate::transport::memory::MemoryBroker;
use crate::transport::{Connection, Connections};

/// An application that has not been started: its handlers are found and its settings are checked.
///
/// ```
/// use athomic_core::app::App;
/// use athomic_core::handler::register::subscribe;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (seen, mut orders) = tokio::sync::mpsc::unbounded_channel();
/// let on_order = subscribe("orders.v1").group_id("shop").handler(move |order: u32| {
///     let seen = seen.clone();
///     async move { seen.send(order) }
/// });
/// let app = App::builder().register(on_order).settings(Default::default()).build()?.start().await?;
/// app.publisher().publish("orders.v1", &42).await?;
/// assert_eq!(orders.recv().await, Some(42));
/// app.stop().await;
/// # Ok(())
/// # }
/// ```
pub struct App {
    settings: Settings,
    connections: Arc<Connections>,
    broker: MemoryBroker,
    lifecycle: Lifecycle,
    description: Description,
    health: HealthProbe,
    ordering: OrderingDesk,
    idempotency: IdempotencyMonitor,
    consumption: ConsumptionMonitor,
    circuit_breakers: CircuitMonitor,
    index: Option<DeadLetterIndex>,
    republisher: Option<Arc<RepublisherMonitor>>,
    lineage: Option<Arc<Reporter>>,
    telemetry: Option<Arc<Telemetry>>,
    exporter: Option<Listening>,
}

impl App {
    /// Begin to put an application together.
    pub fn builder() -> AppBuilder {
        AppBuilder::new()
    }

    /// Return what the application is made of, and the settings that differ from the defaults.
    #[must_use]
    pub fn describe(&self) -> &Description {
        &self.description
    }

    /// Start, run until SIGTERM, SIGINT or a failure, drain what is in flight, commit, and stop. A
    /// second signal ends the process at once.
    ///
    /// # Errors
    /// A service did not start, or failed while running.
    pub async fn run(self) -> Result<(), RunError> {
        let mut signals = signals::Signals::listen()?;
        let mut app = self.prepare()?;
        let failure = tokio::select! {
            failure = app.serve() => Some(failure),
            signal = signals.next() => {
                tracing::info!(signal, "stopping");
                None
            }
        };
        tokio::select! {
            () = app.stop() => {}
            signal = signals.next() => {
                tracing::warn!(signal, "told twice to stop: ending at once");
                signals.exit();
            }
        }
        failure.map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// Start, run until a future completes or something fails, and stop as [`run`](Self::run) does,
    /// without minding signals.
    ///
    /// The future runs from the beginning, beside the start: it may end the application before all
    /// services run. To do something with an application that runs, take [`start`](Self::start) and
    /// [`RunningApp::stop`].
    ///
    /// # Errors
    /// A service did not start, or failed while running.
    pub async fn run_until(self, end: impl Future<Output = ()>) -> Result<(), RunError> {
        let mut app = self.prepare()?;
        let failure = tokio::select! {
            failure = app.serve() => Some(failure),
            () = end => None,
        };
        app.stop().await;
        failure.map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// Start all services, or none.
    ///
    /// Not to be dropped before its end: what has started would run on.
    ///
    /// # Errors
    /// A service did not start; those that had are stopped again.
    pub async fn start(self) -> Result<RunningApp, RunError> {
        let mut app = self.prepare()?;
        match app.start_services().await {
            Ok(()) => Ok(app),
            Err(failure) => {
                app.stop().await;
                Err(failure.into())
            }
        }
    }

    /// Make what runs, with nothing started in it.
    fn prepare(self) -> Result<RunningApp, ServiceFailure> {
        let limits = &self.settings.lifecycle;
        let running = self
            .lifecycle
            .prepare(limits.startup_timeout, limits.shutdown_timeout)?;
        Ok(RunningApp {
            running,
            connections: self.connections,
            broker: self.broker,
            description: self.description,
            health: self.health,
            ordering: self.ordering,
            idempotency: self.idempotency,
            consumption: self.consumption,
            circuit_breakers: self.circuit_breakers,
            index: self.index,
            republisher: self.republisher,
            lineage: self.lineage,
            telemetry: self.telemetry,
            exporter: self.exporter,
            shutdown_timeout: limits.shutdown_timeout,
        })
    }

    /// Return what tells whether the application lives and is ready: for an HTTP endpoint, say.
    #[must_use]
    pub fn health(&self) -> HealthProbe {
        self.health.clone()
    }

    /// Return the ordered handlers: what waits, and what can be done about it.
    #[must_use]
    pub fn ordering(&self) -> OrderingDesk {
        self.ordering.clone()
    }

    /// Return what is counted about the handlers that handle each message once.
    #[must_use]
    pub fn idempotency(&self) -> IdempotencyMonitor {
        self.idempotency.clone()
    }

    /// Return what shows what the consumers have at the moment: partitions, lag, what is unsettled.
    #[must_use]
    pub fn consumption(&self) -> ConsumptionMonitor {
        self.consumption.clone()
    }

    /// Return the circuit breakers of the handlers that have one.
    #[must_use]
    pub fn circuit_breakers(&self) -> CircuitMonitor {
        self.circuit_breakers.clone()
    }

    /// Return the dead letters on the default connection: what there is, and how it is replayed.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetterDesk {
        dead_letters(&self.connections, self.index.as_ref())
    }

    /// Return the index of dead letters, which lists them without reading their topics; nothing if the
    /// settings want none (`integration.messaging.dlq.index_in_kv`, `strategy`).
    #[must_use]
    pub fn dead_letter_index(&self) -> Option<DeadLetterIndex> {
        self.index.clone()
    }

    /// Return the dead letters on a named connection; nothing if the settings do not have it.
    #[must_use]
    pub fn dead_letters_for(&self, connection: &str) -> Option<DeadLetterDesk> {
        dead_letters_for(&self.connections, connection, self.index.as_ref())
    }

    /// Return a publisher over the default connection.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        publisher(&self.connections)
    }

    /// Return the embedded broker, which is in use unless the settings name another.
    #[must_use]
    pub fn broker(&self) -> &MemoryBroker {
        &self.broker
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

fn publisher(connections: &Connections) -> Publisher {
    let connection = connections
        .get(DEFAULT_CONNECTION)
        .expect("the settings always have it");
    connection.publisher().clone()
}

fn dead_letters(connections: &Connections, index: Option<&DeadLetterIndex>) -> DeadLetterDesk {
    dead_letters_for(connections, DEFAULT_CONNECTION, index).expect("the settings always have it")
}

fn dead_letters_for(
    connections: &Connections,
    name: &str,
    index: Option<&DeadLetterIndex>,
) -> Option<DeadLetterDesk> {
    let connection = connections.get(name)?;
    let desk = DeadLetterDesk::new(connection.transport(), connection.publisher().clone());
    Some(desk.with_index(index, name))
}

/// What publishers get at least for their last messages when draining took all the time.
const LAST_FLUSH: Duration = Duration::from_secs(1);

/// An application that runs. Stop it with [`stop`](Self::stop): dropping it leaves its services to
/// the runtime, without a drain.
#[derive(Debug)]
pub struct RunningApp {
    running: RunningLifecycle,
    connections: Arc<Connections>,
    broker: MemoryBroker,
    description: Description,
    health: HealthProbe,
    ordering: OrderingDesk,
    idempotency: IdempotencyMonitor,
    consumption: ConsumptionMonitor,
    circuit_breakers: CircuitMonitor,
    index: Option<DeadLetterIndex>,
    republisher: Option<Arc<RepublisherMonitor>>,
    lineage: Option<Arc<Reporter>>,
    telemetry: Option<Arc<Telemetry>>,
    exporter: Option<Listening>,
    shutdown_timeout: Duration,
}

impl RunningApp {
    async fn start_services(&mut self) -> Result<(), ServiceFailure> {
        tracing::info!("starting\n{}", self.description);
        self.health.enter(Phase::Starting);
        self.running.start_all().await?;
        self.health.enter(Phase::Running);
        tracing::info!(handlers = self.description.handlers.len(), "started");
        Ok(())
    }

    /// Start all services and wait until one fails. What has started is left to be stopped.
    async fn serve(&mut self) -> ServiceFailure {
        match self.start_services().await {
            Ok(()) => self.failed().await,
            Err(failure) => failure,
        }
    }

    /// Wait until a service fails; for ever if none does. Cancel safe.
    pub async fn failed(&mut self) -> ServiceFailure {
        self.running.failed().await
    }

    /// Drain what is in flight, commit, leave the groups, and send what is still to be sent.
    pub async fn stop(self) {
        let deadline = Instant::now() + self.shutdown_timeout;
        self.health.enter(Phase::Stopping);
        self.running.stop().await;
        let patience = deadline.saturating_duration_since(Instant::now()).max(LAST_FLUSH);
        let flush = async |(name, connection): (&str, &Connection)| {
            if let Err(error) = connection.publisher().flush(patience).await {
                tracing::warn!(connection = name, %error, "not all messages were sent");
            }
        };
        futures_util::future::join_all(self.connections.iter().map(flush)).await;
        if let Some(telemetry) = self.telemetry {
            let patience = deadline.saturating_duration_since(Instant::now()).max(LAST_FLUSH);
            telemetry.shutdown(patience).await;
        }
        self.health.enter(Phase::Stopped);
        tracing::info!("stopped");
    }

    /// Return what tells whether the application lives and is ready: for an HTTP endpoint, say.
    #[must_use]
    pub fn health(&self) -> HealthProbe {
        self.health.clone()
    }

    /// Return the ordered handlers: what waits, and what can be done about it.
    #[must_use]
    pub fn ordering(&self) -> OrderingDesk {
        self.ordering.clone()
    }

    /// Return what is counted about the handlers that handle each message once.
    #[must_use]
    pub fn idempotency(&self) -> IdempotencyMonitor {
        self.idempotency.clone()
    }

    /// Return what shows what the consumers have at the moment: partitions, lag, what is unsettled.
    #[must_use]
    pub fn consumption(&self) -> ConsumptionMonitor {
        self.consumption.clone()
    }

    /// Return the circuit breakers of the handlers that have one.
    #[must_use]
    pub fn circuit_breakers(&self) -> CircuitMonitor {
        self.circuit_breakers.clone()
    }

    /// Return what is counted about delayed messages that are published when they are due, if this program does that
    /// (`integration.messaging.republisher.enabled`).
    #[must_use]
    pub fn republisher(&self) -> Option<&RepublisherMonitor> {
        self.republisher.as_deref()
    }

    /// Return what became of lineage events so far (`lineage.enabled`).
    #[must_use]
    pub fn lineage(&self) -> LineageCounts {
        self.lineage
            .as_ref()
            .map(|reporter| reporter.counts())
            .unwrap_or_default()
    }

    /// Return where `/metrics`, `/live` and `/ready` are (`observability.exporter_enabled`).
    #[must_use]
    pub fn exporter_address(&self) -> Option<SocketAddr> {
        self.exporter.as_ref()?.get().copied()
    }

    /// Return the metrics in the text format of Prometheus, for whoever serves them himself; `None`
    /// without the feature `otel` or `observability.metrics.enabled`, or if `observability.metrics.exporters`
    /// does not name `prometheus`.
    #[must_use]
    pub fn metrics_text(&self) -> Option<String> {
        self.telemetry.as_ref()?.prometheus()
    }

    /// Return the dead letters on the default connection: what there is, and how it is replayed.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetterDesk {
        dead_letters(&self.connections, self.index.as_ref())
    }

    /// Return the index of dead letters, which lists them without reading their topics; nothing if the
    /// settings want none (`integration.messaging.dlq.index_in_kv`, `strategy`).
    #[must_use]
    pub fn dead_letter_index(&self) -> Option<DeadLetterIndex> {
        self.index.clone()
    }

    /// Return the dead letters on a named connection; nothing if the settings do not have it.
    #[must_use]
    pub fn dead_letters_for(&self, connection: &str) -> Option<DeadLetterDesk> {
        dead_letters_for(&self.connections, connection, self.index.as_ref())
    }

    /// Return a publisher over the default connection.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        publisher(&self.connections)
    }

    /// Return a publisher over a named connection.
    #[must_use]
    pub fn publisher_for(&self, connection: &str) -> Option<Publisher> {
        Some(self.connections.get(connection)?.publisher().clone())
    }

    /// Return the embedded broker, which is in use unless the settings name another.
    #[must_use]
    pub fn broker(&self) -> &MemoryBroker {
        &self.broker
    }
}
