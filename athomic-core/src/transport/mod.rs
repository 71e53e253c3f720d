//! What the runtime asks of a message broker. Stage 1 of 9, and the way out at the end.
//!
//! A [`Transport`] is one named connection; it makes [`Consumer`]s, [`Publisher`]s and an
//! [`Admin`]. The runtime pulls: each assigned partition is a [`PartitionStream`] of its own, read
//! by its own lane. A lane that does not read is back pressure; there is no other pause, so no
//! pause can be forgotten over a reassignment.
//!
//! Implementers meet the traits of this page; the runtime holds their erased twins (`erased.rs`).
//! What a transport must do, beyond what types can say, stands on each trait and is tested by
//! `transport_conformance!` (feature `testing`).

mod backend;
mod connections;
mod erased;
mod error;
pub mod memory;

pub use backend::{Connect, TransportBackend, backend};
pub use connections::{Connection, Connections, ConnectionsError};
pub use erased::{DynAdmin, DynConsumer, DynPublisher, DynTransport};
pub use error::{DeliveryState, TransportError};

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::message::{Headers, Offset, Partition, PartitionOffset, RecordBatch, Timestamp, TopicPartition};
use crate::settings::OffsetReset;

/// One connection to a broker: a factory of consumers and publishers that share its settings.
///
/// # Contract
/// - Cheap until used: making one opens no connection.
/// - All methods may be called at the same time.
pub trait Transport: Send + Sync + 'static {
    /// What consumes.
    type Consumer: Consumer;
    /// What publishes.
    type Publisher: Publisher;
    /// What looks at topics and makes them.
    type Admin: Admin;

    /// Return the broker's name as OpenTelemetry's `messaging.system` has it, such as `kafka`.
    fn system(&self) -> &'static str;

    /// Return the time by the broker's clock, as well as this side knows it: by it messages are held back
    /// until they are due. Without a better source it is this machine's.
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Join a group. Returns when the client exists, not when partitions are assigned.
    ///
    /// # Errors
    /// Settings that the client refuses, or a broker that cannot be reached at all.
    fn consumer(
        &self,
        subscription: Subscription,
    ) -> impl Future<Output = Result<Self::Consumer, TransportError>> + Send;

    /// Make a publisher.
    ///
    /// # Errors
    /// Settings that the client refuses.
    fn publisher(&self) -> impl Future<Output = Result<Self::Publisher, TransportError>> + Send;

    /// Make an administrator.
    ///
    /// # Errors
    /// Settings that the client refuses.
    fn admin(&self) -> impl Future<Output = Result<Self::Admin, TransportError>> + Send;
}

/// What a consumer subscribes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The topics, at least one.
    pub topics: Vec<String>,
    /// The consumer group.
    pub group_id: String,
    /// The handler it is for: part of the client's id, and of error messages.
    pub handler_id: String,
    /// How the handler wants its messages fetched, where it differs from the connection's settings.
    pub fetch: FetchOverrides,
}

/// What an attribute says about fetching; `None` leaves the connection's setting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FetchOverrides {
    /// How long the broker may hold a fetch back for more data (`fetch.max.wait.ms`).
    pub max_wait: Option<Duration>,
    /// How many bytes the broker may return for one fetch (`fetch.max.bytes`).
    pub max_bytes: Option<usize>,
    /// Where to begin without a commit of the group (`auto.offset.reset`).
    pub offset_reset: Option<OffsetReset>,
}

/// Numbers the assignments of a consumer. A partition that is revoked and comes back has a higher
/// epoch, so that what was started under the old one cannot be settled under the new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssignmentEpoch(pub u64);

/// A member of a consumer group.
///
/// # Contract
/// - [`next_event`](Self::next_event) has one caller at a time and is cancel safe: an event is not
///   lost when its future is dropped.
/// - Heartbeats and the group protocol go on whether or not anybody reads events or streams.
/// - Between a [`ConsumerEvent::Revoked`] and its [`Revocation::complete`] the member still owns the
///   partitions; [`commit`](Self::commit) works for them.
/// - Nothing is committed but by `commit`.
pub trait Consumer: Send + Sync + 'static {
    /// Wait for the next change of the assignment, or for trouble.
    ///
    /// # Errors
    /// Only what ends this consumer for good; passing trouble is [`ConsumerEvent::Trouble`].
    fn next_event(&self) -> impl Future<Output = Result<ConsumerEvent, TransportError>> + Send;

    /// Commit offsets for the group and wait until the broker has them.
    ///
    /// A later call must not be overtaken by an earlier one; the runtime has one under way at a time.
    /// An offset for a partition that this member does not own, or no longer, never reaches the
    /// group: Kafka itself would take it, so the transport looks at its own assignment.
    ///
    /// # Errors
    /// The commit was refused or its outcome is unknown. Retriable ones may be asked again.
    /// [`TransportError::Fenced`] refuses all offsets of the call.
    fn commit(&self, offsets: &[PartitionOffset]) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// Say how the client does. Does not wait.
    fn condition(&self) -> ClientCondition {
        ClientCondition::default()
    }

    /// Return where the log of an assigned partition ends, as far as the client knows from what it fetched last;
    /// `None` if it does not know. Asks nobody and does not wait: it is called when metrics are read.
    fn log_end(&self, partition: &TopicPartition) -> Option<Offset> {
        let _unknown = partition;
        None
    }

    /// Say that [`close`](Self::close) follows when what runs has ended and is committed. The group is
    /// served until then; it may be given no more partitions and may ask for all of them.
    ///
    /// For transports that must do something so that the last commit and leaving get through.
    fn prepare_to_close(&self) {}

    /// Leave the group and free the client. Streams end, a waiting `next_event` returns
    /// [`TransportError::Closed`]. Idempotent.
    ///
    /// # Errors
    /// The group could not be told; it will find out by its session time-out.
    fn close(&self) -> impl Future<Output = Result<(), TransportError>> + Send;
}

/// How a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientCondition {
    /// Whether it has a connection to a broker.
    pub connected: bool,
    /// How long ago it looked after its group last, where it does so by itself.
    pub unserved: Duration,
}

/// Connected, and served right now: for transports that have neither connections nor threads.
impl Default for ClientCondition {
    fn default() -> Self {
        Self {
            connected: true,
            unserved: Duration::ZERO,
        }
    }
}

/// What happens to a consumer.
#[derive(Debug)]
pub enum ConsumerEvent {
    /// Partitions came, perhaps none. They are read from the group's commit, or from where the settings
    /// say.
    Assigned(Vec<Assignment>),
    /// Partitions go, when [`Revocation::complete`] is called: drain and commit first.
    Revoked(Revocation),
    /// Partitions are gone without notice (the session lapsed). Nothing may be committed for them.
    /// Revocations that are not complete are void with it, and it may name what has just been given
    /// back.
    Lost(Vec<TopicPartition>),
    /// Something failed that the client itself goes on to repair: to be counted and logged.
    Trouble(TransportError),
}

/// A partition that this member now owns.
pub struct Assignment {
    /// The partition.
    pub partition: TopicPartition,
    /// The number of this assignment.
    pub epoch: AssignmentEpoch,
    /// Its messages.
    pub stream: Box<dyn PartitionStream>,
}

impl fmt::Debug for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (epoch {})", self.partition, self.epoch.0)
    }
}

/// Partitions that the group wants back.
pub struct Revocation {
    /// The partitions.
    pub partitions: Vec<TopicPartition>,
    done: Option<Box<dyn FnOnce() + Send>>,
}

impl Revocation {
    /// Ask for partitions back; the receiver learns when they are free.
    #[must_use]
    pub fn new(partitions: Vec<TopicPartition>) -> (Self, oneshot::Receiver<()>) {
        let (done, completed) = oneshot::channel();
        let revocation = Self::notifying(partitions, move || {
            let _consumer_gone = done.send(());
        });
        (revocation, completed)
    }

    /// Ask for partitions back; `done` is called once, by whoever gives them back. It must neither
    /// block nor panic. For transports that have nobody waiting on a receiver.
    #[must_use]
    pub fn notifying(partitions: Vec<TopicPartition>, done: impl FnOnce() + Send + 'static) -> Self {
        Self {
            partitions,
            done: Some(Box::new(done)),
        }
    }

    /// Give the partitions back: what ran has ended and is committed. Dropping does the same, so
    /// that a lost revocation cannot hold up the group.
    pub fn complete(mut self) {
        self.release();
    }

    fn release(&mut self) {
        if let Some(done) = self.done.take() {
            done();
        }
    }
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Revocation").field(&self.partitions).finish()
    }
}

impl Drop for Revocation {
    fn drop(&mut self) {
        self.release();
    }
}

/// The messages of one assigned partition.
///
/// # Contract
/// - Messages come in offset order, none twice, within one assignment. Only where the log itself was
///   cut do offsets fall, to the cut.
/// - What is fetched ahead and not read stays bounded, in bytes, by the transport.
/// - After a revocation was completed, or the consumer closed, the stream ends with
///   [`Fetched::Ended`] and gives none of what it had fetched ahead.
pub trait PartitionStream: Send + 'static {
    /// Give the next messages, at most `limits`, without waiting to fill them.
    ///
    /// # Errors
    /// The partition cannot be read as asked, for example an offset out of range under
    /// `auto_offset_reset = "fail"`. Reading may be tried again where the error is retriable.
    fn poll_fetch(
        &mut self,
        cx: &mut Context<'_>,
        limits: FetchLimits,
    ) -> Poll<Result<Fetched, TransportError>>;
}

impl dyn PartitionStream {
    /// Wait for the next messages, at most `limits`. Cancel safe.
    ///
    /// # Errors
    /// As [`poll_fetch`](PartitionStream::poll_fetch).
    pub async fn fetch(&mut self, limits: FetchLimits) -> Result<Fetched, TransportError> {
        std::future::poll_fn(|cx| self.poll_fetch(cx, limits)).await
    }
}

/// How much one read may give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// At most so many messages; at least 1.
    pub messages: usize,
    /// Stop after the message that reaches so many bytes of keys and payloads.
    pub bytes: usize,
}

/// What a read gave.
pub enum Fetched {
    /// Messages.
    Records(Arc<dyn RecordBatch>),
    /// There is nothing below this offset that has not been given: the log ends here, perhaps
    /// behind transaction markers or compacted messages, which no reader ever sees. Told whenever
    /// the end lies beyond the last message given; otherwise it may be told, as the transports of athomic do, so
    /// that who reads to the end need not wait there.
    Position(Offset),
    /// The partition is no longer ours.
    Ended,
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Records(batch) => write!(f, "{} messages of {}", batch.len(), batch.partition()),
            Self::Position(offset) => write!(f, "position {offset}"),
            Self::Ended => write!(f, "ended"),
        }
    }
}

/// A message on its way out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutgoingMessage {
    /// Where it goes.
    pub topic: String,
    /// The partition; `None` lets the partitioner choose: by murmur2 of the key as Kafka's own
    /// clients do, by turns without a key.
    pub partition: Option<Partition>,
    /// The key; `None` is a null key.
    pub key: Option<Bytes>,
    /// The payload; `None` is a tombstone.
    pub payload: Option<Bytes>,
    /// The headers.
    pub headers: Headers,
}

/// Where a published message stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset within it.
    pub offset: Offset,
}

/// Publishes messages.
///
/// # Contract
/// - A result comes when the broker has acknowledged (all in-sync replicas), never before.
/// - Messages of one call to one partition keep their order, without repeats, unless an error says
///   that the outcome is unknown ([`DeliveryState::Unknown`]).
/// - A message is refused as [too large](TransportError::TooLarge) only if it is so by itself, whatever shares its
///   request.
/// - Dropping the future neither stops nor repeats what is under way.
pub trait Publisher: Send + Sync + 'static {
    /// Publish messages; one result each, in their order.
    fn publish(
        &self,
        messages: Vec<OutgoingMessage>,
    ) -> impl Future<Output = Vec<Result<Delivery, TransportError>>> + Send;

    /// Wait until nothing is under way.
    ///
    /// # Errors
    /// The time was over first.
    fn flush(&self, timeout: Duration) -> impl Future<Output = Result<(), TransportError>> + Send;
}

/// Looks at topics and makes them.
pub trait Admin: Send + Sync + 'static {
    /// Return the number of partitions of each of the topics that exists, as one broker knows it: a topic that
    /// was made a moment ago may be missing, and whoever cares asks again.
    ///
    /// # Errors
    /// The broker cannot be reached or refuses.
    fn partitions(
        &self,
        topics: &[String],
    ) -> impl Future<Output = Result<BTreeMap<String, Partition>, TransportError>> + Send;

    /// Make topics; one that exists already is left as it is.
    ///
    /// # Errors
    /// The broker cannot be reached or refuses.
    fn create_topics(&self, topics: &[NewTopic]) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// Return the settings of those of the topics that exist and whose settings may be seen, by Kafka's names,
    /// such as `retention.ms`, with what the broker sets by default.
    ///
    /// # Errors
    /// The broker cannot be reached or refuses.
    fn topic_settings(
        &self,
        topics: &[String],
    ) -> impl Future<Output = Result<BTreeMap<String, BTreeMap<String, String>>, TransportError>> + Send;

    /// Return the offsets that a group has committed, for those of the partitions that have one.
    ///
    /// # Errors
    /// The broker cannot be reached or refuses.
    fn committed(
        &self,
        group_id: &str,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<Vec<PartitionOffset>, TransportError>> + Send;
}

/// A topic to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// How many copies of each.
    pub replication: u16,
    /// Topic settings by Kafka's names, such as `retention.ms`.
    pub config: BTreeMap<String, String>,
}

impl NewTopic {
    /// Describe a topic with one copy of each partition and the broker's settings.
    pub fn new(name: impl Into<String>, partitions: u32) -> Self {
        Self {
            name: name.into(),
            partitions,
            replication: 1,
            config: BTreeMap::new(),
        }
    }
}
