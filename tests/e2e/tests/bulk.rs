//! The bulk publisher on three brokers that are killed, restarted and robbed of their leaders: what it says is
//! written is there, what it says is not is not, and what it cannot know it says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use athomic::app::{AppBuilder, RunningApp};
use athomic::handler::register::subscribe;
use athomic::publisher::NewMessage;
use athomic::transport::{DeliveryState, NewTopic};
use athomic_rig::{Cluster, Rig, Spec, Tool, until};

const PARTITIONS: u32 = 6;
/// How many messages go together.
const BATCH: u64 = 50;

/// What became of each message, by its number.
#[derive(Default)]
struct Told {
    written: BTreeSet<u64>,
    not_written: BTreeSet<u64>,
    unknown: BTreeSet<u64>,
}

impl Told {
    fn all(&self) -> u64 {
        (self.written.len() + self.not_written.len() + self.unknown.len()) as u64
    }
}

fn app(rig: &Rig) -> AppBuilder {
    rig.app(
        "[integration.messaging.producer]\nclient = 'rskafka'\ndelivery_timeout_ms = 60000\n\
         [integration.messaging.consumer]\nauto_offset_reset = 'earliest'\n",
    )
}

async fn start(app: AppBuilder) -> RunningApp {
    let app = app.build().expect("it is valid");
    app.start().await.expect("it starts")
}

/// Publish numbered messages, batch after batch, until told to end.
async fn feed(app: &RunningApp, topic: &str, told: &Mutex<Told>, ends: &tokio::sync::Notify) {
    let mut end = std::pin::pin!(ends.notified());
    for batch in 0.. {
        let numbers = batch * BATCH..(batch + 1) * BATCH;
        let messages = numbers.clone().map(|number| {
            let message = NewMessage::json(topic, &number);
            message.key(number.to_string())
        });
        let results = app.publisher().publish_batch(messages).await;
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, result) in numbers.zip(results) {
            match result.map_err(|error| error.delivery_state()) {
                Ok(_) => told.written.insert(number),
                Err(DeliveryState::NotWritten) => told.not_written.insert(number),
                Err(_) => told.unknown.insert(number),
            };
        }
        drop(told);
        let pause = tokio::time::sleep(Duration::from_millis(20));
        tokio::select! {
            () = &mut end => return,
            () = pause => {}
        }
    }
}

/// Do something to the cluster; return when as many messages again were told of.
async fn while_fed(told: &Mutex<Told>, fault: impl Future<Output = ()>) {
    let count = || told.lock().unwrap_or_else(PoisonError::into_inner).all();
    fault.await;
    let after = count();
    until("messages to be published again", async || {
        count() >= after + 20 * BATCH
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_bulk_nothing_is_lost_when_brokers_die_come_back_and_leaders_move() {
    let folder = format!("{}/bulk", env!("CARGO_TARGET_TMPDIR"));
    let Some(cluster) = Cluster::start(Spec::new(&folder).nodes(3)).await else {
        return;
    };
    let topic = NewTopic {
        replication: 3,
        ..NewTopic::new("bulk", PARTITIONS)
    };
    let rig = Rig::on(cluster.bootstrap(), &folder, &topic).await;
    let seen: Arc<Mutex<BTreeMap<u64, u32>>> = Arc::default();
    let gathered = Arc::clone(&seen);
    let handler = subscribe(&*rig.topic)
        .group_id(&*rig.group)
        .handler(move |number: u64| {
            *gathered
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(number)
                .or_default() += 1;
            async {}
        });
    let publishing = start(app(&rig)).await;
    let (told, ends) = (Mutex::<Told>::default(), tokio::sync::Notify::new());
    let faults = async {
        while_fed(&told, async {}).await;
        for id in 1..=3 {
            while_fed(&told, cluster.node(id).kill()).await;
            cluster.node(id).start().await;
            cluster.node(id).wait_until_ready().await;
            while_fed(&told, cluster.wait_until_in_sync()).await;
        }
        let elect = ["--election-type", "preferred", "--all-topic-partitions"];
        let moved = cluster.tools().run(Tool::LeaderElection, &rig.bootstrap, &elect);
        while_fed(&told, async { drop(moved.await) }).await;
        ends.notify_one();
    };
    tokio::join!(feed(&publishing, &rig.topic, &told, &ends), faults);
    publishing.stop().await;

    let told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    let reading = start(app(&rig).register(handler)).await;
    let read = || seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    until("all that was written to be read", async || {
        let read = read();
        told.written.iter().all(|number| read.contains_key(number))
    })
    .await;
    reading.stop().await;
    let read = read();
    assert!(told.not_written.iter().all(|number| !read.contains_key(number)));
    let repeated = read.values().filter(|count| **count > 1).count();
    println!(
        "{} written, {repeated} of them more than once, {} not written, {} unknown",
        told.written.len(),
        told.not_written.len(),
        told.unknown.len()
    );
    cluster.stop().await;
}
