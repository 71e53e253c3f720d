//! The application: handlers, states and settings together, from build to stop.

mod builder;
mod describe;
mod error;
mod signals;

pub use builder::AppBuilder;
pub use describe::{Description, SettingDescription};
pub use error::{BuildError, RunError};

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::lifecycle::{Lifecycle, RunningLifecycle, ServiceFailure};
use crate::publisher::Publisher;
use crate::settings::{DEFAULT_CONNECTION, Settings};
use crate::transport::Connections;
use crate::transport::memory::MemoryBroker;

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
        let mut app = tokio::select! {
            started = self.start() => started?,
            signal = signals.next() => {
                tracing::info!(signal, "told to stop while starting");
                return Ok(());
            }
        };
        let failure = tokio::select! {
            signal = signals.next() => {
                tracing::info!(signal, "stopping");
                None
            }
            failure = app.failed() => Some(failure),
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
    /// # Errors
    /// A service did not start, or failed while running.
    pub async fn run_until(self, end: impl Future<Output = ()>) -> Result<(), RunError> {
        let mut app = self.start().await?;
        let failure = tokio::select! {
            () = end => None,
            failure = app.failed() => Some(failure),
        };
        app.stop().await;
        failure.map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// Start all services, or none.
    ///
    /// # Errors
    /// A service did not start; those that had are stopped again.
    pub async fn start(self) -> Result<RunningApp, RunError> {
        tracing::info!("starting\n{}", self.description);
        let limits = &self.settings.lifecycle;
        let running = self
            .lifecycle
            .start(limits.startup_timeout, limits.shutdown_timeout)
            .await?;
        tracing::info!(handlers = self.description.handlers.len(), "started");
        Ok(RunningApp {
            running,
            connections: self.connections,
            broker: self.broker,
            shutdown_timeout: limits.shutdown_timeout,
        })
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

/// An application that runs. Stop it with [`stop`](Self::stop): dropping it leaves its services to
/// the runtime, without a drain.
#[derive(Debug)]
pub struct RunningApp {
    running: RunningLifecycle,
    connections: Arc<Connections>,
    broker: MemoryBroker,
    shutdown_timeout: Duration,
}

impl RunningApp {
    /// Wait until a service fails; for ever if none does. Cancel safe.
    pub async fn failed(&mut self) -> ServiceFailure {
        self.running.failed().await
    }

    /// Drain what is in flight, commit, leave the groups, and send what is still to be sent.
    pub async fn stop(self) {
        self.running.stop().await;
        for (name, connection) in self.connections.iter() {
            if let Err(error) = connection.publisher().flush(self.shutdown_timeout).await {
                tracing::warn!(connection = name, %error, "not all messages were sent");
            }
        }
        tracing::info!("stopped");
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
