//! The stores in memory keep the contracts of key-value stores, of idempotency stores and of delay stores.

use athomic_core::store::KeySpace;
use athomic_core::store::memory::{
    MemoryDelays, MemoryIdempotency, MemoryKeyValue, MemoryStores, StoreClock,
};
use athomic_core::testing::{delay, idempotency, key_value};
use std::sync::OnceLock;

/// Stores by space, since one in memory is found again only by who has it.
#[derive(Default)]
struct Memory(OnceLock<MemoryStores>);

impl Memory {
    fn stores(&self, clock: StoreClock) -> &MemoryStores {
        self.0.get_or_init(|| MemoryStores::with_clock(clock))
    }
}

impl key_value::TestStores for Memory {
    type Store = MemoryKeyValue;

    async fn store(&self, space: &KeySpace, clock: StoreClock) -> MemoryKeyValue {
        self.stores(clock).key_value(space)
    }
}

impl idempotency::TestStores for Memory {
    type Store = MemoryIdempotency;

    async fn store(&self, space: &KeySpace, clock: StoreClock) -> MemoryIdempotency {
        self.stores(clock).idempotency(space)
    }
}

impl delay::TestStores for Memory {
    type Store = MemoryDelays;

    async fn store(&self, space: &KeySpace, clock: StoreClock) -> MemoryDelays {
        self.stores(clock).delays(space)
    }
}

async fn setup() -> Memory {
    Memory::default()
}

mod values {
    use super::setup;
    athomic_core::key_value_conformance!(setup);
}

mod marks {
    use super::setup;
    athomic_core::idempotency_conformance!(setup);
}

mod delays {
    use super::setup;
    athomic_core::delay_conformance!(setup);
}
