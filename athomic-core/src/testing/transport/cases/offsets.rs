//! Where a group begins, and where it goes on.

use super::super::TestCluster;
use super::super::rig::{MemberOf, Rig, unique};
use crate::message::Offset;
use crate::settings::OffsetReset;
use crate::transport::{Consumer, TransportError};

/// Publish five messages, read them all, commit an offset and leave.
async fn read_and_commit<C: TestCluster>(rig: &Rig<'_, C>, offset: Option<Offset>) {
    rig.publish_numbered(0, "m", 5).await;
    let mut member = rig.member().await;
    rig.until_seen(&mut [&mut member], 5).await;
    if let Some(offset) = offset {
        let committed = member.consumer.commit(&[rig.at(0, offset)]).await;
        committed.expect("the member owns the partition");
    }
    member.leave_uncommitted().await;
}

/// Join and read so many messages; return what they are.
async fn reads<C: TestCluster>(rig: &Rig<'_, C>, count: usize) -> Vec<String> {
    let mut member = rig.member().await;
    rig.until_seen(&mut [&mut member], count).await;
    let payloads = member.payloads();
    member.leave_uncommitted().await;
    payloads
}

/// What was read and not committed is read again by the next.
pub async fn uncommitted_messages_come_again<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    read_and_commit(&rig, None).await;
    assert_eq!(
        rig.committed(0).await,
        None,
        "nothing is committed but by `commit`"
    );
    assert_eq!(reads(&rig, 5).await, ["m0", "m1", "m2", "m3", "m4"]);
}

/// A commit of offset n makes the message at n the next.
pub async fn a_group_resumes_at_its_commit<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    read_and_commit(&rig, Some(2)).await;
    assert_eq!(reads(&rig, 3).await, ["m2", "m3", "m4"]);
}

/// A commit behind the last message gives nothing until there is more.
pub async fn a_commit_may_stand_at_the_end<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    read_and_commit(&rig, Some(5)).await;
    let mut member = rig.member().await;
    rig.until_shared(&mut [&mut member], 1).await;
    assert!(
        !rig.soon(&mut [&mut member], |members| !members[0].seen.is_empty())
            .await
    );
    rig.publish(vec![rig.message(0, "next")]).await;
    rig.until_seen(&mut [&mut member], 1).await;
    assert_eq!(member.payloads(), ["next"]);
    member.leave().await;
}

/// Each group reads everything for itself.
pub async fn groups_do_not_share_commits<C: TestCluster>(cluster: &C) {
    let mut rig = Rig::new(cluster, 1).await;
    read_and_commit(&rig, Some(5)).await;
    rig.group = unique("group");
    assert_eq!(reads(&rig, 5).await, ["m0", "m1", "m2", "m3", "m4"]);
}

/// Without a commit, "earliest" begins with the oldest message.
pub async fn earliest_begins_with_the_oldest<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    rig.publish_numbered(0, "old", 3).await;
    assert_eq!(reads(&rig, 3).await, ["old0", "old1", "old2"]);
}

/// Without a commit, "latest" begins with what is published once the consumer is in place.
pub async fn latest_begins_with_what_comes_later<C: TestCluster>(cluster: &C) {
    let rig = Rig::starting_at(cluster, 1, OffsetReset::Latest).await;
    rig.publish_numbered(0, "old", 3).await;
    let mut member = rig.member().await;
    rig.until_shared(&mut [&mut member], 1).await;
    let seen_any = |members: &[&mut MemberOf<C>]| !members[0].seen.is_empty();
    // When the place is found out is the client's affair, so we publish until it sees something.
    let mut published = 0;
    for _ in 0..200 {
        rig.publish(vec![rig.message(0, "new")]).await;
        published += 1;
        if rig.soon(&mut [&mut member], seen_any).await {
            break;
        }
    }
    rig.publish(vec![rig.message(0, "last")]).await;
    let last = |members: &[&mut MemberOf<C>]| members[0].payloads().last().is_some_and(|last| last == "last");
    rig.until(&mut [&mut member], "the last message is read", last)
        .await;
    let offsets = member.offsets();
    assert!(offsets[0] >= 3, "{:?}", member.payloads());
    assert!(
        offsets.iter().copied().eq(offsets[0]..=3 + published),
        "from there on, all: {offsets:?}"
    );
    member.leave().await;
}

/// Without a commit, "fail" reads nothing and says why.
pub async fn fail_without_a_commit_is_an_error<C: TestCluster>(cluster: &C) {
    let rig = Rig::starting_at(cluster, 1, OffsetReset::Fail).await;
    rig.publish_numbered(0, "old", 3).await;
    fails_out_of_range(&rig).await;
}

async fn fails_out_of_range<C: TestCluster>(rig: &Rig<'_, C>) {
    let mut member = rig.member().await;
    let failed = |members: &[&mut MemberOf<C>]| !members[0].failures.is_empty();
    rig.until(&mut [&mut member], "reading fails", failed).await;
    let failure = &member.failures[0];
    let TransportError::OffsetOutOfRange { partition } = failure else {
        panic!("reading fails with {failure:?}");
    };
    assert_eq!(*partition, rig.partition(0));
    assert_eq!(member.payloads(), [""; 0]);
    member.leave_uncommitted().await;
}

/// If what was committed is deleted, "earliest" goes on with the oldest message that there is.
pub async fn a_commit_that_is_gone_begins_again_at_the_oldest<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    read_and_commit(&rig, Some(1)).await;
    cluster.delete_before(&rig.partition(0), 3).await;
    assert_eq!(reads(&rig, 2).await, ["m3", "m4"]);
}

/// If what was committed is deleted, "fail" skips nothing silently.
pub async fn a_commit_that_is_gone_fails_where_asked<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    read_and_commit(&rig, Some(1)).await;
    cluster.delete_before(&rig.partition(0), 3).await;
    fails_out_of_range(&Rig::beside(&rig, OffsetReset::Fail).await).await;
}
