//! athomic's cases: handlers that do nothing, ordered and not, in a complete application that commits.

use std::hint::black_box;
use std::sync::OnceLock;

use anyhow::Result;
use athomic::App;
use athomic::handler::Ordering;
use athomic::handler::register::{HandlerDefinition, ordered, subscribe};
use athomic::settings::{DEFAULT_KVSTORE, KvStoreSettings, Settings, StoreBackend};
use athomic::transport::OutgoingMessage;
use athomic::transport::memory::MemoryBroker;
use tokio::sync::Notify;

use super::event::VersionedOrder;
use super::question::{Case, Work};
use crate::application;
use crate::measurement::{Measurement, Meter};

/// The one run of this process. A static, because looking a state up would not be nothing.
static METER: OnceLock<Meter> = OnceLock::new();
static DONE: Notify = Notify::const_new();

/// How many executions each case has at once.
pub(super) const CONCURRENCY: usize = 64;

async fn on_version(order: VersionedOrder) {
    black_box(order);
    if METER.get().is_some_and(|meter| meter.count(1)) {
        DONE.notify_one();
    }
}

fn handler(case: &Case) -> HandlerDefinition {
    let topic = case.topic.name;
    let Work::Ordered(complete) = case.work else {
        return subscribe(topic)
            .handler_id(case.name)
            .concurrency(CONCURRENCY)
            .ordering(Ordering::Key)
            .handler(on_version);
    };
    ordered(topic)
        .handler_id(case.name)
        .concurrency(CONCURRENCY)
        .key(|order: &VersionedOrder| order.order_id.clone())
        .sequence(|order: &VersionedOrder| order.version)
        .policies(|policies| policies.complete = Some(complete))
        .handler(on_version)
}

/// Add the store of ordered handlers to settings.
pub(super) fn with_redis(mut settings: Settings, redis: &str) -> Settings {
    let mut store = KvStoreSettings::new(DEFAULT_KVSTORE);
    store.backend = StoreBackend::Redis;
    store.uri = Some(redis.into());
    settings.kvstores.insert(store.name.clone(), store);
    settings
}

/// Run an application until it has handled enough, then stop it.
pub(super) async fn run(case: &Case, settings: Settings, messages: u64) -> Result<Measurement> {
    run_on(case, settings, messages, MemoryBroker::new()).await
}

/// The same with everything in memory, on one thread: what instructions are counted by.
pub(super) fn run_embedded(case: &Case, messages: u64) -> Result<Measurement> {
    let broker = MemoryBroker::new();
    let (control, topic) = (broker.control(), case.topic);
    control.create_topic(topic.name, topic.partitions.unsigned_abs());
    control.set_retention(topic.name, usize::MAX)?;
    for number in 0..messages {
        let event = VersionedOrder::nth(number);
        control.publish(OutgoingMessage {
            topic: topic.name.to_owned(),
            key: Some(event.order_id.clone().into()),
            payload: Some(event.payload()?.into()),
            ..OutgoingMessage::default()
        })?;
    }
    let settings = application::tuned("embedded", &[])?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build()?;
    runtime.block_on(run_on(case, settings, messages, broker))
}

async fn run_on(case: &Case, settings: Settings, messages: u64, broker: MemoryBroker) -> Result<Measurement> {
    let meter = METER.get_or_init(|| Meter::start(messages));
    let builder = App::builder()
        .settings(settings)
        .without_discovery()
        .broker(broker);
    let mut app = builder.register(handler(case)).build()?.start().await?;
    tokio::select! {
        () = DONE.notified() => {}
        failure = app.failed() => return Err(failure.into()),
    }
    app.stop().await;
    meter.measurement()
}
