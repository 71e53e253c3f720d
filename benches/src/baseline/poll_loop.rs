//! The poll loop: what a good engineer writes in an hour.

use std::time::Duration;

use anyhow::Result;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message};

use super::handle;
use crate::case::Run;
use crate::measurement::{Measurement, Meter};
use crate::topic::Topic;

/// Consume so many messages with `BaseConsumer::poll`.
///
/// # Errors
/// The broker cannot be read, or a message cannot be decoded.
pub fn poll_loop(config: &ClientConfig, topic: &Topic, messages: u64) -> Result<Measurement> {
    let meter = Meter::start(messages);
    poll(config, topic, &meter)?;
    meter.measurement()
}

/// Do so in as many threads as there are groups, each with a client of its own.
///
/// # Errors
/// As [`poll_loop`].
pub fn ten_loops(config: &ClientConfig, groups: &[String], run: &Run) -> Result<Measurement> {
    let meter = Meter::start(run.messages);
    std::thread::scope(|scope| {
        let loops: Vec<_> = groups
            .iter()
            .map(|group| {
                let mut config = config.clone();
                config.set("group.id", group);
                let meter = &meter;
                scope.spawn(move || poll(&config, &run.case.topic, meter))
            })
            .collect();
        let panicked = |_| anyhow::anyhow!("a loop panicked");
        loops
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(panicked)?)
    })?;
    meter.measurement()
}

/// Consume until the meter has seen enough.
fn poll(config: &ClientConfig, topic: &Topic, meter: &Meter) -> Result<()> {
    let consumer: BaseConsumer = config.create()?;
    consumer.subscribe(&[topic.name])?;
    while !meter.is_reached() {
        let Some(message) = consumer.poll(WAIT) else {
            continue;
        };
        handle(message?.payload())?;
        meter.count(1);
    }
    Ok(())
}

/// How long a poll waits; one loop of several looks so often whether the others have seen enough.
const WAIT: Duration = Duration::from_millis(100);
