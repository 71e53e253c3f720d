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
