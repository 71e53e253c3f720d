//! Single messages: a partition is a lane, partitions run side by side.

use athomic_core::handler::{Key, Meta, Ordering, State};
use athomic_core::message::{Headers, RawMessage};
use athomic_core::publisher::Publisher;
use tokio::sync::mpsc;

use crate::support::{Cluster, GROUP, Journal, TOPIC, handler};

#[tokio::test(start_paused = true)]
async fn a_partition_is_handled_in_order_one_message_at_a_time() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [30, 10, 20, 0]);
    let _app = cluster.start(handler().handler(journal.worker(0))).await;
    journal.until_ended(4).await;
    assert_eq!(journal.offsets(), [0, 1, 2, 3]);
    assert_eq!(journal.peak(), 1);
}

#[tokio::test(start_paused = true)]
async fn partitions_run_side_by_side() {
    let (cluster, journal) = (Cluster::new(3), Journal::new());
    for partition in 0..3 {
        cluster.publish_all(partition, [100]);
    }
    let _app = cluster.start(handler().handler(journal.worker(0))).await;
    journal.until_ended(3).await;
    assert_eq!(journal.peak(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_slow_partition_holds_up_no_other() {
    let (cluster, journal) = (Cluster::new(2), Journal::new());
    cluster.publish_all(0, [60_000]);
    cluster.publish_all(1, [10; 100]);
    let _app = cluster.start(handler().handler(journal.worker(0))).await;
    journal.until_ended(100).await;
    cluster.until_committed(1, 100).await;
    assert_eq!(cluster.committed(0), None);
}

#[tokio::test(start_paused = true)]
async fn with_ordering_partition_the_limit_counts_over_partitions_and_each_keeps_its_order() {
    let (cluster, journal) = (Cluster::new(4), Journal::new());
    for partition in 0..4 {
        cluster.publish_all(partition, [20, 10, 30, 5]);
    }
    let limited = handler().concurrency(2).ordering(Ordering::Partition);
    let _app = cluster.start(limited.handler(journal.worker(0))).await;
    journal.until_ended(16).await;
    assert_eq!(journal.peak(), 2);
    for partition in 0..4 {
        let of_partition = journal.places().into_iter().filter(|place| place.0 == partition);
        assert_eq!(
            of_partition.map(|place| place.1).collect::<Vec<_>>(),
            [0, 1, 2, 3]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_reaches_a_handler_of_option() {
    let cluster = Cluster::new(1);
    cluster.publish(0, Some("a"), 1);
    cluster.write(0, Some("a"), None);
    let (seen, mut payloads) = mpsc::unbounded_channel();
    let on_message = move |payload: Option<u64>| {
        let seen = seen.clone();
        async move { seen.send(payload) }
    };
    let _app = cluster.start(handler().handler(on_message)).await;
    assert_eq!(payloads.recv().await, Some(Some(1)));
    assert_eq!(payloads.recv().await, Some(None));
    cluster.until_committed(0, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_sees_all_that_its_arguments_ask_for() {
    let cluster = Cluster::new(1);
    let (seen, mut all) = mpsc::unbounded_channel();
    let on_message = move |payload: u64,
                           meta: Meta,
                           headers: Headers,
                           Key(key): Key<String>,
                           State(state): State<&'static str>,
                           raw: RawMessage,
                           publisher: Publisher| {
        let seen = seen.clone();
        async move {
            publisher.publish("seen", &payload).await?;
            let header = headers.get("source").map(<[u8]>::to_vec);
            let place = format!(
                "{}[{}]@{} of {} in {}",
                meta.topic(),
                meta.partition(),
                meta.offset(),
                key,
                meta.group_id()
            );
            let _ = seen.send((place, header, state, raw.payload().map(<[u8]>::to_vec)));
            Ok::<_, athomic_core::publisher::PublishError>(())
        }
    };
    cluster.control.create_topic("seen", 1);
    let app = cluster
        .app("")
        .state("shop")
        .register(handler().handler(on_message));
    let app = app.build().unwrap().start().await.unwrap();
    let publisher = app.publisher();
    publisher
        .publish(TOPIC, &7)
        .key("k")
        .header("source", "test")
        .await
        .unwrap();
    let (place, header, state, payload) = all.recv().await.unwrap();
    assert_eq!(place, format!("{TOPIC}[0]@0 of k in {GROUP}"));
    assert_eq!(header.as_deref(), Some(b"test".as_slice()));
    assert_eq!((state, payload.as_deref()), ("shop", Some(b"7".as_slice())));
    assert_eq!(cluster.control.messages("seen").unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handler_of_two_topics_gets_the_messages_of_both() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.control.create_topic("u", 1);
    let app = cluster
        .start(handler().topic("u").handler(journal.worker(0)))
        .await;
    let publisher = app.publisher();
    publisher.publish(TOPIC, &1).await.unwrap();
    publisher.publish("u", &1).await.unwrap();
    journal.until_ended(2).await;
}

#[tokio::test(start_paused = true)]
async fn each_group_gets_every_message() {
    let (cluster, journal) = (Cluster::new(2), Journal::new());
    cluster.publish_all(0, [1, 1]);
    cluster.publish_all(1, [1]);
    let app = cluster
        .app("")
        .register(handler().handler_id("one").handler(journal.worker(1)));
    let two = handler().group_id("other").handler_id("two");
    let app = app.register(two.handler(journal.worker(2)));
    let _app = app.build().unwrap().start().await.unwrap();
    journal.until_ended(6).await;
    let of = |instance| {
        journal
            .runs()
            .iter()
            .filter(|run| run.instance == instance)
            .count()
    };
    assert_eq!((of(1), of(2)), (3, 3));
}
