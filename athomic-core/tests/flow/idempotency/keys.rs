//! What a message is called, and by whom.

use athomic_core::handler::IdempotencyOptions;
use athomic_core::handler::register::{ordered, subscribe};
use athomic_core::message::{Headers, TopicPartition};
use athomic_core::transport::OutgoingMessage;

use super::stage::{ID, Stage, counts, guarded};
use crate::support::{GROUP, TOPIC, until};

#[tokio::test(start_paused = true)]
async fn a_resolver_names_messages_by_their_payload() {
    let stage = Stage::new(1);
    for (id, payload) in [("a", 1), ("b", 1), ("c", 2)] {
        stage.publish(0, id, payload);
    }
    let named = guarded().idempotency_key(|payload: &u64| payload.to_string());
    let _app = stage.start(named.handler(stage.journal.worker(0))).await;
    stage.cluster.until_committed(0, 3).await;
    assert_eq!(stage.journal.offsets(), [0, 2]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_key_makes_nobody_a_duplicate() {
    let stage = Stage::new(1);
    for id in ["a", "b", "b"] {
        stage.publish(0, id, 0);
    }
    let named = guarded().idempotency_key(|_: &u64| String::new());
    let app = stage.start(named.handler(stage.journal.worker(0))).await;
    stage.cluster.until_committed(0, 3).await;
    assert_eq!(stage.journal.offsets(), [0, 1]);
    assert_eq!(counts(&app).unnamed, 3);
}

#[tokio::test(start_paused = true)]
async fn an_empty_id_makes_nobody_a_duplicate() {
    let stage = Stage::new(1);
    for _ in 0..3 {
        stage.publish(0, "", 0);
    }
    let _app = stage.start(stage.worker(0)).await;
    stage.cluster.until_committed(0, 3).await;
    assert_eq!(stage.journal.offsets(), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn ids_of_a_megabyte_and_ids_that_are_no_text_are_told_apart() {
    let stage = Stage::new(1);
    let long = "x".repeat(1 << 20);
    for id in [&long, &format!("{long}y"), &long] {
        stage.publish(0, id, 0);
    }
    for id in [[0xff_u8, 1], [0xff, 2], [0xff, 1]] {
        let message = OutgoingMessage {
            topic: TOPIC.into(),
            partition: Some(0),
            payload: Some("0".into()),
            headers: Headers::new().with(athomic_core::message::MESSAGE_ID, id.to_vec()),
            ..Default::default()
        };
        stage.cluster.control.publish(message).unwrap();
    }
    let _app = stage.start(stage.worker(0)).await;
    stage.cluster.until_committed(0, 6).await;
    assert_eq!(stage.journal.offsets(), [0, 1, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn one_kind_of_name_cannot_be_written_to_look_like_another() {
    let stage = Stage::new(1);
    let place = format!("{TOPIC}-0-0-0");
    for id in ["7", "key:7", "id:7", &place] {
        stage.publish(0, id, 0);
    }
    let _app = stage.start(stage.worker(0)).await;
    stage.cluster.until_committed(0, 4).await;
    assert_eq!(stage.journal.offsets(), [0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn no_message_is_suppressed_by_another_handlers_or_groups() {
    let stage = Stage::new(1);
    stage.publish(0, "a", 0);
    let options = IdempotencyOptions::default();
    let handler = |group: &str, id: &str, instance| {
        let handler = subscribe(TOPIC).group_id(group).handler_id(id);
        handler
            .idempotency(options)
            .handler(stage.journal.worker(instance))
    };
    let app = stage.cluster.app("").stores(stage.stores.clone());
    let app = app.register(handler(GROUP, "one", 1));
    let app = app.register(handler("other", "two", 2));
    let _one = app.build().unwrap().start().await.unwrap();
    let app = stage.cluster.app("").stores(stage.stores.clone());
    let app = app.register(handler("third", "one", 3));
    let _other = app.build().unwrap().start().await.unwrap();
    stage.journal.until_ended(3).await;
}

#[tokio::test(start_paused = true)]
async fn records_of_a_topic_made_anew_are_no_duplicates_of_those_at_their_offsets() {
    let stage = Stage::new(1);
    stage.cluster.publish_all(0, [0, 0]);
    let app = stage.start(stage.worker(0)).await;
    stage.cluster.until_committed(0, 2).await;
    app.stop().await;
    stage.cluster.control.delete_topic(TOPIC).unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    stage.cluster.control.create_topic(TOPIC, 1);
    stage.cluster.publish_all(0, [0, 0]);
    assert_eq!(
        stage
            .cluster
            .control
            .offsets(&TopicPartition::new(TOPIC, 0))
            .unwrap(),
        0..2
    );
    let _app = stage.start(stage.worker(0)).await;
    stage.journal.until_ended(4).await;
}

#[tokio::test(start_paused = true)]
async fn messages_of_an_ordered_consumer_are_handled_once_by_their_keys() {
    let stage = Stage::new(2);
    // The same payment in three events of two orders.
    for (partition, event) in [
        (0, "[1, 1, 7]"),
        (1, "[1, 2, 8]"),
        (0, "[2, 1, 7]"),
        (1, "[2, 2, 9]"),
    ] {
        stage.cluster.publish(partition, None, event);
    }
    let journal = stage.journal.clone();
    let handler = ordered(TOPIC)
        .group_id(GROUP)
        .handler_id(ID)
        .key(|event: &(u64, u64, u64)| event.0)
        .sequence(|event: &(u64, u64, u64)| event.1)
        .idempotency(IdempotencyOptions::default())
        .idempotency_key(|event: &(u64, u64, u64)| event.2.to_string())
        .handler(move |_: (u64, u64, u64), meta: athomic_core::handler::Meta| {
            let run = journal.begin(0, &meta);
            journal.end(run);
            async {}
        });
    let app = stage.start(handler).await;
    stage.cluster.until_committed(0, 2).await;
    stage.cluster.until_committed(1, 2).await;
    until("all are done", || counts(&app).confirmed == 3).await;
    assert_eq!(stage.journal.runs().len(), 3);
    assert_eq!(counts(&app).duplicates, 1);
}
