//! Publishing: from a value to an acknowledged record.

mod error;

pub use error::PublishError;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::OnceCell;

use crate::message::{Headers, Partition};
use crate::transport::{Delivery, DynPublisher, DynTransport, OutgoingMessage, TransportError};

/// Publishes messages over one connection. Cheap to clone; a handler takes it as an argument.
///
/// The client behind it is made at the first message, so that a program that never publishes has
/// no producer.
///
/// ```
/// use athomic_core::publisher::{PublishError, Publisher};
///
/// async fn on_order(order: serde_json::Value, publisher: Publisher) -> Result<(), PublishError> {
///     publisher.publish("orders.seen.v1", &order).key("42").header("source", "shop").await?;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
}

struct Shared {
    transport: Arc<dyn DynTransport>,
    /// Made at the first message; kept until the last clone of the publisher goes.
    client: OnceCell<Box<dyn DynPublisher>>,
}

impl Publisher {
    /// Publish over a transport.
    #[must_use]
    pub fn new(transport: Arc<dyn DynTransport>) -> Self {
        Self {
            shared: Arc::new(Shared {
                transport,
                client: OnceCell::new(),
            }),
        }
    }

    /// Prepare a message for a topic, its payload as JSON. Await it to publish: it returns when all
    /// in-sync replicas have it.
    pub fn publish<T: Serialize + ?Sized>(&self, topic: impl Into<String>, payload: &T) -> Publish<'_> {
        Publish {
            publisher: self,
            message: NewMessage::json(topic, payload),
        }
    }

    /// Publish messages together; one result each, in their order. Messages to the same partition
    /// keep their order.
    pub async fn publish_batch(
        &self,
        messages: impl IntoIterator<Item = NewMessage>,
    ) -> Vec<Result<Delivery, PublishError>> {
        let mut results = Vec::new();
        let mut outgoing = Vec::new();
        for (place, message) in messages.into_iter().enumerate() {
            match message.finish() {
                Ok(message) => {
                    outgoing.push((place, message.topic.clone(), message));
                    results.push(None);
                }
                Err(error) => results.push(Some(Err(error))),
            }
        }
        for (place, result) in self.send(outgoing).await {
            results[place] = Some(result);
        }
        results
            .into_iter()
            .map(|result| result.expect("each message is refused or sent"))
            .collect()
    }

    async fn send(
        &self,
        outgoing: Vec<(usize, String, OutgoingMessage)>,
    ) -> Vec<(usize, Result<Delivery, PublishError>)> {
        let mut places = Vec::with_capacity(outgoing.len());
        let mut messages = Vec::with_capacity(outgoing.len());
        for (place, topic, message) in outgoing {
            places.push((place, topic));
            messages.push(message);
        }
        let results = match self.client().await {
            Ok(client) => client.publish(messages).await,
            Err(error) => {
                let error = Arc::new(error);
                return places
                    .into_iter()
                    .map(|(place, topic)| (place, Err(PublishError::not_sent(topic, Arc::clone(&error)))))
                    .collect();
            }
        };
        places
            .into_iter()
            .zip(results)
            .map(|((place, topic), result)| {
                (
                    place,
                    result.map_err(|source| PublishError::sending(topic, source)),
                )
            })
            .collect()
    }

    /// Return how many partitions a topic has.
    pub(crate) async fn partitions(&self, topic: &str) -> Result<Partition, PublishError> {
        let look = async {
            let admin = self.shared.transport.admin().await?;
            admin.partitions(&[topic.to_owned()]).await
        };
        let failed = |source| PublishError::not_sent(topic.to_owned(), Arc::new(source));
        let count = look.await.map_err(failed)?.get(topic).copied();
        count.ok_or_else(|| {
            failed(TransportError::UnknownTopic {
                topic: topic.to_owned(),
            })
        })
    }

    /// Wait until nothing is under way.
    ///
    /// # Errors
    /// The time was over first.
    pub async fn flush(&self, timeout: Duration) -> Result<(), TransportError> {
        match self.shared.client.get() {
            Some(client) => client.flush(timeout).await,
            None => Ok(()),
        }
    }

    async fn client(&self) -> Result<&dyn DynPublisher, TransportError> {
        let client = self
            .shared
            .client
            .get_or_try_init(|| self.shared.transport.publisher())
            .await?;
        Ok(client.as_ref())
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("system", &self.shared.transport.system())
            .finish()
    }
}

/// A message to publish: topic, payload, key, headers, partition.
#[derive(Debug)]
#[must_use = "a message goes nowhere until it is published"]
pub struct NewMessage {
    message: OutgoingMessage,
    /// A payload that could not be serialized; told when the message is published.
    fault: Option<serde_json::Error>,
}

impl NewMessage {
    /// Make a message whose payload is a value's JSON.
    pub fn json<T: Serialize + ?Sized>(topic: impl Into<String>, payload: &T) -> Self {
        let (payload, fault) = match serde_json::to_vec(payload) {
            Ok(bytes) => (Some(Bytes::from(bytes)), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            message: OutgoingMessage {
                topic: topic.into(),
                payload,
                ..Default::default()
            },
            fault,
        }
    }

    /// Make a message whose payload is taken as it is; `None` is a tombstone.
    pub fn raw(topic: impl Into<String>, payload: Option<Bytes>) -> Self {
        Self {
            message: OutgoingMessage {
                topic: topic.into(),
                payload,
                ..Default::default()
            },
            fault: None,
        }
    }

    /// Set the key, by which the partition is chosen.
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.message.key = Some(key.into());
        self
    }

    /// Add a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.message.headers.push(name, Some(value.into()));
        self
    }

    /// Set all headers.
    pub fn headers(mut self, headers: Headers) -> Self {
        self.message.headers = headers;
        self
    }

    /// Choose the partition instead of leaving it to the key.
    pub fn partition(mut self, partition: Partition) -> Self {
        self.message.partition = Some(partition);
        self
    }

    fn finish(self) -> Result<OutgoingMessage, PublishError> {
        let topic = self.message.topic.clone();
        if topic.is_empty() {
            return Err(PublishError::NoTopic);
        }
        match self.fault {
            Some(source) => Err(PublishError::Serialize { topic, source }),
            None => Ok(self.message),
        }
    }
}

/// A message on its way to be published; await it.
#[derive(Debug)]
#[must_use = "a message is published when this is awaited"]
pub struct Publish<'a> {
    publisher: &'a Publisher,
    message: NewMessage,
}

impl Publish<'_> {
    /// Set the key, by which the partition is chosen.
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.message = self.message.key(key);
        self
    }

    /// Add a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.message = self.message.header(name, value);
        self
    }

    /// Set all headers.
    pub fn headers(mut self, headers: Headers) -> Self {
        self.message = self.message.headers(headers);
        self
    }

    /// Choose the partition instead of leaving it to the key.
    pub fn partition(mut self, partition: Partition) -> Self {
        self.message = self.message.partition(partition);
        self
    }
}

impl<'a> IntoFuture for Publish<'a> {
    type Output = Result<Delivery, PublishError>;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut results = self.publisher.publish_batch([self.message]).await;
            results.pop().expect("one message has one result")
        })
    }
}
