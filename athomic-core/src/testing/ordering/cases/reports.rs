//! What operators see, and what is there at the start.

use std::time::Duration;

use super::Stage;
use crate::ordering::FirstSequence;
use crate::store::StoreError;
use crate::store::ordering::{Loss, Opened, OrderingStore as _, ParkedMessage, Past, Steering};
use crate::testing::ordering::TestStores;
use crate::testing::ordering::fleet::{Fleet, Situation, frame, frames, one as only};

pub async fn a_room_is_read_from_a_sequence_on<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    for sequence in [9, 3, 5, 4] {
        one.park(sequence).await;
    }
    for (from, limit, expected) in [
        (0, 9, vec![3, 4, 5, 9]),
        (4, 2, vec![4, 5]),
        (6, 9, vec![9]),
        (10, 9, vec![]),
        (u64::MAX, 9, vec![]),
        (0, 0, vec![]),
    ] {
        let found = one.store.read(&one.aggregate, from, limit).await.expect("asked");
        assert_eq!(found, frames(expected), "from {from}");
    }
    let unknown = one.on("unknown", 3);
    assert!(
        unknown
            .store
            .read(&unknown.aggregate, 0, 9)
            .await
            .expect("asked")
            .is_empty()
    );
}

pub async fn an_inspection_shows_all_that_is_known<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let grant = one.run(1).await;
    let began = one.now();
    one.park(3).await;
    one.park(7).await;
    one.steer(Steering::Note { error: "e".into() }).await;
    one.steer(Steering::Condemn { reason: "c".into() }).await;
    let report = one.inspect().await;
    assert_eq!(report.key, "order-17");
    assert_eq!((report.next, report.deliveries), (Some(1), 1));
    assert_eq!(report.owner, Some(one.session.to_string()));
    assert_eq!(report.token, Some(grant.token.get()));
    assert_eq!((report.parked, report.bytes), (2, 2 * frame(3).len() as u64));
    assert_eq!(report.gap_since, Some(began));
    assert_eq!(
        (report.halted.as_deref(), report.condemned.as_deref()),
        (None, Some("c"))
    );
    assert_eq!(report.last_error.as_deref(), Some("e"));
    let parked = |sequence| ParkedMessage {
        sequence,
        bytes: frame(sequence).len() as u64,
        frame: frame(sequence),
    };
    assert_eq!(report.room, [parked(3), parked(7)]);
    let missing: Vec<_> = report
        .missing()
        .iter()
        .map(|range| (range.first, range.last))
        .collect();
    assert_eq!(missing, [(1, 2), (4, 6)]);
    let short = one.store.inspect(&one.aggregate, 1).await.expect("asked");
    assert_eq!(short.expect("known").room.len(), 1);
    one.pass(Duration::from_secs(60));
    assert_eq!(one.inspect().await.owner, None);
}

pub async fn a_survey_adds_up<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    one.other().await;
    for (key, sequence) in [("b", 3), ("a", 2), ("a", 3), ("halted", 2)] {
        one.on(key, one.bucket()).park(sequence).await;
        one.pass(Duration::from_millis(100));
    }
    one.on("halted", one.bucket()).halt().await;
    one.on("halted too", one.bucket()).halt().await;
    one.on("in order", one.bucket()).do_all(1..=2).await;
    let report = only(one.store.survey(&[one.bucket()]).await).expect("asked");
    let bytes = 4 * frame(2).len() as u64;
    assert_eq!((report.rooms, report.messages, report.bytes), (2, 4, bytes));
    assert_eq!(report.oldest_gap_ms, Some(400));
    assert_eq!(report.halted, ["halted", "halted too"]);
    assert_eq!(report.waiting, ["a", "b", "halted"]);
    assert_eq!((report.bucket, report.sessions), (one.bucket(), 2));
    let empty = only(one.store.survey(&[63]).await).expect("asked");
    assert_eq!(
        (empty.messages, empty.sessions, empty.oldest_gap_ms),
        (0, 0, None)
    );
}

pub async fn events_come_back_the_newest_first<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    for event in ["first", "second\n\0é", ""] {
        stage.store.record(event).await.expect("an event is taken");
    }
    for (limit, expected) in [
        (9, &["", "second\n\0é", "first"][..]),
        (2, &["", "second\n\0é"]),
        (0, &[]),
    ] {
        assert_eq!(stage.store.events(limit).await.expect("asked"), expected);
    }
}

pub async fn an_idle_aggregate_is_forgotten_after_its_time<R: TestStores>(stores: &R) {
    let ttl = Duration::from_secs(60);
    let stage = Stage::with(stores, |policies| policies.state_ttl = Some(ttl)).await;
    let one = stage.fleet().await;
    let (idle, busy, waiting) = (
        one.on("idle", one.bucket()),
        one.on("busy", one.bucket()),
        one.on("waiting", one.bucket()),
    );
    for one in [&idle, &busy, &waiting] {
        one.do_all(1..=1).await;
    }
    busy.run(2).await;
    waiting.park(3).await;
    one.pass(ttl - Duration::from_millis(1));
    assert_eq!(idle.next().await, Some(2));
    one.pass(Duration::from_millis(1));
    assert_eq!(idle.next().await, None);
    assert_eq!(busy.next().await, Some(2));
    assert_eq!(waiting.next().await, Some(2));
}

pub async fn opening_tells_what_was_there_and_refuses_other_policies<R: TestStores>(stores: &R) {
    let situation = Situation::new("opening");
    let clock = situation.clock();
    let nothing_lost = Opened::There {
        lost: None,
        noticed: false,
    };
    let first = stores.store(situation.scope(), clock.clone()).await;
    for (past, expected) in [
        (Past::Unasked, Opened::Empty),
        (Past::Unasked, Opened::Empty),
        (Past::None, nothing_lost),
        (Past::Unasked, nothing_lost),
        (Past::Some, nothing_lost),
    ] {
        assert_eq!(first.open(past).await.expect("it is fit"), expected, "{past:?}");
    }
    Fleet::new(&first, clock.clone()).await.do_all(1..=3).await;
    let again = stores.store(situation.scope(), clock.clone()).await;
    assert_eq!(
        again.open(Past::None).await.expect("the same is there"),
        nothing_lost
    );
    assert_eq!(Fleet::new(&again, clock.clone()).await.next().await, Some(4));
    let other = situation.scope_with(|policies| policies.first_sequence = FirstSequence::Exact(5));
    let refused = stores.store(other, clock).await.open(Past::Unasked).await;
    let Err(StoreError::PolicyMismatch { policy, ours, theirs }) = refused else {
        panic!("other policies were taken: {refused:?}");
    };
    assert_eq!(
        (policy, ours.as_str(), theirs.as_str()),
        ("first_sequence", "5", "1")
    );
}

pub async fn an_empty_store_has_lost_what_others_know_of<R: TestStores>(stores: &R) {
    let situation = Situation::new("lost");
    let clock = situation.clock();
    let store = stores.store(situation.scope(), clock.clone()).await;
    let lost = |at, ago, noticed| Opened::There {
        lost: Some(Loss { at, ago }),
        noticed,
    };
    let first = clock.millis();
    assert_eq!(
        store.open(Past::Some).await.expect("it is fit"),
        lost(first, Duration::ZERO, true)
    );
    // Who comes later is told, whatever it knows.
    let ago = Duration::from_secs(5);
    clock.shift(5_000_000);
    for past in [Past::Unasked, Past::None, Past::Some] {
        let later = stores.store(situation.scope(), clock.clone()).await;
        assert_eq!(
            later.open(past).await.expect("it is fit"),
            lost(first, ago, false),
            "{past:?}"
        );
    }
    let second = clock.millis();
    assert_eq!(
        store.open(Past::Lost).await.expect("it is fit"),
        lost(second, Duration::ZERO, true)
    );
    assert_eq!(
        store.open(Past::Some).await.expect("it is fit"),
        lost(second, Duration::ZERO, false)
    );
}
