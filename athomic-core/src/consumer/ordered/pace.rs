//! When the store is told what is done, where nobody waits for it to be told.
//!
//! With `complete = "pipelined"` messages of an aggregate that are done go to the store as one range, and
//! the more of them gather the less each costs. So after each call as much time passes as the call took
//! several times over: where little is done a call is quick and the next one soon, and where much is done
//! the store is busy with this for a part of its time only.

use std::time::Duration;

use tokio::time::Instant;

/// How many times as long as the last call took nothing is told.
const REST: u32 = 2;
/// The longest time for which nothing is told.
const LONGEST: Duration = Duration::from_millis(100);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Pace {
    began: Instant,
    /// When the next call may begin.
    pub(super) next: Instant,
}

impl Pace {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            next: now,
        }
    }

    pub(super) fn begin(&mut self) {
        self.began = Instant::now();
    }

    pub(super) fn end(&mut self) {
        let now = Instant::now();
        self.next = now + ((now - self.began) * REST).min(LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn rest_after(call: Duration) -> Duration {
        let mut pace = Pace::new();
        pace.begin();
        tokio::time::advance(call).await;
        pace.end();
        pace.next - Instant::now()
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_call_is_followed_soon_and_a_slow_one_within_a_tenth_of_a_second() {
        let quick = Duration::from_micros(200);
        assert_eq!(rest_after(quick).await, quick * REST);
        assert_eq!(rest_after(Duration::from_secs(5)).await, LONGEST);
    }
}
