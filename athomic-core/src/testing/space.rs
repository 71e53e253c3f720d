//! What the suites of the smaller stores begin with.

use std::time::Duration;

use crate::store::KeySpace;
use crate::store::idempotency::LockToken;
use crate::store::memory::StoreClock;

/// Return a space that nobody else has, and a clock for its store, which stands still.
pub(super) fn fresh() -> (KeySpace, StoreClock) {
    let unique = format!("{:x}", LockToken::unique().0);
    let clock = StoreClock::stopped_at(1_750_000_000_000_000);
    (KeySpace::new("test", &[&unique]), clock)
}

/// Let time pass for the store.
pub(super) fn pass(clock: &StoreClock, time: Duration) {
    clock.shift(i64::try_from(time.as_micros()).expect("it is short"));
}

/// Numbers that look like chance and come again with the same seed (`SplitMix64`).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((number ^ (number >> 31)) % limit as u64).expect("it is below the limit")
    }
}
