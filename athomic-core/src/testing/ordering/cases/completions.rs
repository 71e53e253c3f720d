//! What becomes of completions.

use super::Stage;
use crate::store::ordering::{Admission, Completed, Completion, FencingToken, OrderingStore as _};
use crate::testing::ordering::TestStores;
use crate::testing::ordering::fleet::{TTL, frames, one as only};

const DONE: Completed = Completed::Done {
    frames: Vec::new(),
    held: false,
};
const ALREADY: Completed = Completed::Already {
    frames: Vec::new(),
    held: false,
};
const KEPT: Completed = Completed::Done {
    frames: Vec::new(),
    held: true,
};
const ALREADY_HELD: Completed = Completed::Already {
    frames: Vec::new(),
    held: true,
};

pub async fn a_completion_moves_on_and_frees<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let other = one.other().await;
    let grant = one.run(1).await;
    assert_eq!(one.complete(1, grant.token).await, DONE);
    assert_eq!(one.next().await, Some(2));
    other.run(2).await;
}

pub async fn a_completion_returns_what_follows_and_keeps_the_lease<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    for sequence in [2, 3, 5] {
        one.park(sequence).await;
    }
    let grant = one.run(1).await;
    let done = one.complete(1, grant.token).await;
    assert_eq!(
        done,
        Completed::Done {
            frames: frames(2..=3),
            held: true
        }
    );
    let done = one.complete(2, grant.token).await;
    assert_eq!(
        done,
        Completed::Done {
            frames: frames([3]),
            held: true
        }
    );
    assert_eq!(one.inspect().await.deliveries, 1);
    assert_eq!(one.complete(3, grant.token).await, DONE);
    let report = one.inspect().await;
    assert_eq!((report.owner, report.parked, report.next), (None, 1, Some(4)));
}

pub async fn a_completion_returns_no_more_frames_than_asked<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    for sequence in 2..=6 {
        one.park(sequence).await;
    }
    let grant = one.run(1).await;
    let completions = [one.completion(1, grant.token)];
    let done = only(one.store.complete(one.session, 2, &completions).await).expect("taken");
    assert_eq!(
        done,
        Completed::Done {
            frames: frames(2..=3),
            held: true
        }
    );
    // Who wants none gives the lease back, and somebody is told to look.
    let completions = [one.completion(2, grant.token)];
    let done = only(one.store.complete(one.session, 0, &completions).await).expect("taken");
    assert_eq!(done, DONE);
    assert_eq!(one.inspect().await.owner, None);
    assert!(one.is_due().await);
}

pub async fn a_repeated_completion_is_answered_with_the_same_frames<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    one.park(2).await;
    one.park(3).await;
    let grant = one.run(1).await;
    one.complete(1, grant.token).await;
    let frames = frames(2..=3);
    assert_eq!(
        one.complete(1, grant.token).await,
        Completed::Already { frames, held: true }
    );
    assert_eq!(one.inspect().await.parked, 2);
}

pub async fn a_late_repetition_cannot_free_the_lease_of_the_next<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let first = one.run(1).await;
    one.complete(1, first.token).await;
    let second = one.run(2).await;
    assert_eq!(one.complete(1, first.token).await, ALREADY);
    assert_eq!(one.run(2).await, second);
    one.park(3).await;
    one.complete(2, second.token).await;
    assert_eq!(one.complete(1, second.token).await, ALREADY_HELD);
    assert!(one.inspect().await.owner.is_some());
}

pub async fn a_completion_under_an_old_token_is_fenced<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let old = one.run(1).await;
    one.pass(TTL);
    let other = one.other().await;
    let new = other.run(1).await;
    assert_eq!(one.complete(1, old.token).await, Completed::Fenced);
    assert_eq!(other.complete(1, new.token).await, DONE);
    assert_eq!(one.complete(1, old.token).await, ALREADY);
    assert_eq!(one.complete(2, old.token).await, Completed::Fenced);
    for token in [0, 1, u64::MAX] {
        assert_eq!(one.complete(2, FencingToken(token)).await, Completed::Fenced);
    }
}

pub async fn a_completion_out_of_turn_is_fenced<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let grant = one.run(1).await;
    assert_eq!(one.complete(2, grant.token).await, Completed::Fenced);
    assert_eq!(one.next().await, Some(1));
    // Those of one call are taken in their order.
    let completions = [1, 2, 3].map(|sequence| Completion {
        keep: true,
        ..one.completion(sequence, grant.token)
    });
    for done in one.store.complete(one.session, 0, &completions).await {
        assert_eq!(done.expect("taken"), KEPT);
    }
}

pub async fn a_completion_of_an_unknown_aggregate_is_fenced<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    assert_eq!(one.complete(1, FencingToken(1)).await, Completed::Fenced);
    assert_eq!(one.next().await, None);
}

pub async fn a_lapsed_session_may_complete_as_long_as_nobody_took_over<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let grant = one.run(1).await;
    one.pass(2 * TTL);
    assert_eq!(one.complete(1, grant.token).await, DONE);
    assert_eq!(one.next().await, Some(2));
}

pub async fn a_lease_is_kept_where_that_is_asked<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let other = one.other().await;
    let grant = one.run(1).await;
    let completion = Completion {
        keep: true,
        ..one.completion(1, grant.token)
    };
    assert_eq!(one.complete_this(completion).await, KEPT);
    other.park(2).await;
    // The same token for the next; and what another process parked is returned with it.
    assert_eq!(one.run(2).await.token, grant.token);
    other.park(3).await;
    let done = one.complete(2, grant.token).await;
    assert_eq!(
        done,
        Completed::Done {
            frames: frames([3]),
            held: true
        }
    );
}

pub async fn several_messages_are_completed_at_once<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    for sequence in [2, 4, 7, 8, 10] {
        one.park(sequence).await;
    }
    let grant = one.run(1).await;
    let range = one.range(1, 6, grant.token);
    let frames = frames(7..=8);
    let done = one.complete_this(range.clone()).await;
    assert_eq!(
        done,
        Completed::Done {
            frames: frames.clone(),
            held: true
        }
    );
    let report = one.inspect().await;
    assert_eq!((report.next, report.parked, report.skipped), (Some(7), 3, None));
    assert_eq!(
        one.complete_this(range).await,
        Completed::Already { frames, held: true }
    );
    assert_eq!(one.admit(5).await, Admission::Duplicate { newer: false });
    let other_payload = one.arrival_of(6, 1);
    assert_eq!(one.admit_this(other_payload).await, Admission::Conflict);
}

pub async fn several_messages_count_only_if_nothing_before_them_is_missing<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    let grant = one.run(1).await;
    assert_eq!(
        one.complete_this(one.range(2, 4, grant.token)).await,
        Completed::Fenced
    );
    assert_eq!(one.next().await, Some(1));
    let keep = |range| Completion { keep: true, ..range };
    assert_eq!(one.complete_this(keep(one.range(1, 3, grant.token))).await, KEPT);
    // Some of them counted before.
    assert_eq!(one.complete_this(keep(one.range(2, 5, grant.token))).await, KEPT);
    assert_eq!(one.next().await, Some(6));
    assert_eq!(
        one.complete_this(keep(one.range(2, 5, grant.token))).await,
        ALREADY_HELD
    );
    assert_eq!(
        one.complete_this(one.range(1, 4, grant.token)).await,
        ALREADY_HELD
    );
}

pub async fn a_skip_jumps_and_removes_what_it_passes<R: TestStores>(stores: &R) {
    let stage = Stage::new(stores).await;
    let one = stage.fleet().await;
    for sequence in [2, 3, 500, 501] {
        one.park(sequence).await;
    }
    let grant = one.run(1).await;
    let skip = Completion {
        first: 1,
        skip: Some(2),
        ..one.completion(499, grant.token)
    };
    // One of those that wait was given up by nobody: it came meanwhile.
    let too_few = Completion {
        skip: Some(1),
        ..skip.clone()
    };
    assert_eq!(one.complete_this(too_few).await, Completed::Fenced);
    let done = one.complete_this(skip).await;
    assert_eq!(
        done,
        Completed::Done {
            frames: frames(500..=501),
            held: true
        }
    );
    let report = one.inspect().await;
    let skipped = report.skipped.expect("a range");
    assert_eq!((skipped.first, skipped.last), (1, 499));
    assert_eq!((report.next, report.parked), (Some(500), 2));
}
