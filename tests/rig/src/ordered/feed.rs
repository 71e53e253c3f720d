//! Events of aggregates in no order: over all partitions by chance, and shuffled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use athomic::message::Partition;
use athomic::transport::{OutgoingMessage, Publisher, Transport as _};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::rig::{Rig, transport};

/// How far apart in their aggregate two events may stand the wrong way round.
const WINDOW: u64 = 20;

/// How often the feeder publishes.
const TICK: Duration = Duration::from_millis(20);

/// Events of so many aggregates, each with the sequences from 1 on. A seed brings an order back.
#[derive(Debug, Clone)]
pub struct Shuffled {
    /// How many aggregates there are: `a0`, `a1` and so on.
    pub aggregates: u64,
    /// In how many partitions.
    pub partitions: u32,
    /// Tells orders apart.
    pub seed: u64,
}

impl Shuffled {
    /// Return how many events are shuffled together.
    pub(crate) fn chunk(&self) -> u64 {
        self.aggregates * WINDOW
    }

    /// Return a chunk of events in the order in which they are published.
    pub(crate) fn messages(&self, chunk: u64, topic: &str) -> Vec<OutgoingMessage> {
        let mut dice = Dice(self.seed ^ (chunk << 32));
        let mut events: Vec<u64> = (0..self.chunk()).collect();
        for place in (1..self.chunk()).rev() {
            let other = dice.below(place + 1);
            events.swap(index(place), index(other));
        }
        let message = |event| {
            let (of, seq) = (
                event % self.aggregates,
                chunk * WINDOW + event / self.aggregates + 1,
            );
            let partition = dice.below(self.partitions.into());
            OutgoingMessage {
                topic: topic.to_owned(),
                partition: Some(Partition::try_from(partition).expect("few partitions")),
                payload: Some(format!(r#"{{"of":"a{of}","seq":{seq}}}"#).into()),
                ..OutgoingMessage::default()
            }
        };
        events.into_iter().map(message).collect()
    }

    /// Return how many events each aggregate has, of so many in all.
    ///
    /// # Panics
    /// When these are no whole chunks.
    #[must_use]
    pub fn counts(&self, events: u64) -> BTreeMap<String, u64> {
        assert_eq!(events % self.chunk(), 0, "chunks are published whole");
        let count = events / self.aggregates;
        (0..self.aggregates).map(|of| (format!("a{of}"), count)).collect()
    }
}

/// Publishes shuffled events at a steady rate.
#[derive(Debug)]
pub struct ShuffledFeeder {
    stopping: Arc<AtomicBool>,
    task: JoinHandle<u64>,
}

impl ShuffledFeeder {
    /// Begin to publish so many events a second to the rig's topic.
    ///
    /// # Panics
    /// When there is no publisher to be had.
    pub async fn start(rig: &Rig, events: Shuffled, per_second: usize) -> Self {
        let publisher = transport(&rig.bootstrap).publisher().await.expect("a publisher");
        let (stopping, topic) = (Arc::<AtomicBool>::default(), rig.topic.clone());
        let stop = Arc::clone(&stopping);
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(TICK);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let at_once = (per_second / 50).max(1);
            let mut chunk = 0;
            while !stop.load(Ordering::SeqCst) {
                for some in events.messages(chunk, &topic).chunks(at_once) {
                    if !stop.load(Ordering::SeqCst) {
                        tick.tick().await;
                    }
                    for result in publisher.publish(some.to_vec()).await {
                        result.expect("acknowledged");
                    }
                }
                chunk += 1;
            }
            chunk * events.chunk()
        });
        Self { stopping, task }
    }

    /// Publish the rest of what is shuffled together, and return how many events there are.
    ///
    /// # Panics
    /// When one was not acknowledged.
    pub async fn stop(self) -> u64 {
        self.stopping.store(true, Ordering::SeqCst);
        self.task.await.expect("all is acknowledged")
    }
}

impl Rig {
    /// Publish so many chunks of shuffled events, and return how many events that are.
    ///
    /// # Panics
    /// When one is not acknowledged.
    pub async fn publish_shuffled(&self, events: &Shuffled, chunks: u64) -> u64 {
        let publisher = transport(&self.bootstrap).publisher().await.expect("a publisher");
        for chunk in 0..chunks {
            for result in publisher.publish(events.messages(chunk, &self.topic)).await {
                result.expect("acknowledged");
            }
        }
        chunks * events.chunk()
    }

    /// Publish one event, to a partition.
    ///
    /// # Panics
    /// When it is not acknowledged.
    pub async fn publish_event(&self, partition: Partition, payload: &str) {
        let publisher = transport(&self.bootstrap).publisher().await.expect("a publisher");
        let message = OutgoingMessage {
            topic: self.topic.clone(),
            partition: Some(partition),
            payload: Some(payload.to_owned().into()),
            ..OutgoingMessage::default()
        };
        for result in publisher.publish(vec![message]).await {
            result.expect("acknowledged");
        }
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("few")
}

/// Pseudo-random numbers that a seed brings back (splitmix64).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_has_each_event_once_and_in_no_order() {
        let feed = Shuffled {
            aggregates: 3,
            partitions: 4,
            seed: 7,
        };
        let payloads = |chunk| {
            let messages = feed.messages(chunk, "t").into_iter();
            messages
                .map(|message| String::from_utf8(message.payload.unwrap().to_vec()).unwrap())
                .collect::<Vec<_>>()
        };
        let second = payloads(1);
        assert_eq!(second, payloads(1));
        let wanted =
            (0..3).flat_map(|of| (21..=40).map(move |seq| format!(r#"{{"of":"a{of}","seq":{seq}}}"#)));
        let wanted: Vec<_> = wanted.collect();
        assert_ne!(second, wanted);
        let sorted = |mut texts: Vec<String>| {
            texts.sort_unstable();
            texts
        };
        assert_eq!(sorted(second), sorted(wanted));
    }
}
