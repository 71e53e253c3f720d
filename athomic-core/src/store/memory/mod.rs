//! Stores in the memory of the process.

mod clock;
mod delay;
mod idempotency;
mod key_value;
mod ordering;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use clock::StoreClock;
pub use delay::MemoryDelays;
pub use idempotency::MemoryIdempotency;
pub use key_value::MemoryKeyValue;
pub use ordering::{MemoryOrdering, OrderingSnapshot};

use super::{KeySpace, Scope, StoreError};

/// The embedded stores of an application, or of several that share them. Clones are the same stores.
#[derive(Debug, Clone, Default)]
pub struct MemoryStores {
    clock: StoreClock,
    link: Link,
    ordering: Arc<Mutex<BTreeMap<String, MemoryOrdering>>>,
    idempotency: Arc<Mutex<BTreeMap<String, MemoryIdempotency>>>,
    key_value: Arc<Mutex<BTreeMap<String, MemoryKeyValue>>>,
    delays: Arc<Mutex<BTreeMap<String, MemoryDelays>>>,
}

impl MemoryStores {
    /// Make stores that go by a clock.
    #[must_use]
    pub fn with_clock(clock: StoreClock) -> Self {
        Self {
            clock,
            ..Self::default()
        }
    }

    /// Return another way to the same stores, for an application of its own. What happens to one way does
    /// not concern the other.
    #[must_use]
    pub fn another_way(&self) -> Self {
        Self {
            link: Link::default(),
            ..self.clone()
        }
    }

    /// Cut this way to the stores, or mend it: while it is cut each call is answered that the store is not
    /// available. What is known stays. For tests of what an outage does.
    pub fn set_available(&self, available: bool) {
        self.link.0.store(available, Relaxed);
    }

    /// Return the ordering store of a scope, made when it is asked for first.
    #[must_use]
    pub fn ordering(&self, scope: Scope) -> MemoryOrdering {
        let mut stores = self.ordering.lock().unwrap_or_else(PoisonError::into_inner);
        let store = stores
            .entry(scope.id().to_owned())
            .or_insert_with(|| MemoryOrdering::with_clock(scope.clone(), self.clock.clone()));
        store.reopened(scope).by(self.link.clone())
    }

    /// Return the idempotency store of a space, likewise.
    #[must_use]
    pub fn idempotency(&self, space: &KeySpace) -> MemoryIdempotency {
        let mut stores = self.idempotency.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || MemoryIdempotency::with_clock(self.clock.clone());
        stores.entry(space.id().to_owned()).or_insert_with(make).clone()
    }

    /// Return the key-value store of a space, likewise.
    #[must_use]
    pub fn key_value(&self, space: &KeySpace) -> MemoryKeyValue {
        let mut stores = self.key_value.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || MemoryKeyValue::with_clock(self.clock.clone());
        let store = stores.entry(space.id().to_owned()).or_insert_with(make);
        store.clone().by(self.link.clone())
    }

    /// Return the delay store of a space, likewise.
    #[must_use]
    pub fn delays(&self, space: &KeySpace) -> MemoryDelays {
        let mut stores = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || MemoryDelays::with_clock(self.clock.clone());
        stores
            .entry(space.id().to_owned())
            .or_insert_with(make)
            .by(self.link.clone())
    }
}

/// A way to stores, which can be cut.
#[derive(Debug, Clone)]
struct Link(Arc<AtomicBool>);

impl Link {
    /// Say that the store cannot be reached while the way is cut.
    fn check(&self) -> Result<(), StoreError> {
        if self.0.load(Relaxed) {
            Ok(())
        } else {
            Err(cut_off())
        }
    }
}

fn cut_off() -> StoreError {
    StoreError::Unavailable {
        store: "memory".into(),
        reason: "the way to it is cut".into(),
    }
}

impl Default for Link {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

/// Return a duration in whole milliseconds, as stores count them.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 64)
}
