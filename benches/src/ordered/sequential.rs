//! The protocol as one would write it down: what is next is asked before each message, and told after it.
//!
//! For each message one GET; then the handler, one SET and one ZRANGE that looks for a message that waits
//! and is next, or one ZADD where it has to wait. No leases, no tokens, no frames: a process that dies or a
//! second one breaks it. It commits nothing.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fred::clients::Client;
use fred::interfaces::{KeysInterface as _, SortedSetsInterface as _};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Message as _};
use tokio::sync::mpsc;

use super::event::VersionedOrder;
use super::redis::Server;
use crate::measurement::{Measurement, Meter};
use crate::topic::Topic;

/// How many messages wait for each worker at most.
const AHEAD: usize = 256;

/// Consume so many messages with so many workers, each of which has some of the aggregates.
pub(super) async fn run(
    config: ClientConfig,
    topic: &'static Topic,
    messages: u64,
    workers: usize,
    server: &Server,
) -> Result<Measurement> {
    let meter = Arc::new(Meter::start(messages));
    let (mut senders, mut tasks) = (Vec::new(), Vec::new());
    for _ in 0..workers {
        let (sender, inbox) = mpsc::channel(AHEAD);
        senders.push(sender);
        tasks.push(tokio::spawn(work(
            inbox,
            server.client().clone(),
            Arc::clone(&meter),
        )));
    }
    let reading = Arc::clone(&meter);
    let reader = tokio::task::spawn_blocking(move || read(&config, topic, &senders, &reading));
    reader.await??;
    for task in tasks {
        task.await??;
    }
    meter.measurement()
}

fn read(
    config: &ClientConfig,
    topic: &Topic,
    workers: &[mpsc::Sender<Vec<u8>>],
    meter: &Meter,
) -> Result<()> {
    let consumer: BaseConsumer = config.create()?;
    consumer.subscribe(&[topic.name])?;
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    while !meter.is_reached() {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message?;
        let hash = hasher.hash_one(message.key());
        let worker = usize::try_from(hash % workers.len() as u64)?;
        let payload = message.payload().context("a message without a payload")?;
        workers[worker].blocking_send(payload.to_vec())?;
    }
    Ok(())
}

async fn work(mut inbox: mpsc::Receiver<Vec<u8>>, client: Client, meter: Arc<Meter>) -> Result<()> {
    while let Some(payload) = inbox.recv().await {
        let order: VersionedOrder = serde_json::from_slice(&payload)?;
        let (next, room) = (
            format!("next:{}", order.order_id),
            format!("room:{}", order.order_id),
        );
        let expected: Option<u64> = client.get(&next).await?;
        let mut expected = expected.unwrap_or(1);
        if order.version > expected {
            let entry = (order.version as f64, payload);
            let () = client.zadd(&room, None, None, false, false, entry).await?;
            continue;
        }
        let mut current = Some(order);
        while let Some(order) = current.take().filter(|order| order.version == expected) {
            black_box(order);
            expected += 1;
            let () = client.set(&next, expected, None, None, false).await?;
            meter.count(1);
            let waiting: Vec<Vec<u8>> = client.zrange(&room, 0, 0, None, false, None, false).await?;
            if let Some(head) = waiting.first() {
                let order: VersionedOrder = serde_json::from_slice(head)?;
                if order.version == expected {
                    let () = client.zrem(&room, head.clone()).await?;
                    current = Some(order);
                }
            }
        }
    }
    Ok(())
}
