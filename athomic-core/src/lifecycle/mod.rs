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

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use error::Failures;
use service::{DynService, RunningService};

/// Given to tasks beyond the drain time, for what has to be said at the end.
const GRACE: Duration = Duration::from_secs(2);

/// The services of an application, not started yet.
#[derive(Default)]
pub struct Lifecycle {
    services: Vec<Arc<dyn DynService>>,
}

impl std::fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.services.iter().map(|service| service.name()))
            .finish()
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
    /// # Errors
    /// A service could not start in time or at all, or no order satisfies the dependencies. Those
    /// that had started are stopped by then.
    pub async fn start(
        self,
        startup_timeout: Duration,
        shutdown_timeout: Duration,
    ) -> Result<RunningLifecycle, ServiceFailure> {
        let stages = order::stages(&self.services)?;
        let (report, failures) = mpsc::unbounded_channel();
        let mut running = RunningLifecycle {
            stages: Vec::new(),
            failures,
            shutdown_timeout,
        };
        let deadline = tokio::time::Instant::now() + startup_timeout;
        for stage in stages {
            running.stages.push(Vec::new());
            for service in stage {
                if let Err(failure) = running.start(service, &report, deadline, startup_timeout).await {
                    running.stop().await;
                    return Err(failure);
                }
            }
        }
        Ok(running)
    }
}

/// Services that run.
#[derive(Debug)]
pub struct RunningLifecycle {
    stages: Vec<Vec<RunningService>>,
    failures: Failures,
    shutdown_timeout: Duration,
}

impl RunningLifecycle {
    async fn start(
        &mut self,
        service: Arc<dyn DynService>,
        report: &mpsc::UnboundedSender<ServiceFailure>,
        deadline: tokio::time::Instant,
        limit: Duration,
    ) -> Result<(), ServiceFailure> {
        let name = service.name().to_owned();
        tracing::debug!(service = name, "starting");
        let handle = ServiceHandle::new(name.clone(), report.clone());
        let started = tokio::time::timeout_at(deadline, service.start(handle.clone())).await;
        // Also a service that did not start may have begun something.
        let stage = self.stages.last_mut().expect("the caller opened one");
        stage.push(RunningService::new(service, handle));
        match started {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(ServiceFailure::Start {
                service: name,
                source,
            }),
            Err(_) => Err(ServiceFailure::StartTimeout { service: name, limit }),
        }
    }

    /// Wait until a service fails; for ever if none does. Cancel safe.
    pub async fn failed(&mut self) -> ServiceFailure {
        match self.failures.recv().await {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }

    /// Stop all services in the reverse order: tell those of a stage to end, wait for them until the
    /// drain time is over, and cancel what is left.
    pub async fn stop(mut self) {
        let deadline = tokio::time::Instant::now() + self.shutdown_timeout + GRACE;
        while let Some(stage) = self.stages.pop() {
            let stopping = stage.into_iter().map(|service| service.stop(deadline));
            futures_util::future::join_all(stopping).await;
        }
    }
}
