//! What the tests of ordered consumption share: events of aggregates, shuffled over partitions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use athomic_core::app::{AppBuilder, RunningApp};
use athomic_core::consumer::OrderingCounts;
use athomic_core::handler::register::{HandlerDefinition, Ordered, ordered};
use athomic_core::message::TopicPartition;
use athomic_core::ordering::{OrderingOptions, OrderingPolicies};
use athomic_core::outcome::HandlerError;
use athomic_core::store::Scope;
use athomic_core::store::memory::{MemoryOrdering, MemoryStores};
use athomic_core::store::ordering::{BucketReport, FencingToken, OrderingStore};
use serde::Deserialize;

use crate::support::{Cluster, GROUP, TOPIC, until};

/// An event of an aggregate.
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) of: String,
    pub(crate) seq: u64,
    /// How long its handler takes, in milliseconds.
    #[serde(default)]
    pub(crate) ms: u64,
    /// In how many attempts its handler fails.
    #[serde(default)]
    pub(crate) fails: u32,
}

/// What handlers did with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) instance: usize,
    pub(crate) of: String,
    pub(crate) seq: u64,
    pub(crate) token: u64,
}

/// A cluster with stores, and what handlers did on it.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) stores: MemoryStores,
    partitions: i32,
    done: Arc<Mutex<Vec<Done>>>,
    failed: Arc<Mutex<BTreeMap<(String, u64), u32>>>,
}

impl Stage {
    pub(crate) fn new(partitions: u32) -> Self {
        Self {
            cluster: Cluster::new(partitions),
            stores: MemoryStores::default(),
            partitions: partitions.try_into().unwrap(),
            done: Arc::default(),
            failed: Arc::default(),
        }
    }

    /// Publish an event.
    pub(crate) fn event(&self, partition: i32, of: &str, seq: u64) {
        self.publish(partition, &format!(r#"{{"of":"{of}","seq":{seq}}}"#));
    }

    pub(crate) fn publish(&self, partition: i32, event: &str) {
        self.cluster.publish(partition, None, event);
    }

    /// Publish events 1 to `count` of an aggregate, each in a partition and place of chance.
    pub(crate) fn shuffled(&self, aggregates: &[&str], count: u64, partitions: i32, seed: u64) {
        let mut state = seed;
        let mut random = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut events: Vec<(&str, u64)> = aggregates
            .iter()
            .flat_map(|of| (1..=count).map(|seq| (*of, seq)))
            .collect();
        for place in (1..events.len()).rev() {
            let other = usize::try_from(random(place as u64 + 1)).unwrap();
            events.swap(place, other);
        }
        for (of, seq) in events {
            let partition = i32::try_from(random(u64::try_from(partitions).unwrap())).unwrap();
            self.event(partition, of, seq);
        }
    }

    /// Describe the handler as an instance has it.
    pub(crate) fn handler(
        &self,
        instance: usize,
        describe: impl FnOnce(OrderedEvents) -> OrderedEvents,
    ) -> HandlerDefinition {
        let (done, failed) = (Arc::clone(&self.done), Arc::clone(&self.failed));
        describe(events()).handler(move |event: Event, token: FencingToken| {
            let (done, failed) = (Arc::clone(&done), Arc::clone(&failed));
            async move {
                tokio::time::sleep(Duration::from_millis(event.ms)).await;
                let key = (event.of.clone(), event.seq);
                let mut failed = failed.lock().unwrap();
                let failures = failed.entry(key).or_default();
                if *failures < event.fails {
                    *failures += 1;
                    return Err(HandlerError::retry("not yet"));
                }
                let Event { of, seq, .. } = event;
                done.lock().unwrap().push(Done {
                    instance,
                    of,
                    seq,
                    token: token.get(),
                });
                Ok(())
            }
        })
    }

    /// Begin an application of this handler.
    pub(crate) fn app(&self, settings: &str, handler: HandlerDefinition) -> AppBuilder {
        self.cluster
            .app(settings)
            .stores(self.stores.clone())
            .register(handler)
    }

    /// Start an instance with these policies.
    pub(crate) async fn start(
        &self,
        instance: usize,
        change: impl FnOnce(&mut OrderingOptions),
    ) -> RunningApp {
        let handler = self.handler(instance, |events| events.policies(change));
        self.app(crate::support::NO_JITTER, handler)
            .build()
            .unwrap()
            .start()
            .await
            .unwrap()
    }

    /// Start an instance with these policies and settings.
    pub(crate) async fn start_with(
        &self,
        instance: usize,
        settings: &str,
        change: impl FnOnce(&mut OrderingOptions),
    ) -> RunningApp {
        let handler = self.handler(instance, |events| events.policies(change));
        let settings = format!("{}{settings}", crate::support::NO_JITTER);
        self.app(&settings, handler)
            .build()
            .unwrap()
            .start()
            .await
            .unwrap()
    }

    /// Return the store of the handler.
    pub(crate) fn store(&self) -> MemoryOrdering {
        let policies = OrderingPolicies::default();
        self.stores
            .ordering(Scope::new("athomic", GROUP, &[TOPIC], "on_event", policies))
    }

    pub(crate) async fn survey(&self) -> Vec<BucketReport> {
        let buckets: Vec<u16> = (0..64).collect();
        let survey = self.store().survey(&buckets).await;
        survey.into_iter().map(Result::unwrap).collect()
    }

    /// Check that nothing waits in the store, and that nobody has a session there.
    pub(crate) async fn nothing_is_left(&self) {
        for bucket in self.survey().await {
            let left = (bucket.rooms, bucket.messages, bucket.bytes, bucket.sessions);
            assert_eq!(left, (0, 0, 0, 0), "bucket {}", bucket.bucket);
        }
    }

    pub(crate) fn done(&self) -> Vec<Done> {
        self.done.lock().unwrap().clone()
    }

    /// Return the sequences of an aggregate in the order in which they were done.
    pub(crate) fn order(&self, of: &str) -> Vec<u64> {
        let done = self.done();
        done.iter()
            .filter(|done| done.of == of)
            .map(|done| done.seq)
            .collect()
    }

    pub(crate) async fn until_order(&self, of: &str, order: &[u64]) {
        until(&format!("{of} to be done in the order {order:?}"), || {
            self.order(of) == order
        })
        .await;
    }

    pub(crate) async fn until_done(&self, count: usize) {
        until(&format!("{count} events to be done"), || {
            self.done().len() >= count
        })
        .await;
    }

    /// Wait until all that was published is committed.
    pub(crate) async fn until_all_committed(&self) {
        let lag = |partition| {
            let partition = TopicPartition::new(TOPIC, partition);
            self.cluster.control.lag(GROUP, &partition).unwrap_or(0)
        };
        until("all to be committed", || {
            (0..self.partitions).map(lag).sum::<i64>() == 0
        })
        .await;
    }
}

/// Return what an instance has counted.
pub(crate) fn counts(app: &RunningApp) -> OrderingCounts {
    app.ordering().handler("on_event").unwrap().counts()
}

/// Wait until an instance has counted so much of something.
pub(crate) async fn until_counted(
    app: &RunningApp,
    what: &str,
    of: impl Fn(OrderingCounts) -> u64,
    number: u64,
) {
    until(&format!("{number} {what}"), || of(counts(app)) >= number).await;
    assert_eq!(of(counts(app)), number, "{what}");
}

pub(crate) type OrderedEvents = Ordered<fn(&Event) -> String, fn(&Event) -> u64>;

/// Begin an ordered handler of events.
pub(crate) fn events() -> OrderedEvents {
    ordered(TOPIC)
        .group_id(GROUP)
        .handler_id("on_event")
        .key::<Event, fn(&Event) -> String>(|event| event.of.clone())
        .sequence::<Event, fn(&Event) -> u64>(|event| event.seq)
}
