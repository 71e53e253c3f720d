//! What the flow tests share: a cluster with applications on it, and a journal of what handlers did.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use athomic_core::app::{App, AppBuilder, RunningApp};
use athomic_core::handler::Meta;
use athomic_core::handler::register::{HandlerDefinition, Subscribe, subscribe};
use athomic_core::message::{Offset, Partition, TopicPartition};
use athomic_core::settings::Settings;
use athomic_core::transport::OutgoingMessage;
use athomic_core::transport::memory::{BrokerControl, MemoryBroker};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

pub(crate) const TOPIC: &str = "t";
pub(crate) const GROUP: &str = "g";

/// An embedded broker with one topic.
pub(crate) struct Cluster {
    pub(crate) broker: MemoryBroker,
    pub(crate) control: BrokerControl,
}

impl Cluster {
    pub(crate) fn new(partitions: u32) -> Self {
        let broker = MemoryBroker::new();
        let control = broker.control();
        control.create_topic(TOPIC, partitions);
        Self { broker, control }
    }

    /// Write a message and return its offset.
    pub(crate) fn publish(&self, partition: Partition, key: Option<&str>, payload: impl ToString) -> Offset {
        self.write(partition, key, Some(payload.to_string()))
    }

    pub(crate) fn write(&self, partition: Partition, key: Option<&str>, payload: Option<String>) -> Offset {
        let message = OutgoingMessage {
            topic: TOPIC.into(),
            partition: Some(partition),
            key: key.map(|key| key.to_owned().into()),
            payload: payload.map(Into::into),
            ..Default::default()
        };
        self.control
            .publish(message)
            .expect("the broker is up and has the topic")
            .offset
    }

    /// Write messages without a key.
    pub(crate) fn publish_all(&self, partition: Partition, payloads: impl IntoIterator<Item: ToString>) {
        for payload in payloads {
            self.publish(partition, None, payload);
        }
    }

    pub(crate) fn committed(&self, partition: Partition) -> Option<Offset> {
        let partition = TopicPartition::new(TOPIC, partition);
        let committed = self.control.committed(GROUP);
        committed
            .iter()
            .find(|commit| commit.partition == partition)
            .map(|commit| commit.offset)
    }

    pub(crate) async fn until_committed(&self, partition: Partition, offset: Offset) {
        let what = format!("partition {partition} to be committed at {offset}");
        until(&what, || self.committed(partition) == Some(offset)).await;
    }

    /// Begin an application on this cluster.
    pub(crate) fn app(&self, settings: &str) -> AppBuilder {
        App::builder()
            .without_discovery()
            .broker(self.broker.clone())
            .settings(settings_of(settings))
    }

    /// Start an application of one handler with the default settings.
    pub(crate) async fn start(&self, handler: HandlerDefinition) -> RunningApp {
        self.start_with("", handler).await
    }

    pub(crate) async fn start_with(&self, settings: &str, handler: HandlerDefinition) -> RunningApp {
        let app = self.app(settings).register(handler).build().expect("it is valid");
        app.start().await.expect("it starts")
    }
}

/// Read settings from a text and from nothing else.
pub(crate) fn settings_of(text: &str) -> Settings {
    let none: [(&str, &str); 0] = [];
    let loader = Settings::loader().text("test.toml", text).environment(none);
    loader.load().expect("the settings are valid").settings
}

/// Settings without chance: retries after 1, 2, 4... seconds.
pub(crate) const NO_JITTER: &str = "[integration.messaging.dlq.retry]\njitter = false\n";

/// Begin a handler of the topic.
#[track_caller]
pub(crate) fn handler() -> Subscribe {
    subscribe(TOPIC).group_id(GROUP)
}

/// Wait for a condition.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        let waited = began.elapsed();
        assert!(waited < Duration::from_secs(3600), "waited in vain for {what}");
        // Time costs nothing, looks do: less often the longer it takes.
        tokio::time::sleep(MS.max(waited / 100)).await;
    }
}

pub(crate) const MS: Duration = Duration::from_millis(1);

/// One execution of a handler.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// The application it ran in.
    pub(crate) instance: usize,
    pub(crate) partition: Partition,
    pub(crate) offset: Offset,
    pub(crate) key: Option<String>,
    pub(crate) attempt: u32,
    /// When it began, in milliseconds since the journal was opened.
    pub(crate) began: u128,
    /// When it ended; `None` while it runs, and for ever if it was cancelled.
    pub(crate) ended: Option<u128>,
}

/// What handlers did, in the order in which they began.
#[derive(Clone)]
pub(crate) struct Journal {
    opened: Instant,
    runs: Arc<Mutex<Vec<Run>>>,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self {
            opened: Instant::now(),
            runs: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Run>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn runs(&self) -> Vec<Run> {
        self.lock().clone()
    }

    pub(crate) fn now(&self) -> u128 {
        self.opened.elapsed().as_millis()
    }

    /// Note that an execution begins; return its number for `end`.
    pub(crate) fn begin(&self, instance: usize, meta: &Meta) -> usize {
        let run = Run {
            instance,
            partition: meta.partition(),
            offset: meta.offset(),
            key: meta.key().map(|key| String::from_utf8_lossy(key).into_owned()),
            attempt: meta.attempt(),
            began: self.now(),
            ended: None,
        };
        let mut runs = self.lock();
        runs.push(run);
        runs.len() - 1
    }

    pub(crate) fn end(&self, run: usize) {
        let now = self.now();
        self.lock()[run].ended = Some(now);
    }

    /// Return partition and offset of all executions.
    pub(crate) fn places(&self) -> Vec<(Partition, Offset)> {
        self.lock()
            .iter()
            .map(|run| (run.partition, run.offset))
            .collect()
    }

    pub(crate) fn offsets(&self) -> Vec<Offset> {
        self.lock().iter().map(|run| run.offset).collect()
    }

    /// Return when each execution began.
    pub(crate) fn times(&self) -> Vec<u128> {
        self.lock().iter().map(|run| run.began).collect()
    }

    pub(crate) async fn until_begun(&self, count: usize) {
        until(&format!("{count} runs to begin"), || self.lock().len() >= count).await;
    }

    pub(crate) async fn until_ended(&self, count: usize) {
        let ended = || self.lock().iter().filter(|run| run.ended.is_some()).count();
        until(&format!("{count} runs to end"), || ended() >= count).await;
    }

    /// Return how many executions ran at once at most.
    pub(crate) fn peak(&self) -> usize {
        let runs = self.lock();
        runs.iter()
            .map(|one| {
                let overlaps =
                    |run: &&Run| run.began <= one.began && run.ended.is_none_or(|ended| ended > one.began);
                runs.iter().filter(overlaps).count()
            })
            .max()
            .unwrap_or(0)
    }

    /// Make a handler that works as many milliseconds as its payload says.
    pub(crate) fn worker(
        &self,
        instance: usize,
    ) -> impl Fn(u64, Meta) -> BoxFuture<'static, ()> + Clone + use<> {
        let journal = self.clone();
        move |millis, meta| {
            let journal = journal.clone();
            Box::pin(async move {
                let run = journal.begin(instance, &meta);
                tokio::time::sleep(Duration::from_millis(millis)).await;
                journal.end(run);
            })
        }
    }
}
