//! Giving partitions back: when they move, what may still be committed, what ends.

use super::super::TestCluster;
use super::super::member::LIMITS;
use super::super::rig::{MemberOf, Rig, in_time, wait_apart};
use super::reading::next_assignment;
use crate::message::{Partition, TopicPartition};
use crate::transport::{Assignment, Consumer, Fetched, Revocation};

/// Two members: one had all partitions and is asked to give half of them to the other.
struct Handover<C: TestCluster> {
    giver: MemberOf<C>,
    taker: MemberOf<C>,
    revocation: Revocation,
}

impl<C: TestCluster> Handover<C> {
    /// Publish three messages to each of two partitions; one member reads them and has to give one
    /// partition to another member.
    async fn begin(rig: &Rig<'_, C>) -> Self {
        for partition in 0..2 {
            rig.publish_numbered(partition, "m", 3).await;
        }
        let mut giver = rig.member().await.holding_revocations();
        rig.until_seen(&mut [&mut giver], 6).await;
        let mut taker = rig.member().await;
        let asked = |members: &[&mut MemberOf<C>]| !members[0].revocations.is_empty();
        let what = "a partition is asked back";
        rig.until(&mut [&mut giver, &mut taker], what, asked).await;
        let revocation = giver.revocations.remove(0);
        assert_eq!(
            revocation.partitions.len(),
            1,
            "one of two partitions has to move"
        );
        Self {
            giver,
            taker,
            revocation,
        }
    }

    /// Return the partition that moves.
    fn moving(&self) -> TopicPartition {
        self.revocation.partitions[0].clone()
    }

    /// Return the partition that stays.
    fn staying(&self) -> Partition {
        1 - self.moving().partition
    }

    /// Give the partition back, and wait until the other member has it.
    async fn finish(self, rig: &Rig<'_, C>) -> (MemberOf<C>, MemberOf<C>) {
        let Self {
            mut giver,
            mut taker,
            revocation,
        } = self;
        giver.forget(&revocation.partitions);
        revocation.complete();
        rig.until_shared(&mut [&mut giver, &mut taker], 2).await;
        (giver, taker)
    }
}

/// While a revocation is not complete, what stays is read on.
pub async fn retained_partitions_go_on_during_a_revocation<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 2).await;
    let mut handover = Handover::begin(&rig).await;
    let staying = handover.staying();
    rig.publish_numbered(staying, "more", 5).await;
    let Handover { giver, taker, .. } = &mut handover;
    let seen = |members: &[&mut MemberOf<C>]| members[0].seen.len() >= 11;
    rig.until(&mut [giver, taker], "what stays is read", seen).await;
    let (giver, taker) = handover.finish(&rig).await;
    giver.leave().await;
    taker.leave().await;
}

/// The new owner gets a partition when the old one has given it back, not before, and goes on at
/// the old one's commit.
pub async fn a_revoked_partition_moves_when_it_is_given_back<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 2).await;
    let mut handover = Handover::begin(&rig).await;
    let moving = handover.moving();
    let Handover { giver, taker, .. } = &mut handover;
    let moved = |members: &[&mut MemberOf<C>]| members[1].partitions().contains(&moving);
    assert!(
        !rig.soon(&mut [giver, taker], moved).await,
        "{moving} moved too early"
    );
    let committed = handover
        .giver
        .consumer
        .commit(&[rig.at(moving.partition, 2)])
        .await;
    committed.expect("the partition is still the giver's");
    let (mut giver, mut taker) = handover.finish(&rig).await;
    let seen = |members: &[&mut MemberOf<C>]| !members[1].seen.is_empty();
    rig.until(&mut [&mut giver, &mut taker], "the new owner reads", seen)
        .await;
    assert_eq!(taker.partitions(), [moving]);
    assert_eq!(taker.payloads(), ["m2"]);
    giver.leave().await;
    taker.leave().await;
}

/// A revocation that is dropped counts as complete: losing it cannot hold up the group.
pub async fn a_dropped_revocation_gives_back<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 2).await;
    let Handover {
        mut giver,
        mut taker,
        revocation,
    } = Handover::begin(&rig).await;
    giver.forget(&revocation.partitions);
    drop(revocation);
    rig.until_shared(&mut [&mut giver, &mut taker], 2).await;
    giver.leave().await;
    taker.leave().await;
}

/// Until a revocation is complete, its partitions are the member's, and so are their commits.
pub async fn commits_work_until_a_revocation_is_complete<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 2).await;
    let handover = Handover::begin(&rig).await;
    let moving = handover.moving().partition;
    for offset in 1..=3 {
        let committed = handover.giver.consumer.commit(&[rig.at(moving, offset)]).await;
        committed.expect("the partition is still the giver's");
        assert_eq!(rig.committed(moving).await, Some(offset));
    }
    let (giver, taker) = handover.finish(&rig).await;
    giver.leave().await;
    taker.leave().await;
}

/// Whoever gave a partition back can neither lower nor raise what its new owner commits.
pub async fn a_commit_after_the_loss_changes_nothing<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 2).await;
    let handover = Handover::begin(&rig).await;
    let moving = handover.moving().partition;
    let (giver, taker) = handover.finish(&rig).await;
    let committed = taker.consumer.commit(&[rig.at(moving, 2)]).await;
    committed.expect("the partition is the taker's");
    for offset in [1, 3] {
        // Refused or ignored: both will do.
        let _result = giver.consumer.commit(&[rig.at(moving, offset)]).await;
        assert_eq!(
            rig.committed(moving).await,
            Some(2),
            "after a late commit of {offset}"
        );
    }
    giver.leave().await;
    taker.leave_uncommitted().await;
}

/// Once a partition is given back its stream ends at once, whatever had been fetched ahead.
pub async fn a_revoked_stream_ends_and_gives_nothing_more<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 2).await;
    let Handover {
        mut giver,
        mut taker,
        revocation,
    } = Handover::begin(&rig).await;
    let moving = revocation.partitions[0].partition;
    let mut given = giver.forget(&revocation.partitions);
    // Fetched ahead, most likely, and not read.
    rig.publish_numbered(moving, "ahead", 100).await;
    rig.soon(&mut [&mut giver], |_| false).await;
    revocation.complete();
    for _ in 0..3 {
        ends(cluster, &mut given[0]).await;
    }
    rig.until_shared(&mut [&mut giver, &mut taker], 2).await;
    ends(cluster, &mut given[0]).await;
    giver.leave().await;
    taker.leave().await;
}

/// Who waits for messages of a partition learns when it is given back.
pub async fn completing_a_revocation_ends_a_waiting_fetch<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 2).await;
    let Handover {
        mut giver,
        mut taker,
        revocation,
    } = Handover::begin(&rig).await;
    let mut given = giver.forget(&revocation.partitions).remove(0);
    let waiting = wait_apart(async move {
        while let Ok(Fetched::Position(_)) = given.stream.fetch(LIMITS).await {}
        given.stream.fetch(LIMITS).await
    });
    let waiting = waiting.await;
    revocation.complete();
    let fetched = in_time(cluster, "the wait ends", waiting).await;
    assert!(matches!(fetched, Ok(Ok(Fetched::Ended))), "{fetched:?}");
    rig.until_shared(&mut [&mut giver, &mut taker], 2).await;
    giver.leave().await;
    taker.leave().await;
}

/// Who waits for an event is woken by the assignment that another member makes room for.
pub async fn a_waiting_event_is_woken_by_an_assignment<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 2).await;
    let Handover {
        mut giver,
        mut taker,
        revocation,
    } = Handover::begin(&rig).await;
    let moving = revocation.partitions[0].clone();
    giver.forget(&revocation.partitions);
    taker.stop_listening();
    let consumer = std::sync::Arc::clone(&taker.consumer);
    let waiting = wait_apart(async move { next_assignment(&*consumer).await }).await;
    revocation.complete();
    let assigned = in_time(cluster, "the partition is assigned", waiting).await;
    let assigned = assigned.expect("the wait ends well");
    assert_eq!(assigned[0].partition, moving);
    giver.leave().await;
    taker.leave_uncommitted().await;
}

async fn ends<C: TestCluster>(cluster: &C, given: &mut Assignment) {
    let fetched = in_time(cluster, "an ended stream says so", given.stream.fetch(LIMITS)).await;
    assert!(matches!(fetched, Ok(Fetched::Ended)), "{fetched:?}");
}

/// A partition that comes back comes with a higher epoch.
pub async fn the_epoch_rises_when_a_partition_comes_back<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 2).await;
    let handover = Handover::begin(&rig).await;
    let moving = handover.moving();
    let before = handover.giver.epoch(&moving);
    let (mut giver, taker) = handover.finish(&rig).await;
    assert_eq!(giver.epoch(&moving), None);
    taker.leave().await;
    rig.until_shared(&mut [&mut giver], 2).await;
    assert!(
        giver.epoch(&moving) > before,
        "{:?} after {before:?}",
        giver.epoch(&moving)
    );
    giver.leave().await;
}
