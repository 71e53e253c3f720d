//! A member of a group in a test: reads all that it is assigned and remembers what happened.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::rig::commit_stubbornly;
use crate::message::{Offset, PartitionOffset, RawMessage, TopicPartition};
use crate::transport::{
    Assignment, AssignmentEpoch, Consumer, ConsumerEvent, FetchLimits, Fetched, Revocation, TransportError,
};

pub(super) const LIMITS: FetchLimits = FetchLimits {
    messages: 500,
    bytes: 1 << 20,
};

type EventResult = Result<ConsumerEvent, TransportError>;

/// A member. Advanced by [`Rig::until`](super::rig::Rig::until), always together with all others.
pub(super) struct Member<C> {
    pub(super) consumer: Arc<C>,
    /// The wait for the next event; kept, because it is ours to go on with.
    event: Option<Pin<Box<dyn Future<Output = EventResult> + Send>>>,
    /// Whether the group has said what it is given.
    pub(super) told: bool,
    /// What is assigned now.
    pub(super) held: Vec<Assignment>,
    /// All messages read, in the order of reading.
    pub(super) seen: Vec<(AssignmentEpoch, RawMessage)>,
    /// How far each partition was read, ends of the log included.
    pub(super) positions: Vec<PartitionOffset>,
    /// Revocations to be answered by the test, if it holds them.
    pub(super) revocations: Vec<Revocation>,
    /// What was lost.
    pub(super) lost: Vec<TopicPartition>,
    /// What reading failed with.
    pub(super) failures: Vec<TransportError>,
    /// How each read is limited.
    pub(super) limits: FetchLimits,
    /// Read only what this allows.
    pub(super) reads: fn(&TopicPartition) -> bool,
    /// Leave revocations to the test, instead of committing and completing at once.
    pub(super) holds_revocations: bool,
}

impl<C: Consumer> Member<C> {
    pub(super) fn new(consumer: C) -> Self {
        Self {
            consumer: Arc::new(consumer),
            event: None,
            told: false,
            held: Vec::new(),
            seen: Vec::new(),
            positions: Vec::new(),
            revocations: Vec::new(),
            lost: Vec::new(),
            failures: Vec::new(),
            limits: LIMITS,
            reads: |_| true,
            holds_revocations: false,
        }
    }

    pub(super) fn holding_revocations(mut self) -> Self {
        self.holds_revocations = true;
        self
    }

    pub(super) fn reading(mut self, reads: fn(&TopicPartition) -> bool) -> Self {
        self.reads = reads;
        self
    }

    pub(super) fn limited_to(mut self, limits: FetchLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Give up the wait for the next event: the case waits for it itself.
    pub(super) fn stop_listening(&mut self) {
        self.event = None;
    }

    /// Return the partitions that are assigned, in order.
    pub(super) fn partitions(&self) -> Vec<TopicPartition> {
        let mut partitions: Vec<_> = self.held.iter().map(|held| held.partition.clone()).collect();
        partitions.sort();
        partitions
    }

    /// Return the payloads read so far as text.
    pub(super) fn payloads(&self) -> Vec<String> {
        self.seen.iter().map(|(_, message)| text(message)).collect()
    }

    pub(super) fn offsets(&self) -> Vec<Offset> {
        self.seen.iter().map(|(_, message)| message.offset()).collect()
    }

    /// Return how far a partition was read.
    pub(super) fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        let position = self
            .positions
            .iter()
            .find(|position| position.partition == *partition);
        position.map(|position| position.offset)
    }

    pub(super) fn epoch(&self, partition: &TopicPartition) -> Option<AssignmentEpoch> {
        let held = self.held.iter().find(|held| held.partition == *partition);
        held.map(|held| held.epoch)
    }

    /// Commit everything that was read of these partitions.
    pub(super) async fn commit_read(&self, partitions: &[TopicPartition]) {
        let read = |position: &&PartitionOffset| partitions.contains(&position.partition);
        let offsets: Vec<_> = self.positions.iter().filter(read).cloned().collect();
        let committed = commit_stubbornly(&*self.consumer, &offsets).await;
        committed.expect("the member still owns what it commits");
    }

    /// Commit everything that was read and leave.
    pub(super) async fn leave(self) {
        self.commit_read(&self.partitions()).await;
        self.consumer.close().await.expect("the member can leave");
    }

    /// Leave without committing.
    pub(super) async fn leave_uncommitted(self) {
        self.consumer.close().await.expect("the member can leave");
    }

    /// Let the next thing happen. Revocations come back to be answered.
    pub(super) fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Revocation>>
    where
        C: 'static,
    {
        let event = self.event.get_or_insert_with(|| {
            let consumer = Arc::clone(&self.consumer);
            Box::pin(async move { consumer.next_event().await })
        });
        if let Poll::Ready(event) = event.as_mut().poll(cx) {
            self.event = None;
            return Poll::Ready(self.apply(event.expect("the consumer goes on")));
        }
        self.poll_streams(cx).map(|()| None)
    }

    fn poll_streams(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for index in 0..self.held.len() {
            if !(self.reads)(&self.held[index].partition) {
                continue;
            }
            let fetched = self.held[index].stream.poll_fetch(cx, self.limits);
            let Poll::Ready(fetched) = fetched else {
                continue;
            };
            self.take(index, fetched);
            // Whoever was read goes to the end of the queue, or a busy one would starve the others.
            self.held[index..].rotate_left(1);
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn take(&mut self, index: usize, fetched: Result<Fetched, TransportError>) {
        let (partition, epoch) = (self.held[index].partition.clone(), self.held[index].epoch);
        match fetched {
            Ok(Fetched::Records(batch)) => {
                assert_eq!(
                    *batch.partition(),
                    partition,
                    "a stream gives its own partition only"
                );
                assert!(
                    !batch.is_empty() && batch.len() <= self.limits.messages,
                    "batches hold what was asked for"
                );
                for index in 0..batch.len() {
                    let message = RawMessage::new(Arc::clone(&batch), index);
                    self.move_on(&partition, message.offset() + 1);
                    self.seen.push((epoch, message));
                }
            }
            Ok(Fetched::Position(offset)) => self.move_on(&partition, offset),
            Ok(Fetched::Ended) => panic!("{partition} ended while it was assigned"),
            Err(error) => {
                // Not read again: the test looks at the failure.
                self.held.remove(index);
                self.failures.push(error);
                self.held.push(ended(partition, epoch));
            }
        }
    }

    fn move_on(&mut self, partition: &TopicPartition, offset: Offset) {
        let position = self
            .positions
            .iter_mut()
            .find(|position| position.partition == *partition);
        match position {
            Some(position) => {
                assert!(position.offset <= offset, "{partition} went back to {offset}");
                position.offset = offset;
            }
            None => self.positions.push(PartitionOffset {
                partition: partition.clone(),
                offset,
            }),
        }
    }

    fn apply(&mut self, event: ConsumerEvent) -> Option<Revocation> {
        match event {
            ConsumerEvent::Assigned(assignments) => {
                self.told = true;
                for assignment in &assignments {
                    assert_eq!(
                        self.epoch(&assignment.partition),
                        None,
                        "assigned twice: {assignment:?}"
                    );
                    self.positions
                        .retain(|position| position.partition != assignment.partition);
                }
                self.held.extend(assignments);
                None
            }
            ConsumerEvent::Revoked(revocation) if self.holds_revocations => {
                self.revocations.push(revocation);
                None
            }
            ConsumerEvent::Revoked(revocation) => Some(revocation),
            ConsumerEvent::Lost(partitions) => {
                self.forget(&partitions);
                self.lost.extend(partitions);
                None
            }
            ConsumerEvent::Trouble(_passing) => None,
        }
    }

    /// Let go of partitions, and return them as they were assigned.
    pub(super) fn forget(&mut self, partitions: &[TopicPartition]) -> Vec<Assignment> {
        self.held
            .extract_if(.., |held| partitions.contains(&held.partition))
            .collect()
    }
}

/// A stream that gives nothing any more, in place of one that failed.
fn ended(partition: TopicPartition, epoch: AssignmentEpoch) -> Assignment {
    struct Silent;
    impl crate::transport::PartitionStream for Silent {
        fn poll_fetch(
            &mut self,
            _: &mut Context<'_>,
            _: FetchLimits,
        ) -> Poll<Result<Fetched, TransportError>> {
            Poll::Pending
        }
    }
    Assignment {
        partition,
        epoch,
        stream: Box::new(Silent),
    }
}

/// Return a message's payload as text.
pub(super) fn text(message: &RawMessage) -> String {
    String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned()
}
