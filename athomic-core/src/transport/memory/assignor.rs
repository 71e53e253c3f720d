//! Who should own which partition: sticky first, then balanced. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::MemberId;
use crate::message::TopicPartition;

/// What each partition's owner should be.
pub(super) type Target = BTreeMap<TopicPartition, MemberId>;

/// The topics that each member subscribes to.
pub(super) type Subscribers = BTreeMap<MemberId, BTreeSet<Arc<str>>>;

/// Share out partitions.
///
/// Each partition with a subscriber gets exactly one owner, who keeps what it has unless that is
/// out of balance. Balanced means that no member has two more than another one that could take one
/// of them, as in Kafka's sticky assignor. The same input gives the same result.
pub(super) fn assign(partitions: &[TopicPartition], subscribers: &Subscribers, before: &Target) -> Target {
    let mut shares = Shares::keep(partitions, subscribers, before);
    for partition in partitions {
        shares.give_if_free(partition);
    }
    while shares.move_one() {}
    shares.owners
}

/// An assignment on the way to balance.
struct Shares<'a> {
    subscribers: &'a Subscribers,
    owners: Target,
    /// How many partitions each member has.
    loads: BTreeMap<MemberId, usize>,
}

impl<'a> Shares<'a> {
    /// Start with what members have and may keep.
    fn keep(partitions: &[TopicPartition], subscribers: &'a Subscribers, before: &Target) -> Self {
        let mut shares = Self {
            subscribers,
            owners: Target::new(),
            loads: subscribers.keys().map(|member| (*member, 0)).collect(),
        };
        for partition in partitions {
            if let Some(owner) = before.get(partition)
                && shares.may_take(*owner, partition)
            {
                shares.give(partition, *owner);
            }
        }
        shares
    }

    fn may_take(&self, member: MemberId, partition: &TopicPartition) -> bool {
        self.subscribers
            .get(&member)
            .is_some_and(|topics| topics.contains(&partition.topic))
    }

    fn give(&mut self, partition: &TopicPartition, member: MemberId) {
        if let Some(before) = self.owners.insert(partition.clone(), member) {
            *self.loads.entry(before).or_default() -= 1;
        }
        *self.loads.entry(member).or_default() += 1;
    }

    fn give_if_free(&mut self, partition: &TopicPartition) {
        if !self.owners.contains_key(partition)
            && let Some((member, _)) = self.least_loaded(partition)
        {
            self.give(partition, member);
        }
    }

    /// Move one partition from a member to one with at least two less; `false` in balance.
    ///
    /// Each move lowers the sum of the squares of the loads, so that moving comes to an end.
    fn move_one(&mut self) -> bool {
        let heaviest = |partition: &TopicPartition, owner: MemberId| {
            let (taker, load) = self.least_loaded(partition)?;
            let surplus = self.loads[&owner].checked_sub(load + 2)?;
            Some((surplus, partition.clone(), taker))
        };
        let best = self
            .owners
            .iter()
            .filter_map(|(partition, owner)| heaviest(partition, *owner))
            .max_by_key(|(surplus, _, _)| *surplus);
        let Some((_, partition, taker)) = best else {
            return false;
        };
        self.give(&partition, taker);
        true
    }

    fn least_loaded(&self, partition: &TopicPartition) -> Option<(MemberId, usize)> {
        self.loads
            .iter()
            .filter(|(member, _)| self.may_take(**member, partition))
            .map(|(member, load)| (*member, *load))
            .min_by_key(|(_, load)| *load)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn partitions(topics: &[(&str, i32)]) -> Vec<TopicPartition> {
        topics
            .iter()
            .flat_map(|(topic, count)| (0..*count).map(|number| TopicPartition::new(*topic, number)))
            .collect()
    }

    fn subscribers(members: &[(u64, &[&str])]) -> Subscribers {
        members
            .iter()
            .map(|(id, topics)| {
                (
                    MemberId(*id),
                    topics.iter().map(|topic| Arc::from(*topic)).collect(),
                )
            })
            .collect()
    }

    fn loads(target: &Target, members: &Subscribers) -> BTreeMap<MemberId, usize> {
        members
            .keys()
            .map(|member| (*member, target.values().filter(|owner| *owner == member).count()))
            .collect()
    }

    #[test]
    fn one_member_takes_all_and_gives_half_to_the_second() {
        let all = partitions(&[("a", 4)]);
        let alone = assign(&all, &subscribers(&[(1, &["a"])]), &Target::new());
        assert!(alone.values().all(|owner| *owner == MemberId(1)));
        let both = subscribers(&[(1, &["a"]), (2, &["a"])]);
        let shared = assign(&all, &both, &alone);
        assert_eq!(loads(&shared, &both).into_values().collect::<Vec<_>>(), [2, 2]);
    }

    #[test]
    fn a_topic_without_subscribers_has_no_owner() {
        let target = assign(
            &partitions(&[("a", 1), ("b", 1)]),
            &subscribers(&[(1, &["b"])]),
            &Target::new(),
        );
        assert_eq!(target.keys().collect::<Vec<_>>(), [&TopicPartition::new("b", 0)]);
    }

    #[test]
    fn members_own_only_what_they_subscribe_to() {
        let all = partitions(&[("a", 4), ("b", 2)]);
        let members = subscribers(&[(1, &["a", "b"]), (2, &["b"])]);
        let target = assign(&all, &members, &Target::new());
        assert_eq!(loads(&target, &members).into_values().collect::<Vec<_>>(), [4, 2]);
    }

    /// Topics with their sizes, and members with what they subscribe to.
    fn groups() -> impl Strategy<Value = (Vec<TopicPartition>, Subscribers)> {
        let sizes = prop::collection::vec(1..6_i32, 3);
        let members = prop::collection::vec(1..8_u8, 1..6);
        (sizes, members).prop_map(|(sizes, members)| {
            let names = ["a", "b", "c"];
            let topics: Vec<_> = names.iter().copied().zip(sizes).collect();
            let subscribers = (1..).zip(members).map(|(id, mask): (u64, u8)| {
                let chosen = names.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0);
                (MemberId(id), chosen.map(|(_, topic)| Arc::from(*topic)).collect())
            });
            (partitions(&topics), subscribers.collect())
        })
    }

    fn check_complete_and_balanced(all: &[TopicPartition], members: &Subscribers, target: &Target) {
        for partition in all {
            let mut may = members
                .iter()
                .filter(|(_, topics)| topics.contains(&partition.topic));
            assert_eq!(target.contains_key(partition), may.next().is_some());
        }
        let loads = loads(target, members);
        for (partition, owner) in target {
            assert!(members[owner].contains(&partition.topic));
            for (other, topics) in members {
                let fair = !topics.contains(&partition.topic) || loads[owner] <= loads[other] + 1;
                assert!(fair, "{partition} should move from {owner} to {other}");
            }
        }
    }

    proptest! {
        #[test]
        fn assignments_are_complete_and_balanced((all, members) in groups()) {
            let target = assign(&all, &members, &Target::new());
            check_complete_and_balanced(&all, &members, &target);
        }

        #[test]
        fn balanced_assignments_stay((all, members) in groups()) {
            let target = assign(&all, &members, &Target::new());
            prop_assert_eq!(assign(&all, &members, &target), target);
        }

        #[test]
        fn a_member_that_joins_takes_but_the_others_swap_nothing((all, mut members) in groups()) {
            let before = assign(&all, &members, &Target::new());
            members.insert(MemberId(99), ["a", "b", "c"].map(Arc::from).into());
            let after = assign(&all, &members, &before);
            check_complete_and_balanced(&all, &members, &after);
            for (partition, owner) in &before {
                prop_assert!(after[partition] == *owner || uneven(&members) || after[partition] == MemberId(99));
            }
        }

        #[test]
        fn a_member_that_leaves_disturbs_no_other((all, members) in groups()) {
            let before = assign(&all, &members, &Target::new());
            let gone = *members.keys().next().expect("there is a member");
            let mut rest = members.clone();
            rest.remove(&gone);
            let after = assign(&all, &rest, &before);
            check_complete_and_balanced(&all, &rest, &after);
            for (partition, owner) in before.iter().filter(|(_, owner)| **owner != gone) {
                prop_assert!(after[partition] == *owner || uneven(&rest));
            }
        }
    }

    /// Say whether members subscribe to different topics: then balance may need more moves.
    fn uneven(members: &Subscribers) -> bool {
        let mut topics = members.values();
        let first = topics.next();
        topics.any(|other| Some(other) != first)
    }
}
