//! What guards count, and who may read it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use super::Guard;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a guard has counted.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: AtomicU64,)*
        }

        /// What was counted about a handler's idempotency since its process began.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
        #[non_exhaustive]
        pub struct IdempotencyCounts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            pub(super) fn read(&self) -> IdempotencyCounts {
                IdempotencyCounts { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Messages that were acknowledged without running the handler: they had been handled before.
    duplicates,
    /// Times that a message had to wait because another execution had it.
    busy,
    /// Messages that were handled and remembered.
    confirmed,
    /// Messages that failed and whose lock was given up.
    released,
    /// Locks that had ended, or that the store had lost, while their message was being handled. They were
    /// taken again; meanwhile another may have handled the message too.
    lapsed,
    /// Locks that another had when they were renewed or confirmed: the message was handled twice, or is.
    lost,
    /// Messages that were handled and are not known to be remembered, since the store gave no answer in
    /// time: they may be handled again if they come again.
    unconfirmed,
    /// Messages whose resolver returned an empty key, and that went by their id or place instead.
    unnamed,
    /// Elements of calls of the store that gave no answer.
    store_failures,
}

/// Add to a counter.
pub(super) fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Relaxed);
}

/// Reads what is counted about all handlers with idempotency. Clones read the same.
#[derive(Clone, Default)]
pub struct IdempotencyMonitor {
    guards: BTreeMap<String, Arc<Guard>>,
}

impl IdempotencyMonitor {
    pub(crate) fn add(&mut self, handler_id: String, guard: Arc<Guard>) {
        self.guards.insert(handler_id, guard);
    }

    /// Return the counts of each handler with idempotency, by its id.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, IdempotencyCounts> {
        let counts = |(id, guard): (&String, &Arc<Guard>)| (id.clone(), guard.counts());
        self.guards.iter().map(counts).collect()
    }
}

impl fmt::Debug for IdempotencyMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.counts()).finish()
    }
}
