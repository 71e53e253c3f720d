//! `KafkaTransport`: one named connection.

use std::fmt;
use std::sync::Arc;

use athomic_core::settings::{ConnectionSettings, Settings};
use athomic_core::transport::{Subscription, Transport, TransportError};

use crate::admin::SeenTopics;
use crate::client::librdkafka::{Watch, features};
use crate::settings::Connection;
use crate::{KafkaAdmin, KafkaConsumer, KafkaPublisher};

/// A named connection to Kafka. Making one opens no connection.
pub struct KafkaTransport {
    connection: Connection,
    seen: Arc<SeenTopics>,
    watch: Arc<Watch>,
}

impl KafkaTransport {
    /// Check the settings of a connection and make its transport.
    ///
    /// # Errors
    /// [`TransportError::Settings`] for options that athomic sets itself, and for TLS or SASL without the
    /// feature that brings it.
    pub fn connect(settings: &Settings, connection: &ConnectionSettings) -> Result<Self, TransportError> {
        Ok(Self {
            connection: Connection::new(settings, connection, &features())?,
            seen: Arc::default(),
            watch: Arc::default(),
        })
    }
}

impl Transport for KafkaTransport {
    type Consumer = KafkaConsumer;
    type Publisher = KafkaPublisher;
    type Admin = KafkaAdmin;

    fn system(&self) -> &'static str {
        "kafka"
    }

    async fn consumer(&self, subscription: Subscription) -> Result<KafkaConsumer, TransportError> {
        let partitions = self.seen.partitions(&subscription.topics);
        let options = self.connection.consumer_options(&subscription, partitions);
        let (endpoint, watch) = (self.connection.consumer_endpoint(), Arc::clone(&self.watch));
        KafkaConsumer::join(&options, &subscription, endpoint, watch)
    }

    async fn publisher(&self) -> Result<KafkaPublisher, TransportError> {
        KafkaPublisher::start(self.connection.clone())
    }

    async fn admin(&self) -> Result<KafkaAdmin, TransportError> {
        Ok(KafkaAdmin::new(
            self.connection.admin_options(),
            self.connection.consumer_endpoint(),
            Arc::clone(&self.seen),
        ))
    }
}

impl fmt::Debug for KafkaTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaTransport")
            .field("connection", &self.connection.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use athomic_core::settings::{ConnectionSettings, SecurityProtocol, Settings};

    use super::KafkaTransport;

    #[test]
    fn tls_is_there_if_its_feature_is() {
        let mut connection = ConnectionSettings::default();
        connection.security.protocol = SecurityProtocol::Ssl;
        let transport = KafkaTransport::connect(&Settings::default(), &connection);
        assert_eq!(transport.is_ok(), cfg!(feature = "tls"), "{transport:?}");
    }

    #[test]
    fn the_settings_find_the_backend() {
        let backend = athomic_core::transport::backend("kafka").expect("it is registered");
        let made = (backend.connect)(&Settings::default(), &ConnectionSettings::default());
        assert_eq!(made.expect("valid settings").system(), "kafka");
    }
}
