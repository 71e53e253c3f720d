//! athomic's cases: three handlers that do nothing, in a complete application that commits.

use std::hint::black_box;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow};
use athomic::App;
use athomic::prelude::*;
use athomic::settings::{Backend, DEFAULT_CONNECTION, OffsetReset, Settings};
use athomic::transport::OutgoingMessage;
use athomic::transport::memory::MemoryBroker;
use tokio::sync::Notify;

use crate::case::{Run, Source};
use crate::measurement::{Measurement, Meter};
use crate::order::{self, OrderEvent};
use crate::topic;

/// The one run of this process. A static, because looking a state up would not be nothing.
static METER: OnceLock<Meter> = OnceLock::new();
static DONE: Notify = Notify::const_new();

#[subscribe_to(topic = topic::NAME, handler_id = "single")]
async fn on_order(order: OrderEvent) {
    black_box(order);
    handled(1);
}

// The last batch of a partition is not full, and is handed over when its time is over.
#[subscribe_to(topic = topic::NAME, handler_id = "batch", batch_size = 500, max_batch_linger_ms = 10)]
async fn on_orders(orders: Vec<OrderEvent>) {
    let count = orders.len() as u64;
    black_box(orders);
    handled(count);
}

#[subscribe_to(topic = topic::NAME, handler_id = "keyed", concurrency = 64, ordering = "key")]
async fn on_order_by_key(order: OrderEvent) {
    black_box(order);
    handled(1);
}

fn handled(messages: u64) {
    if METER.get().is_some_and(|meter| meter.count(messages)) {
        DONE.notify_one();
    }
}

/// Run an application with the one handler until it has handled enough, then stop it.
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
        let app = App::builder()
            .settings(settings(run)?)
            .broker(broker)
            .only([run.case.name()]);
        let mut app = app.build()?.start().await?;
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
    control.create_topic(topic::NAME, topic::PARTITIONS.unsigned_abs());
    control.set_retention(topic::NAME, usize::MAX)?;
    for number in order::in_memory(messages) {
        let event = OrderEvent::nth(number);
        control.publish(OutgoingMessage {
            topic: topic::NAME.to_owned(),
            key: Some(event.key().into()),
            payload: Some(event.payload()?.into()),
            ..OutgoingMessage::default()
        })?;
    }
    Ok(())
}

fn settings(run: &Run) -> Result<Settings> {
    let mut settings = Settings::default();
    let connection = settings.messaging.connections.get_mut(DEFAULT_CONNECTION);
    let connection = connection.context("there is always a default connection")?;
    let consumer = &mut connection.consumer;
    consumer.auto_offset_reset = OffsetReset::Earliest;
    consumer.group_id = Some(run.case.name().to_owned());
    for (name, value) in &run.tuning {
        let number = || {
            value
                .parse::<usize>()
                .with_context(|| format!("`{name}` is a number"))
        };
        match name.as_str() {
            "queued.max.messages.kbytes" => consumer.queued_max_kbytes = number()?,
            "fetch.max.bytes" => consumer.fetch_max_bytes = number()?,
            "max_poll_records" => {
                consumer.max_poll_records = number()?.try_into()?;
            }
            name if name.contains('.') => {
                consumer.librdkafka.insert(name.to_owned(), value.clone());
            }
            name => return Err(anyhow!("nothing is known of `{name}`")),
        }
    }
    if let Source::Kafka { bootstrap, group } = &run.source {
        settings.messaging.backend = Backend::Kafka;
        consumer.group_id = Some(group.clone());
        consumer.bootstrap_servers = vec![bootstrap.clone()];
        connection.producer.bootstrap_servers = vec![bootstrap.clone()];
    }
    Ok(settings)
}
