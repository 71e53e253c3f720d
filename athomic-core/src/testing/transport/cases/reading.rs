//! What one stream promises: limits, fairness, nothing lost by waiting, and positions over holes.

use std::time::Duration;

use tokio::time::timeout;

use super::super::TestCluster;
use super::super::member::{LIMITS, Member, text};
use super::super::rig::{ConsumerOf, MemberOf, Rig, in_time};
use crate::message::{Offset, RawMessage};
use crate::transport::{Consumer, ConsumerEvent, FetchLimits, Fetched};

/// A read gives no more messages than asked for, and stops at the one that reaches the bytes.
pub async fn fetch_limits_hold<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    let sent = rig.publish_numbered(0, "ten bytes", 10).await;
    let by_count = FetchLimits {
        messages: 3,
        bytes: 1 << 20,
    };
    // That a batch is within its count is checked with each read of a member.
    let mut member = rig.member().await.limited_to(by_count);
    rig.until_seen(&mut [&mut member], sent.len()).await;
    assert_eq!(member.payloads(), sent);
    member.leave_uncommitted().await;

    let mut member = rig.member().await.reading(|_| false);
    rig.until_shared(&mut [&mut member], 1).await;
    let reading = read_by_bytes(&mut member, sent.len());
    let read = in_time(cluster, "everything is read", reading).await;
    assert_eq!(read, sent);
    member.leave_uncommitted().await;
}

async fn read_by_bytes<T: Consumer>(member: &mut Member<T>, count: usize) -> Vec<String> {
    let limits = FetchLimits {
        messages: 100,
        bytes: 25,
    };
    let mut read = Vec::new();
    while read.len() < count {
        let fetched = member.held[0].stream.fetch(limits).await;
        if let Fetched::Records(batch) = fetched.expect("the stream can be read") {
            let size = |index| RawMessage::new(batch.clone(), index).size();
            let before_last: usize = (0..batch.len() - 1).map(size).sum();
            assert!(before_last < limits.bytes, "the batch stops at its limit");
            read.extend((0..batch.len()).map(|index| text(&RawMessage::new(batch.clone(), index))));
        }
    }
    read
}

/// One stream that nobody reads, with much to read, is no obstacle for its neighbour.
pub async fn a_stream_that_is_not_read_holds_up_no_other<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 2).await;
    let mut member = rig.member().await.reading(|partition| partition.partition == 1);
    rig.until_shared(&mut [&mut member], 2).await;
    let heavy = "x".repeat(10_000);
    for _ in 0..8 {
        let messages = (0..100).map(|_| rig.message(0, heavy.as_str()));
        rig.publish(messages.collect()).await;
    }
    let light = rig.publish_numbered(1, "light", 1000).await;
    rig.until_seen(&mut [&mut member], light.len()).await;
    assert_eq!(member.payloads(), light);
    member.reads = |_| true;
    rig.until_seen(&mut [&mut member], light.len() + 800).await;
    member.leave().await;
}

/// Waits for events and messages may be given up at any time, and nothing is lost by it.
pub async fn cancelled_waits_lose_nothing<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    let mut member = rig.member().await;
    let reading = read_impatiently(&rig, &mut member);
    let read = in_time(cluster, "everything is read", reading).await;
    assert!(read.iter().copied().eq(0..20), "{read:?}");
    member.leave_uncommitted().await;
}

async fn read_impatiently<C: TestCluster>(rig: &Rig<'_, C>, member: &mut MemberOf<C>) -> Vec<Offset> {
    let moment = Duration::from_millis(1);
    let mut assignments = loop {
        if let Ok(event) = timeout(moment, next_assignment(&*member.consumer)).await {
            break event;
        }
    };
    let mut read = Vec::new();
    let mut published = 0;
    while read.len() < 20 {
        if published < 20 {
            rig.publish_numbered(0, "m", 1).await;
            published += 1;
        }
        let fetched = timeout(moment, assignments[0].stream.fetch(LIMITS)).await;
        if let Ok(Fetched::Records(batch)) = fetched.unwrap_or(Ok(Fetched::Position(0))) {
            read.extend((0..batch.len()).map(|index| batch.offset(index)));
        }
    }
    read
}

/// Who waits at the end of the log is woken by the next message.
pub async fn a_waiting_fetch_is_woken_by_a_message<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    let mut member = rig.member().await.reading(|_| false);
    rig.until_shared(&mut [&mut member], 1).await;
    let stream = &mut member.held[0].stream;
    let fetched = async {
        loop {
            if let Fetched::Records(batch) = stream.fetch(LIMITS).await.expect("the stream can be read") {
                break batch.len();
            }
        }
    };
    let both = async { tokio::join!(fetched, rig.publish_numbered(0, "m", 1)) };
    let (count, _) = in_time(cluster, "the message is read", both).await;
    assert_eq!(count, 1);
    member.leave_uncommitted().await;
}

/// Wait for an assignment. As cancel safe as `next_event`, since nothing else is kept.
pub(super) async fn next_assignment<T: Consumer>(consumer: &T) -> Vec<crate::transport::Assignment> {
    loop {
        match consumer.next_event().await.expect("the consumer goes on") {
            ConsumerEvent::Assigned(assignments) if !assignments.is_empty() => break assignments,
            ConsumerEvent::Assigned(_) | ConsumerEvent::Trouble(_) => {}
            other => panic!("unexpected: {other:?}"),
        }
    }
}

/// Behind the last message stand an aborted transaction and its marker: the position moves over
/// them, a group can commit it, and goes on there.
pub async fn the_position_moves_over_what_nobody_sees<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    rig.publish_numbered(0, "m", 2).await;
    cluster.abort_transaction(&rig.partition(0), 3).await;
    let mut member = rig.member().await;
    // Two messages, three aborted ones, one marker.
    reaches(&rig, &mut member, 6).await;
    assert_eq!(member.payloads(), ["m0", "m1"]);
    cluster.abort_transaction(&rig.partition(0), 1).await;
    reaches(&rig, &mut member, 8).await;
    member.leave().await;
    assert_eq!(rig.committed(0).await, Some(8));
    rig.publish_numbered(0, "next", 1).await;
    let mut member = rig.member().await;
    rig.until_seen(&mut [&mut member], 1).await;
    assert_eq!(
        (member.payloads(), member.offsets()),
        (vec!["next0".to_owned()], vec![8])
    );
    member.leave().await;
}

async fn reaches<C: TestCluster>(rig: &Rig<'_, C>, member: &mut MemberOf<C>, end: Offset) {
    let partition = rig.partition(0);
    let there = |members: &[&mut MemberOf<C>]| members[0].position(&partition) == Some(end);
    rig.until(&mut [member], &format!("the position reaches {end}"), there)
        .await;
}

/// Records of aborted transactions are not seen, and what stands around them is.
pub async fn aborted_records_are_not_seen<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    let mut member: Member<ConsumerOf<C>> = rig.member().await;
    rig.publish_numbered(0, "before", 1).await;
    cluster.abort_transaction(&rig.partition(0), 2).await;
    rig.publish_numbered(0, "after", 1).await;
    rig.until_seen(&mut [&mut member], 2).await;
    assert_eq!(member.payloads(), ["before0", "after0"]);
    assert_eq!(member.offsets(), [0, 4]);
    member.leave().await;
}

/// A commit may name an offset that no reader sees: the group goes on with the next that they do.
pub async fn a_commit_among_unseen_records_resumes_behind_them<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    rig.publish_numbered(0, "before", 1).await;
    cluster.abort_transaction(&rig.partition(0), 3).await;
    rig.publish_numbered(0, "after", 1).await;
    let mut member = rig.member().await;
    rig.until_seen(&mut [&mut member], 2).await;
    let committed = member.consumer.commit(&[rig.at(0, 2)]).await;
    committed.expect("the member owns the partition");
    member.leave_uncommitted().await;
    let mut member = rig.member().await;
    rig.until_seen(&mut [&mut member], 1).await;
    assert_eq!(member.payloads(), ["after0"]);
    member.leave_uncommitted().await;
}
