//! Publishing: acknowledged, in order, each message with its own result.

use athomic_core::app::RunningApp;
use athomic_core::handler::Priority;
use athomic_core::message::{MESSAGE_ID, RawMessage};
use athomic_core::payload::CONTENT_TYPE;
use athomic_core::publisher::{NewMessage, PublishError, PublishingOutcome};
use athomic_core::transport::DeliveryState;
use athomic_core::transport::memory::{Fault, FaultRule, Operation, partition_for_key};
use serde::Serialize;

use crate::support::{Cluster, TOPIC, handler};

async fn app_of(cluster: &Cluster) -> RunningApp {
    cluster.app("").build().unwrap().start().await.unwrap()
}

fn payloads(messages: &[RawMessage]) -> Vec<String> {
    let text = |message: &RawMessage| String::from_utf8_lossy(message.payload().unwrap()).into_owned();
    messages.iter().map(text).collect()
}

#[tokio::test(start_paused = true)]
async fn a_message_carries_payload_key_headers_and_partition() {
    #[derive(Serialize)]
    struct Paid {
        cents: u32,
    }
    let cluster = Cluster::new(3);
    let publisher = app_of(&cluster).await.publisher();
    let sent = publisher.publish(TOPIC, &Paid { cents: 5 }).key("k");
    let sent = sent
        .header("a", "1")
        .header("a", "2")
        .message_id("7")
        .partition(2);
    let PublishingOutcome::Direct(delivery) = sent.await.unwrap() else {
        panic!("it has no delay")
    };
    assert_eq!((delivery.partition.partition, delivery.offset), (2, 0));
    let messages = cluster.control.messages(TOPIC).unwrap();
    assert_eq!(payloads(&messages), [r#"{"cents":5}"#]);
    assert_eq!(messages[0].key(), Some(b"k".as_slice()));
    let headers: Vec<_> = messages[0]
        .headers()
        .iter()
        .map(|header| (header.name.to_string(), header.value.clone()))
        .collect();
    assert_eq!(
        headers,
        [
            (CONTENT_TYPE.into(), Some("application/json".into())),
            (MESSAGE_ID.into(), Some("7".into())),
            ("a".into(), Some("1".into())),
            ("a".into(), Some("2".into())),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_chooses_the_partition_as_kafkas_clients_do() {
    let cluster = Cluster::new(7);
    let publisher = app_of(&cluster).await.publisher();
    for key in ["a", "b", "order-42", ""] {
        let outcome = publisher.publish(TOPIC, &0).key(key).await.unwrap();
        assert_eq!(
            outcome.delivery().unwrap().partition.partition,
            partition_for_key(key.as_bytes(), 7),
            "key `{key}`"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_one_result_each_in_its_order() {
    struct Refuses;
    impl Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no form"))
        }
    }
    let cluster = Cluster::new(1);
    let publisher = app_of(&cluster).await.publisher();
    cluster
        .control
        .inject_next(FaultRule::next(Operation::Publish, Fault::fail()).after(1));
    let batch = [
        NewMessage::json(TOPIC, &0),
        NewMessage::json(TOPIC, &Refuses),
        NewMessage::json(TOPIC, &1),
        NewMessage::json("", &2),
        NewMessage::json("nowhere", &3),
        NewMessage::raw(TOPIC, None),
        NewMessage::json(TOPIC, &4),
    ];
    let results = publisher.publish_batch(batch).await;
    assert_eq!(results.len(), 7);
    let offsets: Vec<_> = results
        .iter()
        .map(|result| {
            result
                .as_ref()
                .ok()
                .map(|outcome| outcome.delivery().unwrap().offset)
        })
        .collect();
    assert_eq!(offsets, [Some(0), None, None, None, None, Some(1), Some(2)]);
    assert!(matches!(results[1], Err(PublishError::Serialize { .. })));
    assert!(results[2].as_ref().is_err_and(PublishError::is_retriable));
    assert!(matches!(results[3], Err(PublishError::NoTopic)));
    assert!(results[4].as_ref().is_err_and(|error| !error.is_retriable()));
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(error.delivery_state(), DeliveryState::NotWritten, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_acknowledgement_is_an_unknown_outcome() {
    let cluster = Cluster::new(1);
    let publisher = app_of(&cluster).await.publisher();
    cluster
        .control
        .inject_next(FaultRule::next(Operation::Publish, Fault::fail_after_applying()));
    let error = publisher.publish(TOPIC, &0).await.unwrap_err();
    assert_eq!(
        (error.delivery_state(), error.is_retriable()),
        (DeliveryState::Unknown, true)
    );
    assert_eq!(cluster.control.messages(TOPIC).unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_cannot_publish_keeps_its_message() {
    let cluster = Cluster::new(1);
    cluster.control.create_topic("out", 1);
    cluster
        .control
        .inject_next(FaultRule::next(Operation::Publish, Fault::fail()).times(2));
    cluster.publish(0, None, 5);
    let forward = |payload: u64, publisher: athomic_core::publisher::Publisher| async move {
        publisher.publish("out", &payload).await.map(drop)
    };
    let _app = cluster.start(handler().handler(forward)).await;
    cluster.until_committed(0, 1).await;
    assert_eq!(payloads(&cluster.control.messages("out").unwrap()), ["5"]);
}

#[tokio::test(start_paused = true)]
async fn each_message_has_an_id_of_its_own_unless_it_brings_one() {
    let cluster = Cluster::new(1);
    let publisher = app_of(&cluster).await.publisher();
    for _ in 0..2 {
        publisher.publish(TOPIC, &0).await.unwrap();
    }
    publisher
        .publish(TOPIC, &0)
        .header(MESSAGE_ID, "mine")
        .await
        .unwrap();
    publisher
        .publish(TOPIC, &0)
        .message_id("first")
        .message_id("mine")
        .await
        .unwrap();
    let messages = cluster.control.messages(TOPIC).unwrap();
    let ids: Vec<String> = messages
        .iter()
        .map(|message| String::from_utf8(message.headers().get(MESSAGE_ID).unwrap().to_vec()).unwrap())
        .collect();
    assert!(ids[0].len() == 36 && ids[0] != ids[1], "{ids:?}");
    assert_eq!(&ids[0][14..15], "7", "they sort by time");
    assert_eq!(ids[2..], ["mine", "mine"]);
    assert!(messages.iter().all(|message| message.headers().len() == 2));
}

#[tokio::test(start_paused = true)]
async fn a_priority_chooses_the_topic() {
    let cluster = Cluster::new(1);
    let publisher = app_of(&cluster).await.publisher();
    for (priority, topic) in [
        (Priority::High, "t.high"),
        (Priority::Normal, TOPIC),
        (Priority::Low, "t.low"),
    ] {
        cluster.control.create_topic(topic, 1);
        publisher.publish(TOPIC, &0).priority(priority).await.unwrap();
        assert_eq!(cluster.control.messages(topic).unwrap().len(), 1, "{topic}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_that_nothing_is_configured_for_is_an_error_that_says_what_to_set() {
    let cluster = Cluster::new(1);
    let publisher = app_of(&cluster).await.publisher();
    let error = publisher
        .publish(TOPIC, &0)
        .delay(std::time::Duration::from_secs(1))
        .await
        .unwrap_err();
    assert_eq!(
        (error.is_retriable(), error.delivery_state()),
        (false, DeliveryState::NotWritten)
    );
    let PublishError::NotConfigured { source, .. } = error else {
        panic!("{error:?}")
    };
    let message = source.to_string();
    for part in [
        "connection `default`",
        "integration.messaging.republisher.delay_topics",
        "integration.messaging.republisher.enabled",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert!(cluster.control.messages(TOPIC).unwrap().is_empty());
}
