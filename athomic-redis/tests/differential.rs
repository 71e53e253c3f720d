//! Redis and the store in memory answer the same to the same calls, and know the same afterwards.

mod support;

use athomic_core::store::Scope;
use athomic_core::store::memory::StoreClock;
use athomic_core::testing::ordering::{differential, repeated};

/// How many calls each seed makes.
const CALLS: usize = 1_000;

#[tokio::test]
async fn random_calls_are_answered_as_by_the_store_in_memory() {
    let Some(uri) = support::redis() else { return };
    let setup = async |scope: Scope, clock: StoreClock| support::driven(&uri, scope, clock);
    let mut calls = 0;
    for seed in 0..100 {
        calls += differential(seed, CALLS, setup).await;
    }
    println!("{calls} calls");
}

#[tokio::test]
async fn a_call_that_is_made_twice_is_made_once() {
    let Some(uri) = support::redis() else { return };
    let setup = async |scope: Scope, clock: StoreClock| support::driven(&uri, scope, clock);
    for seed in 0..20 {
        repeated(seed, CALLS / 4, setup).await;
    }
}
