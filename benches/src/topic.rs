//! The topic that the benches consume, filled once and used again.

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

/// The topic's name.
pub const NAME: &str = "athomic-bench.orders.v1";
/// How many partitions it has.
pub const PARTITIONS: i32 = 4;
/// How many messages it holds.
pub const MESSAGES: u64 = 1_000_000;

const PATIENCE: Duration = Duration::from_secs(30);

type Fallible<T> = Result<T, KafkaError>;

/// Fill the topic, unless it is full already. Returns how long that took, if it was done.
///
/// # Errors
/// The broker does not take the messages.
pub fn provide(bootstrap: &str) -> Result<Option<Duration>> {
    let consumer: BaseConsumer = config(bootstrap).create()?;
    let found = count(&consumer);
    if found.as_ref().is_ok_and(|found| *found == MESSAGES) {
        return Ok(None);
    }
    let started = Instant::now();
    create(bootstrap, found.is_ok())?;
    fill(bootstrap)?;
    let found = count(&consumer)?;
    ensure!(
        found == MESSAGES,
        "{found} messages stand in the topic, not {MESSAGES}"
    );
    Ok(Some(started.elapsed()))
}

/// Return how many messages a group has committed.
///
/// # Errors
/// The broker does not tell.
pub fn committed(bootstrap: &str, group: &str) -> Result<u64> {
    let consumer: BaseConsumer = config(bootstrap).set("group.id", group).create()?;
    let committed = consumer.committed_offsets(partitions(), PATIENCE)?;
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
pub fn partitions() -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition_range(NAME, 0, PARTITIONS - 1);
    list
}

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

fn count(consumer: &BaseConsumer) -> Fallible<u64> {
    let length = |partition| {
        let (low, high) = consumer.fetch_watermarks(NAME, partition, PATIENCE)?;
        Ok(u64::try_from(high - low).unwrap_or(0))
    };
    (0..PARTITIONS).map(length).sum()
}

/// Make the topic; one that is not as it should be is deleted first.
fn create(bootstrap: &str, exists: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let admin: AdminClient<DefaultClientContext> = config(bootstrap).create()?;
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    if exists {
        for result in runtime.block_on(admin.delete_topics(&[NAME], &options))? {
            result.map_err(|(topic, code)| anyhow::anyhow!("cannot delete `{topic}`: {code}"))?;
        }
    }
    let topic = NewTopic::new(NAME, PARTITIONS, TopicReplication::Fixed(1)).set("retention.ms", "-1");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let results = runtime.block_on(admin.create_topics([&topic], &options))?;
        match results.into_iter().next() {
            // A topic that is being deleted still stands in the way for a moment.
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) if exists && Instant::now() < deadline => {}
            Some(Err((topic, code))) => anyhow::bail!("cannot make `{topic}`: {code}"),
            _ => return Ok(()),
        }
    }
}

fn fill(bootstrap: &str) -> Result<()> {
    let producer: ThreadedProducer<DefaultProducerContext> = config(bootstrap)
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "20")
        .set("batch.size", "500000")
        .set("queue.buffering.max.messages", "200000")
        .create()?;
    for number in 0..MESSAGES {
        let event = OrderEvent::nth(number);
        let (key, payload) = (event.key(), event.payload()?);
        let mut record = BaseRecord::to(NAME).key(&key).payload(&payload);
        while let Err((error, unsent)) = producer.send(record) {
            let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            ensure!(is_full, "cannot send message {number}: {error}");
            producer.poll(Duration::from_millis(10));
            record = unsent;
        }
    }
    producer.flush(PATIENCE).context("not all messages were sent")
}
