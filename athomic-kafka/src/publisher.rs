//! `KafkaPublisher`: publishes, idempotently.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use athomic_core::transport::{Delivery, OutgoingMessage, Publisher, TransportError};

use crate::client::librdkafka::producer::Publishing;
use crate::client::librdkafka::{Code, Fault};
use crate::error::{Endpoint, Task};

/// Publishes to Kafka: idempotently, acknowledged by all in-sync replicas.
///
/// A full queue is waited for. Dropping it flushes in the background.
pub struct KafkaPublisher {
    publishing: Publishing,
    endpoint: Endpoint,
}

impl KafkaPublisher {
    pub(crate) fn start(
        options: &BTreeMap<String, String>,
        endpoint: Endpoint,
    ) -> Result<Self, TransportError> {
        let publishing = Publishing::start(options, endpoint.clone())
            .map_err(|fault| endpoint.error(Task::MakePublisher, fault))?;
        Ok(Self { publishing, endpoint })
    }
}

impl Publisher for KafkaPublisher {
    // Cancel safety: what is under way goes on, see `Publishing`.
    async fn publish(&self, messages: Vec<OutgoingMessage>) -> Vec<Result<Delivery, TransportError>> {
        self.publishing.publish(messages).await
    }

    async fn flush(&self, timeout: Duration) -> Result<(), TransportError> {
        let flushed = tokio::time::timeout(timeout, self.publishing.flush()).await;
        flushed.map_err(|_elapsed| {
            let fault = Fault::new(Code::OperationTimedOut, format!("not flushed within {timeout:?}"));
            self.endpoint.error(Task::Flush, fault)
        })
    }
}

impl fmt::Debug for KafkaPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaPublisher")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
