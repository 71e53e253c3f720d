//! athomic's cases: handlers that do nothing, in a complete application that commits.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use athomic::handler::register::subscribe;
use athomic::prelude::*;
use athomic::settings::{Backend, ConnectionSettings, DEFAULT_CONNECTION, OffsetReset, Settings};
use athomic::transport::OutgoingMessage;
use athomic::transport::memory::MemoryBroker;
use athomic::{App, AppBuilder};
use tokio::sync::Notify;

use crate::baseline::sleep_loop::NAP;
use crate::case::{Case, Run, Source};
use crate::measurement::{Measurement, Meter};
use crate::order::{self, OrderEvent};
use crate::topic;

/// The one run of this process. A static, because looking a state up would not be nothing.
static METER: OnceLock<Meter> = OnceLock::new();
static DONE: Notify = Notify::const_new();

const TOPIC: &str = topic::ORDERS.name;

#[subscribe_to(topic = TOPIC, handler_id = "single")]
async fn on_order(order: OrderEvent) {
    black_box(order);
    handled(1);
}

// The last batch of a partition is not full, and is handed over when its time is over.
#[subscribe_to(topic = TOPIC, handler_id = "batch", batch_size = 500, max_batch_linger_ms = 10)]
async fn on_orders(orders: Vec<OrderEvent>) {
    let count = orders.len() as u64;
    black_box(orders);
    handled(count);
}

#[subscribe_to(topic = TOPIC, handler_id = "keyed", concurrency = 64, ordering = "key")]
async fn on_order_by_key(order: OrderEvent) {
    black_box(order);
    handled(1);
}

// As many at once as in the sleep loop.
#[subscribe_to(topic = TOPIC, handler_id = "sleeping", concurrency = 1000, ordering = "key")]
async fn on_order_sleeping(order: OrderEvent) {
    black_box(order);
    tokio::time::sleep(NAP).await;
    handled(1);
}

fn handled(messages: u64) {
    if METER.get().is_some_and(|meter| meter.count(messages)) {
        DONE.notify_one();
    }
}

/// Describe an application with the handlers of a run and no others.
fn builder(run: &Run) -> Result<AppBuilder> {
    let builder = App::builder().settings(settings(run)?);
    let Case { name, work, topic } = run.case;
    if topic == topic::ORDERS && work.readers() == 1 {
        return Ok(builder.only([name]));
    }
    let handler = |(number, group): (usize, &String)| {
        subscribe(topic.name)
            .handler_id(format!("{name}-{number}"))
            .group_id(group)
            .handler(on_order)
    };
    Ok(run
        .groups()
        .iter()
        .enumerate()
        .map(handler)
        .fold(builder.without_discovery(), AppBuilder::register))
}

/// Run an application with a run's handlers until they have handled enough, then stop it.
pub(crate) fn run(run: &Run) -> Result<Measurement> {
    let broker = MemoryBroker::new();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if run.source == Source::Embedded {
        fill(&broker, run.messages)?;
        // On one thread the embedded broker's lock is never contended, and runs can be compared.
        runtime.worker_threads(1);
    }
    let meter = METER.get_or_init(|| Meter::start(run.messages));
    runtime.enable_all().build()?.block_on(async {
        let mut app = builder(run)?.broker(broker).build()?.start().await?;
        tokio::select! {
            () = DONE.notified() => {}
            failure = app.failed() => return Err(failure.into()),
        }
        app.stop().await;
        meter.measurement()
    })
}

fn fill(broker: &MemoryBroker, messages: u64) -> Result<()> {
    let control = broker.control();
    control.create_topic(topic::ORDERS.name, topic::ORDERS.partitions.unsigned_abs());
    control.set_retention(topic::ORDERS.name, usize::MAX)?;
    for number in order::in_memory(messages) {
        let event = OrderEvent::nth(number);
        control.publish(OutgoingMessage {
            topic: topic::ORDERS.name.to_owned(),
            key: Some(event.key().into()),
            payload: Some(event.payload()?.into()),
            ..OutgoingMessage::default()
        })?;
    }
    Ok(())
}

fn settings(run: &Run) -> Result<Settings> {
    match &run.source {
        Source::Kafka { bootstrap, group } => kafka(bootstrap, group, &run.tuning),
        Source::Embedded => tuned(run.case.name, &run.tuning),
    }
}

/// Return the settings of an application that consumes from Kafka.
pub(crate) fn kafka(bootstrap: &str, group: &str, tuning: &[(String, String)]) -> Result<Settings> {
    let mut settings = tuned(group, tuning)?;
    settings.messaging.backend = Backend::Kafka;
    let connection = connection(&mut settings)?;
    connection.consumer.bootstrap_servers = vec![bootstrap.to_owned()];
    connection.producer.bootstrap_servers = vec![bootstrap.to_owned()];
    Ok(settings)
}

/// Return the default settings with a group, the earliest message to begin with, and these changes.
pub(crate) fn tuned(group: &str, tuning: &[(String, String)]) -> Result<Settings> {
    let mut settings = Settings::default();
    let connection = connection(&mut settings)?;
    let consumer = &mut connection.consumer;
    consumer.auto_offset_reset = OffsetReset::Earliest;
    consumer.group_id = Some(group.to_owned());
    for (name, value) in tuning {
        let number = || {
            value
                .parse::<usize>()
                .with_context(|| format!("`{name}` is a number"))
        };
        let millis = || Ok::<_, anyhow::Error>(Duration::from_millis(number()?.try_into()?));
        match name.as_str() {
            "queued.max.messages.kbytes" | "queued_max_kbytes" => consumer.queued_max_kbytes = number()?,
            "fetch.max.bytes" => consumer.fetch_max_bytes = number()?,
            "max_poll_records" => consumer.max_poll_records = number()?.try_into()?,
            "max_in_flight_messages" => consumer.max_in_flight_messages = number()?.try_into()?,
            "fetch_max_wait_ms" => consumer.fetch_max_wait = millis()?,
            "commit_interval_ms" => consumer.commit_interval = millis()?,
            "linger_ms" => connection.producer.linger = millis()?,
            name if name.contains('.') => {
                consumer.librdkafka.insert(name.to_owned(), value.clone());
            }
            name => return Err(anyhow!("nothing is known of `{name}`")),
        }
    }
    Ok(settings)
}

/// Return the default connection's settings.
pub(crate) fn connection(settings: &mut Settings) -> Result<&mut ConnectionSettings> {
    let connection = settings.messaging.connections.get_mut(DEFAULT_CONNECTION);
    connection.context("there is always a default connection")
}
