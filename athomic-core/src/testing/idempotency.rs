//! The conformance suite of idempotency stores: the contract of [`crate::store::idempotency`], case by case.
//!
//! Implement [`TestStores`] for the store at hand and expand
//! [`idempotency_conformance!`](crate::idempotency_conformance) in an integration test. [`differential`] goes
//! further: it makes random calls on a store and on the one in memory, and compares the answers.

mod cases;
mod random;

#[doc(hidden)]
pub use cases::*;
pub use random::differential;

use std::future::Future;

use crate::store::KeySpace;
use crate::store::idempotency::IdempotencyStore;
use crate::store::memory::StoreClock;

/// The store under test, one value for each case.
pub trait TestStores: Send + Sync {
    /// What is under test.
    type Store: IdempotencyStore;

    /// Make the store of a space, which goes by a clock. Made again for the same space it finds the same.
    fn store(&self, space: &KeySpace, clock: StoreClock) -> impl Future<Output = Self::Store> + Send;

    /// Say whether there is a server; if not, the case is skipped.
    fn available(&self) -> bool {
        true
    }
}

/// Make the tests: `idempotency_conformance!(setup)`.
///
/// `setup` is an `async fn() -> impl TestStores`, called once for each case. See
/// [`crate::testing::idempotency`].
#[macro_export]
macro_rules! idempotency_conformance {
    ($setup:expr $(,)?) => {
        $crate::__idempotency_cases! { ($setup)
            one_of_many_racers_acquires,
            what_is_confirmed_is_a_duplicate_for_everybody,
            what_is_released_is_free,
            the_lock_of_the_dead_ends_after_its_time,
            a_busy_key_tells_how_long,
            a_renewed_lock_lasts_from_then_on,
            a_mark_ends_after_its_time,
            every_call_may_be_repeated,
            a_late_release_changes_nothing_of_anothers,
            a_late_confirm_changes_nothing_of_anothers,
            a_late_renewal_changes_nothing_of_anothers,
            a_late_renewal_takes_no_mark_back,
            a_confirmed_lock_is_not_released,
            what_the_store_forgot_is_confirmed_all_the_same,
            what_the_store_forgot_is_locked_again_by_a_renewal,
            a_batch_is_answered_element_by_element,
            a_batch_acquires_a_key_once,
            large_batches_are_answered_in_their_order,
            keys_of_any_kind_are_kept_apart,
            spaces_see_nothing_of_each_other,
            a_space_is_found_again,
            an_empty_call_is_answered,
        }
    };
}

/// Expands one test for each case.
#[doc(hidden)]
#[macro_export]
macro_rules! __idempotency_cases {
    ($setup:tt $($case:ident,)*) => {
        $(
            #[test]
            fn $case() {
                $crate::testing::transport::run(async {
                    let stores = $setup().await;
                    if $crate::testing::idempotency::TestStores::available(&stores) {
                        $crate::testing::idempotency::$case(&stores).await;
                    } else {
                        $crate::testing::transport::skip(stringify!($case), "server");
                    }
                });
            }
        )*
    };
}
