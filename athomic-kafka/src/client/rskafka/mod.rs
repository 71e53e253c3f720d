//! The bulk publisher: calls of many messages, by rskafka.
//!
//! librdkafka takes every record by itself, keeps it and reports on it. Here a call's records go to the
//! queues of their partitions (`partition.rs`) and from there as they are into one request, which costs
//! a fraction of that. `record.rs` has what a record and an error are in rskafka.
//!
//! # Invariants
//! - Of each partition one request is under way, so that its messages keep their order. One whose outcome
//!   is not known is sent again until the delivery time-out: records may be repeated then, under the same
//!   ids.
//! - What has no place here is given back to whoever asked, untouched: records that rskafka cannot express, topics that
//!   it does not know, calls of one message, for which librdkafka's idempotence is worth more.
//! - What is queued is bounded in bytes.

mod partition;
mod record;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use athomic_core::message::{Partition as PartitionNumber, TopicPartition};
use athomic_core::settings::SaslMechanism;
use athomic_core::transport::OutgoingMessage;
use athomic_core::transport::memory::partition_for_key;
use rskafka::BackoffConfig;
use rskafka::client::{Client, ClientBuilder, Credentials, SaslConfig};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::call::{Call, Outcome};
use crate::bulk::{BulkSettings, Login};
use crate::error::Endpoint;
use partition::{Item, Partition};
use record::Failure;

/// How long one request may take before its connection is given up.
const ATTEMPT: Duration = Duration::from_secs(10);
/// How long what is known of topics is believed.
const TOPICS_AGE: Duration = Duration::from_secs(10);
/// How many bytes may be queued and under way, as much as in librdkafka's own queue.
const ROOM: usize = 64 << 20;
/// How rskafka itself asks again; beyond that the partition's queue decides.
const AGAIN: BackoffConfig = BackoffConfig {
    init_backoff: Duration::from_millis(50),
    max_backoff: Duration::from_millis(500),
    base: 2.0,
    deadline: Some(Duration::from_secs(2)),
};

/// Publishes calls of many messages.
pub(crate) struct Bulk {
    shared: Arc<Shared>,
}

/// What all partitions share.
pub(super) struct Shared {
    settings: BulkSettings,
    endpoint: Endpoint,
    /// Made when it is needed, and again after trouble: with the password as it is then.
    client: tokio::sync::Mutex<Option<Arc<Client>>>,
    topics: Mutex<Topics>,
    /// Bytes that may still be queued.
    room: Semaphore,
    /// How many calls are under way.
    under_way: watch::Sender<usize>,
}

/// What is known of the cluster's topics.
#[derive(Default)]
struct Topics {
    known: HashMap<String, Topic>,
    asked: Option<Instant>,
}

struct Topic {
    partitions: Vec<Arc<Partition>>,
    /// Whose turn it is to get a message without a key.
    turn: AtomicUsize,
}

impl Topic {
    /// Return the partition of a message; `None` if it names one that there is not.
    fn place(&self, message: &OutgoingMessage) -> Option<&Arc<Partition>> {
        let number = match (message.partition, &message.key) {
            (Some(number), _) => usize::try_from(number).ok()?,
            (None, Some(key)) => {
                let count = PartitionNumber::try_from(self.partitions.len()).ok()?;
                usize::try_from(partition_for_key(key, count)).ok()?
            }
            (None, None) => self.turn.fetch_add(1, Relaxed) % self.partitions.len(),
        };
        self.partitions.get(number)
    }
}

impl Bulk {
    pub(crate) fn new(settings: BulkSettings, endpoint: Endpoint) -> Self {
        Self {
            shared: Arc::new(Shared {
                settings,
                endpoint,
                client: tokio::sync::Mutex::default(),
                topics: Mutex::default(),
                room: Semaphore::new(ROOM),
                under_way: watch::Sender::new(0),
            }),
        }
    }

    /// Publish; returns when all are acknowledged or have failed.
    ///
    /// # Errors
    /// The messages themselves, untouched, if one of them has no place here.
    pub(crate) async fn publish(
        &self,
        messages: Vec<OutgoingMessage>,
    ) -> Result<Vec<Outcome>, Vec<OutgoingMessage>> {
        let is_bulk = messages.len() > 1 && messages.iter().all(record::is_expressible);
        let places = if is_bulk {
            self.shared.places(&messages).await
        } else {
            None
        };
        let Some(places) = places else {
            return Err(messages);
        };
        let _under_way = UnderWay::begin(&self.shared);
        let (call, done) = Call::new(&messages);
        self.shared.queue(&call, messages, places).await;
        // The sender is in the call, which this function holds.
        let _completed = done.await;
        Ok(call.outcomes())
    }

    /// Wait until nothing is under way.
    pub(crate) async fn flush(&self) {
        let mut under_way = self.shared.under_way.subscribe();
        // The sender is in `shared`.
        let _nothing = under_way.wait_for(|calls| *calls == 0).await;
    }
}

impl Shared {
    /// Return the partition of each message; `None` if one has no place here.
    async fn places(&self, messages: &[OutgoingMessage]) -> Option<Vec<Arc<Partition>>> {
        if !self.lock_topics().know(messages)
            && let Err(failure) = self.look_at_topics().await
        {
            tracing::debug!(fault = %failure.fault, "cannot look at topics to publish in bulk");
        }
        let topics = self.lock_topics();
        let place = |message: &OutgoingMessage| topics.known.get(&message.topic)?.place(message).cloned();
        messages.iter().map(place).collect()
    }

    async fn look_at_topics(&self) -> Result<(), Failure> {
        let look = async {
            let client = self.client().await?;
            client.list_topics().await.map_err(Failure::from)
        };
        let listed = match timeout(ATTEMPT, look).await {
            Ok(Ok(listed)) => listed,
            Ok(Err(failure)) => {
                self.forget_client().await;
                return Err(failure);
            }
            Err(_elapsed) => {
                self.forget_client().await;
                return Err(Failure::timed_out());
            }
        };
        let listed = listed.into_iter();
        self.lock_topics()
            .update(listed.map(|topic| (topic.name, topic.partitions.len())));
        Ok(())
    }

    /// Put a call's messages into the queues of their partitions, as there is room.
    async fn queue(
        self: &Arc<Self>,
        call: &Arc<Call>,
        messages: Vec<OutgoingMessage>,
        places: Vec<Arc<Partition>>,
    ) {
        let due = Instant::now() + self.settings.delivery_timeout;
        // Found by looking through them: a call rarely has more than some tens.
        let mut queued: Vec<(Arc<Partition>, Vec<Item>)> = Vec::new();
        for ((index, message), place) in messages.into_iter().enumerate().zip(places) {
            let item = Item::new(Arc::clone(call), index, message, due);
            let size = u32::try_from(item.size.min(ROOM)).unwrap_or(u32::MAX);
            let room = match self.room.try_acquire_many(size) {
                Ok(room) => room,
                Err(_full) => {
                    self.hand_over(&mut queued);
                    let room = self.room.acquire_many(size).await;
                    room.expect("nobody closes the semaphore")
                }
            };
            // Given back when the message was written.
            room.forget();
            match queued.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &place)) {
                Some((_, items)) => items.push(item),
                None => queued.push((place, vec![item])),
            }
        }
        self.hand_over(&mut queued);
    }

    fn hand_over(self: &Arc<Self>, queued: &mut Vec<(Arc<Partition>, Vec<Item>)>) {
        for (partition, items) in queued.drain(..) {
            partition.push(self, items);
        }
    }

    /// Take note that a message was written or has failed.
    fn give_back(&self, items: &[Item]) {
        let bytes = items.iter().map(|item| item.size.min(ROOM)).sum();
        self.room.add_permits(bytes);
    }

    async fn client(&self) -> Result<Arc<Client>, Failure> {
        let mut client = self.client.lock().await;
        if let Some(client) = &*client {
            return Ok(Arc::clone(client));
        }
        let settings = &self.settings;
        let mut builder = ClientBuilder::new(settings.servers.clone())
            .client_id(settings.client_id.as_str())
            .backoff_config(AGAIN);
        if let Some(sasl) = settings.login.as_ref().and_then(sasl) {
            builder = builder.sasl_config(sasl);
        }
        let made = Arc::new(builder.build().await?);
        *client = Some(Arc::clone(&made));
        Ok(made)
    }

    async fn forget_client(&self) {
        *self.client.lock().await = None;
    }

    fn lock_topics(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Say who we are; nothing for what is refused at the start.
fn sasl(login: &Login) -> Option<SaslConfig> {
    let credentials = Credentials::new(login.user.clone(), login.password());
    match login.mechanism {
        SaslMechanism::Plain => Some(SaslConfig::Plain(credentials)),
        SaslMechanism::ScramSha256 => Some(SaslConfig::ScramSha256(credentials)),
        SaslMechanism::ScramSha512 => Some(SaslConfig::ScramSha512(credentials)),
        SaslMechanism::OauthBearer => None,
    }
}

impl Topics {
    /// Say whether the topics of all messages are known well enough.
    fn know(&self, messages: &[OutgoingMessage]) -> bool {
        let is_new = self.asked.is_some_and(|asked| asked.elapsed() < TOPICS_AGE);
        is_new
            && messages
                .iter()
                .all(|message| self.known.contains_key(&message.topic))
    }

    /// Take note of all topics there are. Partitions that were known keep their queues.
    fn update(&mut self, listed: impl Iterator<Item = (String, usize)>) {
        let mut before = std::mem::take(&mut self.known);
        for (name, count) in listed.filter(|(_, count)| *count > 0) {
            let mut topic = before.remove(&name).unwrap_or_else(|| Topic {
                partitions: Vec::new(),
                turn: AtomicUsize::new(0),
            });
            topic.partitions.truncate(count);
            let shared_name: Arc<str> = name.as_str().into();
            for number in topic.partitions.len()..count {
                let number = PartitionNumber::try_from(number).unwrap_or(PartitionNumber::MAX);
                let place = TopicPartition::new(Arc::clone(&shared_name), number);
                topic.partitions.push(Arc::new(Partition::new(place)));
            }
            self.known.insert(name, topic);
        }
        self.asked = Some(Instant::now());
    }
}

/// A call that is under way, until this is dropped.
struct UnderWay<'a>(&'a Shared);

impl<'a> UnderWay<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.under_way.send_modify(|calls| *calls += 1);
        Self(shared)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.send_modify(|calls| *calls -= 1);
    }
}

#[cfg(test)]
mod tests {
    use athomic_core::message::Headers;
    use athomic_core::settings::{ConnectionSettings, ProducerClient, Settings};
    use athomic_core::transport::{Admin as _, NewTopic, Transport as _};

    use super::*;
    use crate::KafkaTransport;

    fn message(topic: &str, headers: Headers) -> OutgoingMessage {
        OutgoingMessage {
            topic: topic.to_owned(),
            payload: Some("x".into()),
            headers,
            ..OutgoingMessage::default()
        }
    }

    #[tokio::test]
    async fn calls_of_many_go_out_here_and_what_has_no_place_is_given_back() {
        let Ok(servers) = std::env::var("ATHOMIC_TEST_KAFKA") else {
            eprintln!("skipped: ATHOMIC_TEST_KAFKA is not set");
            return;
        };
        let mut connection = ConnectionSettings::default();
        connection.consumer.bootstrap_servers = vec![servers.clone()];
        connection.producer.bootstrap_servers = vec![servers.clone()];
        let transport = KafkaTransport::connect(&Settings::default(), &connection).expect("valid settings");
        let topic = format!("bulk-{}", std::process::id());
        let admin = transport.admin().await.expect("an administrator");
        let made = admin.create_topics(&[NewTopic::new(&topic, 3)]).await;
        made.expect("the topic is made");

        connection.producer.client = ProducerClient::Rskafka;
        let settings = BulkSettings::of(&connection, "test").expect("valid settings");
        let endpoint = Endpoint {
            connection: "default".to_owned(),
            servers,
        };
        let bulk = Bulk::new(settings.expect("it is asked for"), endpoint);
        let plain = || message(&topic, Headers::new());
        let begun = Instant::now();
        // The broker that is asked may hear of the topic a moment later.
        let outcomes = loop {
            match bulk.publish(vec![plain(), plain(), plain()]).await {
                Ok(outcomes) => break outcomes,
                Err(_given_back) => assert!(begun.elapsed() < Duration::from_secs(60)),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let places = outcomes
            .into_iter()
            .map(|outcome| outcome.expect("acknowledged").partition.partition);
        let mut places: Vec<_> = places.collect();
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2], "without keys by turns");
        bulk.flush().await;
        assert_eq!(bulk.shared.room.available_permits(), ROOM);

        let null = message(&topic, Headers::new().with_null("a"));
        let nowhere = message("nowhere", Headers::new());
        let beyond = OutgoingMessage {
            partition: Some(3),
            ..plain()
        };
        for odd in [null, nowhere, beyond] {
            let given_back = bulk.publish(vec![plain(), odd.clone()]).await;
            assert_eq!(given_back.expect_err("it has no place"), [plain(), odd]);
        }
        assert!(
            bulk.publish(vec![plain()]).await.is_err(),
            "one alone is librdkafka's"
        );
    }
}
