//! How much may wait.

use super::Stage;
use crate::store::ordering::{Admission, OrderingStore, RoomLimits};
use crate::testing::ordering::TestStores;
use crate::testing::ordering::fleet::{Fleet, LIMITS, frame, one};

async fn admit<S: OrderingStore>(fleet: &Fleet<'_, S>, limits: RoomLimits, sequence: u64) -> Admission {
    let arrivals = [fleet.arrival(sequence)];
    one(fleet.store.admit(fleet.session, limits, &arrivals).await).expect("the session is alive")
}

const PARKED: Admission = Admission::Parked { halted: false };

pub async fn rooms_are_bounded_by_messages<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let limits = RoomLimits {
        messages: 2,
        ..LIMITS
    };
    for (sequence, expected) in [(2, PARKED), (3, PARKED), (4, Admission::Full), (3, PARKED)] {
        assert_eq!(admit(&one, limits, sequence).await, expected, "{sequence}");
    }
    let another = one.on("another", one.bucket());
    assert_eq!(admit(&another, limits, 2).await, PARKED);
}

pub async fn rooms_are_bounded_by_bytes<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let bytes = 2 * frame(2).len() as u64;
    let limits = RoomLimits { bytes, ..LIMITS };
    for (sequence, expected) in [(2, PARKED), (3, PARKED), (4, Admission::Full)] {
        assert_eq!(admit(&one, limits, sequence).await, expected, "{sequence}");
    }
    assert_eq!(one.inspect().await.bytes, bytes);
}

pub async fn buckets_are_bounded<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let another = one.on("another", one.bucket());
    let messages = RoomLimits {
        bucket_messages: 2,
        ..LIMITS
    };
    let bytes = RoomLimits {
        bucket_bytes: 2 * frame(2).len() as u64,
        ..LIMITS
    };
    assert_eq!(admit(&one, messages, 2).await, PARKED);
    assert_eq!(admit(&another, messages, 2).await, PARKED);
    assert_eq!(admit(&another, messages, 3).await, Admission::Full);
    assert_eq!(admit(&another, bytes, 3).await, Admission::Full);
    assert_eq!(admit(&another, LIMITS, 3).await, PARKED);
    // What is done makes room.
    another.do_all(1..=1).await;
    one.do_all(1..=1).await;
    one.do_all(2..=2).await;
    let bucket = one.beat().await;
    assert_eq!(bucket.messages, 2);
}

pub async fn the_next_message_is_always_let_in<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let other = one.other().await;
    let none = RoomLimits {
        messages: 0,
        bytes: 0,
        bucket_messages: 0,
        bucket_bytes: 0,
    };
    assert_eq!(admit(&one, none, 2).await, Admission::Full);
    one.run(1).await;
    assert_eq!(admit(&other, none, 1).await, PARKED);
    assert_eq!(admit(&other, none, 2).await, Admission::Full);
}
