//! Where an aggregate begins, and where sequences end.

use std::time::Duration;

use super::Stage;
use crate::store::ordering::{
    Admission, Aggregate, Claim, ClaimTerms, Completed, First, OrderingStore as _, Steering,
};
use crate::testing::ordering::TestStores;
use crate::testing::ordering::fleet::frames;

const PARKED: Admission = Admission::Parked { halted: false };

pub async fn sequences_below_the_first_are_invalid<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let mut one = stage.fleet().await;
    assert_eq!(one.admit(0).await, Admission::Invalid);
    one.do_all(1..=2).await;
    assert_eq!(one.admit(0).await, Admission::Invalid);
    one.first = First::Exact(0);
    one.on("other", one.bucket()).run(0).await;
}

pub async fn the_last_number_is_invalid_and_the_one_before_runs<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let mut one = stage.fleet().await;
    one.first = First::Known(u64::MAX - 2);
    assert_eq!(one.admit(u64::MAX).await, Admission::Invalid);
    one.park(u64::MAX - 1).await;
    let grant = one.run(u64::MAX - 2).await;
    let done = one.complete(u64::MAX - 2, grant.token).await;
    let expected = frames([u64::MAX - 1]);
    assert_eq!(
        done,
        Completed::Done {
            frames: expected,
            held: true
        }
    );
    let done = one.complete(u64::MAX - 1, grant.token).await;
    assert_eq!(
        done,
        Completed::Done {
            frames: Vec::new(),
            held: false
        }
    );
    assert_eq!(one.next().await, Some(u64::MAX));
    assert_eq!(one.complete(u64::MAX, grant.token).await, Completed::Fenced);
}

pub async fn neighbours_above_two_to_the_53_are_told_apart<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let mut one = stage.fleet().await;
    for (key, base) in [("a", 1 << 53), ("b", 999_999_999_999_999), ("c", u64::MAX - 9)] {
        one.aggregate = Aggregate::stored(key, one.bucket());
        one.first = First::Exact(base);
        for sequence in (base + 1..base + 6).rev() {
            one.park(sequence).await;
        }
        let grant = one.run(base).await;
        let Completed::Done { frames: found, .. } = one.complete(base, grant.token).await else {
            panic!("the lease is held");
        };
        assert_eq!(found, frames(base + 1..base + 6));
        let room = one.store.read(&one.aggregate, base + 3, 2).await.expect("asked");
        assert_eq!(room, frames(base + 3..base + 5));
    }
}

pub async fn each_rule_for_the_first_sequence_holds<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let duplicate = Admission::Duplicate { newer: false };
    let cases = [
        ("exact", First::Exact(7), 8, Some(PARKED)),
        ("exact, below", First::Exact(7), 6, Some(Admission::Invalid)),
        ("exact, at", First::Exact(7), 7, None),
        ("known", First::Known(7), 8, Some(PARKED)),
        ("known, below", First::Known(7), 6, Some(duplicate)),
        ("known, at", First::Known(7), 7, None),
        ("seen", First::Seen, 7, None),
        ("settle", First::Settle, 7, Some(PARKED)),
        ("ask", First::Ask, 7, Some(Admission::Unknown)),
    ];
    for (name, first, sequence, expected) in cases {
        let mut one = one.on(name, one.bucket());
        one.first = first;
        match (one.admit(sequence).await, expected) {
            (Admission::Run(_), None) => {}
            (answer, expected) => assert_eq!(Some(answer), expected, "{name}"),
        }
    }
    // Who is asked for changes nothing.
    let asked = one.on("ask", one.bucket());
    assert_eq!(asked.next().await, None);
    assert!(
        asked
            .store
            .inspect(&asked.aggregate, 1)
            .await
            .expect("asked")
            .is_none()
    );
}

pub async fn what_waited_to_be_settled_begins_with_the_lowest<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let mut one = stage.fleet().await;
    one.first = First::Settle;
    one.park(9).await;
    one.pass(Duration::from_secs(1));
    one.park(7).await;
    one.park(8).await;
    assert_eq!(one.claim().await, Claim::Waiting);
    assert_eq!(one.next().await, None);
    one.pass(Duration::from_secs(1));
    assert!(one.is_due().await);
    let Claim::Granted(grant, found) = one.claim().await else {
        panic!("two seconds have passed since the first came");
    };
    assert_eq!((found, grant.deliveries), (frames(7..=9), 1));
    assert_eq!(one.admit(6).await, Admission::Duplicate { newer: false });
}

pub async fn what_is_known_from_elsewhere_settles_what_waited<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let mut one = stage.fleet().await;
    one.first = First::Settle;
    one.park(3).await;
    one.park(5).await;
    one.first = First::Known(5);
    assert_eq!(one.admit(4).await, Admission::Duplicate { newer: false });
    one.park(7).await;
    // What lies below is done.
    let report = one.inspect().await;
    assert_eq!((report.next, report.parked), (Some(5), 2));
    assert!(matches!(one.claim().await, Claim::Granted(_, found) if found == frames([5])));
}

pub async fn nobody_begins_before_somebody_knows_where<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let mut one = stage.fleet().await;
    let terms = ClaimTerms {
        begins: false,
        ..one.terms()
    };
    one.first = First::Settle;
    one.park(8).await;
    one.park(7).await;
    assert_eq!(one.try_claim(terms).await.expect("alive"), Claim::Waiting);
    one.pass(Duration::from_secs(2));
    assert!(one.is_due().await);
    assert_eq!(one.try_claim(terms).await.expect("alive"), Claim::Unsettled);
    assert_eq!(one.next().await, None);
    one.pass(Duration::from_secs(1));
    assert!(one.is_due().await);
    one.steer(Steering::Resume { next: None }).await;
    assert!(matches!(one.try_claim(terms).await, Ok(Claim::Granted(_, found)) if found == frames([7, 8])));
}

pub async fn what_was_halted_until_somebody_knows_goes_on_then<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let firsts = [("first", First::Exact(1), 1), ("known", First::Known(7), 9)];
    let fleet = stage.fleet().await;
    let halt = Steering::HaltUnsettled {
        reason: "nobody knows".to_owned(),
    };
    for (key, knows, sequence) in firsts {
        let mut one = fleet.on(key, fleet.bucket());
        one.first = First::Settle;
        one.park(8).await;
        one.park(7).await;
        one.steer(halt.clone()).await;
        assert_eq!(one.inspect().await.halted.as_deref(), Some("nobody knows"));
        one.first = knows;
        match one.admit(sequence).await {
            Admission::Run(grant) => {
                let done = one.complete(1, grant.token).await;
                assert!(matches!(done, Completed::Done { .. }), "{done:?}");
            }
            answer => assert_eq!(answer, PARKED),
        }
        // Whoever did not hear of that halts nothing.
        one.steer(halt.clone()).await;
        assert_eq!(one.inspect().await.halted, None, "{key}");
        one.steer(Steering::Restore { next: 7 }).await;
        assert!(matches!(one.claim().await, Claim::Granted(_, found) if found[..2] == frames([7, 8])));
    }
}
