//! Redis keeps the contract of ordering stores.

mod support;

use athomic_core::store::Scope;
use athomic_core::store::memory::StoreClock;
use athomic_core::testing::ordering::TestStores;
use athomic_redis::RedisOrdering;

struct Redis(Option<String>);

impl TestStores for Redis {
    type Store = RedisOrdering;

    async fn store(&self, scope: Scope, clock: StoreClock) -> RedisOrdering {
        let uri = self.0.as_deref().expect("there is a Redis");
        support::driven(uri, scope, clock)
    }

    fn available(&self) -> bool {
        self.0.is_some()
    }
}

async fn setup() -> Redis {
    Redis(support::redis())
}

athomic_core::ordering_conformance!(setup);
