//! The conformance suite of ordering stores: the contract of [`crate::store::ordering`], case by case.
//!
//! Implement [`TestStores`] for the store at hand and expand the macro in an integration test; each case
//! becomes a `#[test]` of its own, so that a failure has a name. It needs the feature `testing`.
//!
//! ```no_run
//! # mod nothing_runs_here {
//! use athomic_core::store::Scope;
//! use athomic_core::store::memory::{MemoryOrdering, StoreClock};
//! use athomic_core::testing::ordering::TestStores;
//!
//! struct Memory;
//!
//! impl TestStores for Memory {
//!     type Store = MemoryOrdering;
//!
//!     async fn store(&self, scope: Scope, clock: StoreClock) -> MemoryOrdering {
//!         MemoryOrdering::with_clock(scope, clock)
//!     }
//! }
//!
//! async fn setup() -> Memory {
//!     Memory
//! }
//!
//! athomic_core::ordering_conformance!(setup);
//! # }
//! ```
//!
//! A store under test goes by a clock that the test moves: nothing here waits. [`differential`] goes
//! further: it makes random calls on a store and on the one in memory, and compares all that it sees.

#[expect(missing_docs, reason = "the names of the cases are their claims")]
mod cases;
mod fleet;
mod random;

#[doc(hidden)]
pub use cases::*;
pub use random::{differential, repeated};

use std::future::Future;

use crate::store::Scope;
use crate::store::memory::StoreClock;
use crate::store::ordering::OrderingStore;

/// The store under test, one value for each case.
pub trait TestStores: Send + Sync {
    /// What is under test.
    type Store: OrderingStore;

    /// Make the store of a scope, which goes by a clock. Made again with the same scope it finds the same.
    fn store(&self, scope: Scope, clock: StoreClock) -> impl Future<Output = Self::Store> + Send;

    /// Say whether there is a server; if not, the case is skipped. For those that a machine may lack.
    fn available(&self) -> bool {
        true
    }
}

/// Make the tests: `ordering_conformance!(setup)`.
///
/// `setup` is an `async fn() -> impl TestStores`, called once for each case. See
/// [`crate::testing::ordering`].
#[macro_export]
macro_rules! ordering_conformance {
    ($setup:expr $(,)?) => {
        $crate::__ordering_cases! { ($setup)
            the_next_message_runs,
            asked_again_it_is_the_same_grant,
            a_message_that_came_too_early_is_parked_once,
            a_message_that_has_to_wait_and_has_no_bytes_is_asked_for_them,
            the_next_message_waits_while_another_process_has_the_lease,
            a_message_that_was_done_is_a_duplicate,
            a_duplicate_of_a_newer_record_says_so,
            the_newest_record_counts_not_the_last,
            another_payload_of_the_last_sequence_is_a_conflict,
            another_payload_of_a_parked_sequence_is_a_conflict,
            a_skipped_sequence_that_comes_is_late,
            sequences_below_the_first_are_invalid,
            the_last_number_is_invalid_and_the_one_before_runs,
            neighbours_above_two_to_the_53_are_told_apart,
            each_rule_for_the_first_sequence_holds,
            what_waited_to_be_settled_begins_with_the_lowest,
            what_is_known_from_elsewhere_settles_what_waited,
            nobody_begins_before_somebody_knows_where,
            what_was_halted_until_somebody_knows_goes_on_then,
            a_halted_aggregate_parks_and_says_so,
            a_condemned_aggregate_says_so_with_the_grant,
            a_grant_says_whether_something_waits,
            keys_of_any_kind_are_kept_apart,
            aggregates_do_not_touch_each_other,
            elements_of_a_call_are_answered_in_their_order,
            frames_come_back_as_they_were,

            rooms_are_bounded_by_messages,
            rooms_are_bounded_by_bytes,
            buckets_are_bounded,
            the_next_message_is_always_let_in,

            a_completion_moves_on_and_frees,
            a_completion_returns_what_follows_and_keeps_the_lease,
            a_completion_returns_no_more_frames_than_asked,
            a_repeated_completion_is_answered_with_the_same_frames,
            a_late_repetition_cannot_free_the_lease_of_the_next,
            a_completion_under_an_old_token_is_fenced,
            a_completion_out_of_turn_is_fenced,
            a_completion_of_an_unknown_aggregate_is_fenced,
            a_lapsed_session_may_complete_as_long_as_nobody_took_over,
            a_lease_is_kept_where_that_is_asked,
            several_messages_are_completed_at_once,
            several_messages_count_only_if_nothing_before_them_is_missing,
            a_skip_jumps_and_removes_what_it_passes,

            only_one_process_has_the_lease,
            tokens_rise_with_each_lease,
            tokens_rise_although_the_clock_steps_back,
            a_released_lease_is_free_and_its_delivery_does_not_count,
            a_release_under_an_old_token_changes_nothing,
            a_process_that_died_counts_if_it_had_begun_the_message,
            a_beginning_counts_under_the_lease_at_hand_and_until_it_is_given_back,

            a_session_is_new_then_live_then_lapsed,
            a_lapsed_session_gets_nothing,
            the_lease_of_a_dead_session_is_taken_over,
            an_owner_is_told_who_is_wanted_once,
            beats_tell_the_last_token_and_what_waits,

            what_waits_becomes_due_again_and_again,
            what_is_due_is_bounded_and_the_oldest_first,
            a_claim_takes_what_waits_at_the_head,
            a_claim_of_an_own_lease_says_so,
            a_claim_of_another_ones_lease_names_the_owner_to_it,
            a_claim_of_nothing_is_empty_and_no_more_due,
            a_claim_of_a_halted_aggregate_says_so,
            a_gap_is_told_after_its_time_with_the_lease,
            a_gap_is_told_at_once_where_nothing_more_fits,
            the_clock_of_a_gap_begins_anew_with_each,
            the_clock_of_a_gap_begins_anew_when_a_lease_ends,
            a_gap_that_closes_is_none,

            a_halt_stops_and_a_resumption_goes_on,
            a_resumption_elsewhere_removes_what_is_below_and_voids_the_lease,
            what_is_remembered_only_moves_forward,
            a_removed_message_is_gone_from_the_sums,
            a_forgotten_aggregate_begins_anew,
            a_note_is_shown_until_the_message_is_done,

            a_room_is_read_from_a_sequence_on,
            an_inspection_shows_all_that_is_known,
            a_survey_adds_up,
            events_come_back_the_newest_first,
            an_idle_aggregate_is_forgotten_after_its_time,
            opening_tells_what_was_there_and_refuses_other_policies,
            an_empty_store_has_lost_what_others_know_of,
        }
    };
}

/// Expands one test for each case.
#[doc(hidden)]
#[macro_export]
macro_rules! __ordering_cases {
    ($setup:tt $($case:ident,)*) => {
        $(
            #[test]
            fn $case() {
                $crate::testing::transport::run(async {
                    let stores = $setup().await;
                    if $crate::testing::ordering::TestStores::available(&stores) {
                        $crate::testing::ordering::$case(&stores).await;
                    } else {
                        $crate::testing::transport::skip(stringify!($case), "server");
                    }
                });
            }
        )*
    };
}
