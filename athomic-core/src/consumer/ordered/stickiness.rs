//! Whether leases are kept while nothing follows.
//!
//! Where all messages of an aggregate come through one process, as in a topic that is keyed by the
//! aggregate, a kept lease saves asking for each message. Where they do not, each kept lease makes a
//! message wait elsewhere until this process hears of it. Which of the two it is, is seen, never assumed:
//! when somebody else wants more than a few of the aggregates that are kept here, none is kept for a
//! while, and for twice as long the next time.

use std::time::Duration;

use tokio::time::Instant;

/// For how long no lease is kept at first, and at most.
const FIRST_BREAK: Duration = Duration::from_secs(60);
const LONGEST_BREAK: Duration = Duration::from_secs(3600);
/// How many messages one wanted lease weighs as much as.
const WORTH: u64 = 100;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Stickiness {
    allowed: bool,
    /// Messages that are done, less what was wanted by others weighs.
    balance: u64,
    until: Option<Instant>,
    pause: Duration,
}

impl Stickiness {
    pub(super) fn new(allowed: bool) -> Self {
        Self {
            allowed,
            balance: 0,
            until: None,
            pause: FIRST_BREAK,
        }
    }

    /// Say whether leases are kept.
    pub(super) fn keeps(&mut self) -> bool {
        if self.until.is_some_and(|until| until <= Instant::now()) {
            self.until = None;
        }
        self.allowed && self.until.is_none()
    }

    /// Take note of messages that are done.
    pub(super) fn completed(&mut self, messages: u64) {
        self.balance = (self.balance + messages).min(16 * WORTH);
    }

    /// Take note that somebody else wants a lease; `true` if none is kept from now on.
    pub(super) fn wanted(&mut self) -> bool {
        if !self.keeps() {
            return false;
        }
        match self.balance.checked_sub(WORTH) {
            Some(balance) => {
                self.balance = balance;
                false
            }
            None => {
                self.balance = 0;
                self.until = Some(Instant::now() + self.pause);
                self.pause = (self.pause * 2).min(LONGEST_BREAK);
                tracing::info!(
                    "aggregates of this handler come through several processes: their leases are not kept for now"
                );
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_lease_in_a_hundred_may_be_wanted_elsewhere() {
        let mut stickiness = Stickiness::new(true);
        for _ in 0..20 {
            stickiness.completed(WORTH);
            assert!(!stickiness.wanted());
        }
        assert!(stickiness.keeps());
        assert!((0..20).any(|_| stickiness.wanted()), "then none is kept");
        assert!(!stickiness.keeps());
        tokio::time::advance(FIRST_BREAK).await;
        assert!(stickiness.keeps());
        assert!(stickiness.wanted());
        tokio::time::advance(FIRST_BREAK).await;
        assert!(!stickiness.keeps(), "the second break is longer");
    }
}
