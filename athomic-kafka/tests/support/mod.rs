//! What the tests on a real broker have in common.
#![allow(dead_code, reason = "each file of tests needs a part of it")]

use std::env;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use athomic_core::message::{Offset, PartitionOffset, RecordBatch, TopicPartition};
use athomic_core::settings::{ConnectionSettings, Settings};
use athomic_core::transport::{
    Admin, Assignment, Consumer, ConsumerEvent, FetchLimits, FetchOverrides, Fetched, NewTopic,
    OutgoingMessage, PartitionStream, Publisher, Revocation, Subscription, Transport,
};
use athomic_kafka::{KafkaConsumer, KafkaPublisher, KafkaTransport};
use std::sync::Arc;
use tokio::time::timeout;

/// How long anything may take that has to happen.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// No more than a test ever publishes.
pub(crate) const ALL: FetchLimits = FetchLimits {
    messages: 1000,
    bytes: 1 << 20,
};

/// A topic of its own on the broker that `ATHOMIC_TEST_KAFKA` names.
pub(crate) struct Kafka {
    pub(crate) transport: KafkaTransport,
    pub(crate) publisher: KafkaPublisher,
    pub(crate) topic: String,
    pub(crate) group: String,
}

impl Kafka {
    /// Make a topic; nothing, with a line to say so, where there is no broker.
    pub(crate) async fn with_topic(partitions: u32) -> Option<Self> {
        Self::with(partitions, |_settings| {}).await
    }

    /// The same with other settings.
    pub(crate) async fn with(partitions: u32, change: impl FnOnce(&mut ConnectionSettings)) -> Option<Self> {
        let Some(transport) = transport(change) else {
            eprintln!("skipped: ATHOMIC_TEST_KAFKA is not set");
            return None;
        };
        let topic = unique("topic");
        let admin = transport.admin().await.expect("an administrator");
        let new = [NewTopic::new(&topic, partitions)];
        while let Err(error) = admin.create_topics(&new).await {
            assert!(error.is_retriable(), "the topic is not made: {error:?}");
        }
        until_known(&admin, &topic).await;
        let publisher = transport.publisher().await.expect("a publisher");
        Some(Self {
            transport,
            publisher,
            topic,
            group: unique("group"),
        })
    }

    pub(crate) async fn member(&self) -> Member {
        Member(
            self.transport
                .consumer(self.subscription())
                .await
                .expect("a member"),
        )
    }

    pub(crate) fn subscription(&self) -> Subscription {
        Subscription {
            topics: vec![self.topic.clone()],
            group_id: self.group.clone(),
            handler_id: "tests::handler".to_owned(),
            fetch: FetchOverrides {
                max_wait: Some(Duration::from_millis(50)),
                max_bytes: None,
                offset_reset: None,
            },
        }
    }

    pub(crate) fn message(&self, payload: &str) -> OutgoingMessage {
        OutgoingMessage {
            topic: self.topic.clone(),
            partition: Some(0),
            payload: Some(payload.to_owned().into()),
            ..OutgoingMessage::default()
        }
    }

    /// Publish to a partition and return the last offset.
    pub(crate) async fn publish(&self, partition: i32, payloads: &[&str]) -> Offset {
        let messages: Vec<_> = payloads
            .iter()
            .map(|payload| OutgoingMessage {
                partition: Some(partition),
                ..self.message(payload)
            })
            .collect();
        let deliveries = self.publisher.publish(messages).await;
        let offsets = deliveries
            .into_iter()
            .map(|delivery| delivery.expect("acknowledged").offset);
        offsets.max().expect("something was published")
    }

    pub(crate) fn partition(&self, number: i32) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), number)
    }

    pub(crate) fn offset(&self, number: i32, offset: Offset) -> PartitionOffset {
        PartitionOffset {
            partition: self.partition(number),
            offset,
        }
    }
}

/// Make a transport on the test broker, if there is one.
pub(crate) fn transport(change: impl FnOnce(&mut ConnectionSettings)) -> Option<KafkaTransport> {
    let servers = vec![env::var("ATHOMIC_TEST_KAFKA").ok()?];
    let mut connection = ConnectionSettings::default();
    connection.consumer.bootstrap_servers = servers.clone();
    connection.producer.bootstrap_servers = servers;
    change(&mut connection);
    Some(KafkaTransport::connect(&Settings::default(), &connection).expect("settings are fine"))
}

pub(crate) fn unique(what: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_nanos();
    format!("{what}-{now}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A consumer, asked with a deadline.
pub(crate) struct Member(pub(crate) KafkaConsumer);

impl Member {
    /// Wait for partitions, over as many assignments as it takes.
    pub(crate) async fn assigned(&self, count: usize) -> Vec<Assignment> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.event().await {
                ConsumerEvent::Assigned(some) => all.extend(some),
                other => panic!("expected partitions, got {other:?}"),
            }
        }
        all.sort_by_key(|assignment| assignment.partition.partition);
        all
    }

    pub(crate) async fn revoked(&self) -> Revocation {
        match self.event().await {
            ConsumerEvent::Revoked(revocation) => revocation,
            other => panic!("expected a revocation, got {other:?}"),
        }
    }

    pub(crate) async fn event(&self) -> ConsumerEvent {
        timeout(SOON, self.0.next_event())
            .await
            .expect("an event, soon")
            .expect("no end")
    }

    pub(crate) async fn close(&self) {
        timeout(SOON, self.0.close())
            .await
            .expect("an end, soon")
            .expect("a farewell to the group");
    }
}

/// Read one batch; panics if there is anything else.
pub(crate) async fn batch(stream: &mut dyn PartitionStream) -> Arc<dyn RecordBatch> {
    loop {
        match fetch(stream).await {
            Fetched::Records(batch) => return batch,
            Fetched::Position(_) => {}
            Fetched::Ended => panic!("the stream ended"),
        }
    }
}

/// Wait for the end of a stream; panics if there are records.
pub(crate) async fn ended(stream: &mut dyn PartitionStream) {
    loop {
        match fetch(stream).await {
            Fetched::Ended => return,
            Fetched::Position(_) => {}
            Fetched::Records(batch) => panic!("{} records and no end", batch.len()),
        }
    }
}

/// Read until so many payloads are there.
pub(crate) async fn payloads(stream: &mut dyn PartitionStream, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < count {
        let batch = batch(stream).await;
        all.extend((0..batch.len()).map(|index| text(batch.payload(index))));
    }
    all
}

pub(crate) async fn fetch(stream: &mut dyn PartitionStream) -> Fetched {
    timeout(SOON, stream.fetch(ALL))
        .await
        .expect("a fetch, soon")
        .expect("a partition that can be read")
}

pub(crate) fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8(bytes.expect("not null").to_vec()).expect("text")
}

/// Wait until a topic is known to the broker that is asked, which may lag behind the one that made it.
pub(crate) async fn until_known(admin: &impl Admin, topic: &String) {
    let deadline = Instant::now() + SOON;
    loop {
        let known = admin.partitions(std::slice::from_ref(topic)).await;
        if known.expect("an answer").contains_key(topic) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "topic {topic} was made and never shows"
        );
    }
}
