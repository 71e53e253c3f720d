//! What an ordered consumer counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use crate::store::ordering::Grant;

/// A number that rises.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, by: u64) {
        self.0.fetch_add(by, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What an ordered consumer has counted since its process began.
        #[derive(Debug, Default)]
        pub(crate) struct OrderingCounters {
            $(pub(crate) $name: Counter,)*
        }

        /// A reading of an ordered consumer's counters.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
        #[non_exhaustive]
        pub struct OrderingCounts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl OrderingCounters {
            pub(crate) fn read(&self) -> OrderingCounts {
                OrderingCounts { $($name: self.$name.get(),)* }
            }
        }

        impl OrderingCounts {
            /// Return each count with its name.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Messages that were done or given up in their turn.
    completed,
    /// Messages that went to a waiting room.
    parked,
    /// Messages that came out of a waiting room.
    released,
    /// Aggregates with messages that wait, which were taken over to run them.
    claims,
    /// Leases of aggregates whose next message another process had begun, which died.
    takeovers,
    /// Messages that had been done before.
    duplicates,
    /// Messages whose sequence had been skipped.
    late,
    /// Messages whose sequence has or had another payload.
    conflicts,
    /// Messages without a sequence that can be.
    invalid,
    /// Messages older than the last one done by their sequence and newer by their time.
    regressions,
    /// Sequences that were skipped.
    skipped,
    /// Gaps that lasted too long.
    gap_timeouts,
    /// Messages that found no room, each time.
    full,
    /// Aggregates that were halted here.
    halted,
    /// Completions that came too late: somebody else had the aggregate.
    fenced,
    /// Leases that were kept and that somebody else had a message for.
    not_keyed,
    /// Sessions that ended because the store was not heard in time.
    lapses,
    /// Times that the store had lost what it knew.
    state_losses,
    /// Calls of the store.
    round_trips,
    /// Elements of those calls.
    elements,
    /// Calls of the store that gave no answer.
    store_failures,
}

impl OrderingCounters {
    /// Take note of a lease, if somebody died with it.
    pub(super) fn takeover(&self, held: Option<Grant>, granted: Grant) {
        let is_new = held.is_none_or(|held| held.token != granted.token);
        self.takeovers.add(u64::from(is_new && granted.deliveries > 1));
    }

    pub(super) fn round_trip(&self, elements: usize) {
        self.round_trips.add(1);
        self.elements.add(elements as u64);
    }
}
