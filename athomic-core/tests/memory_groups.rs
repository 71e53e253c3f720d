//! Groups on the embedded broker under a paused clock: what only its control can bring about.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::time::Duration;

use athomic_core::message::{Offset, PartitionOffset, TopicPartition};
use athomic_core::transport::memory::{
    BrokerControl, MemberId, MemoryBroker, MemoryConsumer, MemoryConsumerConfig,
};
use athomic_core::transport::{
    Assignment, Consumer, ConsumerEvent, FetchLimits, Fetched, OutgoingMessage, Revocation, Subscription,
    Transport, TransportError,
};
use tokio::time::{Instant, timeout};

const GROUP: &str = "g";
const SESSION: Duration = Duration::from_secs(45);
const REBALANCE: Duration = Duration::from_secs(300);
const LIMITS: FetchLimits = FetchLimits {
    messages: 100,
    bytes: 1 << 20,
};

struct Cluster {
    broker: MemoryBroker,
    control: BrokerControl,
}

impl Cluster {
    fn with_partitions(partitions: u32) -> Self {
        let broker = MemoryBroker::new();
        let control = broker.control();
        control.create_topic("t", partitions);
        Self { broker, control }
    }

    async fn member(&self) -> MemoryConsumer {
        let transport = self.broker.transport(MemoryConsumerConfig::default());
        let subscription = Subscription {
            topics: vec!["t".into()],
            group_id: GROUP.into(),
            handler_id: "h".into(),
            fetch: athomic_core::transport::FetchOverrides::default(),
        };
        transport.consumer(subscription).await.unwrap()
    }

    fn publish(&self, partition: i32, payload: &'static str) -> Offset {
        let message = OutgoingMessage {
            topic: "t".into(),
            partition: Some(partition),
            payload: Some(payload.into()),
            ..OutgoingMessage::default()
        };
        self.control.publish(message).unwrap().offset
    }

    fn owners(&self) -> Vec<(MemberId, usize)> {
        let members = self.control.members(GROUP);
        members
            .iter()
            .map(|member| (member.id, member.partitions.len()))
            .collect()
    }
}

fn commit_of(partition: i32, offset: Offset) -> [PartitionOffset; 1] {
    [PartitionOffset {
        partition: TopicPartition::new("t", partition),
        offset,
    }]
}

async fn assigned(member: &MemoryConsumer) -> Vec<Assignment> {
    loop {
        match member.next_event().await.unwrap() {
            ConsumerEvent::Assigned(assignments) if !assignments.is_empty() => break assignments,
            ConsumerEvent::Assigned(_) => {}
            other => panic!("expected an assignment, got {other:?}"),
        }
    }
}

async fn revoked(member: &MemoryConsumer) -> Revocation {
    match member.next_event().await.unwrap() {
        ConsumerEvent::Revoked(revocation) => revocation,
        other => panic!("expected a revocation, got {other:?}"),
    }
}

async fn lost(member: &MemoryConsumer) -> Vec<TopicPartition> {
    match member.next_event().await.unwrap() {
        ConsumerEvent::Lost(partitions) => partitions,
        other => panic!("expected a loss, got {other:?}"),
    }
}

async fn nothing_happens_to(member: &MemoryConsumer) {
    let waited = timeout(Duration::from_millis(10), member.next_event()).await;
    assert!(waited.is_err(), "unexpected: {waited:?}");
}

async fn ended(assignment: &mut Assignment) -> bool {
    matches!(assignment.stream.fetch(LIMITS).await.unwrap(), Fetched::Ended)
}

#[tokio::test(start_paused = true)]
async fn a_killed_members_partitions_move_after_its_session() {
    let cluster = Cluster::with_partitions(2);
    let first = cluster.member().await;
    let mut kept = assigned(&first).await;
    let began = Instant::now();
    drop(first);
    assert!(ended(&mut kept[0]).await);
    let second = cluster.member().await;
    let assignments = assigned(&second).await;
    assert_eq!(
        assignments.iter().map(|a| a.epoch).max(),
        Some(assignments[0].epoch)
    );
    // The second member got one partition... of a member that nobody is; the other one by time-out.
    assert_eq!(began.elapsed(), SESSION);
    assert_eq!(cluster.owners(), [(second.member_id(), 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_does_not_give_back_is_thrown_out() {
    let cluster = Cluster::with_partitions(2);
    let first = cluster.member().await;
    let mut streams = assigned(&first).await;
    let second = cluster.member().await;
    let revocation = revoked(&first).await;
    let began = Instant::now();
    let taken = assigned(&second).await;
    assert_eq!(began.elapsed(), REBALANCE);
    assert_eq!(taken.len(), 2);
    assert!(ended(&mut streams[0]).await && ended(&mut streams[1]).await);
    let refused = first
        .commit(&commit_of(revocation.partitions[0].partition, 1))
        .await;
    assert!(matches!(refused, Err(TransportError::Fenced { .. })));
    // Too late: it counts for nothing.
    revocation.complete();
    assert_eq!(
        cluster.owners(),
        [(first.member_id(), 0), (second.member_id(), 2)]
    );
    assert_eq!(lost(&first).await.len(), 2);
    // Now that it has heard, it is back and gets its share when the second gives it.
    revoked(&second).await.complete();
    assert_eq!(assigned(&first).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_zombie_hears_of_its_losses_and_cannot_commit() {
    let cluster = Cluster::with_partitions(1);
    let zombie = cluster.member().await;
    let mut streams = assigned(&zombie).await;
    cluster.publish(0, "a");
    let records = streams[0].stream.fetch(LIMITS).await.unwrap();
    assert!(matches!(records, Fetched::Records(_)));
    cluster.control.silence(GROUP, zombie.member_id());
    let unreachable = zombie.commit(&commit_of(0, 1)).await.unwrap_err();
    assert!(unreachable.is_retriable());
    let second = cluster.member().await;
    assert_eq!(assigned(&second).await.len(), 1);
    second.commit(&commit_of(0, 1)).await.unwrap();
    nothing_happens_to(&zombie).await;
    cluster.control.reconnect(GROUP, zombie.member_id());
    let refused = zombie.commit(&commit_of(0, 0)).await;
    assert!(matches!(refused, Err(TransportError::Fenced { .. })));
    assert_eq!(lost(&zombie).await, [TopicPartition::new("t", 0)]);
    assert!(ended(&mut streams[0]).await);
    assert_eq!(cluster.control.committed(GROUP), commit_of(0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_expired_member_alone_gets_its_partitions_back_with_a_higher_epoch() {
    let cluster = Cluster::with_partitions(1);
    let member = cluster.member().await;
    let before = assigned(&member).await;
    cluster.control.expire_session(GROUP, member.member_id());
    assert_eq!(lost(&member).await, [TopicPartition::new("t", 0)]);
    let after = assigned(&member).await;
    assert!(after[0].epoch > before[0].epoch);
}

#[tokio::test(start_paused = true)]
async fn a_short_stop_costs_no_membership() {
    let cluster = Cluster::with_partitions(1);
    let member = cluster.member().await;
    let mut streams = assigned(&member).await;
    cluster.control.stop();
    assert!(matches!(member.next_event().await, Ok(ConsumerEvent::Trouble(_))));
    assert!(member.commit(&commit_of(0, 0)).await.unwrap_err().is_retriable());
    tokio::time::sleep(SESSION / 2).await;
    cluster.control.start();
    cluster.publish(0, "a");
    member.commit(&commit_of(0, 0)).await.unwrap();
    assert!(matches!(
        streams[0].stream.fetch(LIMITS).await,
        Ok(Fetched::Records(_))
    ));
    nothing_happens_to(&member).await;
}

#[tokio::test(start_paused = true)]
async fn a_long_stop_costs_the_partitions_until_the_start() {
    let cluster = Cluster::with_partitions(1);
    let member = cluster.member().await;
    let _streams = assigned(&member).await;
    cluster.control.stop();
    assert!(matches!(member.next_event().await, Ok(ConsumerEvent::Trouble(_))));
    let began = Instant::now();
    assert_eq!(lost(&member).await.len(), 1);
    assert_eq!(began.elapsed(), SESSION);
    nothing_happens_to(&member).await;
    cluster.control.start();
    assert_eq!(assigned(&member).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_forced_rebalance_hands_partitions_round() {
    let cluster = Cluster::with_partitions(2);
    let first = cluster.member().await;
    let _streams = assigned(&first).await;
    let second = cluster.member().await;
    revoked(&first).await.complete();
    let had = assigned(&second).await[0].partition.clone();
    cluster.control.rebalance(GROUP);
    revoked(&first).await.complete();
    revoked(&second).await.complete();
    assert_eq!(assigned(&first).await[0].partition, had);
    assert_ne!(assigned(&second).await[0].partition, had);
}

#[tokio::test(start_paused = true)]
async fn added_partitions_are_assigned_without_disturbing_others() {
    let cluster = Cluster::with_partitions(1);
    let member = cluster.member().await;
    let _first = assigned(&member).await;
    cluster.control.add_partitions("t", 2).unwrap();
    assert_eq!(assigned(&member).await[0].partition, TopicPartition::new("t", 1));
}

/// Two wakers of one task need not know each other, so waking the one that is replaced could go on for ever.
#[tokio::test(start_paused = true)]
async fn a_second_look_for_events_does_not_wake_the_first() {
    struct Woken(std::sync::atomic::AtomicBool);
    impl std::task::Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }

    let broker = MemoryBroker::new();
    broker.control().create_topic("t", 1);
    let subscription = athomic_core::transport::Subscription {
        topics: vec!["t".into()],
        group_id: "g".into(),
        handler_id: "h".into(),
        fetch: athomic_core::transport::FetchOverrides::default(),
    };
    let consumer = broker
        .transport(MemoryConsumerConfig::default())
        .consumer(subscription)
        .await
        .expect("joined");
    consumer.next_event().await.expect("an assignment");
    let mut event = std::pin::pin!(consumer.next_event());
    let first = std::sync::Arc::new(Woken(false.into()));
    for waker in [first.clone(), std::sync::Arc::new(Woken(false.into()))] {
        let waker = std::task::Waker::from(waker);
        let looked = event.as_mut().poll(&mut std::task::Context::from_waker(&waker));
        assert!(looked.is_pending());
    }
    assert!(!first.0.load(std::sync::atomic::Ordering::SeqCst));
}
