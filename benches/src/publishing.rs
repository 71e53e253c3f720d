//! The cases of publishing: one record at a time as in most programs, and athomic's three ways.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use athomic::App;
use athomic::message::MESSAGE_ID;
use athomic::payload::CONTENT_TYPE;
use athomic::publisher::{NewMessage, Publisher};
use athomic::settings::{Backend, ProducerClient, Settings};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryFuture, DeliveryResult, FutureProducer, FutureRecord, Producer as _,
    ProducerContext,
};
use rdkafka::{ClientConfig, ClientContext};
use tokio::task::JoinSet;

use crate::measurement::{Measurement, Meter};
use crate::order::OrderEvent;

/// The topic that is written to.
pub const TOPIC: &str = "athomic-bench.published.v1";

/// How many partitions it has.
pub const PARTITIONS: i32 = 4;

/// How many records are on their way at once at most.
const UNDER_WAY: u64 = 10_000;

/// How many messages go together.
const BATCH: u64 = 1_000;

/// How long a record waits for others, in all cases.
const LINGER: Duration = Duration::from_millis(5);

/// A way to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// The baseline: `FutureProducer` of rdkafka, a future for each record.
    FutureProducer,
    /// librdkafka by rdkafka's `BaseProducer`: a callback for each record, and no future.
    Callbacks,
    /// The same with the two headers that athomic's messages have: what of its cost is librdkafka's.
    CallbacksWithHeaders,
    /// `Publisher::publish_batch`, several batches at once.
    Batches,
    /// The same with `producer.client = "rskafka"`.
    Bulk,
    /// `Publisher::publish`, each message awaited by a task of its own.
    OneByOne,
}

impl Case {
    /// All, the baseline first.
    pub const ALL: [Self; 6] = [
        Self::FutureProducer,
        Self::Callbacks,
        Self::CallbacksWithHeaders,
        Self::Batches,
        Self::Bulk,
        Self::OneByOne,
    ];

    /// Return the name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FutureProducer => "future-producer",
            Self::Callbacks => "callbacks",
            Self::CallbacksWithHeaders => "callbacks-with-headers",
            Self::Batches => "batches",
            Self::Bulk => "bulk",
            Self::OneByOne => "one-by-one",
        }
    }

    /// Publish so many orders, each as JSON made on the way, and measure it.
    ///
    /// # Errors
    /// The broker does not take them.
    pub fn run(self, bootstrap: &str, messages: u64) -> Result<Measurement> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let meter = Arc::new(Meter::start(messages));
        runtime.block_on(async {
            match self {
                Self::FutureProducer => with_future_producer(bootstrap, messages, &meter).await,
                Self::Callbacks => with_callbacks(bootstrap, messages, &meter, |_| None),
                Self::CallbacksWithHeaders => with_callbacks(bootstrap, messages, &meter, headers),
                Self::Batches => with_publisher(settings(bootstrap), messages, &meter, batches).await,
                Self::Bulk => {
                    let settings = by(ProducerClient::Rskafka, settings(bootstrap));
                    with_publisher(settings, messages, &meter, batches).await
                }
                Self::OneByOne => with_publisher(settings(bootstrap), messages, &meter, one_by_one).await,
            }
        })?;
        meter.measurement()
    }
}

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", LINGER.as_millis().to_string())
        .set("batch.size", "1048576");
    config
}

/// Counts what was acknowledged and what was not.
struct Acknowledged {
    meter: Arc<Meter>,
    under_way: AtomicU64,
    failed: AtomicU64,
}

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match black_box(result) {
            Ok(_) => {
                self.meter.count(1);
            }
            Err(_) => {
                self.failed.fetch_add(1, Relaxed);
            }
        }
        self.under_way.fetch_sub(1, Relaxed);
    }
}

/// Make headers as athomic's messages have them, from a number.
fn headers(number: u64) -> Option<OwnedHeaders> {
    let id = format!("{number:036}");
    let content_type = Header {
        key: CONTENT_TYPE,
        value: Some("application/json"),
    };
    let id = Header {
        key: MESSAGE_ID,
        value: Some(&*id),
    };
    Some(OwnedHeaders::new_with_capacity(2).insert(content_type).insert(id))
}

fn with_callbacks(
    bootstrap: &str,
    messages: u64,
    meter: &Arc<Meter>,
    headers: fn(u64) -> Option<OwnedHeaders>,
) -> Result<()> {
    let acknowledged = Acknowledged {
        meter: Arc::clone(meter),
        under_way: AtomicU64::new(0),
        failed: AtomicU64::new(0),
    };
    let producer: BaseProducer<Acknowledged> = config(bootstrap).create_with_context(acknowledged)?;
    let context = producer.context();
    for number in 0..messages {
        while context.under_way.load(Relaxed) >= UNDER_WAY {
            producer.poll(Duration::from_millis(1));
        }
        let order = OrderEvent::nth(number);
        let (key, payload) = (order.key(), order.payload()?);
        let mut record = BaseRecord::to(TOPIC).key(&key).payload(&payload);
        record.headers = headers(number);
        context.under_way.fetch_add(1, Relaxed);
        producer.send(record).map_err(|(error, _)| error)?;
        if number % BATCH == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(30))?;
    let failed = context.failed.load(Relaxed);
    ensure!(failed == 0, "{failed} records were not acknowledged");
    Ok(())
}

async fn with_future_producer(bootstrap: &str, messages: u64, meter: &Meter) -> Result<()> {
    let producer: FutureProducer = config(bootstrap).create()?;
    let mut under_way: VecDeque<DeliveryFuture> = VecDeque::new();
    for number in 0..messages {
        if under_way.len() as u64 >= UNDER_WAY {
            let first = under_way.pop_front().context("there are some")?;
            acknowledged(first, meter).await?;
        }
        let order = OrderEvent::nth(number);
        let (key, payload) = (order.key(), order.payload()?);
        let record = FutureRecord::to(TOPIC).key(&key).payload(&payload);
        let sent = producer.send_result(record);
        under_way.push_back(sent.map_err(|(error, _)| error)?);
    }
    for delivery in under_way {
        acknowledged(delivery, meter).await?;
    }
    producer.flush(Duration::from_secs(30))?;
    Ok(())
}

async fn acknowledged(delivery: DeliveryFuture, meter: &Meter) -> Result<()> {
    let result = delivery.await?;
    black_box(result.map_err(|(error, _)| error)?);
    meter.count(1);
    Ok(())
}

/// Publish by athomic's publisher, in several tasks that share the messages.
async fn with_publisher<F>(
    settings: Settings,
    messages: u64,
    meter: &Arc<Meter>,
    publish: impl Fn(Publisher, std::ops::Range<u64>, Arc<Meter>) -> F,
) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let app = App::builder().without_discovery().settings(settings);
    let app = app.build()?.start().await?;
    let mut tasks: JoinSet<Result<()>> = JoinSet::new();
    for start in (0..messages).step_by(usize::try_from(BATCH)?) {
        if tasks.len() as u64 >= UNDER_WAY / BATCH
            && let Some(ended) = tasks.join_next().await
        {
            ended??;
        }
        let range = start..messages.min(start + BATCH);
        tasks.spawn(publish(app.publisher(), range, Arc::clone(meter)));
    }
    for ended in tasks.join_all().await {
        ended?;
    }
    app.stop().await;
    Ok(())
}

async fn batches(publisher: Publisher, range: std::ops::Range<u64>, meter: Arc<Meter>) -> Result<()> {
    let message = |number| {
        let order = OrderEvent::nth(number);
        NewMessage::json(TOPIC, &order).key(order.key())
    };
    let results = publisher.publish_batch(range.map(message)).await;
    let count = results.len() as u64;
    for result in results {
        black_box(result?);
    }
    meter.count(count);
    Ok(())
}

async fn one_by_one(publisher: Publisher, range: std::ops::Range<u64>, meter: Arc<Meter>) -> Result<()> {
    let mut calls: JoinSet<Result<()>> = JoinSet::new();
    for number in range {
        let (publisher, meter) = (publisher.clone(), Arc::clone(&meter));
        calls.spawn(async move {
            let order = OrderEvent::nth(number);
            black_box(publisher.publish(TOPIC, &order).key(order.key()).await?);
            meter.count(1);
            Ok(())
        });
    }
    for ended in calls.join_all().await {
        ended?;
    }
    Ok(())
}

fn by(client: ProducerClient, mut settings: Settings) -> Settings {
    for connection in settings.messaging.connections.values_mut() {
        connection.producer.client = client;
    }
    settings
}

fn settings(bootstrap: &str) -> Settings {
    let mut settings = Settings::default();
    settings.messaging.backend = Backend::Kafka;
    for connection in settings.messaging.connections.values_mut() {
        connection.producer.bootstrap_servers = vec![bootstrap.to_owned()];
        connection.producer.linger = LINGER;
    }
    settings
}
