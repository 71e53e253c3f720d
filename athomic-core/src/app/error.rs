//! Why an application cannot be built or does not run.

use std::fmt;

use crate::consumer::InvalidConsumerConfigurationError;
use crate::context::AdapterNamesError;
use crate::lifecycle::{OrderError, ServiceFailure};
use crate::outcome::BoxError;
use crate::settings::SettingsError;
use crate::store::StoreError;
use crate::telemetry::TelemetryError;
use crate::transport::ConnectionsError;

/// An application cannot be built as it is written and configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The settings are wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Headers adapters of the application claim headers that are not theirs.
    #[error(transparent)]
    Headers(#[from] AdapterNamesError),
    /// Telemetry cannot be recorded as the settings say.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// A connection cannot be made of the settings.
    #[error(transparent)]
    Connections(#[from] ConnectionsError),
    /// `only` or `except` name no handler.
    #[error("no handler has an id that is, or begins with, `{}`; handlers: `{}`", unused.join("` or `"), known.join("`, `"))]
    Filters {
        /// The filters that fit none.
        unused: Vec<String>,
        /// The handlers of this process.
        known: Vec<String>,
    },
    /// Handlers are wrong, by themselves or together with the settings.
    #[error("{}", Report(.0))]
    Handlers(
        /// Everything that is wrong.
        Vec<InvalidConsumerConfigurationError>,
    ),
    /// Lineage cannot be reported, or collected, as the settings say.
    #[error("lineage: {0}")]
    Lineage(
        /// Why.
        BoxError,
    ),
    /// The settings name a kind of store for delayed messages that this program was built without.
    #[error(
        "`integration.messaging.republisher.kvstore` names the store `{store}`, whose `backend` is \"{backend}\", and \
         this program was built without it; add the feature: `cargo add athomic --features {backend}`"
    )]
    DelayStoreNotBuiltIn {
        /// The store's name in the settings.
        store: String,
        /// Its kind, which is also the feature's name.
        backend: &'static str,
    },
    /// The store for delayed messages refuses its settings.
    #[error("cannot make the store for delayed messages, `integration.messaging.republisher.kvstore`")]
    DelayStore(
        /// Why.
        #[source]
        StoreError,
    ),
    /// The application's services cannot be put in an order.
    #[error(transparent)]
    Services(#[from] OrderError),
}

impl From<Vec<InvalidConsumerConfigurationError>> for BuildError {
    fn from(faults: Vec<InvalidConsumerConfigurationError>) -> Self {
        Self::Handlers(faults)
    }
}

/// Shows faults, one a line.
struct Report<'a>(&'a [InvalidConsumerConfigurationError]);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, fault) in self.0.iter().enumerate() {
            write!(f, "{}{fault}", if place == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// An application did not start, or ended by a failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A service did not start, or failed.
    #[error(transparent)]
    Service(#[from] ServiceFailure),
    /// The process cannot listen for signals.
    #[error("cannot listen for signals")]
    Signals(#[from] std::io::Error),
}
