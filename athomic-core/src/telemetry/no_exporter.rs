//! The same without the feature `http`: a port is refused by its key.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use super::{Telemetry, TelemetryError};
use crate::health::HealthProbe;
use crate::lifecycle::{Service, ServiceError, ServiceHandle};
use crate::settings::ObservabilitySettings;

#[derive(Debug)]
pub(crate) struct Exporter(Infallible);

/// Where the port is, once it listens.
pub(crate) type Listening = Arc<OnceLock<SocketAddr>>;

impl Exporter {
    pub(crate) fn new(
        settings: &ObservabilitySettings,
        _: HealthProbe,
        _: Option<Arc<Telemetry>>,
    ) -> Result<Option<Self>, TelemetryError> {
        if settings.enabled && settings.exporter_enabled {
            return Err(TelemetryError::NoPort);
        }
        Ok(None)
    }

    pub(crate) fn listening(&self) -> Listening {
        match self.0 {}
    }
}

impl Service for Exporter {
    fn name(&self) -> &str {
        match self.0 {}
    }

    async fn start(&self, _: ServiceHandle) -> Result<(), ServiceError> {
        match self.0 {}
    }
}
