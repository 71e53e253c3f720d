//! Why services do not start, or end.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::outcome::BoxError;

/// Any error of a service.
pub type ServiceError = BoxError;

/// Where failures of running services arrive.
pub(super) type Failures = mpsc::UnboundedReceiver<ServiceFailure>;

/// A service did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceFailure {
    /// It could not start.
    #[error("service `{service}` did not start")]
    Start {
        /// The service.
        service: String,
        /// Why.
        #[source]
        source: ServiceError,
    },
    /// It took too long to start.
    #[error("service `{service}` did not start within lifecycle.startup_timeout_seconds ({} s in all)", limit.as_secs())]
    StartTimeout {
        /// The service.
        service: String,
        /// The time that all services have together.
        limit: Duration,
        /// What it waited for, if it said so.
        #[source]
        source: Option<ServiceError>,
    },
    /// It ended with an error while running.
    #[error("service `{service}` failed")]
    Failed {
        /// The service.
        service: String,
        /// Why.
        #[source]
        source: ServiceError,
    },
    /// A task of it panicked.
    #[error("a task of service `{service}` panicked: {message}")]
    Panicked {
        /// The service.
        service: String,
        /// What the panic said.
        message: String,
    },
    /// There is no order to start in.
    #[error(transparent)]
    Order(#[from] OrderError),
}

/// Services cannot be put in an order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// Two services have the same name.
    #[error("two services are named `{name}`")]
    SameName {
        /// The name.
        name: String,
    },
    /// A service depends on one that is not there.
    #[error("service `{service}` depends on `{missing}`, which is not registered")]
    Missing {
        /// The service.
        service: String,
        /// What it depends on.
        missing: String,
    },
    /// Services depend on each other in a circle.
    #[error("services depend on each other in a circle: {}", services.join(", "))]
    Circle {
        /// Those that cannot start.
        services: Vec<String>,
    },
}
