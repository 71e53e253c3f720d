//! The store in memory keeps the contract of ordering stores.

use std::collections::HashMap;
use std::sync::Mutex;

use athomic_core::store::Scope;
use athomic_core::store::memory::{MemoryOrdering, StoreClock};
use athomic_core::testing::ordering::{TestStores, repeated};

/// Stores by scope, since one in memory is found again only by who has it.
#[derive(Default)]
struct Memory(Mutex<HashMap<String, MemoryOrdering>>);

impl TestStores for Memory {
    type Store = MemoryOrdering;

    async fn store(&self, scope: Scope, clock: StoreClock) -> MemoryOrdering {
        let mut stores = self.0.lock().expect("no case panicked under it");
        let make = || MemoryOrdering::with_clock(scope.clone(), clock);
        stores
            .entry(scope.id().to_owned())
            .or_insert_with(make)
            .reopened(scope)
    }
}

async fn setup() -> Memory {
    Memory::default()
}

athomic_core::ordering_conformance!(setup);

#[tokio::test]
async fn a_call_that_is_made_twice_is_made_once() {
    let setup = async |scope: Scope, clock: StoreClock| MemoryOrdering::with_clock(scope, clock);
    for seed in 0..200 {
        repeated(seed, 300, setup).await;
    }
}
