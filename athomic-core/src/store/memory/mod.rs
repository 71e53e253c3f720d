//! Stores in the memory of the process.

mod clock;
mod ordering;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

pub use clock::StoreClock;
pub use ordering::{MemoryOrdering, OrderingSnapshot};

use super::Scope;

/// The embedded stores of an application, or of several that share them. Clones are the same stores.
#[derive(Debug, Clone, Default)]
pub struct MemoryStores {
    clock: StoreClock,
    ordering: Arc<Mutex<BTreeMap<String, MemoryOrdering>>>,
}

impl MemoryStores {
    /// Make stores that go by a clock.
    #[must_use]
    pub fn with_clock(clock: StoreClock) -> Self {
        Self {
            clock,
            ordering: Arc::default(),
        }
    }

    /// Return the ordering store of a scope, made when it is asked for first.
    #[must_use]
    pub fn ordering(&self, scope: Scope) -> MemoryOrdering {
        let mut stores = self.ordering.lock().unwrap_or_else(PoisonError::into_inner);
        let store = stores
            .entry(scope.id().to_owned())
            .or_insert_with(|| MemoryOrdering::with_clock(scope.clone(), self.clock.clone()));
        store.reopened(scope)
    }
}
