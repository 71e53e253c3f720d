//! Starting and stopping what an application is made of.
//!
//! Services start by priority and dependency, all or nothing: if one cannot start, those that did are
//! stopped again, and the caller gets the cause. They stop in the reverse order, those of one stage
//! side by side, each with time to drain.

mod error;
mod order;
mod service;

pub use error::{OrderError, ServiceError, ServiceFailure};
pub use service::{Service, ServiceHandle};

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

use error::Failures;
use service::{DynService, RunningService};

/// Given to tasks beyond the drain time, for what has to be said at the end.
const GRACE: Duration = Duration::from_secs(2);

/// What each stage gets at least.
const LEAST: Duration = Duration::from_secs(1);

/// The services of an application, not started yet.
#[derive(Default)]
pub struct Lifecycle {
    services: Vec<Arc<dyn DynService>>,
}

impl std::fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.services).finish()
    }
}

impl Lifecycle {
    /// Add a service.
    pub fn register(&mut self, service: impl Service) {
        self.services.push(Arc::new(service));
    }

    /// Say in which stages the services start; those of one stage stop side by side.
    ///
    /// # Errors
    /// Two services have the same name, one depends on a service that is not there, or some depend
    /// on each other in a circle.
    pub fn stages(&self) -> Result<Vec<Vec<String>>, OrderError> {
        let stages = order::stages(&self.services)?;
        Ok(stages
            .iter()
            .map(|stage| stage.iter().map(|service| service.name().to_owned()).collect())
            .collect())
    }

    /// Start all services, or none.
    ///
    /// Not to be dropped before its end: what has started would run on.
    ///
    /// # Errors
    /// A service could not start in time or at all, or no order satisfies the dependencies. Those
    /// that had started are stopped by then.
    pub async fn start(
        self,
        startup_timeout: Duration,
        shutdown_timeout: Duration,
    ) -> Result<RunningLifecycle, ServiceFailure> {
        let mut lifecycle = self.prepare(startup_timeout, shutdown_timeout)?;
        match lifecycle.start_all().await {
            Ok(()) => Ok(lifecycle),
            Err(failure) => {
                lifecycle.stop().await;
                Err(failure)
            }
        }
    }

    /// Put the services in order and start none yet.
    pub(crate) fn prepare(
        self,
        startup_timeout: Duration,
        shutdown_timeout: Duration,
    ) -> Result<RunningLifecycle, OrderError> {
        let (report, failures) = mpsc::unbounded_channel();
        Ok(RunningLifecycle {
            waiting: order::stages(&self.services)?.into(),
            stages: Vec::new(),
            report,
            failures,
            startup_timeout,
            shutdown_timeout,
        })
    }
}

/// Services that run.
#[derive(Debug)]
pub struct RunningLifecycle {
    /// Stages that have not been started.
    waiting: VecDeque<Vec<Arc<dyn DynService>>>,
    stages: Vec<Vec<RunningService>>,
    report: mpsc::UnboundedSender<ServiceFailure>,
    failures: Failures,
    startup_timeout: Duration,
    shutdown_timeout: Duration,
}

impl RunningLifecycle {
    /// Start what waits to be started. After a failure, or when dropped before the end, what has
    /// started is there to be stopped.
    pub(crate) async fn start_all(&mut self) -> Result<(), ServiceFailure> {
        let deadline = Instant::now() + self.startup_timeout;
        while let Some(stage) = self.waiting.pop_front() {
            self.stages.push(Vec::new());
            for service in stage {
                self.start(service, deadline).await?;
            }
        }
        Ok(())
    }

    async fn start(&mut self, service: Arc<dyn DynService>, deadline: Instant) -> Result<(), ServiceFailure> {
        let name = service.name().to_owned();
        tracing::debug!(service = name, "starting");
        let handle = ServiceHandle::new(name.clone(), self.report.clone());
        // Before it starts: also a service that does not start, or not to the end, may have begun
        // something.
        let stage = self.stages.last_mut().expect("the caller opened one");
        stage.push(RunningService::new(Arc::clone(&service), handle.clone()));
        let waiting = handle.clone();
        let start = AssertUnwindSafe(async { service.start(handle).await }).catch_unwind();
        match tokio::time::timeout_at(deadline, start).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(source))) => Err(ServiceFailure::Start {
                service: name,
                source,
            }),
            Ok(Err(panic)) => Err(ServiceFailure::Panicked {
                service: name,
                message: crate::outcome::panic_text(&*panic),
            }),
            Err(_) => Err(ServiceFailure::StartTimeout {
                service: name,
                limit: self.startup_timeout,
                source: waiting.reason_to_wait(),
            }),
        }
    }

    /// Wait until a service fails; for ever if none does. Cancel safe.
    pub async fn failed(&mut self) -> ServiceFailure {
        let failure = self.failures.recv().await;
        failure.expect("this holds a sender")
    }

    /// Stop all services in the reverse order: tell those of a stage to end, wait for them until the
    /// drain time is over, and cancel what is left.
    pub async fn stop(mut self) {
        let deadline = Instant::now() + self.shutdown_timeout + GRACE;
        while let Some(stage) = self.stages.pop() {
            // Those that come after one that took all the time may still say good-bye.
            let deadline = deadline.max(Instant::now() + LEAST);
            let stopping = stage.into_iter().map(|service| service.stop(deadline));
            futures_util::future::join_all(stopping).await;
        }
    }
}
