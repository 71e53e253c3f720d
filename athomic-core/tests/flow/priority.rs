//! Priorities: each has a topic of its own, and handlers that wait for nothing of the others.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use athomic_core::handler::register::HandlerDefinition;
use athomic_core::handler::{Meta, Priorities, Priority};
use athomic_core::publisher::{NewMessage, Publisher};

use crate::support::{Cluster, GROUP, Journal, TOPIC, handler, until};

/// What handlers have seen: which of them, from which topic, what.
type Seen = Arc<Mutex<Vec<(String, String, u32)>>>;

fn recording(id: &str, priority: Priority, seen: &Seen) -> HandlerDefinition {
    let (name, seen) = (id.to_owned(), Arc::clone(seen));
    let record = move |payload: u32, meta: Meta| {
        let (name, seen) = (name.clone(), Arc::clone(&seen));
        async move {
            // What is not urgent takes its time.
            let slow = payload >= 100;
            tokio::time::sleep(Duration::from_secs(if slow { 3600 } else { 0 })).await;
            seen.lock()
                .unwrap()
                .push((name, meta.topic().to_owned(), payload));
        }
    };
    let described = handler().handler_id(id).group_id(GROUP);
    described
        .options(|options| options.priority = priority.into())
        .handler(record)
}

async fn until_seen(seen: &Seen, count: usize) -> Vec<(String, String, u32)> {
    until(&format!("{count} messages"), || {
        seen.lock().unwrap().len() >= count
    })
    .await;
    seen.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn what_is_urgent_does_not_stand_behind_what_is_not() {
    let (cluster, seen) = (Cluster::new(1), Seen::default());
    let mut app = cluster.app("");
    for (id, priority) in [
        ("normal", Priority::Normal),
        ("urgent", Priority::High),
        ("idle", Priority::Low),
    ] {
        app = app.register(recording(id, priority, &seen));
    }
    let app = app.build().unwrap();
    let described = app.describe().to_string();
    for topics in [
        "topics t in group g",
        "topics t.high in group g",
        "topics t.low in group g",
    ] {
        assert!(described.contains(topics), "{described}");
    }
    let app = app.start().await.unwrap();
    let publisher = app.publisher();
    publisher.publish(TOPIC, &100).await.unwrap();
    publisher.publish(TOPIC, &101).await.unwrap();
    publisher
        .publish(TOPIC, &1)
        .priority(Priority::High)
        .await
        .unwrap();
    publisher
        .publish(TOPIC, &2)
        .priority(Priority::Low)
        .await
        .unwrap();
    let mut first = until_seen(&seen, 2).await;
    first.sort();
    let expected = [("idle", "t.low", 2), ("urgent", "t.high", 1)];
    let expected = expected.map(|(id, topic, payload)| (id.to_owned(), topic.to_owned(), payload));
    assert_eq!(first, expected);
}

#[tokio::test(start_paused = true)]
async fn the_settings_change_a_handlers_priority_without_a_rebuild() {
    let (cluster, seen) = (Cluster::new(1), Seen::default());
    let tuning = "[[integration.messaging.handler_tuning]]\nhandler_id = 'tuned'\npriority = 'low'";
    let app = cluster
        .app(tuning)
        .register(recording("tuned", Priority::High, &seen));
    let app = app.build().unwrap().start().await.unwrap();
    app.publisher()
        .publish(TOPIC, &7)
        .priority(Priority::Low)
        .await
        .unwrap();
    let seen = until_seen(&seen, 1).await;
    assert_eq!(seen, [("tuned".to_owned(), "t.low".to_owned(), 7)]);
}

#[test]
fn handlers_of_one_priority_topic_and_group_are_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let (cluster, seen) = (Cluster::new(1), Seen::default());
        let app = cluster.app("").register(recording("a", Priority::High, &seen));
        let refused = app.register(recording("b", Priority::High, &seen)).build();
        let report = refused.unwrap_err().to_string();
        assert!(
            report.contains("consumes topic `t.high` in the same group"),
            "{report}"
        );
    });
}

const WEIGHTED: [&str; 3] = ["t.high", "t", "t.low"];

/// Make a cluster whose topic stands for those of all priorities.
fn cluster_of_priorities(partitions: u32) -> Cluster {
    let cluster = Cluster::new(partitions);
    cluster.control.create_topic("t.high", partitions);
    cluster.control.create_topic("t.low", partitions);
    cluster
}

/// Return the publisher of an application without handlers.
async fn publisher(cluster: &Cluster) -> Publisher {
    let app = cluster.app("").build().unwrap().start().await.unwrap();
    app.publisher()
}

/// Publish messages of a priority, each with a key of its own, that take ten milliseconds each.
async fn publish(publisher: &Publisher, priority: Priority, count: usize) {
    let message = |number: usize| {
        let message = NewMessage::json(TOPIC, &10).key(number.to_string());
        message.priority(priority)
    };
    for result in publisher.publish_batch((0..count).map(message)).await {
        result.unwrap();
    }
}

/// A handler of all priorities that notes the topics of its messages in the order in which they begin.
fn weighted(concurrency: usize, begun: &Arc<Mutex<Vec<String>>>) -> HandlerDefinition {
    let begun = Arc::clone(begun);
    let described = handler().concurrency(concurrency);
    described
        .options(|options| options.priority = Priorities::Weighted)
        .handler(move |millis: u64, meta: Meta| {
            begun.lock().unwrap().push(meta.topic().to_owned());
            tokio::time::sleep(Duration::from_millis(millis))
        })
}

fn count(begun: &[String], topic: &str) -> usize {
    begun.iter().filter(|begun| *begun == topic).count()
}

#[tokio::test(start_paused = true)]
async fn under_a_backlog_the_urgent_goes_first_and_nothing_starves() {
    const EACH: usize = 300;
    let (cluster, begun) = (cluster_of_priorities(2), Arc::default());
    let publisher = publisher(&cluster).await;
    for priority in Priority::ALL {
        publish(&publisher, priority, EACH).await;
    }
    let _app = cluster.start(weighted(2, &begun)).await;
    until("all to begin", || begun.lock().unwrap().len() == 3 * EACH).await;
    let begun = begun.lock().unwrap().clone();
    // Until all lanes have read, and for what stands in line already, lower ones may begin.
    let first = &begun[..EACH];
    let [high, normal, low] = WEIGHTED.map(|topic| count(first, topic));
    assert!(high >= 200, "{high} of {EACH} are urgent: {begun:?}");
    assert!(
        normal >= 40,
        "{normal} of {EACH} are of normal priority: {begun:?}"
    );
    assert!(low >= 10, "{low} of {EACH} are of low priority: {begun:?}");
    let last = |topic| begun.iter().rposition(|begun| begun == topic);
    assert!(
        last("t.high") < last("t") && last("t") < last("t.low"),
        "{begun:?}"
    );
    until("all to be committed", || {
        let committed = cluster.control.committed(GROUP);
        let of = |topic: &str| {
            let commits = committed.iter();
            let commits = commits.filter(|commit| *commit.partition.topic == *topic);
            commits.map(|commit| commit.offset).sum::<i64>()
        };
        WEIGHTED.iter().all(|topic| of(topic) == EACH as i64)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_anything_urgent_what_is_not_has_all_executions() {
    let (cluster, journal) = (cluster_of_priorities(1), Journal::new());
    let publisher = publisher(&cluster).await;
    publish(&publisher, Priority::Low, 60).await;
    let described = handler().concurrency(6);
    let described = described.options(|options| options.priority = Priorities::Weighted);
    let _app = cluster.start(described.handler(journal.worker(0))).await;
    journal.until_ended(60).await;
    assert_eq!(journal.peak(), 6);
}

#[tokio::test(start_paused = true)]
async fn what_is_urgent_and_comes_later_goes_before_what_waits() {
    let (cluster, begun) = (cluster_of_priorities(1), Arc::default());
    let app = cluster.start(weighted(1, &begun)).await;
    let publisher = app.publisher();
    publish(&publisher, Priority::Low, 50).await;
    until("some to begin", || begun.lock().unwrap().len() >= 5).await;
    publish(&publisher, Priority::High, 5).await;
    let before = begun.lock().unwrap().len();
    until("all to begin", || begun.lock().unwrap().len() == 55).await;
    let begun = begun.lock().unwrap();
    let last = begun.iter().rposition(|topic| topic == "t.high").unwrap();
    // One may run, and one stand in line.
    assert!(last < before + 5 + 2, "{before} had begun: {begun:?}");
}

#[tokio::test(start_paused = true)]
async fn the_settings_let_a_handler_consume_all_priorities() {
    let (cluster, seen) = (cluster_of_priorities(1), Seen::default());
    let tuning = "[[integration.messaging.handler_tuning]]\nhandler_id = 'tuned'\npriority = 'weighted'";
    let app = cluster
        .app(tuning)
        .register(recording("tuned", Priority::Normal, &seen));
    let app = app.build().unwrap();
    let described = app.describe().to_string();
    assert!(described.contains("topics t.high, t, t.low"), "{described}");
    let app = app.start().await.unwrap();
    for (number, priority) in (1..).zip(Priority::ALL) {
        let publisher = app.publisher();
        publisher
            .publish(TOPIC, &number)
            .priority(priority)
            .await
            .unwrap();
    }
    let mut topics = until_seen(&seen, 3).await;
    topics.sort_by_key(|(.., payload)| *payload);
    let topics: Vec<_> = topics.into_iter().map(|(_, topic, _)| topic).collect();
    assert_eq!(topics, WEIGHTED);
}

#[test]
fn handlers_whose_messages_share_no_executions_are_not_weighted() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let weighted = || handler().options(|options| options.priority = Priorities::Weighted);
        let batch = weighted().batch_handler(10, async |_: Vec<u32>| {});
        let by_partition = weighted().ordering(athomic_core::handler::Ordering::Partition);
        for (definition, what) in [
            (batch, "a batch handler"),
            (
                by_partition.handler(async |_: u32| {}),
                "`ordering = \"partition\"`",
            ),
        ] {
            let refused = Cluster::new(1).app("").register(definition).build();
            let report = refused.unwrap_err().to_string();
            let expected = format!("`priority = \"weighted\"` is not for {what}");
            assert!(report.contains(&expected), "{report}");
        }
    });
}
