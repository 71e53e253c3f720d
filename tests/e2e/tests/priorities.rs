//! Several priorities in one handler, on real Kafka.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use athomic::handler::register::{HandlerDefinition, subscribe};
use athomic::handler::{Meta, Priorities, Priority};
use athomic::publisher::NewMessage;
use athomic::transport::{Admin as _, NewTopic};
use athomic_rig::{Rig, until};

/// How many messages there are of each priority.
const EACH: usize = 1500;

/// The topics of what began, in its order.
type Begun = Arc<Mutex<Vec<String>>>;

fn topics(rig: &Rig) -> [String; 3] {
    ["high", "normal", "low"].map(|priority| match priority {
        "normal" => rig.topic.clone(),
        priority => format!("{}.{priority}", rig.topic),
    })
}

fn weighted(rig: &Rig, begun: &Begun) -> HandlerDefinition {
    let begun = Arc::clone(begun);
    subscribe(&*rig.topic)
        .group_id(&*rig.group)
        .concurrency(4)
        .options(|options| options.priority = Priorities::Weighted)
        .handler(move |_: usize, meta: Meta| {
            let mut begun = begun.lock().expect("nobody panics with it");
            begun.push(meta.topic().to_owned());
            tokio::time::sleep(Duration::from_millis(5))
        })
}

/// Fill the topics of all priorities before anybody reads.
async fn publish(rig: &Rig) {
    let topics = topics(rig);
    let made = [&topics[0], &topics[2]].map(|topic| NewTopic::new(topic, 2));
    rig.make(&made).await;
    let app = rig.app("").build().expect("it is valid");
    let app = app.start().await.expect("it starts");
    for priority in Priority::ALL {
        let message = |number: usize| {
            let message = NewMessage::json(&*rig.topic, &number).key(number.to_string());
            message.priority(priority)
        };
        for result in app.publisher().publish_batch((0..EACH).map(message)).await {
            result.expect("acknowledged");
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_urgent_goes_first_nothing_starves_and_all_is_committed() {
    let folder = env!("CARGO_TARGET_TMPDIR");
    let Some(rig) = Rig::on_shared_broker(folder, "priorities.weighted", 2).await else {
        return;
    };
    publish(&rig).await;
    let begun = Begun::default();
    let app = rig.app("").register(weighted(&rig, &begun));
    let app = app
        .build()
        .expect("it is valid")
        .start()
        .await
        .expect("it starts");
    let count = || begun.lock().expect("nobody panics with it").len();
    until("all to begin", async || count() == 3 * EACH).await;
    app.stop().await;
    let begun = begun.lock().expect("nobody panics with it").clone();
    // The middle of each priority, and what of the others was begun before the last of what is urgent.
    let places = |topic: &String| -> Vec<usize> {
        let of_topic = begun.iter().enumerate().filter(|(_, begun)| *begun == topic);
        of_topic.map(|(place, _)| place).collect()
    };
    let [high, normal, low] = topics(&rig).each_ref().map(places);
    assert!(
        high[EACH / 2] < normal[EACH / 2] && normal[EACH / 2] < low[EACH / 2],
        "{} {} {}",
        high[EACH / 2],
        normal[EACH / 2],
        low[EACH / 2]
    );
    let last = high[EACH - 1];
    let before = low.iter().filter(|place| **place < last).count();
    assert!(
        before >= EACH / 50,
        "only {before} of low priority while more was urgent"
    );
    let committed = committed(&rig).await;
    assert_eq!(committed, [EACH as i64; 3]);
}

/// Return how much the group has committed in the topics of each priority.
async fn committed(rig: &Rig) -> [i64; 3] {
    let mut sums = [0; 3];
    for (sum, topic) in sums.iter_mut().zip(topics(rig)) {
        let partitions = [0, 1].map(|number| athomic::message::TopicPartition::new(&*topic, number));
        let commits = rig.admin().committed(&rig.group, &partitions).await;
        let commits = commits.expect("the broker answers");
        *sum = commits.iter().map(|commit| commit.offset).sum();
    }
    sums
}
