//! Backends by name: how `provider.backend = "kafka"` in the settings finds its crate.

use std::sync::Arc;

use super::{DynTransport, TransportError};
use crate::settings::{ConnectionSettings, Settings};

/// Makes the transport of one named connection. Opens no connection.
pub type Connect = fn(&Settings, &ConnectionSettings) -> Result<Arc<dyn DynTransport>, TransportError>;

/// A transport that the settings can name. A transport crate submits one with `inventory`.
#[derive(Debug)]
pub struct TransportBackend {
    /// The name as `integration.messaging.provider.backend` has it.
    pub name: &'static str,
    /// Makes the transport.
    pub connect: Connect,
}

inventory::collect!(TransportBackend);

/// Find a backend that is linked into this program.
#[must_use]
pub fn backend(name: &str) -> Option<&'static TransportBackend> {
    inventory::iter::<TransportBackend>().find(|backend| backend.name == name)
}
