//! The application: handlers, states and settings together, from build to stop.

mod builder;
mod delays;
mod describe;
mod error;
mod handle;
mod lineage;
mod signals;

pub use builder::AppBuilder;
pub use describe::{Description, SettingDescription};
pub use error::{BuildError, RunError};
pub use handle::AppHandle;

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::time::Duration;

use tokio::time::Instant;

use crate::health::Phase;
use crate::lifecycle::{Lifecycle, RunningLifecycle, ServiceFailure};
use crate::settings::Settings;
use crate::transport::Connection;

/// An application that has not been started: its handlers are found and its settings are checked. What can be asked
/// of it are the methods of [`AppHandle`].
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
    lifecycle: Lifecycle,
    handle: AppHandle,
}

impl App {
    /// Begin to put an application together.
    pub fn builder() -> AppBuilder {
        AppBuilder::new()
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
            handle: self.handle,
            shutdown_timeout: limits.shutdown_timeout,
        })
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("description", self.describe())
            .finish_non_exhaustive()
    }
}

impl Deref for App {
    type Target = AppHandle;

    fn deref(&self) -> &AppHandle {
        &self.handle
    }
}

/// What publishers get at least for their last messages when draining took all the time.
const LAST_FLUSH: Duration = Duration::from_secs(1);

/// An application that runs; what can be asked of it are the methods of [`AppHandle`]. Stop it with [`stop`](Self::stop):
/// dropping it leaves its services to the runtime, without a drain.
#[derive(Debug)]
pub struct RunningApp {
    running: RunningLifecycle,
    handle: AppHandle,
    shutdown_timeout: Duration,
}

impl RunningApp {
    async fn start_services(&mut self) -> Result<(), ServiceFailure> {
        tracing::info!("starting\n{}", self.describe());
        self.health().enter(Phase::Starting);
        self.running.start_all().await?;
        self.health().enter(Phase::Running);
        tracing::info!(handlers = self.describe().handlers.len(), "started");
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
        let Self {
            running,
            handle,
            shutdown_timeout,
        } = self;
        let deadline = Instant::now() + shutdown_timeout;
        let patience = || deadline.saturating_duration_since(Instant::now()).max(LAST_FLUSH);
        handle.health().enter(Phase::Stopping);
        running.stop().await;
        let flush = async |(name, connection): (&str, &Connection)| {
            if let Err(error) = connection.publisher().flush(patience()).await {
                tracing::warn!(connection = name, %error, "not all messages were sent");
            }
        };
        futures_util::future::join_all(handle.0.connections.iter().map(flush)).await;
        if let Some(telemetry) = handle.0.telemetry.clone() {
            telemetry.shutdown(patience()).await;
        }
        handle.health().enter(Phase::Stopped);
        tracing::info!("stopped");
    }
}

impl Deref for RunningApp {
    type Target = AppHandle;

    fn deref(&self) -> &AppHandle {
        &self.handle
    }
}
