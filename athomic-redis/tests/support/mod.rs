//! What the tests on a real Redis share.

#![allow(dead_code, reason = "each test uses a part")]

use athomic_core::store::memory::StoreClock;
use athomic_core::store::{KeyValueSettings, Scope};
use athomic_redis::RedisOrdering;

/// Return where the Redis for tests is, and say so if there is none.
pub(crate) fn redis() -> Option<String> {
    let address = std::env::var("ATHOMIC_TEST_REDIS").ok();
    if address.is_none() {
        println!("skipped: ATHOMIC_TEST_REDIS is not set; `cargo xtask test` sets it");
    }
    address
}

pub(crate) fn settings(uri: &str) -> KeyValueSettings {
    KeyValueSettings {
        name: "ordering".into(),
        namespace: "test".into(),
        backend: "redis".into(),
        uri: uri.into(),
    }
}

/// Make a store that goes by Redis' own clock.
pub(crate) fn store(uri: &str, scope: Scope) -> RedisOrdering {
    RedisOrdering::connect(&settings(uri), scope).expect("the URI can be used")
}

/// Make a store that goes by a clock of the test.
pub(crate) fn driven(uri: &str, scope: Scope, clock: StoreClock) -> RedisOrdering {
    store(uri, scope).driven_by(clock)
}
