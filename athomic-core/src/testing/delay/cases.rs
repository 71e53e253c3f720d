//! The cases: each the claim that it is named after.
#![expect(missing_docs, reason = "the names of the cases are their claims")]

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::TestStores;
use crate::message::Timestamp;
use crate::store::KeySpace;
use crate::store::delay::{ClaimLimits, DelayClaim, DelayEntry, DelayStore, Each, LockToken};
use crate::store::memory::StoreClock;
use crate::testing::space::{fresh, pass};

const LEASE: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const MANY: ClaimLimits = ClaimLimits {
    entries: 10_000,
    bytes: 1 << 30,
};

/// A store of a space of its own, and its clock.
struct Stage<S> {
    space: KeySpace,
    clock: StoreClock,
    store: S,
}

fn entry(name: &str, delay: Duration) -> DelayEntry {
    DelayEntry {
        name: name.to_owned(),
        delay,
        frame: Bytes::from(format!("frame of {name}")),
    }
}

fn all<T>(answers: Each<T>) -> Vec<T> {
    let answers: Result<Vec<T>, _> = answers.into_iter().collect();
    answers.expect("the store answers")
}

fn names(claim: &DelayClaim) -> Vec<&str> {
    claim.entries.iter().map(|entry| entry.name.as_str()).collect()
}

impl<S: DelayStore> Stage<S> {
    async fn new<T: TestStores<Store = S>>(stores: &T) -> Self {
        let (space, clock) = fresh();
        let store = stores.store(&space, clock.clone()).await;
        store.open().await.expect("it can be opened");
        Self { space, clock, store }
    }

    fn pass(&self, time: Duration) {
        pass(&self.clock, time);
    }

    async fn schedule(&self, entries: &[DelayEntry]) -> Vec<Timestamp> {
        all(self.store.schedule(entries).await)
    }

    async fn claim_under(&self, token: LockToken, limits: ClaimLimits) -> DelayClaim {
        let claim = self.store.claim(token, LEASE, limits).await;
        claim.expect("the store answers")
    }

    async fn claim(&self) -> (LockToken, DelayClaim) {
        let token = LockToken::unique();
        (token, self.claim_under(token, MANY).await)
    }

    async fn hold(&self, token: LockToken, name: &str, lease: Duration) -> bool {
        all(self.store.hold(token, &[name.to_owned()], lease).await)[0]
    }

    async fn remove(&self, token: LockToken, name: &str) -> bool {
        all(self.store.remove(token, &[name.to_owned()]).await)[0]
    }
}

pub async fn nothing_is_claimed_before_it_is_due<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let due = stage.schedule(&[entry("a", 5 * SECOND)]).await;
    assert_eq!(due[0].as_millis(), stage.clock.millis() + 5_000);
    stage.pass(5 * SECOND - MS);
    let (_, claim) = stage.claim().await;
    assert!(claim.entries.is_empty());
    assert_eq!(claim.next, Some(MS));
    stage.pass(MS);
    let (_, claim) = stage.claim().await;
    assert_eq!(claim.entries[0].due, due[0]);
    assert_eq!(claim.entries[0].frame, "frame of a");
}

pub async fn what_is_due_comes_in_the_order_of_its_time<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let entries = [("c", 1), ("a", 3), ("b", 2)].map(|(name, seconds)| entry(name, seconds * SECOND));
    stage.schedule(&entries).await;
    stage.pass(3 * SECOND);
    let (_, claim) = stage.claim().await;
    assert_eq!(names(&claim), ["c", "b", "a"]);
}

pub async fn a_claim_says_what_there_is_and_when_there_is_more<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    assert_eq!(stage.claim().await.1, DelayClaim::default());
    stage
        .schedule(&[
            entry("a", SECOND),
            entry("b", 4 * SECOND),
            entry("c", 60 * SECOND),
        ])
        .await;
    stage.pass(3 * SECOND);
    let (_, claim) = stage.claim().await;
    assert_eq!(
        (claim.next, claim.waiting, claim.overdue),
        (Some(SECOND), 3, 2 * SECOND)
    );
    // What is claimed is looked at again when its lease is over.
    stage.pass(SECOND);
    let (_, claim) = stage.claim().await;
    assert_eq!(
        (claim.next, claim.waiting, claim.overdue),
        (Some(LEASE - SECOND), 3, Duration::ZERO)
    );
}

pub async fn a_name_that_waits_is_one_entry_due_when_it_was<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let due = stage.schedule(&[entry("a", SECOND)]).await;
    stage.pass(SECOND / 2);
    let again = [entry("a", SECOND), entry("a", 60 * SECOND)];
    assert_eq!(stage.schedule(&again).await, [due[0]; 2]);
    stage.pass(SECOND);
    let (token, claim) = stage.claim().await;
    assert_eq!((names(&claim), claim.waiting), (vec!["a"], 1));
    // Nor does it become another while it is claimed.
    assert_eq!(stage.schedule(&again[..1]).await, [due[0]]);
    assert!(stage.remove(token, "a").await);
    assert_eq!(stage.claim().await.1.waiting, 0);
}

pub async fn one_of_many_racers_claims_an_entry<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let entries: Vec<_> = (0..100)
        .map(|number| entry(&format!("{number}"), Duration::ZERO))
        .collect();
    stage.schedule(&entries).await;
    let limits = ClaimLimits { entries: 7, ..MANY };
    let racers = (0..30).map(|_| stage.claim_under(LockToken::unique(), limits));
    let claims = futures_util::future::join_all(racers).await;
    let claimed: Vec<_> = claims.iter().flat_map(names).collect();
    assert_eq!(claimed.len(), 100);
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>().len(), 100);
}

pub async fn a_claim_takes_no_more_than_it_may<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let large = |name: &str| DelayEntry {
        frame: Bytes::from(vec![0; 1000]),
        ..entry(name, Duration::ZERO)
    };
    stage.schedule(&["a", "b", "c", "d", "e"].map(large)).await;
    let claim = async |entries, bytes| {
        let claim = stage
            .claim_under(LockToken::unique(), ClaimLimits { entries, bytes })
            .await;
        (claim.entries.len(), claim.next)
    };
    let at_once = Some(Duration::ZERO);
    assert_eq!(claim(2, 1 << 20).await, (2, at_once));
    assert_eq!(claim(9, 999).await, (1, at_once), "the first, however large");
    assert_eq!(claim(9, 1999).await, (1, at_once));
    assert_eq!(claim(9, 2000).await, (1, Some(LEASE)), "nothing is left");
}

pub async fn the_claim_of_the_dead_ends_with_its_lease<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let due = stage.schedule(&[entry("a", SECOND)]).await;
    stage.pass(SECOND);
    stage.claim().await;
    stage.pass(LEASE - MS);
    assert!(stage.claim().await.1.entries.is_empty());
    stage.pass(MS);
    let (_, claim) = stage.claim().await;
    assert_eq!((names(&claim), claim.entries[0].due), (vec!["a"], due[0]));
}

pub async fn what_is_held_stays_claimed<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    stage.schedule(&[entry("a", Duration::ZERO)]).await;
    let (token, _) = stage.claim().await;
    stage.pass(LEASE / 2);
    assert!(stage.hold(token, "a", LEASE).await);
    stage.pass(LEASE - MS);
    assert!(stage.claim().await.1.entries.is_empty());
    // One that has ended, and that nobody has taken, can be had again.
    stage.pass(MS);
    assert!(stage.hold(token, "a", LEASE).await);
    assert!(stage.claim().await.1.entries.is_empty());
    assert!(stage.remove(token, "a").await);
}

pub async fn what_is_given_up_is_claimed_at_once<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    stage.schedule(&[entry("a", Duration::ZERO)]).await;
    let (token, _) = stage.claim().await;
    assert!(stage.hold(token, "a", Duration::ZERO).await);
    assert!(!stage.remove(token, "a").await, "it is nobody's");
    assert_eq!(names(&stage.claim().await.1), ["a"]);
}

pub async fn what_is_removed_is_gone_and_its_name_is_free<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    stage.schedule(&[entry("a", Duration::ZERO)]).await;
    let (token, _) = stage.claim().await;
    assert!(stage.remove(token, "a").await);
    stage.pass(LEASE);
    assert_eq!(stage.claim().await.1, DelayClaim::default());
    let due = stage.schedule(&[entry("a", SECOND)]).await;
    assert_eq!(due[0].as_millis(), stage.clock.millis() + 1_000);
    // The token of before has nothing to do with it.
    assert!(!stage.remove(token, "a").await);
    assert!(!stage.hold(token, "a", LEASE).await);
    stage.pass(SECOND);
    assert_eq!(names(&stage.claim().await.1), ["a"]);
}

pub async fn who_comes_late_removes_and_holds_nothing_of_anothers<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    stage.schedule(&[entry("a", Duration::ZERO)]).await;
    let (late, _) = stage.claim().await;
    stage.pass(LEASE);
    let (token, claim) = stage.claim().await;
    assert_eq!(names(&claim), ["a"]);
    assert!(!stage.hold(late, "a", LEASE).await);
    assert!(!stage.hold(late, "a", Duration::ZERO).await);
    assert!(!stage.remove(late, "a").await);
    assert!(stage.hold(token, "a", LEASE).await);
    assert!(stage.remove(token, "a").await);
}

pub async fn every_call_may_be_repeated<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let due = stage.schedule(&[entry("a", SECOND)]).await;
    assert_eq!(stage.schedule(&[entry("a", SECOND)]).await, due);
    stage.pass(SECOND);
    let (token, _) = stage.claim().await;
    for _ in 0..2 {
        assert!(stage.hold(token, "a", LEASE).await);
    }
    assert!(stage.remove(token, "a").await);
    assert!(!stage.remove(token, "a").await);
    assert_eq!(stage.claim().await.1.waiting, 0);
}

pub async fn large_batches_are_answered_in_their_order<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let numbered = |number: u32| entry(&format!("{number:04}"), number * SECOND);
    let entries: Vec<_> = (0..1_000).map(numbered).collect();
    let due = stage.schedule(&entries).await;
    let now = stage.clock.millis();
    for (number, due) in (0..).zip(&due) {
        assert_eq!(due.as_millis(), now + number * 1000);
    }
    stage.pass(499 * SECOND);
    let (token, claim) = stage.claim().await;
    assert_eq!(claim.entries.len(), 500);
    let all_names: Vec<_> = entries.iter().map(|entry| entry.name.clone()).collect();
    let removed = all(stage.store.remove(token, &all_names).await);
    for (number, removed) in removed.into_iter().enumerate() {
        assert_eq!(removed, number < 500, "{number}");
    }
}

pub async fn frames_of_any_bytes_come_back<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let frames = [&b""[..], b":", b"1:2:", b"\0\xff\r\n", &[7; 300_000]];
    let entries: Vec<_> = frames
        .iter()
        .enumerate()
        .map(|(number, frame)| DelayEntry {
            frame: Bytes::copy_from_slice(frame),
            ..entry(&number.to_string(), Duration::ZERO)
        })
        .collect();
    stage.schedule(&entries).await;
    let (_, claim) = stage.claim().await;
    let found: Vec<&[u8]> = claim.entries.iter().map(|entry| &entry.frame[..]).collect();
    assert_eq!(found, frames);
}

pub async fn spaces_see_nothing_of_each_other<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let other = KeySpace::new(&stage.space.to_string(), &["other"]);
    let other = stores.store(&other, stage.clock.clone()).await;
    stage.schedule(&[entry("a", Duration::ZERO)]).await;
    let claim = other.claim(LockToken::unique(), LEASE, MANY).await;
    assert_eq!(claim.expect("the store answers"), DelayClaim::default());
}

pub async fn a_space_is_found_again<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    stage.schedule(&[entry("a", Duration::ZERO)]).await;
    let again = stores.store(&stage.space, stage.clock.clone()).await;
    let claim = again.claim(LockToken::unique(), LEASE, MANY).await;
    assert_eq!(names(&claim.expect("the store answers")), ["a"]);
}

pub async fn an_empty_call_is_answered<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    assert!(stage.store.schedule(&[]).await.is_empty());
    let token = LockToken::unique();
    assert!(stage.store.hold(token, &[], LEASE).await.is_empty());
    assert!(stage.store.remove(token, &[]).await.is_empty());
}
