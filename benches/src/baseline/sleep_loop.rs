//! The sleep loop: what a good engineer writes for handlers that wait, if order does not matter.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message};
use tokio::sync::Semaphore;

use super::handle;
use crate::measurement::{Measurement, Meter};
use crate::topic::Topic;

/// How many handlers wait at once.
const AT_ONCE: usize = 1000;
/// How long each of them waits.
pub(crate) const NAP: Duration = Duration::from_millis(5);

/// Consume so many messages with `BaseConsumer::poll`, each in a task of its own that waits a while, in
/// no order.
///
/// # Errors
/// The broker cannot be read, or a message cannot be decoded.
pub fn sleep_loop(config: &ClientConfig, topic: &Topic, messages: u64) -> Result<Measurement> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let meter = Arc::new(Meter::start(messages));
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let consumer: BaseConsumer = config.create()?;
    consumer.subscribe(&[topic.name])?;
    while !meter.is_reached() {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let payload = message?
            .payload()
            .context("a message without a payload")?
            .to_vec();
        let permit = runtime.block_on(Arc::clone(&permits).acquire_owned())?;
        let meter = Arc::clone(&meter);
        runtime.spawn(async move {
            handle(Some(&payload)).expect("orders can be decoded");
            tokio::time::sleep(NAP).await;
            meter.count(1);
            drop(permit);
        });
    }
    meter.measurement()
}
