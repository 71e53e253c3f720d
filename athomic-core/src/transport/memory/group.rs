//! A consumer group's coordinator: who owns which partition, and how ownership moves.
//!
//! It has no task and no clock. Whoever calls brings the time, and [`Group::settle`] moves the group
//! on as far as it can go: it evicts members whose time is up, works out a new target, asks owners
//! for what should be elsewhere, and grants what is free. Partitions that stay are not touched.
//!
//! Invariants: a partition has at most one owner; it is granted only when the one before gave it
//! back or was evicted; offsets are taken only from the owner; epochs only rise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Waker;

use tokio::time::Instant;

use super::assignor::{Target, assign};
use super::lease::Lease;
use super::member::{Grant, Member, PendingEvent, Standing};
use super::topics::Topics;
use super::wakes::Wakes;
use super::{AppliedCommit, MemberId};
use crate::message::{Offset, Partition, PartitionOffset, TopicPartition};
use crate::transport::AssignmentEpoch;

/// What a group sees of the rest of the broker.
#[derive(Debug)]
pub(super) struct World<'a> {
    pub(super) topics: &'a Topics,
    pub(super) now: Instant,
    /// The broker is stopped: nobody can be told anything, and nothing moves.
    pub(super) down: bool,
    pub(super) wakes: &'a mut Wakes,
}

/// The assignment under which a member says that it owns a partition. Kafka has the member's generation
/// or epoch in its place.
pub(super) type Claim = Option<AssignmentEpoch>;

/// One consumer group.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) members: BTreeMap<MemberId, Member>,
    pub(super) owned: BTreeMap<TopicPartition, Ownership>,
    target: Target,
    pub(super) committed: BTreeMap<TopicPartition, Offset>,
    /// Partitions to be revoked although their owner may get them again.
    forced: BTreeSet<TopicPartition>,
    /// How many partitions a topic had when the group first asked for it. Later ones are read from
    /// their first message even under "latest", or what came before they were noticed would be lost.
    first_seen: BTreeMap<Arc<str>, Partition>,
    epoch: u64,
    /// Each commit as it was taken, if somebody asked for it.
    pub(super) history: Option<Vec<AppliedCommit>>,
    /// Members, subscriptions or topics have changed since the target was worked out.
    stale: bool,
    /// When time alone will change something.
    pub(super) deadline: Option<Instant>,
}

/// That a member owns a partition.
#[derive(Debug)]
pub(super) struct Ownership {
    pub(super) member: MemberId,
    pub(super) lease: Arc<Lease>,
    epoch: AssignmentEpoch,
    /// The member has been told, so that it must hear of the end too.
    announced: bool,
    /// The topic was deleted since. Another one may have its name: no offset of the old one is taken.
    void: bool,
}

impl Group {
    /// Take a member in.
    pub(super) fn join(&mut self, id: MemberId, member: Member, topics: &Topics) {
        for topic in &member.topics {
            let count = topics.get(topic).map_or(0, super::topics::Topic::count);
            self.first_seen.entry(Arc::clone(topic)).or_insert(count);
        }
        self.members.insert(id, member);
        self.stale = true;
    }

    /// Let a member go that said so: its partitions are free at once.
    pub(super) fn leave(&mut self, id: MemberId, world: &mut World<'_>) {
        self.free_all_of(id, world.wakes);
        if let Some(member) = self.members.remove(&id) {
            world.wakes.add(member.waker);
            self.stale = true;
        }
    }

    /// Note that a member vanished without a word. Its streams end; the group learns by time-out.
    pub(super) fn abandon(&mut self, id: MemberId, world: &mut World<'_>) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        let owned = self.owned.values().filter(|ownership| ownership.member == id);
        for lease in owned.map(|ownership| &ownership.lease).chain(&member.unheard) {
            lease.silence(false, world.wakes);
            lease.end(world.wakes);
        }
        world.wakes.add(member.waker.take());
        member.alive = false;
        member.lose_touch(world.now);
        if member.standing != Standing::In {
            self.members.remove(&id);
        }
    }

    /// Cut a member off from the broker, or let it hear again.
    pub(super) fn silence(&mut self, id: MemberId, silenced: bool, world: &mut World<'_>) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        member.silenced = silenced;
        if silenced {
            member.lose_touch(world.now);
        } else if !world.down {
            member.regain_touch();
        }
        let owned = self.owned.values().filter(|ownership| ownership.member == id);
        for lease in owned.map(|ownership| &ownership.lease).chain(&member.unheard) {
            lease.silence(silenced, world.wakes);
        }
        if !silenced {
            member.unheard.clear();
        }
        world.wakes.add(member.waker.take());
    }

    /// Throw a member out. It hears of its losses, and joins again when it has.
    pub(super) fn evict(&mut self, id: MemberId, world: &mut World<'_>) {
        let Some(member) = self.members.get(&id) else {
            return;
        };
        if member.standing != Standing::In {
            return;
        }
        let silenced = member.silenced;
        // What it gave back already is no loss, even if nobody could act on it yet.
        self.free_completed();
        let lost = self.free_all_of(id, world.wakes);
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        self.stale = true;
        if !member.alive {
            self.members.remove(&id);
            return;
        }
        if silenced {
            member
                .unheard
                .extend(lost.iter().map(|(_, lease)| Arc::clone(lease)));
        }
        member.fence(lost.into_iter().map(|(partition, _)| partition).collect());
        world.wakes.add(member.waker.take());
    }

    /// Note that a member gave partitions back. Ignored unless it is the revocation under way.
    pub(super) fn complete(&mut self, id: MemberId, revocation: u64, world: &mut World<'_>) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        let Some(under_way) = member
            .revocation
            .as_mut()
            .filter(|under_way| under_way.id == revocation)
        else {
            return;
        };
        under_way.completed = true;
        for partition in &under_way.partitions {
            if let Some(ownership) = self.owned.get(partition) {
                ownership.lease.end(world.wakes);
            }
        }
    }

    /// Return the assignment under which a member owns a partition and may commit for it, if it does.
    pub(super) fn claim(&self, id: MemberId, partition: &TopicPartition) -> Claim {
        let ownership = self.owned.get(partition)?;
        let holds = ownership.member == id && !ownership.void && !ownership.lease.is_over();
        holds.then_some(ownership.epoch)
    }

    /// Take offsets from a member, all or none; `claims` are those of the moment when it sent them.
    ///
    /// # Errors
    /// A partition that the member does not own, or owns under another assignment by now: what was done
    /// under the earlier one is done again under this one.
    pub(super) fn commit(
        &mut self,
        id: MemberId,
        offsets: &[PartitionOffset],
        claims: &[Claim],
    ) -> Result<(), TopicPartition> {
        let mut claimed = offsets.iter().zip(claims);
        let holds = |(offset, claim): &(&PartitionOffset, &Claim)| {
            claim.is_some() && self.claim(id, &offset.partition) == **claim
        };
        if let Some((foreign, _)) = claimed.find(|claimed| !holds(claimed)) {
            return Err(foreign.partition.clone());
        }
        for PartitionOffset { partition, offset } in offsets {
            self.committed.insert(partition.clone(), *offset);
            self.record(id, partition, *offset);
        }
        Ok(())
    }

    fn record(&mut self, member: MemberId, partition: &TopicPartition, offset: Offset) {
        if let (Some(history), Some(ownership)) = (&mut self.history, self.owned.get(partition)) {
            history.push(AppliedCommit {
                member,
                partition: partition.clone(),
                epoch: ownership.epoch,
                offset,
            });
        }
    }

    /// Give a member its next event, or remember to wake it for one.
    pub(super) fn take_event(
        &mut self,
        id: MemberId,
        waker: &Waker,
        world: &mut World<'_>,
    ) -> Option<PendingEvent> {
        let member = self.members.get_mut(&id)?;
        let event = member.take_event(waker, world.wakes)?;
        if let PendingEvent::Assigned(grants) = &event {
            for grant in grants {
                if let Some(ownership) = self.owned.get_mut(&grant.partition)
                    && Arc::ptr_eq(&ownership.lease, &grant.lease)
                {
                    ownership.announced = true;
                }
            }
        }
        Some(event)
    }

    /// Revoke partitions although they may come back to the same member, with a higher epoch.
    pub(super) fn force(&mut self, partitions: impl IntoIterator<Item = TopicPartition>) {
        let owned = partitions
            .into_iter()
            .filter(|partition| self.owned.contains_key(partition));
        self.forced.extend(owned);
    }

    /// Revoke everything and hand each partition to the next member that subscribes to its topic.
    pub(super) fn rotate(&mut self) {
        for (partition, owner) in &mut self.target {
            let takers = || {
                let may = self
                    .members
                    .iter()
                    .filter(|(_, member)| member.takes(&partition.topic));
                may.map(|(id, _)| *id)
            };
            let next = takers().find(|id| *id > *owner).or_else(|| takers().next());
            *owner = next.unwrap_or(*owner);
        }
        self.forced.extend(self.owned.keys().cloned());
    }

    /// Note that topics came, went or grew.
    pub(super) fn topics_changed(&mut self) {
        self.stale = true;
    }

    /// Forget a deleted topic's commits, and that it was ever seen.
    pub(super) fn forget_topic(&mut self, topic: &str) {
        self.committed.retain(|partition, _| &*partition.topic != topic);
        let gone = self.owned.iter_mut();
        gone.filter(|(partition, _)| &*partition.topic == topic)
            .for_each(|(_, ownership)| ownership.void = true);
        if let Some(seen) = self.first_seen.get_mut(topic) {
            *seen = 0;
        }
        self.stale = true;
    }

    /// Move on as far as possible, and note when time alone will move the group again.
    pub(super) fn settle(&mut self, world: &mut World<'_>) {
        self.evict_overdue(world);
        if !world.down {
            self.free_completed();
            self.readmit();
            self.retarget(world.topics);
            self.revoke(world);
            self.grant(world);
        }
        let deadline = self
            .members
            .values()
            .filter_map(|member| member.deadline(world.down))
            .min();
        if deadline != self.deadline {
            self.deadline = deadline;
            // Those who wait for an event wait for the deadline too.
            for member in self.members.values_mut() {
                world.wakes.add(member.waker.take());
            }
        }
    }

    fn evict_overdue(&mut self, world: &mut World<'_>) {
        let overdue: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| {
                member
                    .deadline(world.down)
                    .is_some_and(|deadline| deadline <= world.now)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in overdue {
            self.evict(id, world);
        }
    }

    fn free_completed(&mut self) {
        for member in self.members.values_mut() {
            if let Some(revocation) = member.revocation.take_if(|revocation| revocation.completed) {
                for partition in revocation.partitions {
                    self.forced.remove(&partition);
                    self.owned.remove(&partition);
                }
            }
        }
    }

    fn readmit(&mut self) {
        for member in self.members.values_mut() {
            if member.standing == Standing::Returning && !member.silenced {
                member.standing = Standing::In;
                self.stale = true;
            }
        }
    }

    fn retarget(&mut self, topics: &Topics) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        let inside = self
            .members
            .iter()
            .filter(|(_, member)| member.standing == Standing::In);
        let subscribers = inside.map(|(id, member)| (*id, member.topics.clone())).collect();
        let all: BTreeSet<_> = self.members.values().flat_map(|member| &member.topics).collect();
        self.target = assign(&topics.partitions_of(all), &subscribers, &self.target);
    }

    /// Ask owners for what should be elsewhere: one revocation at a time for each member.
    fn revoke(&mut self, world: &mut World<'_>) {
        for (id, member) in &mut self.members {
            if member.standing != Standing::In || member.revocation.is_some() {
                continue;
            }
            let unwanted: Vec<_> = self
                .owned
                .iter()
                .filter(|(_, ownership)| ownership.member == *id)
                .map(|(partition, _)| partition)
                .filter(|partition| self.target.get(partition) != Some(id) || self.forced.contains(partition))
                .cloned()
                .collect();
            for partition in &unwanted {
                self.forced.remove(partition);
            }
            if !unwanted.is_empty() {
                member.ask_back(unwanted, world.now);
                world.wakes.add(member.waker.take());
            }
        }
    }

    /// Grant what nobody owns. A member gets nothing new while it gives something back.
    fn grant(&mut self, world: &mut World<'_>) {
        let mut grants: BTreeMap<MemberId, Vec<Grant>> = BTreeMap::new();
        for (partition, id) in &self.target {
            let ready = self.members.get(id).is_some_and(Member::may_be_granted);
            let (false, true, Some(topic)) = (
                self.owned.contains_key(partition),
                ready,
                world.topics.get(&partition.topic),
            ) else {
                continue;
            };
            let grant = Grant {
                partition: partition.clone(),
                topic: topic.id,
                epoch: AssignmentEpoch(self.epoch + 1),
                lease: Arc::default(),
                committed: self.committed.get(partition).copied(),
                end: topic.log(partition.partition).map_or(0, |log| log.range().end),
                added_later: self
                    .first_seen
                    .get(&partition.topic)
                    .is_some_and(|seen| partition.partition >= *seen),
            };
            grants.entry(*id).or_default().push(grant);
        }
        self.epoch += u64::from(!grants.is_empty());
        for id in self.left_out() {
            grants.entry(id).or_default();
        }
        for (id, grants) in grants {
            self.hand_over(id, grants, world.wakes);
        }
    }

    /// Return the members that get nothing and have not been told so.
    fn left_out(&self) -> Vec<MemberId> {
        let waits = |member: &Member| !member.told && member.may_be_granted();
        let waiting = self.members.iter().filter(|(_, member)| waits(member));
        let left_out = waiting.filter(|(id, _)| !self.target.values().any(|target| target == *id));
        left_out.map(|(id, _)| *id).collect()
    }

    fn hand_over(&mut self, id: MemberId, grants: Vec<Grant>, wakes: &mut Wakes) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        for grant in &grants {
            grant.lease.silence(member.silenced, wakes);
            let ownership = Ownership {
                member: id,
                lease: Arc::clone(&grant.lease),
                epoch: grant.epoch,
                announced: false,
                void: false,
            };
            self.owned.insert(grant.partition.clone(), ownership);
        }
        if !member.alive {
            grants.iter().for_each(|grant| grant.lease.end(wakes));
        }
        member.told = true;
        member.events.push_back(PendingEvent::Assigned(grants));
        wakes.add(member.waker.take());
    }

    /// Free all partitions of a member, and return those that it had been told about.
    fn free_all_of(&mut self, id: MemberId, wakes: &mut Wakes) -> Vec<(TopicPartition, Arc<Lease>)> {
        let mut announced = Vec::new();
        self.owned.retain(|partition, ownership| {
            if ownership.member != id {
                return true;
            }
            ownership.lease.end(wakes);
            self.forced.remove(partition);
            if ownership.announced {
                announced.push((partition.clone(), Arc::clone(&ownership.lease)));
            }
            false
        });
        announced
    }
}
