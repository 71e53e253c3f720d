//! The end of a consumer, and going on after the broker's.

use std::collections::BTreeSet;

use super::super::TestCluster;
use super::super::member::LIMITS;
use super::super::rig::{MemberOf, Rig, commit_stubbornly, in_time, wait_apart};
use crate::transport::{Consumer, Fetched, TransportError};

/// Closing twice is closing once, also for those who ask at the same time.
pub async fn closing_is_idempotent<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    let mut member = rig.member().await;
    rig.until_shared(&mut [&mut member], 1).await;
    let consumer = &member.consumer;
    let closing = async { tokio::join!(consumer.close(), consumer.close()) };
    let (first, second) = in_time(cluster, "closing ends", closing).await;
    first.expect("the group can be told");
    second.expect("closing again is no error");
    let third = in_time(cluster, "closing ends", consumer.close()).await;
    third.expect("closing again is no error");
}

/// Who waits for an event learns that there will be none.
pub async fn closing_ends_a_waiting_event<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    let mut member = rig.member().await;
    rig.until_shared(&mut [&mut member], 1).await;
    let consumer = std::sync::Arc::clone(&member.consumer);
    // The member has its own wait under way, and there may be only one.
    drop(member);
    let last_event = async {
        loop {
            if let Err(error) = consumer.next_event().await {
                break error;
            }
        }
    };
    let both = async { tokio::join!(last_event, consumer.close()) };
    let (error, closed) = in_time(cluster, "the wait ends", both).await;
    closed.expect("the group can be told");
    assert!(matches!(error, TransportError::Closed), "{error:?}");
    let again = in_time(cluster, "a closed consumer answers", consumer.next_event()).await;
    assert!(matches!(again, Err(TransportError::Closed)), "{again:?}");
}

/// Who waits for messages learns that there will be none.
pub async fn closing_ends_a_waiting_fetch<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    let mut member = rig.member().await.reading(|_| false);
    rig.until_shared(&mut [&mut member], 1).await;
    let mut assignment = member.held.remove(0);
    let waiting = wait_apart(async move {
        while let Ok(Fetched::Position(_)) = assignment.stream.fetch(LIMITS).await {}
        assignment
    });
    let waiting = waiting.await;
    let closed = in_time(cluster, "closing ends", member.consumer.close()).await;
    closed.expect("the group can be told");
    let waited = in_time(cluster, "the wait ends", waiting).await;
    let mut assignment = waited.expect("the wait ends well");
    // Also for who asks later, with messages there to be read.
    rig.publish_numbered(0, "late", 1).await;
    let later = in_time(
        cluster,
        "an ended stream says so",
        assignment.stream.fetch(LIMITS),
    )
    .await;
    assert!(matches!(later, Ok(Fetched::Ended)), "{later:?}");
}

/// A closed consumer commits nothing.
pub async fn nothing_can_be_committed_after_closing<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    let mut member = rig.member().await;
    rig.until_shared(&mut [&mut member], 1).await;
    member.consumer.close().await.expect("the group can be told");
    let commit = [rig.at(0, 1)];
    let refused = in_time(
        cluster,
        "a closed consumer answers",
        member.consumer.commit(&commit),
    )
    .await;
    assert!(matches!(refused, Err(TransportError::Closed)), "{refused:?}");
    assert_eq!(rig.committed(0).await, None);
}

/// Who is about to close is still a member, and commits.
pub async fn a_commit_lands_after_preparing_to_close<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    rig.publish_numbered(0, "message", 3).await;
    let mut member = rig.member().await;
    rig.until_seen(&mut [&mut member], 3).await;
    member.consumer.prepare_to_close();
    let committed = commit_stubbornly(&*member.consumer, &[rig.at(0, 2)]).await;
    committed.expect("it owns the partition");
    assert_eq!(rig.committed(0).await, Some(2));
    member.leave().await;
}

/// The broker goes and comes back: publishing, reading and committing go on by themselves.
pub async fn consuming_and_publishing_survive_a_restart<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    let mut member = rig.member().await;
    let before = rig.publish_numbered(0, "before", 5).await;
    rig.until_seen(&mut [&mut member], 5).await;
    cluster.restart().await;
    for number in 0..5 {
        rig.publish_stubbornly(rig.message(0, format!("after{number}")))
            .await;
    }
    // Some may come twice: if the session lapsed, the group begins again at its commit.
    let seen_all = |members: &[&mut MemberOf<C>]| {
        let seen: BTreeSet<_> = members[0].payloads().into_iter().collect();
        before.iter().all(|payload| seen.contains(payload))
            && (0..5).all(|number| seen.contains(&format!("after{number}")))
    };
    rig.until(&mut [&mut member], "everything is read", seen_all)
        .await;
    let position = member
        .position(&rig.partition(0))
        .expect("the partition was read");
    let committed = commit_stubbornly(&*member.consumer, &[rig.at(0, position)]).await;
    committed.expect("the member owns the partition");
    assert_eq!(rig.committed(0).await, Some(position));
    member.leave().await;
}
