//! What can be done from outside.

use super::Stage;
use crate::store::ordering::{Admission, Claim, Completed, OrderingStore as _, Steering};
use crate::testing::ordering::TestStores;
use crate::testing::ordering::fleet::frames;

pub async fn a_halt_stops_and_a_resumption_goes_on<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    one.park(2).await;
    one.park(3).await;
    let grant = one.run(1).await;
    one.halt().await;
    // What runs may end and count, and nothing follows it.
    assert_eq!(
        one.complete(1, grant.token).await,
        Completed::Done {
            frames: Vec::new(),
            held: false
        }
    );
    assert_eq!(one.claim().await, Claim::Halted);
    assert_eq!(one.admit(2).await, Admission::Parked { halted: true });
    one.steer(Steering::Resume { next: None }).await;
    assert!(one.is_due().await);
    assert!(matches!(one.claim().await, Claim::Granted(_, found) if found == frames(2..=3)));
}

pub async fn a_resumption_elsewhere_removes_what_is_below_and_voids_the_lease<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    for sequence in [2, 3, 7] {
        one.park(sequence).await;
    }
    let grant = one.run(1).await;
    one.steer(Steering::Resume { next: Some(7) }).await;
    assert_eq!(one.complete(7, grant.token).await, Completed::Fenced);
    let report = one.inspect().await;
    assert_eq!((report.next, report.parked, report.owner), (Some(7), 1, None));
    assert!(matches!(one.claim().await, Claim::Granted(_, found) if found == frames([7])));
    assert_eq!(one.admit(2).await, Admission::Late);
    // Backwards too.
    one.steer(Steering::Resume { next: Some(2) }).await;
    one.run(2).await;
}

pub async fn what_is_remembered_only_moves_forward<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    one.do_all(1..=3).await;
    let grant = one.run(4).await;
    for next in [1, 3, 4] {
        one.steer(Steering::Restore { next }).await;
        assert_eq!(one.next().await, Some(4));
    }
    assert_eq!(one.run(4).await, grant);
    one.steer(Steering::Restore { next: 9 }).await;
    assert_eq!(one.next().await, Some(9));
    assert_eq!(one.complete(9, grant.token).await, Completed::Fenced);
    let unknown = one.on("unknown", one.bucket());
    unknown.steer(Steering::Restore { next: 5 }).await;
    assert_eq!(unknown.admit(4).await, Admission::Duplicate { newer: false });
    unknown.run(5).await;
}

pub async fn a_removed_message_is_gone_from_the_sums<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    one.park(2).await;
    one.park(3).await;
    for _ in 0..2 {
        one.steer(Steering::Remove { sequence: 2 }).await;
        let report = one.inspect().await;
        assert_eq!((report.parked, report.room[0].sequence), (1, 3));
        assert_eq!(one.beat().await.messages, 1);
    }
    one.steer(Steering::Remove { sequence: 3 }).await;
    let (report, beat) = (one.inspect().await, one.beat().await);
    assert_eq!((report.parked, report.bytes, report.gap_since), (0, 0, None));
    assert_eq!((beat.messages, beat.bytes), (0, 0));
    one.pass(std::time::Duration::from_secs(3600));
    assert!(!one.is_due().await);
}

pub async fn a_forgotten_aggregate_begins_anew<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    one.do_all(1..=2).await;
    let grant = one.run(3).await;
    for sequence in 5..400 {
        one.park(sequence).await;
    }
    one.halt().await;
    one.steer(Steering::Forget).await;
    assert!(
        one.store
            .inspect(&one.aggregate, 1)
            .await
            .expect("asked")
            .is_none()
    );
    let beat = one.beat().await;
    assert_eq!((beat.messages, beat.bytes), (0, 0));
    assert_eq!(one.complete(3, grant.token).await, Completed::Fenced);
    assert!(one.run(1).await.token > grant.token);
}

pub async fn a_note_is_shown_until_the_message_is_done<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let note = || Steering::Note {
        error: "it broke".to_owned(),
    };
    one.steer(note()).await;
    assert!(
        one.store
            .inspect(&one.aggregate, 1)
            .await
            .expect("asked")
            .is_none()
    );
    let grant = one.run(1).await;
    one.steer(note()).await;
    assert_eq!(one.inspect().await.last_error.as_deref(), Some("it broke"));
    assert_eq!(one.run(1).await, grant);
    one.complete(1, grant.token).await;
    assert_eq!(one.inspect().await.last_error, None);
}
