//! Who may run an aggregate.

use std::time::Duration;

use super::Stage;
use crate::store::ordering::{Admission, Claim, Completed, FencingToken};
use crate::testing::ordering::TestStores;
use crate::testing::ordering::fleet::TTL;

pub async fn only_one_process_has_the_lease<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let other = one.other().await;
    one.run(1).await;
    assert_eq!(other.admit(1).await, Admission::Parked { halted: false });
    assert_eq!(other.claim().await, Claim::Busy);
    one.pass(TTL - Duration::from_millis(1));
    other.beat().await;
    assert_eq!(other.claim().await, Claim::Busy);
    one.pass(Duration::from_millis(1));
    assert!(matches!(other.claim().await, Claim::Granted(..)));
}

pub async fn tokens_rise_with_each_lease<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let mut last = FencingToken(0);
    for round in 1..=20 {
        // Some of one aggregate, some of another of the bucket, at one moment and later.
        let one = one.on(["a", "b"][round % 2], one.bucket());
        let sequence = u64::try_from(round.div_ceil(2)).expect("small");
        let grant = one.run(sequence).await;
        assert!(grant.token > last, "{} after {last}", grant.token);
        last = grant.token;
        one.complete(sequence, grant.token).await;
        assert_eq!(one.beat().await.token, last);
        one.pass(Duration::from_micros(round as u64 % 3));
    }
}

pub async fn tokens_rise_although_the_clock_steps_back<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let before = one.run(1).await;
    one.complete(1, before.token).await;
    one.clock.shift(-3_600_000_000);
    assert!(one.run(2).await.token > before.token);
}

pub async fn a_released_lease_is_free_and_its_delivery_does_not_count<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let other = one.other().await;
    let grant = one.run(1).await;
    other.park(1).await;
    one.release(grant.token).await;
    assert!(one.is_due().await);
    let Claim::Granted(next, found) = other.claim().await else {
        panic!("the lease is free and the message waits");
    };
    assert_eq!((next.deliveries, found.len()), (1, 1));
    assert!(next.token > grant.token);
    assert_eq!(one.complete(1, grant.token).await, Completed::Fenced);
}

pub async fn a_release_under_an_old_token_changes_nothing<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let old = one.run(1).await;
    one.release(old.token).await;
    one.release(old.token).await;
    let new = one.run(1).await;
    one.release(old.token).await;
    one.other().await.release(new.token).await;
    assert_eq!(one.run(1).await, new);
}

pub async fn a_process_that_died_counts_if_it_had_begun_the_message<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let first = stage.fleet().await;
    assert_eq!(first.run(1).await.deliveries, 1);
    first.pass(TTL);
    // The first is taken to have begun it.
    let second = first.other().await;
    assert_eq!(second.run(1).await.deliveries, 2);
    second.pass(TTL);
    // The second has not said that it did.
    let third = second.other().await;
    let grant = third.run(1).await;
    assert_eq!((grant.deliveries, third.inspect().await.deliveries), (2, 1));
    for _ in 0..2 {
        third.begun(grant.token).await;
        assert_eq!(third.inspect().await.deliveries, 2);
        assert_eq!(third.run(1).await, grant);
    }
    third.pass(TTL);
    let fourth = third.other().await;
    let grant = fourth.run(1).await;
    assert_eq!(grant.deliveries, 3);
    fourth.complete(1, grant.token).await;
    assert_eq!(fourth.run(2).await.deliveries, 1);
}

pub async fn a_beginning_counts_under_the_lease_at_hand_and_until_it_is_given_back<R: TestStores>(
    stores: &R,
) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let old = one.run(1).await;
    one.pass(TTL);
    let one = one.other().await;
    let new = one.run(1).await;
    one.begun(old.token).await;
    assert_eq!(one.inspect().await.deliveries, 1);
    one.begun(new.token).await;
    one.release(new.token).await;
    one.begun(new.token).await;
    assert_eq!(one.inspect().await.deliveries, 1);
    assert_eq!(one.run(1).await.deliveries, 2);
}
