//! Topics that change under their readers.

use super::super::TestCluster;
use super::super::member::text;
use super::super::rig::{MemberOf, Rig};
use crate::settings::OffsetReset;
use crate::transport::Consumer;

/// Partitions that a topic grows by are assigned, and read from their first message.
pub async fn added_partitions_are_read_from_their_beginning<C: TestCluster>(cluster: &C) {
    reads_what_is_added(Rig::new(cluster, 1).await).await;
}

/// Nobody was there to miss the first messages of a new partition: "latest" has them too.
pub async fn latest_reads_added_partitions_from_their_beginning<C: TestCluster>(cluster: &C) {
    reads_what_is_added(Rig::starting_at(cluster, 1, OffsetReset::Latest).await).await;
}

async fn reads_what_is_added<C: TestCluster>(rig: Rig<'_, C>) {
    let mut member = rig.member().await;
    rig.until_shared(&mut [&mut member], 1).await;
    rig.cluster.add_partitions(&rig.topic, 2).await;
    rig.publish_stubbornly(rig.message(1, "first")).await;
    rig.until_shared(&mut [&mut member], 2).await;
    rig.until_seen(&mut [&mut member], 1).await;
    assert_eq!(member.payloads()[0], "first");
    member.leave().await;
}

/// A topic of the same name is another topic: it is read from its first message, although the
/// offset where the old one was left lies in it too.
pub async fn a_topic_made_anew_is_read_from_its_beginning<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    rig.publish_numbered(0, "old", 3).await;
    let mut member = rig.member().await.holding_revocations();
    rig.until_seen(&mut [&mut member], 3).await;
    let read = rig.at(0, 3);
    let committed = member.consumer.commit(std::slice::from_ref(&read)).await;
    committed.expect("the member owns the partition");

    cluster.recreate_topic(&rig.topic, 1).await;
    let published: Vec<_> = (0..6).map(|number| format!("new{number}")).collect();
    for payload in &published {
        rig.publish_stubbornly(rig.message(0, payload)).await;
    }
    let revoked = |members: &[&mut MemberOf<C>]| !members[0].revocations.is_empty();
    let all_read = |members: &[&mut MemberOf<C>]| of_the_last_assignment(members[0]) == published;
    let either = |members: &[&mut MemberOf<C>]| revoked(members) || all_read(members);
    loop {
        rig.until(&mut [&mut member], "the new topic is read", either)
            .await;
        let Some(revocation) = member.revocations.pop() else {
            break;
        };
        member.forget(&revocation.partitions);
        // Whether it is taken depends on who has noticed what; it must not move the new topic's readers.
        let _late = member.consumer.commit(std::slice::from_ref(&read)).await;
        revocation.complete();
    }
    member.leave().await;
}

/// Return what was read under the newest assignment; a publish that was repeated counts once.
fn of_the_last_assignment<T: Consumer>(member: &super::super::member::Member<T>) -> Vec<String> {
    let newest = member.seen.iter().map(|(epoch, _)| *epoch).max();
    let seen = member.seen.iter().filter(|(epoch, _)| Some(*epoch) == newest);
    let mut payloads: Vec<_> = seen.map(|(_, message)| text(message)).collect();
    payloads.dedup();
    payloads
}
