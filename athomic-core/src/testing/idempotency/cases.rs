//! The cases: each the claim that it is named after.
#![expect(missing_docs, reason = "the names of the cases are their claims")]

use std::time::Duration;

use super::TestStores;
use crate::store::KeySpace;
use crate::store::idempotency::{Acquisition, Each, Hold, IdempotencyKey, IdempotencyStore, Lock};
use crate::store::memory::StoreClock;
use crate::testing::space::{fresh, pass};

const TIMEOUT: Duration = Duration::from_secs(10);
const TTL: Duration = Duration::from_secs(3600);
const MS: Duration = Duration::from_millis(1);

/// A store of a space of its own, and its clock.
struct Stage<S> {
    space: KeySpace,
    clock: StoreClock,
    store: S,
}

fn lock(key: &str) -> Lock {
    Lock::new(IdempotencyKey::new(key))
}

fn one<T>(mut answers: Each<T>) -> T {
    assert_eq!(answers.len(), 1);
    answers.remove(0).expect("the store answers")
}

impl<S: IdempotencyStore> Stage<S> {
    async fn new<T: TestStores<Store = S>>(stores: &T) -> Self {
        let (space, clock) = fresh();
        let store = stores.store(&space, clock.clone()).await;
        store.open().await.expect("it can be opened");
        Self { space, clock, store }
    }

    fn pass(&self, time: Duration) {
        pass(&self.clock, time);
    }

    async fn acquire(&self, lock: &Lock) -> Acquisition {
        one(self.store.acquire(std::slice::from_ref(lock), TIMEOUT).await)
    }

    async fn renew(&self, lock: &Lock) -> Hold {
        one(self.store.renew(std::slice::from_ref(lock), TIMEOUT).await)
    }

    async fn confirm(&self, lock: &Lock) -> Hold {
        one(self.store.confirm(std::slice::from_ref(lock), TTL).await)
    }

    async fn release(&self, lock: &Lock) -> bool {
        one(self.store.release(std::slice::from_ref(lock)).await)
    }

    /// Acquire a lock that is free.
    async fn held(&self, key: &str) -> Lock {
        let lock = lock(key);
        assert_eq!(self.acquire(&lock).await, Acquisition::Acquired);
        lock
    }

    /// Say what another one finds who wants a key, without leaving a lock there.
    async fn found(&self, key: &str) -> Acquisition {
        let other = lock(key);
        let found = self.acquire(&other).await;
        self.release(&other).await;
        found
    }
}

pub async fn one_of_many_racers_acquires<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let racers: Vec<_> = (0..50).map(|_| lock("a")).collect();
    let answers = futures_util::future::join_all(racers.iter().map(|racer| stage.acquire(racer))).await;
    let acquired = answers.iter().filter(|answer| **answer == Acquisition::Acquired);
    assert_eq!(acquired.count(), 1);
    let busy = |answer: &&Acquisition| matches!(answer, Acquisition::Busy(_));
    assert_eq!(answers.iter().filter(busy).count(), 49);
}

pub async fn what_is_confirmed_is_a_duplicate_for_everybody<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let lock = stage.held("a").await;
    assert_eq!(stage.confirm(&lock).await, Hold::Kept);
    assert_eq!(stage.found("a").await, Acquisition::Duplicate);
    stage.pass(TIMEOUT);
    assert_eq!(stage.found("a").await, Acquisition::Duplicate);
}

pub async fn what_is_released_is_free<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let lock = stage.held("a").await;
    assert!(stage.release(&lock).await);
    assert_eq!(stage.found("a").await, Acquisition::Acquired);
}

pub async fn the_lock_of_the_dead_ends_after_its_time<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    stage.held("a").await;
    stage.pass(TIMEOUT - MS);
    assert_eq!(stage.found("a").await, Acquisition::Busy(MS));
    stage.pass(MS);
    assert_eq!(stage.found("a").await, Acquisition::Acquired);
}

pub async fn a_busy_key_tells_how_long<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    stage.held("a").await;
    stage.pass(Duration::from_secs(4));
    assert_eq!(stage.found("a").await, Acquisition::Busy(Duration::from_secs(6)));
}

pub async fn a_renewed_lock_lasts_from_then_on<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let lock = stage.held("a").await;
    for _ in 0..5 {
        stage.pass(TIMEOUT - MS);
        assert_eq!(stage.renew(&lock).await, Hold::Kept);
    }
    stage.pass(TIMEOUT - MS);
    assert_eq!(stage.found("a").await, Acquisition::Busy(MS));
    assert_eq!(stage.confirm(&lock).await, Hold::Kept);
}

pub async fn a_mark_ends_after_its_time<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let lock = stage.held("a").await;
    stage.confirm(&lock).await;
    stage.pass(TTL - MS);
    assert_eq!(stage.found("a").await, Acquisition::Duplicate);
    stage.pass(MS);
    assert_eq!(stage.found("a").await, Acquisition::Acquired);
}

pub async fn every_call_may_be_repeated<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let (kept, freed) = (lock("a"), lock("b"));
    for _ in 0..2 {
        assert_eq!(stage.acquire(&kept).await, Acquisition::Acquired);
        assert_eq!(stage.acquire(&freed).await, Acquisition::Acquired);
    }
    for _ in 0..2 {
        assert_eq!(stage.renew(&kept).await, Hold::Kept);
    }
    for _ in 0..2 {
        assert_eq!(stage.confirm(&kept).await, Hold::Kept);
    }
    assert!(stage.release(&freed).await);
    assert!(!stage.release(&freed).await);
    assert_eq!(stage.found("a").await, Acquisition::Duplicate);
    assert_eq!(stage.found("b").await, Acquisition::Acquired);
}

/// Let a lock end and another take the key.
async fn overtaken<S: IdempotencyStore>(stage: &Stage<S>) -> (Lock, Lock) {
    let late = stage.held("a").await;
    stage.pass(TIMEOUT);
    (late, stage.held("a").await)
}

pub async fn a_late_release_changes_nothing_of_anothers<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let (late, holder) = overtaken(&stage).await;
    assert!(!stage.release(&late).await);
    assert_eq!(stage.found("a").await, Acquisition::Busy(TIMEOUT));
    stage.confirm(&holder).await;
    assert!(!stage.release(&late).await);
    assert_eq!(stage.found("a").await, Acquisition::Duplicate);
}

pub async fn a_late_confirm_changes_nothing_of_anothers<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let (late, holder) = overtaken(&stage).await;
    assert_eq!(stage.confirm(&late).await, Hold::Lost);
    assert_eq!(stage.found("a").await, Acquisition::Busy(TIMEOUT));
    assert_eq!(stage.confirm(&holder).await, Hold::Kept);
    assert_eq!(stage.confirm(&late).await, Hold::Lost);
}

pub async fn a_late_renewal_changes_nothing_of_anothers<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let (late, holder) = overtaken(&stage).await;
    stage.pass(MS);
    assert_eq!(stage.renew(&late).await, Hold::Lost);
    assert_eq!(stage.found("a").await, Acquisition::Busy(TIMEOUT - MS));
    assert_eq!(stage.confirm(&holder).await, Hold::Kept);
}

pub async fn a_late_renewal_takes_no_mark_back<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let lock = stage.held("a").await;
    stage.confirm(&lock).await;
    assert_eq!(stage.renew(&lock).await, Hold::Kept);
    stage.pass(TIMEOUT);
    assert_eq!(stage.found("a").await, Acquisition::Duplicate);
    stage.pass(TTL - TIMEOUT);
    assert_eq!(stage.found("a").await, Acquisition::Acquired);
}

pub async fn a_confirmed_lock_is_not_released<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let lock = stage.held("a").await;
    stage.confirm(&lock).await;
    assert!(!stage.release(&lock).await);
    assert_eq!(stage.found("a").await, Acquisition::Duplicate);
}

pub async fn what_the_store_forgot_is_confirmed_all_the_same<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let lock = stage.held("a").await;
    stage.pass(TIMEOUT);
    assert_eq!(stage.confirm(&lock).await, Hold::Restored);
    assert_eq!(stage.confirm(&lock).await, Hold::Kept);
    assert_eq!(stage.found("a").await, Acquisition::Duplicate);
}

pub async fn what_the_store_forgot_is_locked_again_by_a_renewal<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let lock = stage.held("a").await;
    stage.pass(TIMEOUT);
    assert_eq!(stage.renew(&lock).await, Hold::Restored);
    assert_eq!(stage.found("a").await, Acquisition::Busy(TIMEOUT));
    assert_eq!(stage.confirm(&lock).await, Hold::Kept);
}

pub async fn a_batch_is_answered_element_by_element<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let done = stage.held("done").await;
    stage.confirm(&done).await;
    stage.held("busy").await;
    let batch = ["free", "done", "busy", "other"].map(lock);
    let answers = stage.store.acquire(&batch, TIMEOUT).await;
    let answers: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.expect("it answers"))
        .collect();
    let acquired = Acquisition::Acquired;
    let expected = [
        acquired,
        Acquisition::Duplicate,
        Acquisition::Busy(TIMEOUT),
        acquired,
    ];
    assert_eq!(answers, expected);
    let confirmed = stage.store.confirm(&batch, TTL).await;
    let confirmed: Vec<_> = confirmed
        .into_iter()
        .map(|answer| answer.expect("it answers"))
        .collect();
    assert_eq!(confirmed, [Hold::Kept, Hold::Lost, Hold::Lost, Hold::Kept]);
    let released = stage.store.release(&batch).await;
    assert!(
        released
            .into_iter()
            .all(|released| !released.expect("it answers"))
    );
}

pub async fn a_batch_acquires_a_key_once<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let batch = ["a", "a"].map(lock);
    let answers = stage.store.acquire(&batch, TIMEOUT).await;
    let answers: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.expect("it answers"))
        .collect();
    assert_eq!(answers, [Acquisition::Acquired, Acquisition::Busy(TIMEOUT)]);
}

pub async fn large_batches_are_answered_in_their_order<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let locks: Vec<_> = (0..1000).map(|number| lock(&number.to_string())).collect();
    let thirds: Vec<_> = locks.iter().step_by(3).cloned().collect();
    for answer in stage.store.acquire(&thirds, TIMEOUT).await {
        assert_eq!(answer.expect("it answers"), Acquisition::Acquired);
    }
    for answer in stage.store.confirm(&thirds, TTL).await {
        assert_eq!(answer.expect("it answers"), Hold::Kept);
    }
    let answers = stage.store.acquire(&locks, TIMEOUT).await;
    for (number, answer) in answers.into_iter().enumerate() {
        let expected = if number % 3 == 0 {
            Acquisition::Duplicate
        } else {
            Acquisition::Acquired
        };
        assert_eq!(answer.expect("it answers"), expected, "{number}");
    }
}

pub async fn keys_of_any_kind_are_kept_apart<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let long = "x".repeat(1 << 20);
    let longer = format!("{long}y");
    let keys = [
        "", " ", "a", "{a}", "a\0b", "a\nb", "a:b", "=a", "#a", "ключ", &long, &longer,
    ];
    for key in keys {
        let lock = stage.held(key).await;
        stage.confirm(&lock).await;
        assert_eq!(stage.found(key).await, Acquisition::Duplicate);
    }
}

pub async fn spaces_see_nothing_of_each_other<T: TestStores>(stores: &T) {
    let (one, other) = (Stage::new(stores).await, Stage::new(stores).await);
    let lock = one.held("a").await;
    one.confirm(&lock).await;
    assert_eq!(other.found("a").await, Acquisition::Acquired);
}

pub async fn a_space_is_found_again<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let held = stage.held("a").await;
    let again = stores.store(&stage.space, stage.clock.clone()).await;
    assert_eq!(
        one(again.acquire(&[lock("a")], TIMEOUT).await),
        Acquisition::Busy(TIMEOUT)
    );
    assert_eq!(one(again.confirm(&[held], TTL).await), Hold::Kept);
}

pub async fn an_empty_call_is_answered<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    assert!(stage.store.acquire(&[], TIMEOUT).await.is_empty());
    assert!(stage.store.release(&[]).await.is_empty());
}
