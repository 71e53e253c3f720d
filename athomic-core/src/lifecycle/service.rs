//! What a service is, and the handle by which it runs and is told to stop.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::{ServiceError, ServiceFailure};

/// How long cancelled tasks may take to let go of what they hold.
const CANCELLING: Duration = Duration::from_secs(1);

/// A part of an application with a beginning and an end.
///
/// # Contract
/// - [`start`](Self::start) returns when the service is at work; what goes on runs in tasks spawned
///   by the handle.
/// - Those tasks end soon after [`ServiceHandle::stopping`]; what still runs when the drain time is
///   over is cancelled.
/// - A task that ends with an error, or panics, stops the application.
pub trait Service: Send + Sync + 'static {
    /// Return the name, unique in an application.
    fn name(&self) -> &str;

    /// Return the rank at start-up: lower numbers start earlier and stop later. Consumers are at 0.
    fn priority(&self) -> i32 {
        0
    }

    /// Return the names of services that must be at work before this one starts.
    fn depends_on(&self) -> &[String] {
        &[]
    }

    /// Start.
    ///
    /// # Errors
    /// Any error keeps the whole application from starting.
    fn start(&self, handle: ServiceHandle) -> impl Future<Output = Result<(), ServiceError>> + Send;
}

/// The erased twin of [`Service`].
pub(super) trait DynService: Send + Sync {
    fn name(&self) -> &str;
    fn priority(&self) -> i32;
    fn depends_on(&self) -> &[String];
    fn start(
        &self,
        handle: ServiceHandle,
    ) -> Pin<Box<dyn Future<Output = Result<(), ServiceError>> + Send + '_>>;
}

impl fmt::Debug for dyn DynService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<S: Service> DynService for S {
    fn name(&self) -> &str {
        Service::name(self)
    }

    fn priority(&self) -> i32 {
        Service::priority(self)
    }

    fn depends_on(&self) -> &[String] {
        Service::depends_on(self)
    }

    fn start(
        &self,
        handle: ServiceHandle,
    ) -> Pin<Box<dyn Future<Output = Result<(), ServiceError>> + Send + '_>> {
        Box::pin(Service::start(self, handle))
    }
}

/// What a running service holds: it spawns its tasks by it and hears from it when to end.
#[derive(Clone)]
pub struct ServiceHandle {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// For what is still running when the drain time is over.
    aborts: Mutex<Vec<AbortHandle>>,
    failures: mpsc::UnboundedSender<ServiceFailure>,
    /// What the start waits for.
    waiting: Mutex<Option<ServiceError>>,
}

impl ServiceHandle {
    pub(super) fn new(name: String, failures: mpsc::UnboundedSender<ServiceFailure>) -> Self {
        let shared = Shared {
            name,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            aborts: Mutex::default(),
            failures,
            waiting: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Say what the start waits for: it is told as the cause if the start takes too long.
    pub fn wait_for(&self, reason: impl Into<ServiceError>) {
        *self.waiting() = Some(reason.into());
    }

    /// Take what the start waited for.
    pub(super) fn reason_to_wait(&self) -> Option<ServiceError> {
        self.waiting().take()
    }

    fn waiting(&self) -> MutexGuard<'_, Option<ServiceError>> {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Run a task of the service.
    pub fn spawn(&self, task: impl Future<Output = Result<(), ServiceError>> + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        let task = self.shared.tasks.spawn(async move {
            let service = shared.name.clone();
            let failure = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) => return,
                Ok(Err(source)) => ServiceFailure::Failed { service, source },
                Err(panic) => ServiceFailure::Panicked {
                    service,
                    message: crate::outcome::panic_text(&*panic),
                },
            };
            let _application_gone = shared.failures.send(failure);
        });
        self.shared
            .aborts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(task.abort_handle());
    }

    /// Wait until the service is told to end.
    pub async fn stopping(&self) {
        self.shared.stop.cancelled().await;
    }

    /// Wait until the service was told to end, and has had some time for it.
    pub(crate) async fn overdue(&self, patience: Duration) {
        self.stopping().await;
        tokio::time::sleep(patience).await;
    }

    /// Say whether the service was told to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.shared.stop.is_cancelled()
    }
}

impl fmt::Debug for ServiceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceHandle({})", self.shared.name)
    }
}

/// A service that was started.
pub(super) struct RunningService {
    /// Kept until its tasks have ended.
    _service: Arc<dyn DynService>,
    handle: ServiceHandle,
}

impl RunningService {
    pub(super) fn new(service: Arc<dyn DynService>, handle: ServiceHandle) -> Self {
        Self {
            _service: service,
            handle,
        }
    }

    /// Tell it to end and wait; cancel what still runs at the deadline.
    pub(super) async fn stop(self, deadline: Instant) {
        let shared = &self.handle.shared;
        tracing::debug!(service = shared.name, "stopping");
        shared.stop.cancel();
        shared.tasks.close();
        if tokio::time::timeout_at(deadline, shared.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(service = shared.name, "did not end in time, cancelled");
            for task in shared
                .aborts
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .drain(..)
            {
                task.abort();
            }
            // Cancelled at their next await; one that never awaits is left behind.
            let _left_behind = tokio::time::timeout(CANCELLING, shared.tasks.wait()).await;
        }
    }
}

impl fmt::Debug for RunningService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}
