//! From attempt number to delay. Pure but for the jitter.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Exponential backoff with an upper bound and optional jitter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The delay after the first failure.
    pub first: Duration,
    /// No delay is longer.
    pub longest: Duration,
    /// Each delay is so many times the one before.
    pub factor: f64,
    /// Shorten each delay by a random part of up to a half, so that those who failed together do
    /// not come back together.
    pub jitter: bool,
}

impl Backoff {
    /// Return the delay after the failure of an attempt, counted from 1.
    #[must_use]
    pub fn delay(&self, attempt: u32) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.first.as_secs_f64() * self.factor.powi(exponent);
        let bounded = seconds.min(self.longest.as_secs_f64());
        let delay = Duration::from_secs_f64(bounded);
        if self.jitter { jittered(delay) } else { delay }
    }
}

/// Shorten a duration by a random part of up to a half.
pub(crate) fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(1.0 - random() / 2.0)
}

/// A number from 0 to 1.
fn random() -> f64 {
    const BITS: u32 = 53;
    let bits = random_number() >> (u64::BITS - BITS);
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    return bits as f64 / (1u64 << BITS) as f64;
}

/// Any number.
pub(crate) fn random_number() -> u64 {
    STATE.with(|state| {
        state.set(state.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        mix(state.get())
    })
}

thread_local! {
    /// Of this thread, so that a simulation can tell its jitter from that of others. The standard
    /// library's hash seeds are random enough to begin with.
    static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(()));
}

/// Make the jitter of this thread the same from now on as after any other call with this seed.
#[cfg(feature = "testing")]
pub(crate) fn seed_jitter(seed: u64) {
    STATE.set(seed);
}

/// `SplitMix64`.
fn mix(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(300),
        factor: 2.0,
        jitter: false,
    };

    fn check(attempt: u32, seconds: u64) {
        assert_eq!(BACKOFF.delay(attempt), Duration::from_secs(seconds));
    }

    #[test]
    fn delays_grow_by_the_factor_up_to_the_longest() {
        check(1, 1);
        check(2, 2);
        check(5, 16);
        check(10, 300);
        check(u32::MAX, 300);
    }

    #[test]
    fn jitter_shortens_by_at_most_a_half() {
        let jittered = Backoff {
            jitter: true,
            ..BACKOFF
        };
        for _ in 0..1000 {
            let delay = jittered.delay(3);
            assert!(
                delay > Duration::from_secs(2) - Duration::from_millis(1) && delay <= Duration::from_secs(4)
            );
        }
    }
}
