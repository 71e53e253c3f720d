//! Publishes at a steady rate while the brokers are broken, and knows what was acknowledged.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use athomic::KafkaTransport;
use athomic::transport::{OutgoingMessage, Publisher as _, Transport};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::rig::{Rig, transport};

/// How often it publishes.
const TICK: Duration = Duration::from_millis(20);

/// Publishes events at a steady rate: event `n` has key `k{n % keys}` and sequence `n / keys`.
#[derive(Debug)]
pub struct Feeder {
    stopping: Arc<AtomicBool>,
    pausing: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    task: JoinHandle<u64>,
}

impl Feeder {
    /// Begin to publish so many events a second to the rig's topic.
    ///
    /// # Panics
    /// When there is no publisher to be had.
    pub async fn start(rig: &Rig, keys: u64, per_second: u64) -> Self {
        let transport: KafkaTransport = transport(&rig.bootstrap);
        let publisher = transport.publisher().await.expect("a publisher");
        let feed = Feed {
            publisher,
            topic: rig.topic.clone(),
            keys,
            batch: per_second * u64::try_from(TICK.as_millis()).expect("short") / 1000,
            stopping: Arc::default(),
            pausing: Arc::default(),
            acknowledged: Arc::default(),
        };
        Self {
            stopping: Arc::clone(&feed.stopping),
            pausing: Arc::clone(&feed.pausing),
            acknowledged: Arc::clone(&feed.acknowledged),
            task: tokio::spawn(feed.run()),
        }
    }

    /// Publish nothing until [`resume`](Self::resume); what is under way still is acknowledged.
    pub fn pause(&self) {
        self.pausing.store(true, Ordering::SeqCst);
    }

    /// Go on publishing.
    pub fn resume(&self) {
        self.pausing.store(false, Ordering::SeqCst);
    }

    /// Return how many events have been acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Publish no more, and return how many events there are, all of them acknowledged.
    ///
    /// # Panics
    /// When one was not.
    pub async fn stop(self) -> u64 {
        self.stopping.store(true, Ordering::SeqCst);
        self.task.await.expect("all is acknowledged")
    }
}

struct Feed {
    publisher: <KafkaTransport as Transport>::Publisher,
    topic: String,
    keys: u64,
    batch: u64,
    stopping: Arc<AtomicBool>,
    pausing: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

impl Feed {
    async fn run(self) -> u64 {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut under_way = FuturesUnordered::new();
        let mut next = 0;
        while !self.stopping.load(Ordering::SeqCst) {
            tokio::select! {
                Some(count) = under_way.next() => self.count(count),
                _ = tick.tick() => {
                    if self.pausing.load(Ordering::SeqCst) {
                        continue;
                    }
                    let mut call = Box::pin(self.publish(next..next + self.batch));
                    next += self.batch;
                    // Polled at once: the calls' order is that of their first polls.
                    let done = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
                    match done {
                        Poll::Ready(count) => self.count(count),
                        Poll::Pending => under_way.push(call),
                    }
                }
            }
        }
        while let Some(count) = under_way.next().await {
            self.count(count);
        }
        assert_eq!(
            self.acknowledged.load(Ordering::SeqCst),
            next,
            "all is acknowledged"
        );
        next
    }

    fn count(&self, acknowledged: u64) {
        self.acknowledged.fetch_add(acknowledged, Ordering::SeqCst);
    }

    async fn publish(&self, events: std::ops::Range<u64>) -> u64 {
        let messages = events.map(|event| self.message(event)).collect();
        let results = self.publisher.publish(messages).await;
        let acknowledged = results
            .into_iter()
            .filter(|result| match result {
                Ok(_) => true,
                Err(error) => panic!("not acknowledged: {error}"),
            })
            .count();
        acknowledged as u64
    }

    fn message(&self, event: u64) -> OutgoingMessage {
        let (key, seq) = (format!("k{}", event % self.keys), event / self.keys);
        OutgoingMessage {
            topic: self.topic.clone(),
            payload: Some(format!("{{\"key\":\"{key}\",\"seq\":{seq}}}").into()),
            key: Some(key.into()),
            ..OutgoingMessage::default()
        }
    }
}
