//! A partition's queue, and the task that writes what is in it while there is something.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use athomic_core::message::TopicPartition;
use athomic_core::retry::Backoff;
use athomic_core::transport::{Delivery, DeliveryState, OutgoingMessage};
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

use super::record::{self, Failure};
use super::{ATTEMPT, Shared};
use crate::client::call::Call;
use crate::client::librdkafka::FaultKind;

/// How long a request waits that is sent again.
const SEND_AGAIN: Backoff = Backoff {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(2),
    factor: 2.0,
    jitter: true,
};

/// A partition that is written to.
pub(super) struct Partition {
    place: TopicPartition,
    queue: Mutex<Queue>,
    /// The connection to its leader; held by the task that writes.
    client: tokio::sync::Mutex<Option<PartitionClient>>,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    /// Whether a task writes what is in it: at most one does.
    is_written: bool,
}

/// A message that waits to be written.
pub(super) struct Item {
    call: Arc<Call>,
    index: usize,
    message: OutgoingMessage,
    /// About how many bytes it has in a request.
    pub(super) size: usize,
    /// When it is given up.
    due: Instant,
}

impl Item {
    pub(super) fn new(call: Arc<Call>, index: usize, message: OutgoingMessage, due: Instant) -> Self {
        Self {
            size: record::size(&message),
            call,
            index,
            message,
            due,
        }
    }
}

impl Partition {
    pub(super) fn new(place: TopicPartition) -> Self {
        Self {
            place,
            queue: Mutex::default(),
            client: tokio::sync::Mutex::default(),
        }
    }

    /// Queue messages, and see that they are written.
    pub(super) fn push(self: &Arc<Self>, shared: &Arc<Shared>, items: Vec<Item>) {
        let mut queue = self.lock();
        queue.items.extend(items);
        if !std::mem::replace(&mut queue.is_written, true) {
            drop(tokio::spawn(Arc::clone(self).write_all(Arc::clone(shared))));
        }
    }

    async fn write_all(self: Arc<Self>, shared: Arc<Shared>) {
        while let Some(batch) = self.next_batch(shared.settings.batch_bytes) {
            self.write(&shared, batch).await;
        }
    }

    /// Take what one request holds; `None` ends the task that writes.
    fn next_batch(&self, limit: usize) -> Option<Vec<Item>> {
        let mut queue = self.lock();
        let (mut count, mut bytes) = (0, 0);
        for item in &queue.items {
            bytes += item.size;
            if count > 0 && bytes > limit {
                break;
            }
            count += 1;
        }
        if count == 0 {
            queue.is_written = false;
            return None;
        }
        Some(queue.items.drain(..count).collect())
    }

    /// Write messages, in halves where they are too large together.
    async fn write(&self, shared: &Shared, batch: Vec<Item>) {
        let mut rest = vec![batch];
        while let Some(mut batch) = rest.pop() {
            match self.write_until_due(shared, &batch).await {
                Err(failure) if failure.fault.kind == FaultKind::TooLarge && batch.len() > 1 => {
                    let second = batch.split_off(batch.len() / 2);
                    rest.extend([second, batch]);
                    continue;
                }
                Err(failure) => self.fail(shared, &batch, &failure),
                Ok(offsets) => self.succeed(&batch, offsets),
            }
            shared.give_back(&batch);
        }
    }

    fn succeed(&self, batch: &[Item], offsets: Vec<i64>) {
        for (item, offset) in batch.iter().zip(offsets) {
            let partition = self.place.clone();
            item.call.settle(item.index, Ok(Delivery { partition, offset }));
        }
    }

    fn fail(&self, shared: &Shared, batch: &[Item], failure: &Failure) {
        let topic = &self.place.topic;
        for item in batch {
            let fault = failure.fault.clone();
            let error = shared.endpoint.publishing(topic, failure.state, fault);
            item.call.settle(item.index, Err(error));
        }
    }

    /// Send a request until it is answered, or its first message is due to be given up.
    async fn write_until_due(&self, shared: &Shared, batch: &[Item]) -> Result<Vec<i64>, Failure> {
        let (mut state, mut failures) = (DeliveryState::NotWritten, 0);
        loop {
            let mut failure = match self.attempt(shared, batch).await {
                Ok(offsets) => return Ok(offsets),
                Err(failure) => failure,
            };
            if failure.state == DeliveryState::Unknown {
                state = DeliveryState::Unknown;
            }
            failures += 1;
            let again = Instant::now() + SEND_AGAIN.delay(failures);
            if !failure.fault.is_retriable() || again >= batch[0].due {
                failure.state = state;
                return Err(failure);
            }
            let (partition, fault) = (&self.place, &failure.fault);
            tracing::warn!(%partition, %fault, failures, "cannot write to the partition, trying again");
            sleep_until(again).await;
        }
    }

    async fn attempt(&self, shared: &Shared, batch: &[Item]) -> Result<Vec<i64>, Failure> {
        let mut client = self.client.lock().await;
        let sent = async {
            let client = match &mut *client {
                Some(client) => client,
                none => none.insert(self.connect(shared).await?),
            };
            let records = record::records(batch.iter().map(|item| &item.message));
            let sent = client.produce(records, Compression::NoCompression).await;
            sent.map_err(Failure::from)
        };
        let result = timeout(ATTEMPT, sent).await;
        let result = result.unwrap_or_else(|_elapsed| Err(Failure::timed_out()));
        if let Err(failure) = &result
            && failure.is_of_the_connection
        {
            // Whatever comes late over the old connection is heard by nobody.
            *client = None;
            shared.forget_client().await;
        }
        result
    }

    async fn connect(&self, shared: &Shared) -> Result<PartitionClient, Failure> {
        let client = shared.client().await?;
        let (topic, number) = (self.place.topic.as_ref(), self.place.partition);
        let connected = client.partition_client(topic, number, UnknownTopicHandling::Retry);
        connected.await.map_err(|error| Failure {
            // Nothing was sent yet.
            state: DeliveryState::NotWritten,
            ..error.into()
        })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
