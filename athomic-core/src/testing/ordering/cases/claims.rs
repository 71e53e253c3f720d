//! What is due, and who takes it.

use std::time::Duration;

use super::Stage;
use crate::store::ordering::{
    Claim, ClaimTerms, Completed, Completion, Grant, OrderingStore as _, SWEEP, SessionState,
};
use crate::testing::ordering::TestStores;
use crate::testing::ordering::fleet::{frames, one as only};

pub async fn what_waits_becomes_due_again_and_again<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    one.park(2).await;
    assert!(!one.is_due().await);
    for _ in 0..3 {
        one.pass(30 * SWEEP);
        one.other().await;
        assert!(one.is_due().await);
        let mut other = one.on("order-17", one.bucket());
        other.session.0 = 50;
        other.beat().await;
        other.session.0 += u128::from(u32::try_from(one.now() / 1000).expect("a time of this century"));
        other.beat().await;
        assert_eq!(other.claim().await, Claim::Waiting);
        assert!(!one.is_due().await);
    }
}

pub async fn what_is_due_is_bounded_and_the_oldest_first<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    for key in ["c", "a", "b"] {
        one.on(key, one.bucket()).park(2).await;
        one.pass(Duration::from_millis(1));
    }
    one.pass(SWEEP);
    let due = only(one.store.due(&[one.bucket()], 2).await).expect("asked");
    assert_eq!(due.iter().map(|due| due.key()).collect::<Vec<_>>(), ["c", "a"]);
    assert!(due.iter().all(|due| due.bucket() == one.bucket()));
}

pub async fn a_claim_takes_what_waits_at_the_head<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let other = one.other().await;
    let grant = one.run(1).await;
    for sequence in [1, 2, 3, 5] {
        other.park(sequence).await;
    }
    one.release(grant.token).await;
    let terms = ClaimTerms {
        frames: 2,
        ..other.terms()
    };
    let Claim::Granted(grant, found) = other.try_claim(terms).await.expect("alive") else {
        panic!("the next message waits");
    };
    assert_eq!(found, frames(1..=2));
    let done = other.complete(1, grant.token).await;
    assert_eq!(
        done,
        Completed::Done {
            frames: frames(2..=3),
            held: true
        }
    );
}

pub async fn a_claim_of_an_own_lease_says_so<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let other = one.other().await;
    let grant = one.run(1).await;
    other.park(1).await;
    other.park(2).await;
    let grant = Grant { waits: true, ..grant };
    assert_eq!(one.claim().await, Claim::Mine(grant, frames(1..=2)));
    assert_eq!(one.inspect().await.deliveries, 1);
}

pub async fn a_claim_of_another_ones_lease_names_the_owner_to_it<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let other = one.other().await;
    one.run(1).await;
    other.park(1).await;
    one.beat().await;
    one.pass(SWEEP);
    assert!(one.is_due().await);
    assert_eq!(other.claim().await, Claim::Busy);
    assert_eq!(one.beat().await.wanted, std::slice::from_ref(&one.aggregate));
    assert!(!one.is_due().await);
}

pub async fn a_claim_of_nothing_is_empty_and_no_more_due<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    assert_eq!(one.claim().await, Claim::Empty);
    one.park(2).await;
    one.do_all(1..=2).await;
    one.pass(SWEEP);
    assert_eq!(one.claim().await, Claim::Empty);
    assert!(!one.is_due().await);
}

pub async fn a_claim_of_a_halted_aggregate_says_so<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    one.park(2).await;
    one.halt().await;
    assert_eq!(one.claim().await, Claim::Halted);
    one.pass(60 * SWEEP);
    assert!(!one.is_due().await);
}

pub async fn a_gap_is_told_after_its_time_with_the_lease<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    one.do_all(1..=1).await;
    let began = one.now();
    one.park(4).await;
    let terms = ClaimTerms {
        gap: Some(Duration::from_secs(5)),
        ..one.terms()
    };
    one.pass(Duration::from_millis(4_999));
    assert_eq!(one.try_claim(terms).await.expect("alive"), Claim::Waiting);
    assert!(!one.is_due().await);
    one.pass(Duration::from_millis(1));
    assert!(one.is_due().await);
    let Claim::Gap {
        grant,
        missing,
        head,
        since,
    } = one.try_claim(terms).await.expect("alive")
    else {
        panic!("five seconds have passed");
    };
    assert_eq!((missing, head, since), (2, 4, began));
    // The lease is there to act on it: here the missing ones are skipped.
    let skip = Completion {
        first: missing,
        skip: Some(0),
        ..one.completion(head - 1, grant.token)
    };
    let done = one.complete_this(skip).await;
    assert_eq!(
        done,
        Completed::Done {
            frames: frames([4]),
            held: true
        }
    );
}

pub async fn a_gap_is_told_at_once_where_nothing_more_fits<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    one.do_all(1..=1).await;
    one.park(4).await;
    let crowded = ClaimTerms {
        crowded: true,
        ..one.terms()
    };
    // Who does not act on gaps is told none.
    assert_eq!(one.try_claim(crowded).await.expect("alive"), Claim::Waiting);
    let terms = ClaimTerms {
        gap: Some(Duration::from_secs(5)),
        ..crowded
    };
    assert!(matches!(one.try_claim(terms).await, Ok(Claim::Gap { .. })));
}

pub async fn the_clock_of_a_gap_begins_anew_with_each<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    one.park(2).await;
    one.park(4).await;
    one.pass(Duration::from_secs(4));
    one.beat().await;
    one.do_all(1..=2).await;
    assert_eq!(one.inspect().await.gap_since, Some(one.now()));
    one.pass(Duration::from_secs(4));
    let terms = ClaimTerms {
        gap: Some(Duration::from_secs(5)),
        ..one.terms()
    };
    assert_eq!(one.try_claim(terms).await.expect("alive"), Claim::Waiting);
}

pub async fn the_clock_of_a_gap_begins_anew_when_a_lease_ends<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let second = Duration::from_secs(1);
    for is_released in [true, false] {
        let mut one = stage.fleet().await;
        one = one.on(if is_released { "given back" } else { "lapsed" }, one.bucket());
        one.session.0 += if is_released { 100 } else { 200 };
        one.beat().await;
        let grant = one.run(1).await;
        let mut other = one.other().await;
        // It runs here, and what follows waits from now on.
        other.park(2).await;
        one.pass(7 * second);
        other.beat().await;
        let terms = ClaimTerms {
            gap: Some(5 * second),
            ..other.terms()
        };
        assert_eq!(other.try_claim(terms).await.expect("alive"), Claim::Busy);
        if is_released {
            one.release(grant.token).await;
        } else {
            one.pass(3 * second);
            other.beat().await;
        }
        let began = one.now();
        for crowded in [true, false] {
            let terms = ClaimTerms { crowded, ..terms };
            assert_eq!(other.try_claim(terms).await.expect("alive"), Claim::Waiting);
        }
        assert_eq!(other.inspect().await.gap_since, Some(began));
        one.pass(4 * second);
        let hurried = ClaimTerms {
            crowded: true,
            ..terms
        };
        assert_eq!(other.try_claim(hurried).await.expect("alive"), Claim::Waiting);
        one.pass(second);
        let Claim::Gap { grant, since, .. } = other.try_claim(terms).await.expect("alive") else {
            panic!("five seconds have passed since nobody has it");
        };
        assert_eq!(since, began);
        // Who was told of the gap did not have what is missing.
        other.release(grant.token).await;
        assert_eq!(other.inspect().await.gap_since, Some(began));
        other.session.0 += 7;
        assert_eq!(other.beat().await.state, SessionState::New);
        assert!(matches!(other.try_claim(terms).await, Ok(Claim::Gap { .. })));
    }
}

pub async fn a_gap_that_closes_is_none<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let other = one.other().await;
    let grant = one.run(1).await;
    other.park(2).await;
    assert!(one.inspect().await.gap_since.is_some());
    other.park(1).await;
    assert_eq!(one.inspect().await.gap_since, None);
    one.complete(1, grant.token).await;
    assert_eq!(one.inspect().await.gap_since, None);
}
