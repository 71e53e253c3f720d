//! What the tests on a real Redis share.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

pub(crate) mod cluster;
pub(crate) mod fake;
pub(crate) mod server;

use std::time::Duration;

use athomic_core::ordering::OrderingPolicies;
use athomic_core::store::memory::StoreClock;
use athomic_core::store::ordering::{
    Aggregate, Arrival, Completion, Digest, FencingToken, First, RoomLimits, SessionId,
};
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

/// A scope that nobody else has.
pub(crate) fn scope(change: impl FnOnce(&mut OrderingPolicies)) -> Scope {
    let mut policies = OrderingPolicies::default();
    change(&mut policies);
    Scope::new(
        "test",
        &SessionId::random().to_string(),
        &["orders"],
        "handler",
        policies,
    )
}

/// Room enough.
pub(crate) const LIMITS: RoomLimits = RoomLimits {
    messages: 10_000,
    bytes: 1 << 24,
    bucket_messages: 1_000_000,
    bucket_bytes: 1 << 26,
};

/// The life of a session.
pub(crate) const TTL: Duration = Duration::from_secs(60);

pub(crate) fn digest(sequence: u64) -> Digest {
    Digest::of(Some(&sequence.to_le_bytes()))
}

pub(crate) fn arrival(aggregate: &Aggregate, sequence: u64) -> Arrival {
    Arrival {
        aggregate: aggregate.clone(),
        sequence,
        digest: digest(sequence),
        time: 1_000,
        first: First::Exact(1),
        frame: Some(vec![b'f'; 300].into()),
    }
}

pub(crate) fn completion(aggregate: &Aggregate, sequence: u64, token: FencingToken) -> Completion {
    Completion {
        aggregate: aggregate.clone(),
        first: sequence,
        last: sequence,
        token,
        digest: digest(sequence),
        time: 1_000,
        keep: false,
        skip: None,
    }
}

/// Return the answer of a call with one element.
pub(crate) fn one<T>(answers: Vec<T>) -> T {
    let [answer] = <[T; 1]>::try_from(answers).unwrap_or_else(|_| panic!("one element, one answer"));
    answer
}
