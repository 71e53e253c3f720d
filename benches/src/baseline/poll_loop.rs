//! The poll loop: what a good engineer writes in an hour.

use std::time::Duration;

use anyhow::Result;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message};

use super::handle;
use crate::measurement::{Measurement, Meter};
use crate::topic;

/// Consume so many messages with `BaseConsumer::poll`.
///
/// # Errors
/// The broker cannot be read, or a message cannot be decoded.
pub fn poll_loop(config: &ClientConfig, messages: u64) -> Result<Measurement> {
    let meter = Meter::start(messages);
    let consumer: BaseConsumer = config.create()?;
    consumer.subscribe(&[topic::NAME])?;
    loop {
        let Some(message) = consumer.poll(Duration::from_secs(1)) else {
            continue;
        };
        handle(message?.payload())?;
        if meter.count(1) {
            return meter.measurement();
        }
    }
}
