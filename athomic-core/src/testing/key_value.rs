//! The conformance suite of key-value stores: the contract of [`crate::store::key_value`], case by case.
//!
//! Implement [`TestStores`] for the store at hand and expand [`key_value_conformance!`](crate::key_value_conformance)
//! in an integration test.
#![expect(missing_docs, reason = "the names of the cases are their claims")]

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use crate::store::KeySpace;
use crate::store::key_value::{Change, KeyValueStore};
use crate::store::memory::StoreClock;
use crate::testing::space::{fresh, pass};

/// The store under test, one value for each case.
pub trait TestStores: Send + Sync {
    /// What is under test.
    type Store: KeyValueStore;

    /// Make the store of a space, which goes by a clock. Made again for the same space it finds the same.
    fn store(&self, space: &KeySpace, clock: StoreClock) -> impl Future<Output = Self::Store> + Send;

    /// Say whether there is a server; if not, the case is skipped.
    fn available(&self) -> bool {
        true
    }
}

/// Make the tests: `key_value_conformance!(setup)`.
///
/// `setup` is an `async fn() -> impl TestStores`, called once for each case. See
/// [`crate::testing::key_value`].
#[macro_export]
macro_rules! key_value_conformance {
    ($setup:expr $(,)?) => {
        $crate::__key_value_cases! { ($setup)
            values_come_back_as_they_were,
            what_is_not_there_is_nothing,
            a_deleted_value_is_gone_and_deleting_it_again_is_no_fault,
            a_value_goes_after_its_time_and_a_new_one_has_its_own,
            a_condition_that_does_not_hold_changes_nothing,
            a_change_that_holds_already_counts_as_made,
            what_has_outlived_its_time_does_not_count_in_conditions,
            changes_of_a_call_see_those_before_them,
            one_of_many_racers_wins,
            a_scan_is_sorted_and_goes_page_by_page,
            a_scan_leaves_out_what_has_gone,
            prefixes_are_text_and_no_patterns,
            spaces_see_nothing_of_each_other,
            a_space_is_found_again,
            an_empty_call_is_answered,
        }
    };
}

/// Expands one test for each case.
#[doc(hidden)]
#[macro_export]
macro_rules! __key_value_cases {
    ($setup:tt $($case:ident,)*) => {
        $(
            #[test]
            fn $case() {
                $crate::testing::transport::run(async {
                    let stores = $setup().await;
                    if $crate::testing::key_value::TestStores::available(&stores) {
                        $crate::testing::key_value::$case(&stores).await;
                    } else {
                        $crate::testing::transport::skip(stringify!($case), "server");
                    }
                });
            }
        )*
    };
}

/// A store of a space of its own, and its clock.
struct Stage<S> {
    space: KeySpace,
    clock: StoreClock,
    store: S,
}

impl<S: KeyValueStore> Stage<S> {
    async fn new<T: TestStores<Store = S>>(stores: &T) -> Self {
        let (space, clock) = fresh();
        let store = stores.store(&space, clock.clone()).await;
        store.open().await.expect("it can be opened");
        Self { space, clock, store }
    }

    fn pass(&self, time: Duration) {
        pass(&self.clock, time);
    }

    async fn get(&self, key: &str) -> Option<Bytes> {
        let mut values = self.store.get(&[key]).await.expect("it answers");
        values.pop().expect("one value for one key")
    }

    async fn write(&self, change: Change) -> bool {
        self.store.write(&[change]).await.expect("it answers") == [true]
    }

    async fn keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        let page = self.store.scan(prefix, after, limit).await.expect("it answers");
        page.into_iter().map(|(key, _)| key).collect()
    }
}

const SECOND: Duration = Duration::from_secs(1);

pub async fn values_come_back_as_they_were<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let all: Vec<u8> = (0..=255).collect();
    let changes = [
        Change::set("bytes", all.clone()),
        Change::set("empty", ""),
        Change::set("ключ {a} \n", "7"),
    ];
    assert_eq!(stage.store.write(&changes).await.expect("it answers"), [true; 3]);
    let keys = ["empty", "bytes", "ключ {a} \n", "bytes"];
    let values = stage.store.get(&keys).await.expect("it answers");
    let expected = ["".into(), all.clone().into(), "7".into(), all.into()].map(Some);
    assert_eq!(values, expected);
}

pub async fn what_is_not_there_is_nothing<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    assert_eq!(stage.get("a").await, None);
    assert!(stage.keys("", None, 10).await.is_empty());
}

pub async fn a_deleted_value_is_gone_and_deleting_it_again_is_no_fault<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    stage.write(Change::set("a", "1")).await;
    for _ in 0..2 {
        assert!(stage.write(Change::delete("a")).await);
        assert_eq!(stage.get("a").await, None);
        assert!(stage.keys("", None, 10).await.is_empty());
    }
}

pub async fn a_value_goes_after_its_time_and_a_new_one_has_its_own<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    stage.write(Change::set("a", "1").expires_after(SECOND)).await;
    stage.write(Change::set("b", "1").expires_after(SECOND)).await;
    stage.pass(SECOND - Duration::from_millis(1));
    assert_eq!(stage.get("a").await, Some("1".into()));
    assert!(stage.write(Change::set("b", "2")).await);
    stage.pass(Duration::from_millis(1));
    assert_eq!(stage.get("a").await, None);
    stage.pass(1000 * SECOND);
    assert_eq!(stage.get("b").await, Some("2".into()));
}

pub async fn a_condition_that_does_not_hold_changes_nothing<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    assert!(!stage.write(Change::set("a", "2").if_is("1")).await);
    assert_eq!(stage.get("a").await, None);
    assert!(stage.write(Change::set("a", "1").if_absent()).await);
    assert!(!stage.write(Change::set("a", "2").if_absent()).await);
    assert!(!stage.write(Change::set("a", "3").if_is("2")).await);
    assert!(!stage.write(Change::delete("a").if_is("2")).await);
    assert_eq!(stage.get("a").await, Some("1".into()));
    assert!(stage.write(Change::set("a", "2").if_is("1")).await);
    assert!(stage.write(Change::delete("a").if_is("2")).await);
    assert_eq!(stage.get("a").await, None);
}

pub async fn a_change_that_holds_already_counts_as_made<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    for _ in 0..2 {
        assert!(stage.write(Change::set("a", "1").if_absent()).await);
    }
    for _ in 0..2 {
        assert!(stage.write(Change::set("a", "2").if_is("1")).await);
    }
    for _ in 0..2 {
        assert!(stage.write(Change::delete("a").if_is("2")).await);
    }
}

pub async fn what_has_outlived_its_time_does_not_count_in_conditions<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    stage.write(Change::set("a", "1").expires_after(SECOND)).await;
    stage.pass(SECOND);
    assert!(!stage.write(Change::set("a", "2").if_is("1")).await);
    assert!(stage.write(Change::set("a", "3").if_absent()).await);
    assert_eq!(stage.get("a").await, Some("3".into()));
}

pub async fn changes_of_a_call_see_those_before_them<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let changes = [
        Change::set("a", "1").if_absent(),
        Change::set("a", "2").if_is("1"),
        Change::set("a", "3").if_is("1"),
        Change::delete("b").if_is("1"),
        Change::set("b", "1").expires_after(SECOND),
    ];
    let made = stage.store.write(&changes).await.expect("it answers");
    assert_eq!(made, [true, true, false, true, true]);
    assert_eq!(stage.get("a").await, Some("2".into()));
}

pub async fn one_of_many_racers_wins<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    let racers = (0..20).map(|racer| {
        let change = Change::set("a", racer.to_string()).if_absent();
        stage.write(change)
    });
    let won = futures_util::future::join_all(racers).await;
    assert_eq!(won.into_iter().filter(|won| *won).count(), 1);
}

pub async fn a_scan_is_sorted_and_goes_page_by_page<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    for key in ["b/2", "a/1", "b/10", "b/1", "c", "b"] {
        stage.write(Change::set(key, key)).await;
    }
    assert_eq!(stage.keys("b/", None, 10).await, ["b/1", "b/10", "b/2"]);
    assert_eq!(stage.keys("b/", None, 2).await, ["b/1", "b/10"]);
    assert_eq!(stage.keys("b/", Some("b/10"), 2).await, ["b/2"]);
    assert_eq!(stage.keys("b/", Some("b/11"), 2).await, ["b/2"]);
    assert!(stage.keys("b/", Some("b/2"), 2).await.is_empty());
    assert_eq!(stage.keys("b/", Some("a"), 1).await, ["b/1"]);
    assert!(stage.keys("b/", None, 0).await.is_empty());
    assert_eq!(stage.keys("", None, 10).await.len(), 6);
    let page = stage.store.scan("c", None, 1).await.expect("it answers");
    assert_eq!(page, [("c".to_owned(), Bytes::from("c"))]);
}

pub async fn a_scan_leaves_out_what_has_gone<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    for number in 0..300 {
        let change = Change::set(format!("{number:03}"), "1");
        let change = if number % 3 == 0 {
            change
        } else {
            change.expires_after(SECOND)
        };
        stage.write(change).await;
    }
    stage.pass(SECOND);
    assert_eq!(stage.keys("", None, 2).await, ["000", "003"]);
    assert_eq!(stage.keys("", Some("003"), 1).await, ["006"]);
    assert_eq!(stage.keys("", None, 1000).await.len(), 100);
    stage.write(Change::set("zzz", "1")).await;
    assert_eq!(stage.keys("", None, 1000).await.len(), 101);
}

pub async fn prefixes_are_text_and_no_patterns<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    for key in ["a*b", "axb", "a[x]b", "(a", "[a"] {
        stage.write(Change::set(key, "1")).await;
    }
    assert_eq!(stage.keys("a*", None, 10).await, ["a*b"]);
    assert_eq!(stage.keys("a[", None, 10).await, ["a[x]b"]);
    assert_eq!(stage.keys("(", None, 10).await, ["(a"]);
    assert_eq!(stage.keys("[", None, 10).await, ["[a"]);
}

pub async fn spaces_see_nothing_of_each_other<T: TestStores>(stores: &T) {
    let (one, other) = (Stage::new(stores).await, Stage::new(stores).await);
    one.write(Change::set("a", "1")).await;
    assert_eq!(other.get("a").await, None);
    assert!(other.keys("", None, 10).await.is_empty());
}

pub async fn a_space_is_found_again<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    stage.write(Change::set("a", "1")).await;
    let again = stores.store(&stage.space, stage.clock.clone()).await;
    assert_eq!(again.get(&["a"]).await.expect("it answers"), [Some("1".into())]);
}

pub async fn an_empty_call_is_answered<T: TestStores>(stores: &T) {
    let stage = Stage::new(stores).await;
    assert!(stage.store.write(&[]).await.expect("it answers").is_empty());
    assert!(stage.store.get(&[]).await.expect("it answers").is_empty());
}
