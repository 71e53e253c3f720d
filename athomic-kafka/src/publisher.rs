//! `KafkaPublisher`: publishes, idempotently.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use athomic_core::transport::{OutgoingMessage, Publisher, TransportError};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::client::call::Outcome;
use crate::client::librdkafka::producer::Publishing;
use crate::client::librdkafka::{Code, Fault};
#[cfg(feature = "bulk")]
use crate::client::rskafka::Bulk;
use crate::error::{Endpoint, Task};
use crate::settings::Connection;

/// How long what is under way may take before a producer with new certificates takes over: so long, the
/// order of messages holds over the change.
const HANDING_OVER: Duration = Duration::from_secs(5);

/// Publishes to Kafka: idempotently, acknowledged by all in-sync replicas.
///
/// With `producer.client = "rskafka"` calls of many messages go out in bulk, see the module
/// `client/rskafka`: without idempotence, so that a request whose outcome is unknown may repeat messages.
///
/// A full queue is waited for. Dropping it flushes in the background. When its certificates are replaced
/// on disk, what is published next goes over new connections that use the new ones.
pub struct KafkaPublisher {
    line: Arc<Line>,
    /// Hands over when certificates are replaced, also while nobody publishes.
    handing_over: JoinHandle<()>,
}

/// A producer, and what its successor is made of.
struct Line {
    connection: Connection,
    endpoint: Endpoint,
    publishing: RwLock<Arc<Publishing>>,
    /// Held by who changes `publishing`.
    handing_over: Mutex<()>,
    /// Takes calls of many messages, if the settings ask for it.
    #[cfg(feature = "bulk")]
    bulk: Option<Bulk>,
}

impl KafkaPublisher {
    pub(crate) fn start(connection: Connection) -> Result<Self, TransportError> {
        let endpoint = connection.producer_endpoint();
        let publishing =
            start(&connection, &endpoint).map_err(|fault| endpoint.error(Task::MakePublisher, fault))?;
        let line = Arc::new(Line {
            #[cfg(feature = "bulk")]
            bulk: connection
                .bulk
                .clone()
                .map(|bulk| Bulk::new(bulk, endpoint.clone())),
            connection,
            endpoint,
            publishing: RwLock::new(Arc::new(publishing)),
            handing_over: Mutex::new(()),
        });
        let handing_over = tokio::spawn(hand_over_whenever_outdated(Arc::clone(&line)));
        Ok(Self { line, handing_over })
    }
}

impl Drop for KafkaPublisher {
    fn drop(&mut self) {
        self.handing_over.abort();
    }
}

async fn hand_over_whenever_outdated(line: Arc<Line>) {
    loop {
        line.present().until_outdated().await;
        let _successor = line.publishing().await;
    }
}

impl Line {
    /// Return the producer, a new one if the certificates of the old one were replaced.
    async fn publishing(&self) -> Arc<Publishing> {
        if !self.present().is_outdated() {
            return self.present();
        }
        let _alone = self.handing_over.lock().await;
        let old = self.present();
        if !old.is_outdated() {
            return old;
        }
        let _flushed = timeout(HANDING_OVER, old.flush()).await;
        match start(&self.connection, &self.endpoint) {
            Ok(new) => {
                let new = Arc::new(new);
                // In time or not: what was sent and not answered ends at the delivery time-out at the latest.
                old.give_way_to(&new).await;
                *self.publishing.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&new);
                tracing::info!(connection = %self.endpoint.connection, "publishing with the new certificates");
                new
            }
            Err(fault) => {
                tracing::warn!(connection = %self.endpoint.connection, %fault, "publishing with the old certificates");
                old.stay();
                old
            }
        }
    }

    /// Publish many messages in a task of its own, which goes on when the caller does not; by librdkafka
    /// what has no place in the bulk.
    #[cfg(feature = "bulk")]
    async fn publish_apart(self: &Arc<Self>, messages: Vec<OutgoingMessage>) -> Vec<Outcome> {
        let (line, count) = (Arc::clone(self), messages.len());
        let task = tokio::spawn(async move {
            let messages = match &line.bulk {
                Some(bulk) => match bulk.publish(messages).await {
                    Ok(outcomes) => return outcomes,
                    Err(messages) => messages,
                },
                None => messages,
            };
            line.publishing().await.publish(messages).await
        });
        // It is neither aborted nor panics: only the runtime's end is left.
        let closed = |_gone| (0..count).map(|_| Err(TransportError::Closed)).collect();
        task.await.unwrap_or_else(closed)
    }

    fn present(&self) -> Arc<Publishing> {
        let publishing = self.publishing.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&publishing)
    }
}

/// Start a producer with secrets as they are now.
fn start(connection: &Connection, endpoint: &Endpoint) -> Result<Publishing, Fault> {
    let options = connection.producer_options();
    Publishing::start(&options, connection.secrets(), endpoint.clone())
}

impl Publisher for KafkaPublisher {
    // Cancel safety: what is under way goes on, see `Publishing`.
    async fn publish(&self, messages: Vec<OutgoingMessage>) -> Vec<Outcome> {
        #[cfg(feature = "bulk")]
        if self.line.bulk.is_some() && messages.len() > 1 {
            return self.line.publish_apart(messages).await;
        }
        self.line.publishing().await.publish(messages).await
    }

    async fn flush(&self, timeout: Duration) -> Result<(), TransportError> {
        let flush = async {
            #[cfg(feature = "bulk")]
            if let Some(bulk) = &self.line.bulk {
                bulk.flush().await;
            }
            self.line.present().flush().await;
        };
        let flushed = tokio::time::timeout(timeout, flush).await;
        flushed.map_err(|_elapsed| {
            let fault = Fault::new(Code::OperationTimedOut, format!("not flushed within {timeout:?}"));
            self.line.endpoint.error(Task::Flush, fault)
        })
    }
}

impl fmt::Debug for KafkaPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaPublisher")
            .field("endpoint", &self.line.endpoint)
            .finish_non_exhaustive()
    }
}
