//! The embedded broker on many threads: nobody waits for ever, and nothing is lost.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use athomic_core::message::{Offset, PartitionOffset, TopicPartition};
use athomic_core::transport::memory::{MemoryBroker, MemoryConsumer, MemoryConsumerConfig};
use athomic_core::transport::{
    Assignment, Consumer, ConsumerEvent, FetchLimits, FetchOverrides, Fetched, OutgoingMessage, Publisher,
    Subscription, Transport,
};
use tokio::time::{sleep, timeout};

const PARTITIONS: i32 = 6;
const MESSAGES: usize = 30_000;

type Seen = Arc<Mutex<BTreeSet<(TopicPartition, Offset)>>>;

async fn join(broker: &MemoryBroker) -> Arc<MemoryConsumer> {
    let subscription = Subscription {
        topics: vec!["t".into()],
        group_id: "g".into(),
        handler_id: "h".into(),
        fetch: FetchOverrides::default(),
    };
    let transport = broker.transport(MemoryConsumerConfig::default());
    Arc::new(transport.consumer(subscription).await.unwrap())
}

/// Consume until closed, with a task for each partition that commits as it goes.
async fn consume(consumer: Arc<MemoryConsumer>, seen: Seen) {
    while let Ok(event) = consumer.next_event().await {
        match event {
            ConsumerEvent::Assigned(assignments) => {
                for assignment in assignments {
                    tokio::spawn(read(Arc::clone(&consumer), assignment, Arc::clone(&seen)));
                }
            }
            ConsumerEvent::Revoked(revocation) => revocation.complete(),
            other => panic!("unexpected: {other:?}"),
        }
    }
}

async fn read(consumer: Arc<MemoryConsumer>, mut assignment: Assignment, seen: Seen) {
    let limits = FetchLimits {
        messages: 50,
        bytes: usize::MAX,
    };
    loop {
        match assignment.stream.fetch(limits).await.unwrap() {
            Fetched::Records(batch) => {
                let offsets = (0..batch.len()).map(|index| batch.offset(index));
                let read = offsets.map(|offset| (assignment.partition.clone(), offset));
                seen.lock().unwrap().extend(read);
                let commit = PartitionOffset {
                    partition: assignment.partition.clone(),
                    offset: batch.offset(batch.len() - 1) + 1,
                };
                let _refused_if_revoked = consumer.commit(&[commit]).await;
            }
            Fetched::Position(_) => {}
            Fetched::Ended => break,
        }
    }
}

async fn publish(broker: MemoryBroker, count: usize) {
    let transport = broker.transport(MemoryConsumerConfig::default());
    let publisher = transport.publisher().await.unwrap();
    for _ in 0..count / 10 {
        let message = OutgoingMessage {
            topic: "t".into(),
            payload: Some("payload".into()),
            ..OutgoingMessage::default()
        };
        for result in publisher.publish(vec![message; 10]).await {
            result.unwrap();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn members_publishers_and_rebalances_run_side_by_side() {
    let broker = MemoryBroker::new();
    broker
        .control()
        .create_topic("t", u32::try_from(PARTITIONS).unwrap());
    let seen = Seen::default();
    let stays = join(&broker).await;
    let consuming = tokio::spawn(consume(Arc::clone(&stays), Arc::clone(&seen)));
    let publishing: Vec<_> = (0..3)
        .map(|_| tokio::spawn(publish(broker.clone(), MESSAGES / 3)))
        .collect();
    let everything = async {
        while seen.lock().unwrap().len() < MESSAGES {
            let passes = join(&broker).await;
            let passing = tokio::spawn(consume(Arc::clone(&passes), Arc::clone(&seen)));
            sleep(Duration::from_millis(2)).await;
            broker.control().rebalance("g");
            passes.close().await.unwrap();
            passing.await.unwrap();
        }
    };
    timeout(Duration::from_secs(60), everything)
        .await
        .expect("everything is read");
    for publisher in publishing {
        publisher.await.unwrap();
    }
    stays.close().await.unwrap();
    consuming.await.unwrap();
}
