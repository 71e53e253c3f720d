//! The view from above: what the broker holds, and making things go wrong on purpose.

use std::ops::Range;

use super::broker::{Stopped, unreachable};
use super::faults::{FaultPlan, FaultRule};
use super::group::Group;
use super::member::{PendingEvent, Standing};
use super::topics::unknown;
use super::{MemberId, MemoryBroker};
use crate::message::{Offset, OwnedRecord, Partition, PartitionOffset, RawMessage, TopicPartition};
use crate::transport::{AssignmentEpoch, Delivery, OutgoingMessage, TransportError};

/// Control over a [`MemoryBroker`] for tests, simulations and programs that feed themselves.
///
/// Nothing here is subject to faults. Methods that name a group or a member that there is not do
/// nothing.
#[derive(Debug, Clone)]
pub struct BrokerControl {
    broker: MemoryBroker,
}

/// A member of a group, seen from the coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberInfo {
    /// Its number.
    pub id: MemberId,
    /// The handler that it consumes for.
    pub handler_id: String,
    /// What it owns.
    pub partitions: Vec<TopicPartition>,
    /// Whether its consumer exists; `false` after a drop without leaving.
    pub alive: bool,
    /// Whether the coordinator counts it in; `false` after it was thrown out, until it is back.
    pub joined: bool,
}

/// A commit as the broker took it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppliedCommit {
    /// Who committed.
    pub member: MemberId,
    /// The partition.
    pub partition: TopicPartition,
    /// The assignment under which the member owned the partition then.
    pub epoch: AssignmentEpoch,
    /// The offset.
    pub offset: Offset,
}

impl BrokerControl {
    pub(super) fn new(broker: MemoryBroker) -> Self {
        Self { broker }
    }

    // Topics and logs.

    /// Make a topic, unless there is one of this name.
    pub fn create_topic(&self, name: &str, partitions: u32) {
        let partitions = usize::try_from(partitions).unwrap_or(usize::MAX);
        self.broker.lock().create_topic(name, partitions, None);
    }

    /// Delete a topic with everything in it, and all commits for it. Its readers get errors.
    ///
    /// # Errors
    /// [`TransportError::UnknownTopic`].
    pub fn delete_topic(&self, name: &str) -> Result<(), TransportError> {
        let mut state = self.broker.lock();
        let (topics, wakes) = state.logs();
        let mut topic = topics.delete(name).ok_or_else(|| unknown(name))?;
        topic
            .partitions
            .iter_mut()
            .for_each(|log| log.wake_readers(wakes));
        state.each_group(|group, _| group.forget_topic(name));
        Ok(())
    }

    /// Let a topic grow to so many partitions.
    ///
    /// # Errors
    /// [`TransportError::UnknownTopic`].
    pub fn add_partitions(&self, topic: &str, partitions: u32) -> Result<(), TransportError> {
        let mut state = self.broker.lock();
        let partitions = usize::try_from(partitions).unwrap_or(usize::MAX);
        state.topics.existing(topic)?.grow(partitions);
        state.topics_changed();
        Ok(())
    }

    /// Change a setting of a topic by Kafka's name. It can be looked at, and has no effect.
    ///
    /// # Errors
    /// [`TransportError::UnknownTopic`].
    pub fn set_topic(&self, topic: &str, name: &str, value: &str) -> Result<(), TransportError> {
        let mut state = self.broker.lock();
        let settings = &mut state.topics.existing(topic)?.settings;
        settings.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// Keep only so many records in each partition of a topic, from now on.
    ///
    /// # Errors
    /// [`TransportError::UnknownTopic`].
    pub fn set_retention(&self, topic: &str, records: usize) -> Result<(), TransportError> {
        let mut state = self.broker.lock();
        let topic = state.topics.existing(topic)?;
        topic.retention = records;
        topic
            .partitions
            .iter_mut()
            .for_each(|log| log.retain_newest(records));
        Ok(())
    }

    /// Take no record of a topic from now on that is larger, headers included, as Kafka's
    /// `max.message.bytes` does.
    ///
    /// # Errors
    /// [`TransportError::UnknownTopic`].
    pub fn set_max_message_bytes(&self, topic: &str, bytes: usize) -> Result<(), TransportError> {
        self.broker.lock().topics.existing(topic)?.max_message_bytes = bytes;
        Ok(())
    }

    /// Delete everything below an offset, as retention by time or size would.
    ///
    /// # Errors
    /// [`TransportError::UnknownTopic`].
    pub fn delete_before(&self, partition: &TopicPartition, offset: Offset) -> Result<(), TransportError> {
        self.broker
            .lock()
            .topics
            .existing_log(partition)?
            .delete_before(offset);
        Ok(())
    }

    /// Cut a partition off at an offset: what stood there and behind is lost, and its offsets are given
    /// again, as after an unclean leader election. Readers that were further go on from there, or get
    /// [`TransportError::OffsetOutOfRange`] under `auto_offset_reset = "fail"`.
    ///
    /// # Errors
    /// [`TransportError::UnknownTopic`].
    pub fn cut(&self, partition: &TopicPartition, offset: Offset) -> Result<(), TransportError> {
        let mut state = self.broker.lock();
        let (topics, wakes) = state.logs();
        topics.existing_log(partition)?.cut(offset, wakes);
        Ok(())
    }

    /// Compact a partition: delete those records that `keep` refuses and leave holes.
    ///
    /// # Errors
    /// [`TransportError::UnknownTopic`].
    pub fn compact(
        &self,
        partition: &TopicPartition,
        keep: impl FnMut(&OwnedRecord) -> bool,
    ) -> Result<(), TransportError> {
        self.broker.lock().topics.existing_log(partition)?.compact(keep);
        Ok(())
    }

    /// Write what no reader sees: so many records of an aborted transaction, and its marker. With 0
    /// records, the marker of a committed one. Returns the first offset taken.
    ///
    /// # Errors
    /// [`TransportError::UnknownTopic`].
    pub fn write_unseen(&self, partition: &TopicPartition, records: u32) -> Result<Offset, TransportError> {
        let mut state = self.broker.lock();
        let (topics, wakes) = state.logs();
        Ok(topics
            .existing_log(partition)?
            .skip(records.saturating_add(1), wakes))
    }

    /// Return the offsets from the oldest record that is kept to the next to be written.
    ///
    /// # Errors
    /// [`TransportError::UnknownTopic`].
    pub fn offsets(&self, partition: &TopicPartition) -> Result<Range<Offset>, TransportError> {
        Ok(self.broker.lock().topics.existing_log(partition)?.range())
    }

    /// Return all messages of a topic, partition by partition.
    ///
    /// # Errors
    /// [`TransportError::UnknownTopic`].
    pub fn messages(&self, topic: &str) -> Result<Vec<RawMessage>, TransportError> {
        let mut state = self.broker.lock();
        let topic = state.topics.existing(topic)?;
        let mut messages = Vec::new();
        for (number, log) in (0 as Partition..).zip(&topic.partitions) {
            let partition = TopicPartition::new(topic.name.clone(), number);
            let message = |record: &OwnedRecord| RawMessage::from_record(partition.clone(), record.clone());
            messages.extend(log.records().map(|record| message(record)));
        }
        Ok(messages)
    }

    /// Write a message without a publisher.
    ///
    /// # Errors
    /// No such topic or partition, or the broker is stopped.
    pub fn publish(&self, message: OutgoingMessage) -> Result<Delivery, TransportError> {
        let mut state = self.broker.lock();
        self.broker.write(&mut state, message)
    }

    // Groups.

    /// List the members of a group.
    #[must_use]
    pub fn members(&self, group: &str) -> Vec<MemberInfo> {
        let state = self.broker.lock();
        state.peek(group).map(members_of).unwrap_or_default()
    }

    /// Return all that a group has committed.
    #[must_use]
    pub fn committed(&self, group: &str) -> Vec<PartitionOffset> {
        let state = self.broker.lock();
        let commits = state.peek(group).into_iter().flat_map(|group| &group.committed);
        commits
            .map(|(partition, offset)| PartitionOffset {
                partition: partition.clone(),
                offset: *offset,
            })
            .collect()
    }

    /// Record each commit of a group from now on, for [`recorded_commits`](Self::recorded_commits).
    pub fn record_commits(&self, group: &str) {
        let mut state = self.broker.lock();
        state.group(group, |group, _| {
            group.history.get_or_insert_default();
        });
    }

    /// Return the recorded commits of a group, in the order in which the broker took them.
    #[must_use]
    pub fn recorded_commits(&self, group: &str) -> Vec<AppliedCommit> {
        self.recorded_commits_after(group, 0)
    }

    /// The same without the first `known` ones.
    #[must_use]
    pub fn recorded_commits_after(&self, group: &str, known: usize) -> Vec<AppliedCommit> {
        let state = self.broker.lock();
        let history = state.peek(group).and_then(|group| group.history.as_ref());
        let new = history.and_then(|history| history.get(known..));
        new.map(<[_]>::to_vec).unwrap_or_default()
    }

    /// Return how far a group is behind the end of a partition; from the start if it never committed.
    ///
    /// # Errors
    /// [`TransportError::UnknownTopic`].
    pub fn lag(&self, group: &str, partition: &TopicPartition) -> Result<Offset, TransportError> {
        let mut state = self.broker.lock();
        let range = state.topics.existing_log(partition)?.range();
        let committed = state.peek(group).and_then(|group| group.committed.get(partition));
        Ok(range.end - committed.copied().unwrap_or(range.start))
    }

    /// Take these partitions from their owners and share them out again: most likely to the same.
    pub fn revoke(&self, group: &str, partitions: &[TopicPartition]) {
        let mut state = self.broker.lock();
        state.group(group, |group, _| group.force(partitions.iter().cloned()));
    }

    /// Take all partitions of a group from their owners and hand each to the next member.
    pub fn rebalance(&self, group: &str) {
        self.broker.lock().group(group, |group, _| group.rotate());
    }

    /// Throw a member out at once, as when its session times out. It hears of it and joins again;
    /// what it commits meanwhile is refused.
    pub fn expire_session(&self, group: &str, member: MemberId) {
        let mut state = self.broker.lock();
        state.group(group, |group, world| group.evict(member, world));
    }

    /// Cut a member off: it neither gets nor sends anything, as under `SIGSTOP` or behind a broken
    /// network. After its session time-out the group goes on without it.
    pub fn silence(&self, group: &str, member: MemberId) {
        let mut state = self.broker.lock();
        state.group(group, |group, world| group.silence(member, true, world));
    }

    /// Connect a silenced member again. If its session is over, it hears of its losses now.
    pub fn reconnect(&self, group: &str, member: MemberId) {
        let mut state = self.broker.lock();
        state.group(group, |group, world| group.silence(member, false, world));
    }

    // The broker as a whole.

    /// Stop the broker: calls fail as unreachable, streams give nothing. Logs and groups stay.
    pub fn stop(&self) {
        let mut state = self.broker.lock();
        if std::mem::replace(&mut state.down, true) {
            return;
        }
        state.each_group(|group, world| {
            for member in group.members.values_mut() {
                member.lose_touch(world.now);
                if !member.silenced {
                    member
                        .events
                        .push_back(PendingEvent::Trouble(unreachable(Stopped)));
                    world.wakes.add(member.waker.take());
                }
            }
        });
    }

    /// Start the broker again. Members whose session did not lapse meanwhile go on; time-outs start
    /// anew.
    pub fn start(&self) {
        let mut state = self.broker.lock();
        if !state.down {
            return;
        }
        // Sessions that lapsed while the broker was down lapsed before it is up.
        state.each_group(|_, _| {});
        state.down = false;
        state.each_group(|group, world| {
            let members = group.members.values_mut();
            members.for_each(|member| member.restart_timers(world.now));
            for ownership in group.owned.values() {
                ownership.lease.wake(world.wakes);
            }
        });
    }

    /// Stop the broker and start it again, too fast for any session to lapse.
    pub fn restart(&self) {
        self.stop();
        self.start();
    }

    /// Say whether the broker is stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.broker.lock().down
    }

    // Faults.

    /// Put a fault plan in force, in place of the one before.
    pub fn inject(&self, plan: FaultPlan) {
        self.broker.faults().replace(plan);
    }

    /// Add a rule to the fault plan in force.
    pub fn inject_next(&self, rule: FaultRule) {
        self.broker.faults().add(rule);
    }
}

fn members_of(group: &Group) -> Vec<MemberInfo> {
    let owned_by = |id: MemberId| group.owned.iter().filter(move |(_, owned)| owned.member == id);
    group
        .members
        .iter()
        .map(|(id, member)| MemberInfo {
            id: *id,
            handler_id: member.handler_id.clone(),
            partitions: owned_by(*id).map(|(partition, _)| partition.clone()).collect(),
            alive: member.alive,
            joined: member.standing == Standing::In,
        })
        .collect()
}
