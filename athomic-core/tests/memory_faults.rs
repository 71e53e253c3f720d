//! Faults on purpose: what the caller sees, and what the broker has.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::time::Duration;

use athomic_core::message::{PartitionOffset, TopicPartition};
use athomic_core::transport::memory::{
    BrokerControl, Fault, FaultPlan, FaultRule, MemoryBroker, MemoryConsumer, MemoryConsumerConfig,
    MemoryPublisher, MemoryTransport, Operation,
};
use athomic_core::transport::{
    Admin, Assignment, Consumer, ConsumerEvent, DeliveryState, FetchLimits, FetchOverrides, Fetched,
    NewTopic, OutgoingMessage, Publisher, Subscription, Transport, TransportError,
};
use tokio::time::{Instant, timeout};

const GROUP: &str = "g";
const SECOND: Duration = Duration::from_secs(1);

struct Cluster {
    control: BrokerControl,
    transport: MemoryTransport,
    publisher: MemoryPublisher,
}

async fn cluster() -> Cluster {
    let broker = MemoryBroker::new();
    broker.control().create_topic("t", 1);
    let transport = broker.transport(MemoryConsumerConfig::default());
    let publisher = transport.publisher().await.unwrap();
    Cluster {
        control: broker.control(),
        transport,
        publisher,
    }
}

impl Cluster {
    async fn join(&self) -> Result<MemoryConsumer, TransportError> {
        let subscription = Subscription {
            topics: vec!["t".into()],
            group_id: GROUP.into(),
            handler_id: "h".into(),
            fetch: FetchOverrides::default(),
        };
        self.transport.consumer(subscription).await
    }

    async fn member(&self) -> (MemoryConsumer, Assignment) {
        let consumer = self.join().await.unwrap();
        loop {
            match consumer.next_event().await.unwrap() {
                ConsumerEvent::Assigned(mut assignments) => {
                    if let Some(assignment) = assignments.pop() {
                        return (consumer, assignment);
                    }
                }
                other => panic!("expected an assignment, got {other:?}"),
            }
        }
    }

    async fn publish(&self, payloads: &[&str]) -> Vec<Result<i64, DeliveryState>> {
        let message = |payload: &&str| OutgoingMessage {
            topic: "t".into(),
            payload: Some((*payload).to_owned().into()),
            ..OutgoingMessage::default()
        };
        let results = self
            .publisher
            .publish(payloads.iter().map(message).collect())
            .await;
        let state = |error| match error {
            TransportError::Delivery { state, retriable, .. } => {
                assert!(retriable);
                state
            }
            other => panic!("expected a delivery error, got {other:?}"),
        };
        results
            .into_iter()
            .map(|result| result.map(|delivery| delivery.offset).map_err(state))
            .collect()
    }

    /// What stands in the log.
    fn log(&self) -> Vec<String> {
        let messages = self.control.messages("t").unwrap();
        messages
            .iter()
            .map(|message| String::from_utf8_lossy(message.payload().unwrap()).into_owned())
            .collect()
    }

    fn next(&self, operation: Operation, fault: Fault) {
        self.control.inject_next(FaultRule::next(operation, fault));
    }
}

fn commit_of(offset: i64) -> [PartitionOffset; 1] {
    [PartitionOffset {
        partition: TopicPartition::new("t", 0),
        offset,
    }]
}

async fn fetch(assignment: &mut Assignment) -> Result<Fetched, TransportError> {
    let limits = FetchLimits {
        messages: 10,
        bytes: 1000,
    };
    assignment.stream.fetch(limits).await
}

#[tokio::test(start_paused = true)]
async fn a_publish_fails_before_or_after_it_is_written() {
    let cluster = cluster().await;
    cluster.next(Operation::Publish, Fault::fail());
    cluster.next(Operation::Publish, Fault::fail_after_applying());
    let results = cluster.publish(&["a", "b", "c"]).await;
    assert_eq!(
        results,
        [Err(DeliveryState::NotWritten), Err(DeliveryState::Unknown), Ok(1)]
    );
    assert_eq!(cluster.log(), ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_duplicated_publish_is_written_twice_and_acknowledged_once() {
    let cluster = cluster().await;
    cluster.next(Operation::Publish, Fault::duplicate());
    assert_eq!(cluster.publish(&["a", "b"]).await, [Ok(0), Ok(2)]);
    assert_eq!(cluster.log(), ["a", "a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_publish_keeps_the_order_of_its_call() {
    let cluster = cluster().await;
    cluster.next(Operation::Publish, Fault::delay(SECOND).reply_delayed(SECOND));
    let began = Instant::now();
    assert_eq!(cluster.publish(&["a", "b"]).await, [Ok(0), Ok(1)]);
    assert_eq!(began.elapsed(), 2 * SECOND);
    assert_eq!(cluster.log(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_publish_goes_on_without_its_caller_and_flush_waits_for_it() {
    let cluster = cluster().await;
    cluster.next(Operation::Publish, Fault::delay(SECOND));
    assert!(timeout(SECOND / 2, cluster.publish(&["a"])).await.is_err());
    assert!(
        cluster
            .publisher
            .flush(SECOND / 4)
            .await
            .unwrap_err()
            .is_retriable()
    );
    assert_eq!(cluster.log(), [""; 0]);
    cluster.publisher.flush(SECOND).await.unwrap();
    assert_eq!(cluster.log(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_fails_before_or_after_it_is_applied() {
    let cluster = cluster().await;
    let (member, _assignment) = cluster.member().await;
    cluster.control.record_commits(GROUP);
    cluster.next(Operation::Commit, Fault::fail());
    cluster.next(Operation::Commit, Fault::fail_after_applying());
    assert!(member.commit(&commit_of(1)).await.unwrap_err().is_retriable());
    assert_eq!(cluster.control.committed(GROUP), []);
    assert!(member.commit(&commit_of(2)).await.unwrap_err().is_retriable());
    assert_eq!(cluster.control.committed(GROUP), commit_of(2));
    member.commit(&commit_of(3)).await.unwrap();
    let recorded = cluster.control.recorded_commits(GROUP);
    let offsets: Vec<_> = recorded.iter().map(|commit| commit.offset).collect();
    assert_eq!(offsets, [2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_late_is_refused_if_the_partition_is_gone_by_then() {
    let cluster = cluster().await;
    let (member, _assignment) = cluster.member().await;
    cluster.next(Operation::Commit, Fault::delay(2 * SECOND));
    let eviction = async {
        tokio::time::sleep(SECOND).await;
        cluster.control.expire_session(GROUP, member.member_id());
    };
    let commit = commit_of(1);
    let (committed, ()) = tokio::join!(member.commit(&commit), eviction);
    assert!(matches!(committed, Err(TransportError::Fenced { .. })));
    assert_eq!(cluster.control.committed(GROUP), []);
}

/// Kafka tells by the member's generation or epoch.
#[tokio::test(start_paused = true)]
async fn a_commit_that_is_late_is_refused_if_the_partition_went_and_came_back_by_then() {
    let cluster = cluster().await;
    let (consumer, assignment) = cluster.member().await;
    cluster.next(Operation::Commit, Fault::delay(SECOND));
    let offsets = commit_of(7);
    let away_and_back = async {
        cluster.control.expire_session(GROUP, consumer.member_id());
        assert!(matches!(consumer.next_event().await, Ok(ConsumerEvent::Lost(_))));
        match consumer.next_event().await.unwrap() {
            ConsumerEvent::Assigned(again) => assert!(again[0].epoch > assignment.epoch),
            other => panic!("expected an assignment, got {other:?}"),
        }
    };
    let (late, ()) = tokio::join!(consumer.commit(&offsets), away_and_back);
    assert!(matches!(late, Err(TransportError::Fenced { .. })), "{late:?}");
    consumer.commit(&commit_of(3)).await.unwrap();
    assert_eq!(cluster.control.committed(GROUP), commit_of(3));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_fails_once_and_loses_nothing() {
    let cluster = cluster().await;
    let (_member, mut assignment) = cluster.member().await;
    cluster.publish(&["a"]).await[0].unwrap();
    cluster.next(Operation::Fetch, Fault::fail());
    assert!(fetch(&mut assignment).await.unwrap_err().is_retriable());
    assert!(matches!(fetch(&mut assignment).await, Ok(Fetched::Records(_))));
}

#[tokio::test(start_paused = true)]
async fn a_delayed_fetch_comes_late_even_if_its_wait_is_given_up() {
    let cluster = cluster().await;
    let (_member, mut assignment) = cluster.member().await;
    cluster.publish(&["a"]).await[0].unwrap();
    cluster.next(Operation::Fetch, Fault::delay(SECOND));
    let began = Instant::now();
    assert!(timeout(SECOND / 2, fetch(&mut assignment)).await.is_err());
    assert!(matches!(fetch(&mut assignment).await, Ok(Fetched::Records(_))));
    assert_eq!(began.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_fetch_ends_with_its_lease() {
    let cluster = cluster().await;
    let (member, mut assignment) = cluster.member().await;
    cluster.next(Operation::Fetch, Fault::delay(60 * SECOND));
    let began = Instant::now();
    let (fetched, closed) = tokio::join!(fetch(&mut assignment), member.close());
    assert!(matches!(fetched, Ok(Fetched::Ended)) && closed.is_ok());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_join_whose_reply_is_lost_leaves_a_ghost_for_a_session() {
    let cluster = cluster().await;
    cluster.next(Operation::Join, Fault::fail_after_applying());
    assert!(cluster.join().await.unwrap_err().is_retriable());
    let began = Instant::now();
    cluster.member().await;
    assert_eq!(began.elapsed(), MemoryConsumerConfig::default().session_timeout);
}

#[tokio::test(start_paused = true)]
async fn a_leave_that_fails_costs_the_group_a_session() {
    let cluster = cluster().await;
    let (member, mut assignment) = cluster.member().await;
    cluster.next(Operation::Leave, Fault::fail());
    assert!(member.close().await.unwrap_err().is_retriable());
    member.close().await.unwrap();
    assert!(matches!(fetch(&mut assignment).await, Ok(Fetched::Ended)));
    let began = Instant::now();
    cluster.member().await;
    assert_eq!(began.elapsed(), MemoryConsumerConfig::default().session_timeout);
}

#[tokio::test(start_paused = true)]
async fn administration_fails_before_or_after_it_is_done() {
    let cluster = cluster().await;
    let admin = cluster.transport.admin().await.unwrap();
    cluster.next(Operation::Admin, Fault::fail());
    cluster.next(Operation::Admin, Fault::fail_after_applying());
    for topic in ["not made", "made"] {
        let failed = admin.create_topics(&[NewTopic::new(topic, 1)]).await;
        assert!(failed.unwrap_err().is_retriable());
    }
    let known = admin
        .partitions(&["made".into(), "not made".into()])
        .await
        .unwrap();
    assert_eq!(known.into_keys().collect::<Vec<_>>(), ["made"]);
}

#[tokio::test(start_paused = true)]
async fn a_generator_sees_every_call_and_may_look_at_the_broker() {
    let cluster = cluster().await;
    let (seen, control) = (std::sync::Arc::default(), cluster.control.clone());
    let calls: std::sync::Arc<std::sync::Mutex<Vec<_>>> = std::sync::Arc::clone(&seen);
    cluster.control.inject(FaultPlan::new().driven_by(move |call| {
        calls
            .lock()
            .unwrap()
            .push((call.operation, control.members(GROUP).len()));
        Fault::NONE
    }));
    let (member, mut assignment) = cluster.member().await;
    cluster.publish(&["a"]).await[0].unwrap();
    fetch(&mut assignment).await.unwrap();
    member.commit(&commit_of(1)).await.unwrap();
    member.close().await.unwrap();
    let expected = [
        (Operation::Join, 0),
        (Operation::Publish, 1),
        (Operation::Fetch, 1),
        (Operation::Commit, 1),
        (Operation::Leave, 1),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_broker_fails_calls_and_holds_up_streams() {
    let cluster = cluster().await;
    let (member, mut assignment) = cluster.member().await;
    cluster.control.stop();
    assert!(cluster.join().await.unwrap_err().is_retriable());
    assert_eq!(cluster.publish(&["a"]).await, [Err(DeliveryState::NotWritten)]);
    assert!(member.commit(&commit_of(0)).await.unwrap_err().is_retriable());
    let admin = cluster.transport.admin().await.unwrap();
    assert!(admin.partitions(&["t".into()]).await.unwrap_err().is_retriable());
    assert!(timeout(SECOND, fetch(&mut assignment)).await.is_err());
    cluster.control.start();
    assert!(matches!(fetch(&mut assignment).await, Ok(Fetched::Position(0))));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_is_an_error_to_its_reader_and_comes_back_as_another() {
    let cluster = cluster().await;
    let (member, mut assignment) = cluster.member().await;
    member.commit(&commit_of(5)).await.unwrap();
    let fetched = async {
        loop {
            if let Err(error) = fetch(&mut assignment).await {
                break error;
            }
        }
    };
    let deletion = async { cluster.control.delete_topic("t").unwrap() };
    let (error, ()) = tokio::join!(fetched, deletion);
    assert!(matches!(error, TransportError::UnknownTopic { .. }));
    match member.next_event().await.unwrap() {
        ConsumerEvent::Revoked(revocation) => revocation.complete(),
        other => panic!("expected a revocation, got {other:?}"),
    }
    cluster.control.create_topic("t", 1);
    cluster.publish(&["a"]).await[0].unwrap();
    let ConsumerEvent::Assigned(mut assignments) = member.next_event().await.unwrap() else {
        panic!("expected an assignment");
    };
    assert!(matches!(
        fetch(&mut assignments[0]).await,
        Ok(Fetched::Records(_))
    ));
}
