//! A topic of Kafka as a queue of plain events, by its URL.

mod support;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use athomic::queue::{EventConsumer, LoopConsumer, MessageQueueBackend, load_backend};
use athomic_rig::{Rig, within};
use serde_json::Value;
use support::rig;

const LIMIT: Duration = Duration::from_secs(90);

type Seen = Arc<Mutex<Vec<u64>>>;

fn consumer(rig: &Rig) -> LoopConsumer<Arc<dyn MessageQueueBackend>> {
    let url = format!("kafka://{}/{}", rig.bootstrap, rig.topic);
    LoopConsumer::new(load_backend(&url).expect("kafka is known")).group(rig.group.as_str())
}

fn noting(seen: &Seen) -> impl Fn(Value) -> std::future::Ready<Result<(), String>> + use<> {
    let seen = Arc::clone(seen);
    move |event| {
        let number = event["n"].as_u64().expect("it has a number");
        seen.lock().expect("nobody panics with it").push(number);
        std::future::ready(Ok(()))
    }
}

async fn publish(rig: &Rig, numbers: std::ops::Range<u64>) {
    let mut lines = String::new();
    for number in numbers {
        writeln!(lines, "{number}:{{\"n\":{number}}}").expect("a string takes it");
    }
    rig.produce(lines).await;
}

fn sorted(seen: &Seen) -> Vec<u64> {
    let mut seen = seen.lock().expect("nobody panics with it").clone();
    seen.sort_unstable();
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn two_consumers_of_a_group_share_a_topic_and_a_later_one_goes_on_where_they_were() {
    let Some(rig) = rig("queue").await else { return };
    publish(&rig, 0..200).await;
    let seen = Seen::default();
    let (one, other) = (consumer(&rig), consumer(&rig));
    let done = async {
        within(LIMIT, "all are seen", async || sorted(&seen).len() >= 200).await;
        tokio::join!(one.shutdown(), other.shutdown());
    };
    let (one_ran, other_ran, ()) = tokio::join!(one.run(noting(&seen)), other.run(noting(&seen)), done);
    one_ran.expect("it ran");
    other_ran.expect("it ran");
    assert_eq!(
        rig.committed().await.values().sum::<i64>(),
        200,
        "a shutdown commits"
    );
    publish(&rig, 200..250).await;
    let later = Seen::default();
    let third = consumer(&rig);
    let (ran, ()) = tokio::join!(third.run(noting(&later)), async {
        within(LIMIT, "the new ones are seen", async || {
            sorted(&later).len() >= 50
        })
        .await;
        third.shutdown().await;
    });
    ran.expect("it ran");
    assert_eq!(sorted(&later), (200..250).collect::<Vec<_>>());
    let mut all = sorted(&seen);
    all.dedup();
    assert_eq!(all, (0..200).collect::<Vec<_>>());
}
