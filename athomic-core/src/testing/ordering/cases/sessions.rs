//! The life of processes.

use std::time::Duration;

use super::Stage;
use crate::store::StoreError;
use crate::store::ordering::{Admission, Aggregate, Claim, Completed, SessionState};
use crate::testing::ordering::TestStores;
use crate::testing::ordering::fleet::{TTL, frames};

pub async fn a_session_is_new_then_live_then_lapsed<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let first = stage.fleet().await;
    let mut one = first.on("a", 40);
    one.session.0 = 9 << 70;
    assert_eq!(one.beat().await.state, SessionState::New);
    one.pass(TTL - Duration::from_millis(1));
    assert_eq!(one.beat().await.state, SessionState::Live);
    one.pass(TTL);
    assert_eq!(one.beat().await.state, SessionState::Lapsed);
    assert_eq!(one.beat().await.state, SessionState::Lapsed);
    one.pass(Duration::from_secs(3600));
    assert_eq!(one.beat().await.state, SessionState::Lapsed);
    // Each bucket for itself.
    assert_eq!(one.on("a", 41).beat().await.state, SessionState::New);
}

pub async fn a_lapsed_session_gets_nothing<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    one.park(2).await;
    one.pass(TTL);
    let admitted = one.try_admit(one.arrival(1)).await;
    assert!(matches!(admitted, Err(StoreError::SessionLapsed)), "{admitted:?}");
    let claimed = one.try_claim(one.terms()).await;
    assert!(matches!(claimed, Err(StoreError::SessionLapsed)), "{claimed:?}");
    assert_eq!(one.inspect().await.parked, 1);
    // Nor does one that never beat.
    let mut unknown = one.on("a", one.bucket());
    unknown.session.0 = 77;
    let admitted = unknown.try_admit(unknown.arrival(1)).await;
    assert!(matches!(admitted, Err(StoreError::SessionLapsed)), "{admitted:?}");
}

pub async fn the_lease_of_a_dead_session_is_taken_over<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let dead = one.run(1).await;
    one.park(2).await;
    one.pass(TTL);
    let other = one.other().await;
    let grant = other.run(1).await;
    assert_eq!(grant.deliveries, 2);
    assert!(grant.token > dead.token);
    let done = other.complete(1, grant.token).await;
    assert_eq!(
        done,
        Completed::Done {
            frames: frames([2]),
            held: true
        }
    );
}

pub async fn an_owner_is_told_who_is_wanted_once<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let other = one.other().await;
    let (a, b) = (one.on("a", one.bucket()), one.on("b|a", one.bucket()));
    a.run(1).await;
    b.run(1).await;
    let (their_a, their_b) = (other.on("a", one.bucket()), other.on("b|a", one.bucket()));
    // Only the message that is next is a reason.
    their_a.park(2).await;
    assert!(one.beat().await.wanted.is_empty());
    their_a.park(1).await;
    their_b.park(1).await;
    assert!(other.beat().await.wanted.is_empty());
    let wanted: Vec<Aggregate> = one.beat().await.wanted;
    assert_eq!(wanted, [a.aggregate.clone(), b.aggregate.clone()]);
    assert!(one.beat().await.wanted.is_empty());
    // Who tries to take it says so again.
    assert_eq!(their_a.claim().await, Claim::Busy);
    assert_eq!(one.beat().await.wanted, [a.aggregate]);
}

pub async fn beats_tell_the_last_token_and_what_waits<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let nothing = one.beat().await;
    assert_eq!((nothing.token.get(), nothing.bytes, nothing.messages), (0, 0, 0));
    one.park(3).await;
    one.on("b", one.bucket()).park(2).await;
    let grant = one.run(1).await;
    let beat = one.beat().await;
    let expected = frames([3, 2]).iter().map(|frame| frame.bytes.len() as u64).sum();
    assert_eq!(
        (beat.token, beat.bytes, beat.messages),
        (grant.token, expected, 2)
    );
    assert_eq!(beat.generation, nothing.generation);
    assert!(matches!(one.admit(1).await, Admission::Run(_)));
}
