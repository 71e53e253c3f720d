//! Publishing: from a value to an acknowledged record.
//!
//! A [`NewMessage`] is finished (payload, topic by priority, id), goes through a strategy, which for a
//! message with a delay is [`DelayedPublishStrategy`], and out over the transport; the acknowledgement
//! becomes a [`PublishingOutcome`]. Calls share one idempotent client for each connection. Its queue is
//! bounded in bytes: a call whose records do not fit waits for room.

mod error;
mod message;
mod outcome;
mod strategy;

pub use error::{PublishError, StrategyNotConfigured};
pub use message::NewMessage;
pub use outcome::PublishingOutcome;
pub use strategy::{DelayedPublishStrategy, DirectPublishStrategy, Prepared, PublishingStrategy};

use std::fmt;
use std::iter::repeat_n;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::context::{Context, HeadersOrchestrator};
use crate::delay::{Bucket, DELAY_STORE, DelayScheduler};
use crate::handler::Priority;
use crate::lineage::HandlerLineage;
use crate::message::{Headers, Partition, Timestamp, TopicPartition};
use crate::payload::{Encode, Payloads};
use crate::settings::DEFAULT_CONNECTION;
use crate::telemetry::{ConnectionTelemetry, Written};
use crate::transport::{Delivery, DynPublisher, DynTransport, OutgoingMessage, TransportError};
use error::NoClient;
use message::{Finished, Ids};
pub(crate) use strategy::Delays;
use strategy::outcome;

/// Publishes messages over one connection. Cheap to clone; a handler takes it as an argument.
///
/// The client behind it is made at the first message, so that a program that never publishes has
/// no producer.
///
/// ```
/// use std::time::Duration;
/// use athomic_core::publisher::{PublishError, Publisher};
///
/// async fn on_order(order: serde_json::Value, publisher: Publisher) -> Result<(), PublishError> {
///     publisher.publish("orders.seen.v1", &order).key("42").header("source", "shop").await?;
///     publisher.publish("orders.follow-up.v1", &order).key("42").delay(Duration::from_secs(3600)).await?;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
    /// Told what is published, if that is reported.
    lineage: Option<Arc<HandlerLineage>>,
}

struct Shared {
    /// The connection's name in the settings, for messages.
    connection: String,
    transport: Arc<dyn DynTransport>,
    /// How messages with a delay are published, if the settings say how.
    delayed: Option<Delays>,
    /// Puts the context on messages.
    headers: Arc<HeadersOrchestrator>,
    /// How payloads are written.
    payloads: Arc<Payloads>,
    /// What is recorded about it; `None` if nothing is.
    telemetry: Option<Arc<ConnectionTelemetry>>,
    /// Made at the first message; kept until the last clone of the publisher goes.
    client: OnceCell<Box<dyn DynPublisher>>,
}

/// A message as its strategy wants it.
enum Ready {
    /// To be sent.
    Record(Prepared),
    /// To wait in the store for so long.
    Waits(OutgoingMessage, Duration),
}

/// The result of one message.
type Published = Result<PublishingOutcome, PublishError>;

impl Publisher {
    /// Publish over a transport, without delays.
    #[must_use]
    pub fn new(transport: Arc<dyn DynTransport>) -> Self {
        Self::with_delays(DEFAULT_CONNECTION, transport, None, Arc::default())
    }

    /// Publish over a connection's transport; messages with a delay by a strategy, if there is one, and all
    /// with the context in which they are published.
    #[must_use]
    pub fn with_delays(
        connection: impl Into<String>,
        transport: Arc<dyn DynTransport>,
        delayed: Option<DelayedPublishStrategy>,
        headers: Arc<HeadersOrchestrator>,
    ) -> Self {
        let delayed = delayed.map(Delays::Topics);
        Self::over(connection, transport, delayed, headers, Arc::default())
    }

    /// The same, with payloads written by the settings.
    pub(crate) fn over(
        connection: impl Into<String>,
        transport: Arc<dyn DynTransport>,
        delayed: Option<Delays>,
        headers: Arc<HeadersOrchestrator>,
        payloads: Arc<Payloads>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                connection: connection.into(),
                transport,
                delayed,
                headers,
                payloads,
                telemetry: None,
                client: OnceCell::new(),
            }),
            lineage: None,
        }
    }

    /// Return the same publisher, which tells what it publishes.
    pub(crate) fn reporting_to(&self, lineage: Option<Arc<HandlerLineage>>) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            lineage,
        }
    }

    /// Have it record what it publishes. For one that has no clones yet.
    pub(crate) fn recorded_by(mut self, telemetry: ConnectionTelemetry) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.telemetry = Some(Arc::new(telemetry));
        }
        self
    }

    /// Return what records what is done over its connection.
    pub(crate) fn telemetry(&self) -> Option<&Arc<ConnectionTelemetry>> {
        self.shared.telemetry.as_ref()
    }

    /// Prepare a message for a topic, its payload in the topic's format (JSON, unless the settings name another), or
    /// in the one that its type has, such as a `Proto`.
    /// Await it to publish: it returns when all in-sync replicas have it.
    pub fn publish<T: Encode + ?Sized>(&self, topic: impl Into<String>, payload: &T) -> Publish<'_> {
        Publish {
            publisher: self,
            message: self.message(topic, payload),
        }
    }

    /// Make a message in the topic's format, or its type's, for [`publish_batch`](Self::publish_batch).
    pub fn message<T: Encode + ?Sized>(&self, topic: impl Into<String>, payload: &T) -> NewMessage {
        let topic = topic.into();
        let format = T::WRITES.unwrap_or_else(|| self.shared.payloads.of(&topic).format());
        NewMessage::new(topic, format, payload)
    }

    /// Publish messages together; one result each, in their order. Messages to the same partition
    /// keep their order.
    pub async fn publish_batch(&self, messages: impl IntoIterator<Item = NewMessage>) -> Vec<Published> {
        let now = self.shared.transport.now();
        // Gathered first: an iterator that borrows, held over an await, makes the future of a caller no `Send`.
        let messages: Vec<_> = messages.into_iter().collect();
        let count = messages.len();
        let mut results: Vec<Option<Published>> = Vec::with_capacity(count);
        let (mut places, mut records) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let (mut waiting, mut schedule) = (Vec::new(), Vec::new());
        let mut ids = Ids::new(count);
        for (place, message) in messages.into_iter().enumerate() {
            let written = self.lineage.is_some().then(|| message.target());
            match self.prepare(message, now, &mut ids).await {
                Ok(Ready::Record(Prepared { record, waits })) => {
                    places.push((place, waits, written));
                    records.push(record);
                    results.push(None);
                }
                Ok(Ready::Waits(record, delay)) => {
                    waiting.push((place, written));
                    schedule.push((record, delay));
                    results.push(None);
                }
                Err(error) => results.push(Some(Err(error))),
            }
        }
        let schedule = self.schedule(schedule, Written::Message);
        let (scheduled, sent) =
            futures_util::future::join(schedule, self.send(records, Written::Message)).await;
        for ((place, written), result) in waiting.into_iter().zip(scheduled) {
            self.note_written(written, result.is_ok());
            results[place] = Some(result.map(|due| PublishingOutcome::Scheduled { due }));
        }
        for ((place, waits, written), result) in places.into_iter().zip(sent) {
            self.note_written(written, result.is_ok());
            let published = result.map(|delivery| outcome(waits, delivery));
            if let (Some(telemetry), Ok(PublishingOutcome::Delayed { bucket, .. })) =
                (&self.shared.telemetry, &published)
            {
                telemetry.delayed(&bucket.topic);
            }
            results[place] = Some(published);
        }
        let results = results.into_iter();
        results
            .map(|result| result.expect("each message is refused or sent"))
            .collect()
    }

    /// Tell lineage of a message that was published.
    fn note_written(&self, written: Option<(String, usize)>, published: bool) {
        if let (Some(lineage), Some((topic, bytes)), true) = (&self.lineage, written, published) {
            lineage.wrote(&topic, bytes);
        }
    }

    /// Make the record of a message.
    async fn prepare(
        &self,
        message: NewMessage,
        now: Timestamp,
        ids: &mut Ids,
    ) -> Result<Ready, PublishError> {
        let Finished {
            mut message,
            delay,
            format,
        } = message.finish(&self.shared.headers, ids)?;
        if let Some(format) = format {
            let pipeline = self.shared.payloads.of(&message.topic);
            if let Err(source) = pipeline.seal(&mut message, format).await {
                let topic = message.topic;
                return Err(PublishError::Payload { topic, source });
            }
        }
        if delay.is_zero() {
            let prepared = DirectPublishStrategy.prepare(message, delay, now);
            return prepared.map(Ready::Record);
        }
        match &self.shared.delayed {
            Some(Delays::Topics(strategy)) => strategy.prepare(message, delay, now).map(Ready::Record),
            Some(Delays::Store(_)) => Ok(Ready::Waits(message, delay)),
            None => Err(PublishError::NotConfigured {
                topic: message.topic,
                source: StrategyNotConfigured {
                    connection: self.shared.connection.clone(),
                },
            }),
        }
    }

    /// Publish records as they are; one result each, in their order.
    pub(crate) async fn send(
        &self,
        mut records: Vec<OutgoingMessage>,
        written: Written,
    ) -> Vec<Result<Delivery, PublishError>> {
        let Some(telemetry) = &self.shared.telemetry else {
            return self.write(records).await;
        };
        let sending = telemetry.start(&mut records, written);
        // Boxed, so that the future of publishers without telemetry is no larger for it.
        let results = Box::pin(sending.run(self.write(records))).await;
        telemetry.finish(sending, &results);
        results
    }

    /// Have messages wait in the store; return for each when it is due.
    async fn schedule(
        &self,
        messages: Vec<(OutgoingMessage, Duration)>,
        written: Written,
    ) -> Vec<Result<Timestamp, PublishError>> {
        let Some(Delays::Store(scheduler)) = self.shared.delayed.as_ref().filter(|_| !messages.is_empty())
        else {
            return Vec::new();
        };
        // Boxed, likewise, for the futures of those that never have messages wait in a store.
        let Some(telemetry) = &self.shared.telemetry else {
            return Box::pin(scheduler.schedule(messages, self.now())).await;
        };
        Box::pin(self.schedule_recorded(scheduler, messages, written, telemetry)).await
    }

    async fn schedule_recorded(
        &self,
        scheduler: &DelayScheduler,
        messages: Vec<(OutgoingMessage, Duration)>,
        written: Written,
        telemetry: &ConnectionTelemetry,
    ) -> Vec<Result<Timestamp, PublishError>> {
        let (mut records, delays): (Vec<_>, Vec<_>) = messages.into_iter().unzip();
        let sending = telemetry.start(&mut records, written);
        let messages = records.into_iter().zip(delays).collect();
        let results = sending.run(scheduler.schedule(messages, self.now())).await;
        let (mut due, mut delivered) = (Vec::new(), Vec::new());
        for result in results {
            let (time, delivery) = match result {
                Ok(time) => {
                    telemetry.delayed(DELAY_STORE);
                    let partition = TopicPartition::new(DELAY_STORE, 0);
                    (Some(time), Ok(Delivery { partition, offset: 0 }))
                }
                Err(error) => (None, Err(error)),
            };
            due.push(time);
            delivered.push(delivery);
        }
        telemetry.finish(sending, &delivered);
        let result = |(time, delivery): (Option<Timestamp>, Result<_, _>)| {
            delivery.map(|_| time.expect("what was taken is due at a time"))
        };
        due.into_iter().zip(delivered).map(result).collect()
    }

    async fn write(&self, records: Vec<OutgoingMessage>) -> Vec<Result<Delivery, PublishError>> {
        if records.is_empty() {
            return Vec::new();
        }
        let client = match self.client().await {
            Ok(client) => client,
            Err(error) => {
                let error = NoClient::from(error);
                let refused = |record: OutgoingMessage| Err(error.of(record.topic));
                return records.into_iter().map(refused).collect();
            }
        };
        let topics = topics(&records);
        let topics = topics.iter().flat_map(|(topic, count)| repeat_n(topic, *count));
        let results = client.publish(records).await.into_iter().zip(topics);
        results
            .map(|(result, topic)| result.map_err(|source| PublishError::sending(topic.clone(), source)))
            .collect()
    }

    /// Return how many partitions a topic has.
    pub(crate) async fn partitions(&self, topic: &str) -> Result<Partition, PublishError> {
        let look = async {
            let admin = self.shared.transport.admin().await?;
            admin.partitions(&[topic.to_owned()]).await
        };
        let failed = |source| NoClient::from(source).of(topic.to_owned());
        let count = look.await.map_err(failed)?.get(topic).copied();
        count.ok_or_else(|| {
            failed(TransportError::UnknownTopic {
                topic: topic.to_owned(),
            })
        })
    }

    /// Say whether the settings say how messages with a delay are published.
    pub(crate) fn can_delay(&self) -> bool {
        self.shared.delayed.is_some()
    }

    /// Publish a record as it is, at once or after a delay.
    pub(crate) async fn send_after(
        &self,
        record: OutgoingMessage,
        delay: Duration,
    ) -> Result<(), PublishError> {
        let record = match &self.shared.delayed {
            Some(Delays::Topics(strategy)) if !delay.is_zero() => {
                strategy.prepare(record, delay, self.now())?.record
            }
            Some(Delays::Store(_)) if !delay.is_zero() => {
                let taken = self.schedule(vec![(record, delay)], Written::Copy).await.pop();
                return taken.expect("one message has one result").map(drop);
            }
            _ => record,
        };
        let sent = self.send(vec![record], Written::Copy).await.pop();
        sent.expect("one record has one result").map(drop)
    }

    /// Return what puts the context on messages.
    pub(crate) fn headers(&self) -> &Arc<HeadersOrchestrator> {
        &self.shared.headers
    }

    /// Return how payloads are written.
    pub(crate) fn payloads(&self) -> &Payloads {
        &self.shared.payloads
    }

    /// Return the present time by the clock of the transport.
    pub(crate) fn now(&self) -> Timestamp {
        self.shared.transport.now()
    }

    /// Return the delay topic in which a message would wait that is published now with this delay; `None` if
    /// there is none, or messages wait in a store.
    #[must_use]
    pub fn bucket_for(&self, delay: Duration) -> Option<&Bucket> {
        let Delays::Topics(strategy) = self.shared.delayed.as_ref()? else {
            return None;
        };
        match strategy.max_hops() {
            None => strategy.buckets().at_least(delay),
            Some(_) => Some(strategy.buckets().for_hop(delay)),
        }
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

/// Return the topics of records, for messages, and how many in turn go to each.
fn topics(records: &[OutgoingMessage]) -> Vec<(String, usize)> {
    let same = records.chunk_by(|one, next| one.topic == next.topic);
    same.map(|records| (records[0].topic.clone(), records.len()))
        .collect()
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("system", &self.shared.transport.system())
            .finish()
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

    /// Have it published after a delay, see [`NewMessage::delay`].
    pub fn delay(mut self, delay: Duration) -> Self {
        self.message = self.message.delay(delay);
        self
    }

    /// Publish to a priority topic, see [`NewMessage::priority`].
    pub fn priority(mut self, priority: Priority) -> Self {
        self.message = self.message.priority(priority);
        self
    }

    /// Have it carry another context than the current one, see [`NewMessage::context`].
    pub fn context(mut self, context: Context) -> Self {
        self.message = self.message.context(context);
        self
    }

    /// Set the message's id, see [`NewMessage::message_id`].
    pub fn message_id(mut self, id: impl Into<Bytes>) -> Self {
        self.message = self.message.message_id(id);
        self
    }
}

impl<'a> IntoFuture for Publish<'a> {
    type Output = Published;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut results = self.publisher.publish_batch([self.message]).await;
            results.pop().expect("one message has one result")
        })
    }
}
