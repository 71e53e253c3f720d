//! Random calls on two stores, which must answer the same.

use std::time::Duration;

use crate::store::KeySpace;
use crate::store::idempotency::{IdempotencyKey, IdempotencyStore, Lock};
use crate::store::memory::{MemoryIdempotency, StoreClock};
use crate::testing::space::{Dice, fresh};

/// Make random calls on a store and on the one in memory, and compare all answers. Each second call is made
/// twice. Locks last for a minute and more, so that none ends by the server's own clock meanwhile.
///
/// `setup` makes the store of a space that goes by a clock.
///
/// # Panics
/// They differ; the message has the seed and the number of the call.
pub async fn differential<S: IdempotencyStore>(
    seed: u64,
    calls: usize,
    setup: impl AsyncFnOnce(&KeySpace, StoreClock) -> S,
) {
    let (space, clock) = fresh();
    let store = setup(&space, clock.clone()).await;
    let model = MemoryIdempotency::with_clock(clock.clone());
    let mut dice = Dice(seed);
    let mut locks: Vec<Lock> = Vec::new();
    for call in 0..calls {
        let mut batch = Vec::new();
        for _ in 0..1 + dice.below(4) {
            if locks.is_empty() || dice.below(3) == 0 {
                locks.push(Lock::new(IdempotencyKey::new(&dice.below(6).to_string())));
            }
            let recent = locks.len().saturating_sub(12);
            let choice = recent + dice.below(locks.len() - recent);
            batch.push(locks[choice].clone());
        }
        let time = Duration::from_secs(60 + u64::try_from(dice.below(50)).expect("it is small"));
        let kind = dice.below(4);
        if call % 2 == 0 {
            ask(&store, kind, &batch, time).await;
            ask(&model, kind, &batch, time).await;
        }
        let ours = ask(&store, kind, &batch, time).await;
        let theirs = ask(&model, kind, &batch, time).await;
        assert_eq!(ours, theirs, "seed {seed}, call {call}: {batch:?}");
        clock.shift(1_000_000 * i64::try_from(dice.below(60)).expect("it is small"));
    }
}

async fn ask(store: &impl IdempotencyStore, kind: usize, locks: &[Lock], time: Duration) -> Vec<String> {
    fn texts<T: std::fmt::Debug>(answers: Vec<T>) -> Vec<String> {
        answers.iter().map(|answer| format!("{answer:?}")).collect()
    }
    match kind {
        0 => texts(store.acquire(locks, time).await),
        1 => texts(store.renew(locks, time).await),
        2 => texts(store.confirm(locks, time).await),
        _ => texts(store.release(locks).await),
    }
}
