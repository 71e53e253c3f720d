//! The broker's state, and the lock that all calls go through.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::control::BrokerControl;
use super::faults::Faults;
use super::group::{Group, World};
use super::topics::{Topics, unknown};
use super::wakes::Wakes;
use super::{MemoryConsumerConfig, MemoryTransport};
use crate::message::{OwnedRecord, Timestamp, TopicPartition};
use crate::transport::{Delivery, DeliveryState, OutgoingMessage, TransportError};

/// How many records a partition keeps unless its topic says otherwise.
const DEFAULT_RETENTION: usize = 1_000_000;

/// The embedded broker: a cluster in this process. Clones are handles to the same one.
///
/// It has no thread, no task and no poll loop. Whoever calls does the work, under one lock; whoever
/// waits is woken, or wakes for a deadline on tokio's clock, so that a paused clock works.
#[derive(Clone)]
pub struct MemoryBroker {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    faults: Faults,
    /// One moment on both clocks: records get wall-clock times that follow tokio's clock.
    began: (Instant, Timestamp),
}

/// Everything behind the lock.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) topics: Topics,
    groups: BTreeMap<Arc<str>, Group>,
    pub(super) down: bool,
    pub(super) members: u64,
    wakes: Wakes,
    /// The earliest deadline of any group.
    deadline: Option<Instant>,
}

impl MemoryBroker {
    /// Start a broker without topics.
    #[must_use]
    pub fn new() -> Self {
        Self::started_at(Timestamp::now())
    }

    /// Start a broker without topics, at a time of our choosing: with a paused clock, the times of
    /// records are the same in each run.
    #[must_use]
    pub fn started_at(time: Timestamp) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                faults: Faults::default(),
                began: (Instant::now(), time),
            }),
        }
    }

    /// Connect to this broker.
    #[must_use]
    pub fn transport(&self, config: MemoryConsumerConfig) -> MemoryTransport {
        MemoryTransport::new(self.clone(), config)
    }

    /// Look at the broker from above, and make things go wrong.
    #[must_use]
    pub fn control(&self) -> BrokerControl {
        BrokerControl::new(self.clone())
    }

    pub(super) fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Take the lock, with everything done that time has brought since.
    pub(super) fn lock(&self) -> Locked<'_> {
        let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut locked = Locked { state: Some(state) };
        locked.catch_up();
        locked
    }

    /// Write a message and return where it stands.
    ///
    /// # Errors
    /// No broker, no such topic, or no such partition.
    pub(super) fn write(
        &self,
        state: &mut State,
        message: OutgoingMessage,
    ) -> Result<Delivery, TransportError> {
        if state.down {
            return Err(not_written(&message.topic, true, Stopped));
        }
        let State { topics, wakes, .. } = state;
        let topic = topics
            .get_mut(&message.topic)
            .ok_or_else(|| unknown(&message.topic))?;
        let retention = topic.retention;
        if size_of(&message) > topic.max_message_bytes {
            return Err(TransportError::TooLarge {
                topic: message.topic,
                source: format!("max.message.bytes is {}", topic.max_message_bytes).into(),
            });
        }
        let place = topic.partition_for(&message);
        let name = Arc::clone(&topic.name);
        let Some((partition, log)) = place.and_then(|place| Some((place, topic.log_mut(place)?))) else {
            return Err(not_written(&message.topic, false, NoSuchPartition));
        };
        let record = OwnedRecord {
            offset: 0,
            key: message.key,
            payload: message.payload,
            headers: message.headers,
            timestamp: Some(self.now()),
        };
        let offset = log.append(record, wakes);
        log.retain_newest(retention);
        Ok(Delivery {
            partition: TopicPartition::new(name, partition),
            offset,
        })
    }

    /// Return the broker's time: it follows tokio's clock.
    pub(super) fn now(&self) -> Timestamp {
        let (instant, began) = self.shared.began;
        let passed = Instant::now().saturating_duration_since(instant).as_millis();
        Timestamp::from_millis(began.as_millis() + i64::try_from(passed).unwrap_or(i64::MAX / 2))
    }
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBroker").finish_non_exhaustive()
    }
}

impl State {
    /// Make a topic unless there is one.
    pub(super) fn create_topic(&mut self, name: &str, partitions: usize, retention: Option<usize>) {
        if self
            .topics
            .create(name, partitions, retention.unwrap_or(DEFAULT_RETENTION))
        {
            self.topics_changed();
        }
    }

    /// Tell all groups that topics came, went or grew.
    pub(super) fn topics_changed(&mut self) {
        self.each_group(|group, _| group.topics_changed());
    }

    /// Look at a group, if there is one.
    pub(super) fn peek(&self, group: &str) -> Option<&Group> {
        self.groups.get(group)
    }

    /// Work on a group, which is made if need be, and let it settle.
    pub(super) fn group<R>(&mut self, id: &str, act: impl FnOnce(&mut Group, &mut World<'_>) -> R) -> R {
        if !self.groups.contains_key(id) {
            self.groups.insert(id.into(), Group::default());
        }
        let mut result = None;
        let mut act = Some(act);
        self.groups_where(
            |name| name == id,
            |group, world| result = act.take().map(|act| act(group, world)),
        );
        result.expect("the group was made above if it did not exist")
    }

    /// Work on all groups and let them settle.
    pub(super) fn each_group(&mut self, act: impl FnMut(&mut Group, &mut World<'_>)) {
        self.groups_where(|_| true, act);
    }

    fn groups_where(
        &mut self,
        chosen: impl Fn(&str) -> bool,
        mut act: impl FnMut(&mut Group, &mut World<'_>),
    ) {
        let mut world = World {
            topics: &self.topics,
            now: Instant::now(),
            down: self.down,
            wakes: &mut self.wakes,
        };
        for (_, group) in self.groups.iter_mut().filter(|(name, _)| chosen(name)) {
            act(group, &mut world);
            group.settle(&mut world);
        }
        self.deadline = self.groups.values().filter_map(|group| group.deadline).min();
    }

    /// Split into what reading and writing a log takes.
    pub(super) fn logs(&mut self) -> (&mut Topics, &mut Wakes) {
        (&mut self.topics, &mut self.wakes)
    }
}

/// The broker's state, locked. Wakes whom it must when the lock is released.
pub(super) struct Locked<'a> {
    state: Option<MutexGuard<'a, State>>,
}

impl Locked<'_> {
    fn catch_up(&mut self) {
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.each_group(|_, _| {});
        }
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.state.as_ref().expect("taken only by drop")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.state.as_mut().expect("taken only by drop")
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if let Some(mut state) = self.state.take() {
            let wakes = std::mem::take(&mut state.wakes);
            drop(state);
            wakes.wake_all();
        }
    }
}

/// The cause in errors while the broker is stopped.
#[derive(Debug, thiserror::Error)]
#[error("the embedded broker is stopped")]
pub(super) struct Stopped;

/// The cause in errors of a member that was cut off.
#[derive(Debug, thiserror::Error)]
#[error("the member is cut off from the embedded broker")]
pub(super) struct Silenced;

#[derive(Debug, thiserror::Error)]
#[error("the topic has no such partition")]
struct NoSuchPartition;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// The error of a call that did not get through.
pub(super) fn unreachable(source: impl Into<Source>) -> TransportError {
    TransportError::Unreachable {
        connection: "memory".to_owned(),
        servers: "embedded".to_owned(),
        source: source.into(),
    }
}

/// Count the bytes of key, payload and headers.
fn size_of(message: &OutgoingMessage) -> usize {
    let length = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
    let headers = message.headers.iter();
    let headers = headers.map(|header| header.name.len() + length(&header.value));
    length(&message.key) + length(&message.payload) + headers.sum::<usize>()
}

/// The error of a message that is not in the log.
pub(super) fn not_written(topic: &str, retriable: bool, source: impl Into<Source>) -> TransportError {
    TransportError::Delivery {
        topic: topic.to_owned(),
        state: DeliveryState::NotWritten,
        retriable,
        source: source.into(),
    }
}

/// Sleep, unless there is nothing to wait for: then no timer is needed.
pub(super) async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
