//! What becomes of messages that arrive.

use super::Stage;
use crate::store::ordering::{
    Admission, Aggregate, Arrival, Completed, Completion, First, OrderingStore as _, Steering,
};
use crate::testing::ordering::TestStores;
use crate::testing::ordering::fleet::{LIMITS, TTL, digest};

const PARKED: Admission = Admission::Parked { halted: false };

pub async fn the_next_message_runs<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let grant = one.run(1).await;
    assert_eq!((grant.deliveries, grant.condemned), (1, false));
    assert!(grant.token.get() > 0);
}

pub async fn asked_again_it_is_the_same_grant<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let grant = one.run(1).await;
    assert_eq!(one.run(1).await, grant);
}

pub async fn a_grant_says_whether_something_waits<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    assert!(!one.run(1).await.waits);
    one.park(3).await;
    assert!(one.run(1).await.waits);
    // What lies below is done when it becomes known what is next, and does not wait any more.
    for (name, parked, waits) in [("some", &[3, 4, 7][..], true), ("none", &[3, 4][..], false)] {
        let mut one = one.on(name, one.bucket());
        one.first = First::Settle;
        for &sequence in parked {
            one.park(sequence).await;
        }
        one.first = First::Known(5);
        assert_eq!(one.run(5).await.waits, waits, "{name}");
    }
}

pub async fn a_message_that_came_too_early_is_parked_once<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    one.park(3).await;
    one.park(3).await;
    assert_eq!(one.inspect().await.parked, 1);
    assert_eq!(one.next().await, Some(1));
}

pub async fn a_message_that_has_to_wait_and_has_no_bytes_is_asked_for_them<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let bare = |sequence| Arrival {
        frame: None,
        ..one.arrival(sequence)
    };
    assert_eq!(one.admit_this(bare(2)).await, Admission::Need);
    one.park(2).await;
    // What waits already is not asked for again, and what is next needs no bytes.
    assert_eq!(one.admit_this(bare(2)).await, PARKED);
    assert!(matches!(one.admit_this(bare(1)).await, Admission::Run(_)));
}

pub async fn the_next_message_waits_while_another_process_has_the_lease<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let other = one.other().await;
    one.run(1).await;
    assert_eq!(other.admit(1).await, PARKED);
}

pub async fn a_message_that_was_done_is_a_duplicate<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    one.do_all(1..=2).await;
    assert_eq!(one.admit(1).await, Admission::Duplicate { newer: false });
    assert_eq!(one.admit(2).await, Admission::Duplicate { newer: false });
}

pub async fn a_duplicate_of_a_newer_record_says_so<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    one.do_all(1..=2).await;
    for (time, newer) in [
        (999, false),
        (1_000, false),
        (1_001, true),
        (i64::MAX, true),
        (-1, false),
    ] {
        let arrival = Arrival {
            time,
            ..one.arrival(1)
        };
        assert_eq!(
            one.admit_this(arrival).await,
            Admission::Duplicate { newer },
            "{time}"
        );
    }
}

pub async fn the_newest_record_counts_not_the_last<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    for (sequence, time) in [(1, i64::MIN), (2, 5_000), (3, -7)] {
        let grant = one.run(sequence).await;
        let completion = Completion {
            time,
            ..one.completion(sequence, grant.token)
        };
        one.complete_this(completion).await;
    }
    for (time, newer) in [(4_999, false), (5_001, true)] {
        let arrival = Arrival {
            time,
            ..one.arrival(1)
        };
        assert_eq!(
            one.admit_this(arrival).await,
            Admission::Duplicate { newer },
            "{time}"
        );
    }
}

pub async fn another_payload_of_the_last_sequence_is_a_conflict<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    one.do_all(1..=2).await;
    let other = |sequence| Arrival {
        digest: digest(99),
        ..one.arrival(sequence)
    };
    assert_eq!(one.admit_this(other(2)).await, Admission::Conflict);
    // Of those before nobody knows the payload any more.
    assert_eq!(
        one.admit_this(other(1)).await,
        Admission::Duplicate { newer: false }
    );
}

pub async fn another_payload_of_a_parked_sequence_is_a_conflict<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    one.park(3).await;
    let other = Arrival {
        digest: digest(99),
        ..one.arrival(3)
    };
    assert_eq!(one.admit_this(other).await, Admission::Conflict);
    assert_eq!(one.inspect().await.parked, 1);
}

pub async fn a_skipped_sequence_that_comes_is_late<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    one.do_all(1..=1).await;
    let grant = one.run(2).await;
    let skip = Completion {
        first: 2,
        skip: Some(0),
        ..one.completion(4, grant.token)
    };
    one.complete_this(skip).await;
    for sequence in 2..=4 {
        assert_eq!(one.admit(sequence).await, Admission::Late, "{sequence}");
    }
    assert_eq!(one.admit(1).await, Admission::Duplicate { newer: false });
    one.do_all(5..=5).await;
    assert_eq!(one.admit(4).await, Admission::Late);
}

pub async fn a_halted_aggregate_parks_and_says_so<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    one.halt().await;
    for sequence in [1, 2, 2] {
        let parked = Admission::Parked { halted: true };
        assert_eq!(one.admit(sequence).await, parked, "{sequence}");
    }
    assert!(!one.is_due().await);
}

pub async fn a_condemned_aggregate_says_so_with_the_grant<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    one.do_all(1..=1).await;
    one.park(3).await;
    let reason = "poison".to_owned();
    one.steer(Steering::Condemn { reason }).await;
    let grant = one.run(2).await;
    assert!(grant.condemned);
    // Nothing follows by itself: each is granted, so that it is known to be given up.
    let done = one.complete(2, grant.token).await;
    assert_eq!(
        done,
        Completed::Done {
            frames: Vec::new(),
            held: false
        }
    );
    assert!(one.is_due().await);
}

pub async fn keys_of_any_kind_are_kept_apart<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let long = "k".repeat(512);
    let keys = [
        "{", "}", "{}", "{a}b", "a{b", "a}b", ":", "a:b", "a|b", "|", "nul\0", "nul", "a\nb", "a\r\nb", " ",
        "", "ä", "💥", "*", "\\", "\"", "~", &long,
    ];
    one.on("", 5).beat().await;
    for key in keys {
        one.on(key, 5).run(1).await;
        one.on(key, 5).park(3).await;
    }
    for key in keys {
        let one = one.on(key, 5);
        let report = one.inspect().await;
        assert_eq!(
            (report.key.as_str(), report.next, report.parked),
            (key, Some(1), 1)
        );
    }
    let huge = Aggregate::new(&"m".repeat(1 << 20), 64);
    let one = one.on(huge.key(), huge.bucket());
    one.beat().await;
    one.do_all(1..=2).await;
}

pub async fn aggregates_do_not_touch_each_other<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    for (key, bucket) in [("a", 1), ("b", 1), ("a", 2)] {
        let one = one.on(key, bucket);
        one.beat().await;
        assert!(
            one.store
                .inspect(&one.aggregate, 1)
                .await
                .expect("asked")
                .is_none()
        );
        one.do_all(1..=3).await;
        one.park(5).await;
    }
    one.on("a", 1).steer(Steering::Forget).await;
    assert_eq!(one.on("b", 1).inspect().await.next, Some(4));
    assert_eq!(one.on("a", 2).inspect().await.parked, 1);
}

pub async fn elements_of_a_call_are_answered_in_their_order<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let all: Vec<u16> = (0..64).collect();
    one.store.beat(one.session, &all, TTL).await;
    // In no order of buckets, some twice, and more than fit into one call.
    let places: Vec<(u16, u64)> = (0..300)
        .map(|index| (index * 37 % 64, u64::from(index % 3)))
        .collect();
    let arrivals: Vec<_> = places
        .iter()
        .map(|(bucket, kind)| one.on(&format!("{kind}"), *bucket).arrival(kind + 1))
        .collect();
    let answers = one.store.admit(one.session, LIMITS, &arrivals).await;
    for (arrival, answer) in arrivals.iter().zip(answers) {
        match (arrival.sequence, answer.expect("the session is alive")) {
            (1, Admission::Run(_)) | (2 | 3, Admission::Parked { .. }) => {}
            (sequence, other) => panic!("{sequence} was answered {other:?}"),
        }
    }
    let aggregates: Vec<_> = arrivals.iter().map(|arrival| arrival.aggregate.clone()).collect();
    let nexts = one.store.probe(&aggregates).await;
    assert!(nexts.into_iter().all(|next| next.expect("asked") == Some(1)));
}

pub async fn frames_come_back_as_they_were<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let large: Vec<u8> = (0..1u32 << 20).map(|byte| (byte % 251) as u8).collect();
    let contents = [
        Vec::new(),
        vec![0],
        vec![0xff, 0xfe],
        b"\r\n$3\r\n".to_vec(),
        b"text".to_vec(),
        large,
    ];
    for (content, sequence) in contents.iter().zip(2..) {
        let arrival = Arrival {
            frame: Some(content.clone().into()),
            first: First::Exact(1),
            ..one.arrival(sequence)
        };
        assert_eq!(one.admit_this(arrival).await, PARKED);
    }
    let grant = one.run(1).await;
    let Completed::Done { frames, held: true } = one.complete(1, grant.token).await else {
        panic!("the lease is held");
    };
    assert_eq!(frames.len(), contents.len());
    for ((frame, content), sequence) in frames.iter().zip(&contents).zip(2..) {
        assert_eq!(frame.sequence, sequence);
        assert!(frame.bytes == content[..], "{sequence}");
    }
}
