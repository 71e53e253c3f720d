//! The connections of an application, by their names in the settings.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::memory::MemoryBroker;
use super::{DynTransport, TransportError, backend};
use crate::context::HeadersOrchestrator;
use crate::payload::Payloads;
use crate::publisher::{Delays, Publisher};
use crate::settings::{Backend, ConnectionSettings, DEFAULT_CONNECTION, REPUBLISHER_CONNECTION, Settings};
use crate::telemetry::{ConnectionTelemetry, Telemetry};

/// Each named connection of an application: its transport and its publisher.
#[derive(Debug, Default)]
pub struct Connections(BTreeMap<String, Connection>);

/// One named connection.
pub struct Connection {
    transport: Arc<dyn DynTransport>,
    publisher: Publisher,
}

impl Connections {
    /// Prepare all connections of the settings. Nothing is connected yet. Without Kafka all of them
    /// are the same embedded broker. What is published over them carries the context on.
    ///
    /// # Errors
    /// The backend is not part of this program, or refuses its settings.
    pub(crate) fn new(
        settings: &Settings,
        broker: &MemoryBroker,
        headers: &Arc<HeadersOrchestrator>,
        payloads: &Arc<Payloads>,
        telemetry: Option<&Arc<Telemetry>>,
        delayed: Option<&Delays>,
    ) -> Result<Self, ConnectionsError> {
        let transport = |connection: &ConnectionSettings| -> Result<Arc<dyn DynTransport>, ConnectionsError> {
            match settings.messaging.backend {
                Backend::Memory => Ok(Arc::new(broker.transport((&connection.consumer).into()))),
                other => {
                    let name = other.as_str();
                    let backend = backend(name).ok_or(ConnectionsError::NotBuiltIn { name })?;
                    Ok((backend.connect)(settings, connection)?)
                }
            }
        };
        let connections = settings.messaging.connections.values();
        let connections = connections.map(|connection| {
            let delayed = delayed
                .cloned()
                .filter(|_| reaches_delay_topics(settings, connection));
            let transport = transport(connection)?;
            let (name, headers) = (connection.name.as_str(), Arc::clone(headers));
            let payloads = Arc::clone(payloads);
            let mut publisher = Publisher::over(name, Arc::clone(&transport), delayed, headers, payloads);
            if let Some(telemetry) = telemetry {
                let client_id = connection
                    .consumer
                    .client_id
                    .as_ref()
                    .unwrap_or(&settings.app.name);
                let servers = match settings.messaging.backend {
                    Backend::Memory => &[][..],
                    Backend::Kafka => &connection.consumer.bootstrap_servers,
                };
                let recorded = ConnectionTelemetry::new(telemetry, transport.system(), servers, client_id);
                publisher = publisher.recorded_by(recorded);
            }
            Ok((connection.name.clone(), Connection { transport, publisher }))
        });
        connections.collect::<Result<_, _>>().map(Self)
    }

    /// Look a connection up.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Connection> {
        self.0.get(name)
    }

    /// Iterate over the connections by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Connection)> {
        self.0
            .iter()
            .map(|(name, connection)| (name.as_str(), connection))
    }
}

impl Connection {
    /// Return what makes consumers and publishers.
    #[must_use]
    pub fn transport(&self) -> Arc<dyn DynTransport> {
        Arc::clone(&self.transport)
    }

    /// Return the publisher that all of the connection's handlers share.
    #[must_use]
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }
}

/// Say whether a connection publishes to the cluster that the republisher reads.
fn reaches_delay_topics(settings: &Settings, connection: &ConnectionSettings) -> bool {
    let connections = &settings.messaging.connections;
    let read = connections
        .get(REPUBLISHER_CONNECTION)
        .or_else(|| connections.get(DEFAULT_CONNECTION));
    // Whoever names other servers for the republisher knows that the default connection's are the same.
    [DEFAULT_CONNECTION, REPUBLISHER_CONNECTION].contains(&connection.name.as_str())
        || settings.messaging.backend == Backend::Memory
        || read.is_some_and(|read| read.consumer.bootstrap_servers == connection.producer.bootstrap_servers)
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.transport.system())
    }
}

/// The connections of the settings cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionsError {
    /// The settings name a backend that this program was built without.
    #[error(
        "integration.messaging.provider.backend is \"{name}\", and this program was built without it; add the feature: `cargo add athomic --features {name}`"
    )]
    NotBuiltIn {
        /// The backend, which is also the feature's name.
        name: &'static str,
    },
    /// The backend refuses its settings.
    #[error(transparent)]
    Transport(#[from] TransportError),
}
