//! The conformance suite of delay stores: the contract of [`crate::store::delay`], case by case.
//!
//! Implement [`TestStores`] for the store at hand and expand [`delay_conformance!`](crate::delay_conformance) in an
//! integration test. [`differential`] makes random calls on a store and on the one in memory, and compares the
//! answers.

mod cases;
mod random;

#[doc(hidden)]
pub use cases::*;
pub use random::differential;

use std::future::Future;

use crate::store::KeySpace;
use crate::store::delay::DelayStore;
use crate::store::memory::StoreClock;

/// The store under test, one value for each case.
pub trait TestStores: Send + Sync {
    /// What is under test.
    type Store: DelayStore;

    /// Make the store of a space, which goes by a clock. Made again for the same space it finds the same.
    fn store(&self, space: &KeySpace, clock: StoreClock) -> impl Future<Output = Self::Store> + Send;

    /// Say whether there is a server; if not, the case is skipped.
    fn available(&self) -> bool {
        true
    }
}

/// Make the tests: `delay_conformance!(setup)`.
///
/// `setup` is an `async fn() -> impl TestStores`, called once for each case. See [`crate::testing::delay`].
#[macro_export]
macro_rules! delay_conformance {
    ($setup:expr $(,)?) => {
        $crate::__delay_cases! { ($setup)
            nothing_is_claimed_before_it_is_due,
            what_is_due_comes_in_the_order_of_its_time,
            a_claim_says_what_there_is_and_when_there_is_more,
            a_name_that_waits_is_one_entry_due_when_it_was,
            one_of_many_racers_claims_an_entry,
            a_claim_takes_no_more_than_it_may,
            the_claim_of_the_dead_ends_with_its_lease,
            what_is_held_stays_claimed,
            what_is_given_up_is_claimed_at_once,
            what_is_removed_is_gone_and_its_name_is_free,
            who_comes_late_removes_and_holds_nothing_of_anothers,
            every_call_may_be_repeated,
            large_batches_are_answered_in_their_order,
            frames_of_any_bytes_come_back,
            spaces_see_nothing_of_each_other,
            a_space_is_found_again,
            an_empty_call_is_answered,
        }
    };
}

/// Expands one test for each case.
#[doc(hidden)]
#[macro_export]
macro_rules! __delay_cases {
    ($setup:tt $($case:ident,)*) => {
        $(
            #[test]
            fn $case() {
                $crate::testing::transport::run(async {
                    let stores = $setup().await;
                    if $crate::testing::delay::TestStores::available(&stores) {
                        $crate::testing::delay::$case(&stores).await;
                    } else {
                        $crate::testing::transport::skip(stringify!($case), "server");
                    }
                });
            }
        )*
    };
}
