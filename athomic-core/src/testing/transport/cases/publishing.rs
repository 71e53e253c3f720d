//! Where messages go, what an acknowledgement says, and what an administrator sees.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::super::TestCluster;
use super::super::rig::{Rig, in_time, unique};
use crate::transport::memory::partition_for_key;
use crate::transport::{Admin, Consumer, NewTopic, OutgoingMessage, Publisher, TransportError};

fn keyed(topic: &str, key: &str) -> OutgoingMessage {
    OutgoingMessage {
        topic: topic.to_owned(),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        payload: Some(Bytes::new()),
        ..OutgoingMessage::default()
    }
}

/// Keys go to the partitions that Kafka's Java client chooses: `toPositive(murmur2(key)) % count`.
pub async fn keys_go_where_kafka_puts_them<C: TestCluster>(cluster: &C) {
    // Hashes from the tests of Kafka itself, modulo 7.
    let known = [
        ("21", 3),
        ("foobar", 0),
        ("a-little-bit-long-string", 1),
        ("a-little-bit-longer-string", 0),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", 3),
        ("abc", 4),
    ];
    let rig = Rig::new(cluster, 7).await;
    let mut expected: Vec<_> = known.map(|(key, partition)| (key.to_owned(), partition)).into();
    let others = (0..50)
        .map(|number| format!("customer-{number}"))
        .chain([String::new()]);
    expected.extend(others.map(|key| (key.clone(), partition_for_key(key.as_bytes(), 7))));
    let messages = expected.iter().map(|(key, _)| keyed(&rig.topic, key));
    let deliveries = rig.publish(messages.collect()).await;
    for (delivery, (key, partition)) in deliveries.iter().zip(expected) {
        assert_eq!(delivery.partition, rig.partition(partition), "key {key:?}");
    }
}

/// A message that names its partition goes there, whatever its key.
pub async fn a_chosen_partition_wins_over_the_key<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 3).await;
    let messages = [2, 0, 1].map(|partition| OutgoingMessage {
        partition: Some(partition),
        ..keyed(&rig.topic, "the same")
    });
    let deliveries = rig.publish(messages.into()).await;
    let places: Vec<_> = deliveries
        .iter()
        .map(|delivery| delivery.partition.partition)
        .collect();
    assert_eq!(places, [2, 0, 1]);
}

/// Each result is its own message's, in the order of the call, and names the offset it is read at.
pub async fn acknowledgements_say_where_messages_stand<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 2).await;
    let payloads = ["a", "b", "c", "d", "e"];
    let messages = payloads.iter().zip([0, 1, 0, 0, 1]);
    let messages = messages.map(|(payload, partition)| rig.message(partition, *payload));
    let deliveries = rig.publish(messages.collect()).await;
    let mut member = rig.member().await;
    rig.until_seen(&mut [&mut member], payloads.len()).await;
    for (payload, delivery) in payloads.iter().zip(deliveries) {
        let read = member.seen.iter().map(|(_, message)| message);
        let mut at = read.filter(|message| {
            *message.topic_partition() == delivery.partition && message.offset() == delivery.offset
        });
        assert_eq!(
            at.next().and_then(|message| message.payload()),
            Some(payload.as_bytes())
        );
    }
    member.leave().await;
}

/// Once a publish is under way, dropping its future neither stops nor repeats it.
pub async fn a_dropped_publish_is_neither_stopped_nor_repeated<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    {
        let mut dropped = Box::pin(rig.publisher.publish(vec![rig.message(0, "dropped")]));
        poll_fn(|cx| Poll::Ready(dropped.as_mut().poll(cx).is_ready())).await;
    }
    rig.publish(vec![rig.message(0, "after")]).await;
    let mut member = rig.member().await;
    rig.until_seen(&mut [&mut member], 2).await;
    rig.soon(&mut [&mut member], |_| false).await;
    let mut payloads = member.payloads();
    payloads.sort();
    assert_eq!(payloads, ["after", "dropped"]);
    member.leave().await;
}

/// With nothing under way, flushing ends.
pub async fn flushing_nothing_is_done_at_once<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    rig.publish(vec![rig.message(0, "acknowledged")]).await;
    let flushed = rig.publisher.flush(Duration::from_secs(10)).await;
    flushed.expect("there is nothing to wait for");
}

/// A topic that there is not is an error that says so, and that trying again does not mend.
pub async fn publishing_to_an_unknown_topic_fails<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    let message = OutgoingMessage {
        topic: unique("nowhere"),
        ..rig.message(0, "lost")
    };
    let known = rig.message(0, "not lost");
    let publishing = rig.publisher.publish(vec![message, known]);
    let results = in_time(cluster, "publishing ends", publishing).await;
    assert!(
        matches!(results[0], Err(TransportError::UnknownTopic { .. })),
        "{results:?}"
    );
    assert!(
        results[1].is_ok(),
        "one message's failure is not another's: {results:?}"
    );
}

/// Making a topic that exists leaves it as it is; only topics that exist are counted.
pub async fn topics_are_made_once_and_counted<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 3).await;
    let again = rig
        .admin
        .create_topics(&[NewTopic::new(rig.topic.as_str(), 5)])
        .await;
    again.expect("a topic that exists is no error");
    let asked = [rig.topic.clone(), unique("nowhere")];
    let known = rig
        .admin
        .partitions(&asked)
        .await
        .expect("topics can be looked at");
    assert_eq!(known.into_iter().collect::<Vec<_>>(), [(rig.topic.clone(), 3)]);
}

/// A topic's settings are those that it was made with; a topic that does not exist has none.
pub async fn settings_of_topics_can_be_looked_up<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    let topic = NewTopic {
        config: [("retention.ms".to_owned(), "123456789".to_owned())].into(),
        ..NewTopic::new(unique("settings"), 1)
    };
    let made = rig.admin.create_topics(std::slice::from_ref(&topic)).await;
    made.expect("topics can be made with settings");
    let asked = [topic.name.clone(), unique("nowhere")];
    let until = Instant::now() + cluster.deadline();
    let settings = loop {
        let settings = rig.admin.topic_settings(&asked).await;
        let settings = settings.expect("settings can be looked at");
        if !settings.is_empty() || Instant::now() > until {
            break settings;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(settings.keys().collect::<Vec<_>>(), [&topic.name]);
    assert_eq!(settings[&topic.name]["retention.ms"], "123456789");
}

/// An administrator sees the group's commits, and none for partitions without one.
pub async fn commits_can_be_looked_up<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 2).await;
    let mut member = rig.member().await;
    rig.until_shared(&mut [&mut member], 2).await;
    let commit = rig.at(1, 7);
    let committed = member.consumer.commit(std::slice::from_ref(&commit)).await;
    committed.expect("the member owns the partition");
    let both = [rig.partition(0), rig.partition(1)];
    let seen = rig.admin.committed(&rig.group, &both).await;
    assert_eq!(seen.expect("commits can be looked up"), [commit]);
    let nobody = rig.admin.committed(&unique("nobody"), &both).await;
    assert_eq!(nobody.expect("an unknown group has no commits"), []);
    member.leave_uncommitted().await;
}
