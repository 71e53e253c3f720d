//! Members share partitions, and as few of them move as must.

use std::collections::BTreeSet;

use super::super::TestCluster;
use super::super::rig::{MemberOf, Rig};
use crate::message::{Partition, TopicPartition};

/// Publish so many messages to each partition of the topic; return how many that makes.
async fn publish_everywhere<C: TestCluster>(
    rig: &Rig<'_, C>,
    partitions: Partition,
    prefix: &str,
    each: usize,
) -> usize {
    let mut count = 0;
    for partition in 0..partitions {
        let prefix = format!("{prefix}-{partition}-");
        count += rig.publish_numbered(partition, &prefix, each).await.len();
    }
    count
}

/// Check that no message was read twice, by whomever.
fn check_read_once<C: TestCluster>(members: &[&MemberOf<C>], count: usize) {
    let payloads: Vec<_> = members.iter().flat_map(|member| member.payloads()).collect();
    let distinct: BTreeSet<_> = payloads.iter().collect();
    assert_eq!((payloads.len(), distinct.len()), (count, count));
}

/// A subscription to several topics is assigned the partitions of all of them.
pub async fn one_subscription_may_name_many_topics<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    let other = rig.another_topic(2).await;
    let mut member = rig.member_for(&[&rig.topic, &other]).await;
    rig.until_shared(&mut [&mut member], 3).await;
    let expected = [
        rig.partition(0),
        TopicPartition::new(other.as_str(), 0),
        TopicPartition::new(other.as_str(), 1),
    ];
    assert_eq!(
        member.partitions().into_iter().collect::<BTreeSet<_>>(),
        expected.into()
    );
    member.leave().await;
}

/// Who is given nothing is told so, and knows that it is a member.
pub async fn a_member_without_partitions_is_told_so<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    let mut first = rig.member().await;
    rig.until_shared(&mut [&mut first], 1).await;
    let mut second = rig.member().await;
    rig.until(&mut [&mut first, &mut second], "both know", |members| {
        members.iter().all(|member| member.told)
            && members.iter().map(|member| member.held.len()).sum::<usize>() == 1
    })
    .await;
    first.leave().await;
    rig.until_shared(&mut [&mut second], 1).await;
    second.leave().await;
}

/// In one group, each member gets partitions of the topics that it asked for, and no others.
pub async fn members_may_subscribe_to_different_topics<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 2).await;
    let other = rig.another_topic(2).await;
    let mut first = rig.member().await;
    let mut second = rig.member_for(&[&other]).await;
    rig.until_shared(&mut [&mut first, &mut second], 4).await;
    assert!(
        first
            .partitions()
            .iter()
            .all(|partition| *partition.topic == *rig.topic)
    );
    assert!(
        second
            .partitions()
            .iter()
            .all(|partition| *partition.topic == *other)
    );
    first.leave().await;
    second.leave().await;
}

/// Two members split the partitions evenly, and each message is read by one of them.
pub async fn two_members_share_all_partitions<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 4).await;
    let mut first = rig.member().await;
    let mut second = rig.member().await;
    rig.until_shared(&mut [&mut first, &mut second], 4).await;
    let all: BTreeSet<_> = first
        .partitions()
        .into_iter()
        .chain(second.partitions())
        .collect();
    assert_eq!(all.len(), 4);
    let count = publish_everywhere(&rig, 4, "m", 10).await;
    rig.until_seen(&mut [&mut first, &mut second], count).await;
    check_read_once::<C>(&[&first, &second], count);
    first.leave().await;
    second.leave().await;
}

/// Members join and leave between messages; with commits on revocation, each message is read once.
pub async fn members_come_and_go_without_a_loss<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 6).await;
    let mut first = rig.member().await;
    let mut count = publish_everywhere(&rig, 6, "one", 5).await;
    rig.until_seen(&mut [&mut first], count).await;
    let mut second = rig.member().await;
    count += publish_everywhere(&rig, 6, "two", 5).await;
    rig.until_shared(&mut [&mut first, &mut second], 6).await;
    rig.until_seen(&mut [&mut first, &mut second], count).await;
    let mut third = rig.member().await;
    count += publish_everywhere(&rig, 6, "three", 5).await;
    rig.until_shared(&mut [&mut first, &mut second, &mut third], 6)
        .await;
    rig.until_seen(&mut [&mut first, &mut second, &mut third], count)
        .await;
    // What the second has read goes with it; what it has not is for the others.
    let by_second = second.seen.len();
    check_read_once::<C>(&[&first, &second, &third], count);
    second.leave().await;
    count += publish_everywhere(&rig, 6, "four", 5).await;
    rig.until_shared(&mut [&mut first, &mut third], 6).await;
    rig.until_seen(&mut [&mut first, &mut third], count - by_second)
        .await;
    check_read_once::<C>(&[&first, &third], count - by_second);
    first.leave().await;
    third.leave().await;
}

/// A member that keeps a partition keeps its stream and its epoch while others join and leave.
pub async fn retained_partitions_are_not_disturbed<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 4).await;
    let mut first = rig.member().await;
    rig.until_shared(&mut [&mut first], 4).await;
    let before: Vec<_> = epochs(&first);
    let mut second = rig.member().await;
    rig.until_shared(&mut [&mut first, &mut second], 4).await;
    let kept = epochs(&first);
    assert!(
        kept.iter().all(|kept| before.contains(kept)),
        "{before:?}, then {kept:?}"
    );
    second.leave().await;
    rig.until_shared(&mut [&mut first], 4).await;
    let after = epochs(&first);
    assert!(
        kept.iter().all(|kept| after.contains(kept)),
        "{kept:?}, then {after:?}"
    );
    let count = publish_everywhere(&rig, 4, "m", 1).await;
    rig.until_seen(&mut [&mut first], count).await;
    check_read_once::<C>(&[&first], count);
    first.leave().await;
}

fn epochs<T: crate::transport::Consumer>(
    member: &super::super::member::Member<T>,
) -> Vec<(TopicPartition, crate::transport::AssignmentEpoch)> {
    let held = member.held.iter();
    held.map(|held| (held.partition.clone(), held.epoch)).collect()
}
