//! Loops written by hand over the client that athomic uses, with its options. They decode every message
//! to the type that athomic's handlers take, and drop it. They commit nothing.

mod batch_loop;
mod decode_loop;
mod poll_loop;
pub(crate) mod sleep_loop;

pub use batch_loop::batch_loop;
pub use decode_loop::decode_loop;
pub use poll_loop::{poll_loop, ten_loops};
pub use sleep_loop::sleep_loop;

use std::hint::black_box;

use anyhow::{Context as _, Result};
use rdkafka::ClientConfig;

use crate::order::OrderEvent;

/// What `athomic-kafka` tells librdkafka by default, but for the ends of partitions: athomic wants to
/// know of them, the loops have no use for them.
const ATHOMICS_OPTIONS: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "false"),
    ("allow.auto.create.topics", "false"),
    ("auto.offset.reset", "earliest"),
    ("isolation.level", "read_committed"),
    ("fetch.wait.max.ms", "500"),
    ("fetch.max.bytes", "1048576"),
    ("message.max.bytes", "1000000"),
    ("max.partition.fetch.bytes", "262144"),
    ("queued.max.messages.kbytes", "8192"),
    ("queued.min.messages", "100000"),
    ("fetch.queue.backoff.ms", "5"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("socket.nagle.disable", "true"),
];

/// Put a loop's options together.
#[must_use]
pub fn options(bootstrap: &str, group: &str, tuning: &[(String, String)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", group);
    for (name, value) in ATHOMICS_OPTIONS {
        config.set(*name, *value);
    }
    // Those without a dot are athomic's own settings.
    for (name, value) in tuning.iter().filter(|(name, _)| name.contains('.')) {
        config.set(name, value);
    }
    config
}

/// What each loop does with a message.
fn handle(payload: Option<&[u8]>) -> Result<()> {
    let order: OrderEvent = serde_json::from_slice(payload.context("a message without a payload")?)?;
    black_box(order);
    Ok(())
}
