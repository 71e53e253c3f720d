//! What the cases have in common: names, publishing, and driving members until something holds.

use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::member::Member;
use super::{ConsumerOptions, TestCluster};
use crate::message::{Offset, Partition, PartitionOffset, TopicPartition};
use crate::settings::OffsetReset;
use crate::transport::{
    Admin, Consumer, Delivery, FetchOverrides, NewTopic, OutgoingMessage, Publisher, Revocation,
    Subscription, Transport, TransportError,
};

pub(super) type ConsumerOf<C> = <<C as TestCluster>::Transport as Transport>::Consumer;
pub(super) type MemberOf<C> = Member<ConsumerOf<C>>;

/// One case's view of the cluster: a connection, and a group and a topic of its own.
pub(super) struct Rig<'a, C: TestCluster> {
    pub(super) cluster: &'a C,
    pub(super) transport: C::Transport,
    pub(super) publisher: <C::Transport as Transport>::Publisher,
    pub(super) admin: <C::Transport as Transport>::Admin,
    pub(super) group: String,
    pub(super) topic: String,
}

impl<'a, C: TestCluster> Rig<'a, C> {
    /// Start with a topic of so many partitions, and consumers that begin with the oldest message.
    pub(super) async fn new(cluster: &'a C, partitions: u32) -> Self {
        Self::starting_at(cluster, partitions, OffsetReset::Earliest).await
    }

    pub(super) async fn starting_at(cluster: &'a C, partitions: u32, offset_reset: OffsetReset) -> Self {
        let transport = cluster.transport(ConsumerOptions { offset_reset }).await;
        let publisher = transport.publisher().await.expect("a publisher can be made");
        let admin = transport.admin().await.expect("an administrator can be made");
        let topic = unique("topic");
        let rig = Self {
            cluster,
            transport,
            publisher,
            admin,
            group: unique("group"),
            topic: topic.clone(),
        };
        rig.create(&topic, partitions).await;
        rig
    }

    /// Take the topic and the group of another rig, with a connection of our own.
    pub(super) async fn beside(other: &Rig<'a, C>, offset_reset: OffsetReset) -> Self {
        let mut rig = Self::starting_at(other.cluster, 1, offset_reset).await;
        rig.group.clone_from(&other.group);
        rig.topic.clone_from(&other.topic);
        rig
    }

    /// Make one more topic.
    pub(super) async fn another_topic(&self, partitions: u32) -> String {
        let topic = unique("topic");
        self.create(&topic, partitions).await;
        topic
    }

    async fn create(&self, topic: &str, partitions: u32) {
        let created = self
            .admin
            .create_topics(&[NewTopic::new(topic, partitions)])
            .await;
        created.expect("a topic can be made");
        let names = [topic.to_owned()];
        let visible = super::super::eventually_async(self.cluster.deadline(), async || {
            let known = self.admin.partitions(&names).await;
            known.is_ok_and(|known| known.get(topic).copied() == Partition::try_from(partitions).ok())
        });
        assert!(visible.await, "topic {topic} was made but never shows");
    }

    /// Name a partition of the topic.
    pub(super) fn partition(&self, partition: Partition) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), partition)
    }

    /// Say that a group has read a partition of the topic up to an offset.
    pub(super) fn at(&self, partition: Partition, offset: Offset) -> PartitionOffset {
        PartitionOffset {
            partition: self.partition(partition),
            offset,
        }
    }

    // Publishing.

    /// Describe a message for the topic.
    pub(super) fn message(&self, partition: Partition, payload: impl Into<String>) -> OutgoingMessage {
        OutgoingMessage {
            topic: self.topic.clone(),
            partition: Some(partition),
            payload: Some(payload.into().into()),
            ..OutgoingMessage::default()
        }
    }

    /// Publish, and return where the messages stand.
    pub(super) async fn publish(&self, messages: Vec<OutgoingMessage>) -> Vec<Delivery> {
        let count = messages.len();
        let results = in_time(self.cluster, "publishing ends", self.publisher.publish(messages)).await;
        assert_eq!(results.len(), count, "each message has its result");
        let acknowledged = results
            .into_iter()
            .map(|result| result.expect("the message is acknowledged"));
        acknowledged.collect()
    }

    /// Publish messages of one partition, payloads `{prefix}0` and so on; return the payloads.
    pub(super) async fn publish_numbered(
        &self,
        partition: Partition,
        prefix: &str,
        count: usize,
    ) -> Vec<String> {
        let payloads: Vec<_> = (0..count).map(|number| format!("{prefix}{number}")).collect();
        let messages = payloads.iter().map(|payload| self.message(partition, payload));
        self.publish(messages.collect()).await;
        payloads
    }

    /// Publish a message again and again until it is acknowledged.
    pub(super) async fn publish_stubbornly(&self, message: OutgoingMessage) {
        let acknowledged = super::super::eventually_async(self.cluster.deadline(), async || {
            let results = self.publisher.publish(vec![message.clone()]).await;
            results.iter().all(Result::is_ok)
        });
        assert!(acknowledged.await, "the broker takes messages again");
    }

    // Consuming.

    /// Join the group for the topic.
    pub(super) async fn member(&self) -> MemberOf<C> {
        self.member_for(&[&self.topic]).await
    }

    /// Join the group for some topics.
    pub(super) async fn member_for(&self, topics: &[&str]) -> MemberOf<C> {
        let subscription = Subscription {
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            group_id: self.group.clone(),
            handler_id: "conformance".to_owned(),
            fetch: FetchOverrides::default(),
        };
        Member::new(
            self.transport
                .consumer(subscription)
                .await
                .expect("the group can be joined"),
        )
    }

    /// Drive members until something holds.
    ///
    /// # Panics
    /// If it does not before the deadline.
    pub(super) async fn until(
        &self,
        members: &mut [&mut MemberOf<C>],
        what: &str,
        mut holds: impl FnMut(&[&mut MemberOf<C>]) -> bool,
    ) {
        if !drive(members, self.cluster.deadline(), &mut holds).await {
            let shares: Vec<_> = members.iter().map(|member| member.partitions()).collect();
            let failures: Vec<_> = members.iter().flat_map(|member| &member.failures).collect();
            panic!("not in time: {what}; assigned are {shares:?}, reading failed with {failures:?}");
        }
    }

    /// Drive members for a while; say whether something came to hold.
    pub(super) async fn soon(
        &self,
        members: &mut [&mut MemberOf<C>],
        mut holds: impl FnMut(&[&mut MemberOf<C>]) -> bool,
    ) -> bool {
        drive(members, self.cluster.quiet(), &mut holds).await
    }

    /// Drive members until each has its share of this many partitions.
    pub(super) async fn until_shared(&self, members: &mut [&mut MemberOf<C>], partitions: usize) {
        let share = partitions / members.len();
        let shared = |members: &[&mut MemberOf<C>]| members.iter().all(|member| member.held.len() == share);
        self.until(members, "the members share all partitions evenly", shared)
            .await;
    }

    /// Drive members until they have read so many messages in all.
    pub(super) async fn until_seen(&self, members: &mut [&mut MemberOf<C>], count: usize) {
        let seen = |members: &[&mut MemberOf<C>]| {
            members.iter().map(|member| member.seen.len()).sum::<usize>() >= count
        };
        self.until(members, &format!("{count} messages are read"), seen)
            .await;
    }

    /// Return what the group has committed for a partition of the topic.
    pub(super) async fn committed(&self, partition: Partition) -> Option<Offset> {
        let partitions = [self.partition(partition)];
        let committed = self.admin.committed(&self.group, &partitions).await;
        let committed = committed.expect("commits can be looked up");
        committed.first().map(|commit| commit.offset)
    }
}

/// Let things happen to members, one at a time, until something holds; `false` if time runs out.
async fn drive<T: Consumer>(
    members: &mut [&mut Member<T>],
    time: Duration,
    holds: &mut (impl FnMut(&[&mut Member<T>]) -> bool + ?Sized),
) -> bool {
    let driven = async {
        while !holds(members) {
            let (index, revocation) = poll_fn(|cx| {
                for (index, member) in members.iter_mut().enumerate() {
                    if let Poll::Ready(revocation) = member.poll_step(cx) {
                        return Poll::Ready((index, revocation));
                    }
                }
                Poll::Pending
            })
            .await;
            if let Some(revocation) = revocation {
                give_back(members[index], revocation).await;
            }
        }
    };
    within(time, driven).await.is_some()
}

/// Wait for what must happen.
///
/// # Panics
/// If it does not before the cluster's deadline.
pub(super) async fn in_time<R>(cluster: &impl TestCluster, what: &str, future: impl Future<Output = R>) -> R {
    match within(cluster.deadline(), future).await {
        Some(result) => result,
        None => panic!("not in time: {what}"),
    }
}

/// Begin to wait in a task of its own, which nothing wakes but what it waits for.
pub(super) async fn wait_apart<R: Send + 'static>(
    future: impl Future<Output = R> + Send + 'static,
) -> JoinHandle<R> {
    let waiting = tokio::spawn(future);
    tokio::task::yield_now().await;
    waiting
}

/// Wait so long, and not a look longer: where `timeout` polls once more when the time is over, a
/// wake-up that was forgotten would pass for one that came.
async fn within<R>(time: Duration, future: impl Future<Output = R>) -> Option<R> {
    tokio::select! {
        biased;
        () = sleep(time) => None,
        result = future => Some(result),
    }
}

/// Answer a revocation as a consumer should: stop reading, commit what was read, complete.
async fn give_back<T: Consumer>(member: &mut Member<T>, revocation: Revocation) {
    member.forget(&revocation.partitions);
    member.commit_read(&revocation.partitions).await;
    revocation.complete();
}

/// Ask for a commit until it is not refused with an error that says "again".
pub(super) async fn commit_stubbornly<T: Consumer>(
    consumer: &T,
    offsets: &[PartitionOffset],
) -> Result<(), TransportError> {
    for pause in [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000] {
        match consumer.commit(offsets).await {
            Err(error) if error.is_retriable() => sleep(Duration::from_millis(pause)).await,
            result => return result,
        }
    }
    consumer.commit(offsets).await
}

/// Make a name that no other case, process or run uses.
pub(super) fn unique(kind: &str) -> String {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    let number = NAMES.fetch_add(1, Ordering::Relaxed);
    let time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    format!("conformance-{kind}-{}-{time}-{number}", std::process::id())
}
