//! The topics that the benches consume, filled once and used again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::{ClientConfig, Offset};

use crate::order::OrderEvent;
use crate::ordered::VersionedOrder;

/// A topic full of orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: &'static str,
    /// How many partitions it has.
    pub partitions: i32,
    /// How many messages it holds.
    pub messages: u64,
    /// What they are.
    pub events: Events,
}

/// What a topic is full of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Events {
    /// Orders, keyed by their customers.
    Orders,
    /// Versions of orders, keyed by the orders and in their order.
    Keyed,
    /// Versions of orders over all partitions by chance, in no order within a window.
    Scattered,
}

/// A message to fill a topic with.
struct Filling {
    key: String,
    payload: Vec<u8>,
    /// By the key, if not said.
    partition: Option<i32>,
}

impl Events {
    /// Make the message of a number; the same each time.
    fn nth(self, number: u64, partitions: i32) -> Result<Filling> {
        let versioned =
            |event: &VersionedOrder| -> Result<_> { Ok((event.order_id.clone(), event.payload()?)) };
        let ((key, payload), partition) = match self {
            Self::Orders => {
                let event = OrderEvent::nth(number);
                ((event.key(), event.payload()?), None)
            }
            Self::Keyed => (versioned(&VersionedOrder::nth(number))?, None),
            Self::Scattered => {
                let partitions = u64::try_from(partitions)?;
                let partition = i32::try_from(crate::ordered::chance(number) % partitions)?;
                (
                    versioned(&VersionedOrder::nth_scattered(number))?,
                    Some(partition),
                )
            }
        };
        Ok(Filling {
            key,
            payload,
            partition,
        })
    }
}

/// The topic of most cases.
pub const ORDERS: Topic = Topic {
    name: "athomic-bench.orders.v1",
    partitions: 4,
    messages: 1_000_000,
    events: Events::Orders,
};

/// Orders in many partitions.
pub const ORDERS_64: Topic = Topic {
    name: "athomic-bench.orders-64.v1",
    partitions: 64,
    messages: 500_000,
    events: Events::Orders,
};

/// Orders in very many partitions.
pub const ORDERS_256: Topic = Topic {
    name: "athomic-bench.orders-256.v1",
    partitions: 256,
    messages: 500_000,
    events: Events::Orders,
};

/// Versions of orders as a topic has them that is keyed by the order.
pub const KEYED: Topic = Topic {
    name: "athomic-bench.versions-keyed.v1",
    partitions: 4,
    messages: 400_000,
    events: Events::Keyed,
};

/// Versions of orders, of which neighbours come from any partition in any order.
pub const SCATTERED: Topic = Topic {
    name: "athomic-bench.versions-scattered.v1",
    partitions: 4,
    messages: 400_000,
    events: Events::Scattered,
};

const PATIENCE: Duration = Duration::from_secs(30);

type Fallible<T> = Result<T, KafkaError>;

impl Topic {
    /// Fill the topic, unless it is full already. Returns how long that took, if it was done.
    ///
    /// # Errors
    /// The broker does not take the messages.
    pub fn provide(&self, bootstrap: &str) -> Result<Option<Duration>> {
        let consumer: BaseConsumer = config(bootstrap).create()?;
        let found = self.count(&consumer);
        if found.as_ref().is_ok_and(|found| *found == self.messages) {
            return Ok(None);
        }
        let started = Instant::now();
        create(bootstrap, self.name, self.partitions, found.is_ok())?;
        self.fill(bootstrap)?;
        let found = self.count(&consumer)?;
        ensure!(
            found == self.messages,
            "{found} messages stand in `{}`, not {}",
            self.name,
            self.messages
        );
        Ok(Some(started.elapsed()))
    }

    /// Return how many of its messages a group has committed.
    ///
    /// # Errors
    /// The broker does not tell.
    pub fn committed(&self, bootstrap: &str, group: &str) -> Result<u64> {
        let consumer: BaseConsumer = config(bootstrap).set("group.id", group).create()?;
        let committed = consumer.committed_offsets(self.all_partitions(), PATIENCE)?;
        let offset = |offset| match offset {
            Offset::Offset(offset) => u64::try_from(offset).unwrap_or(0),
            _ => 0,
        };
        Ok(committed
            .elements()
            .iter()
            .map(|element| offset(element.offset()))
            .sum())
    }

    /// Return the partitions, each from its beginning.
    #[must_use]
    pub fn all_partitions(&self) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        list.add_partition_range(self.name, 0, self.partitions - 1);
        list
    }

    fn count(&self, consumer: &BaseConsumer) -> Fallible<u64> {
        let length = |partition| {
            let (low, high) = consumer.fetch_watermarks(self.name, partition, PATIENCE)?;
            Ok(u64::try_from(high - low).unwrap_or(0))
        };
        (0..self.partitions).map(length).sum()
    }

    fn fill(&self, bootstrap: &str) -> Result<()> {
        let producer: ThreadedProducer<DefaultProducerContext> = config(bootstrap)
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "20")
            .set("batch.size", "500000")
            .set("queue.buffering.max.messages", "200000")
            .create()?;
        for number in 0..self.messages {
            let Filling {
                key,
                payload,
                partition,
            } = self.events.nth(number, self.partitions)?;
            let mut record = BaseRecord::to(self.name).key(&key).payload(&payload);
            record.partition = partition;
            while let Err((error, unsent)) = producer.send(record) {
                let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
                ensure!(is_full, "cannot send message {number}: {error}");
                producer.poll(Duration::from_millis(10));
                record = unsent;
            }
        }
        producer.flush(PATIENCE).context("not all messages were sent")
    }
}

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

/// Make a topic that need not hold anything, unless it is there.
///
/// # Errors
/// The broker refuses.
pub fn create_if_missing(bootstrap: &str, name: &str, partitions: i32) -> Result<()> {
    let consumer: BaseConsumer = config(bootstrap).create()?;
    if consumer.fetch_watermarks(name, partitions - 1, PATIENCE).is_ok() {
        return Ok(());
    }
    create(bootstrap, name, partitions, false)
}

/// Make a topic; one that is `there` and not as it should be is deleted first.
fn create(bootstrap: &str, name: &str, partitions: i32, there: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let admin: AdminClient<DefaultClientContext> = config(bootstrap).create()?;
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    if there {
        for result in runtime.block_on(admin.delete_topics(&[name], &options))? {
            result.map_err(|(topic, code)| anyhow::anyhow!("cannot delete `{topic}`: {code}"))?;
        }
    }
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1)).set("retention.ms", "-1");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let results = runtime.block_on(admin.create_topics([&topic], &options))?;
        match results.into_iter().next() {
            // A topic that is being deleted still stands in the way for a moment.
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) if there && Instant::now() < deadline => {}
            Some(Err((topic, code))) => anyhow::bail!("cannot make `{topic}`: {code}"),
            _ => return Ok(()),
        }
    }
}
