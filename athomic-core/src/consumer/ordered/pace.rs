//! When the store is told what is done, where nobody waits for it to be told.
//!
//! With `complete = "pipelined"` messages of an aggregate that are done go to the store as one range, and
//! the more of them gather the less each costs. What is done and not told is not committed either, and is
//! repeated after a crash. So the store is told once in each interval of commits.
//!
//! Where something waits for it to be told, that is soon: as much time passes after a call as it took several
//! times over, so that the store is busy with this for a part of its time only.

use std::time::Duration;

use tokio::time::Instant;

/// How many times as long as the last call took nothing is told where something waits.
const REST: u32 = 2;
/// The longest time for which nothing is told then.
const LONGEST: Duration = Duration::from_millis(100);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    began: Instant,
    /// When the next call may begin if something waits.
    soon: Instant,
    /// When the next call may begin if nothing does.
    late: Instant,
}

impl Pace {
    /// Begin with a call that may be made at once; commits come at an interval.
    pub(super) fn new(commits: Duration) -> Self {
        let now = Instant::now();
        Self {
            interval: commits,
            began: now,
            soon: now,
            late: now,
        }
    }

    pub(super) fn begin(&mut self) {
        self.began = Instant::now();
    }

    pub(super) fn end(&mut self) {
        let now = Instant::now();
        self.soon = now + ((now - self.began) * REST).min(LONGEST).min(self.interval);
        self.late = (self.began + self.interval).max(self.soon);
    }

    /// Return when the next call may begin.
    pub(super) fn due(&self, something_waits: bool) -> Instant {
        if something_waits { self.soon } else { self.late }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn rests_after(call: Duration) -> (Duration, Duration) {
        let mut pace = Pace::new(Duration::from_secs(1));
        pace.begin();
        tokio::time::advance(call).await;
        pace.end();
        let now = Instant::now();
        (pace.due(true) - now, pace.due(false) - now)
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_call_is_followed_soon_and_a_slow_one_within_a_tenth_of_a_second_if_something_waits() {
        let quick = Duration::from_micros(200);
        assert_eq!(rests_after(quick).await.0, quick * REST);
        assert_eq!(rests_after(Duration::from_secs(5)).await.0, LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_waits_there_is_a_call_for_each_commit() {
        let call = Duration::from_millis(40);
        assert_eq!(rests_after(call).await.1, Duration::from_millis(960));
        let slow = rests_after(Duration::from_secs(5)).await;
        assert_eq!(slow.0, slow.1, "never sooner than where something waits");
    }
}
