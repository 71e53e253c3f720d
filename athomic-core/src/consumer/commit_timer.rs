//! When to look for something to commit: at each interval while there is work, seldom while there is none.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// How often a consumer without work looks around, so that whoever asks for its health sees that it is
/// served. Every look wakes a thread, for each handler of the process.
const IDLE: Duration = Duration::from_secs(10);

/// Tells when to look for something to commit.
pub(super) struct CommitTimer {
    interval: Duration,
    next: Pin<Box<Sleep>>,
    idle: bool,
}

impl CommitTimer {
    /// Begin with a look at once.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            next: Box::pin(sleep(Duration::ZERO)),
            idle: false,
        }
    }

    /// Wait for the next look. Cancel safe; returns at once until the time is set anew.
    pub(super) async fn due(&mut self) {
        self.next.as_mut().await;
    }

    /// Say whether the next look is so far off that work has to [`bring it near`](Self::hurry).
    pub(super) fn is_idle(&self) -> bool {
        self.idle
    }

    /// Set the next look: an interval from now, or later if nothing can be settled by then.
    pub(super) fn rest(&mut self, idle: bool) {
        self.idle = idle;
        let pause = if idle {
            IDLE.max(self.interval)
        } else {
            self.interval
        };
        self.next.as_mut().reset(Instant::now() + pause);
    }

    /// There is work: look an interval from now.
    pub(super) fn hurry(&mut self) {
        self.rest(false);
    }
}
