//! `Keeper`: renews the locks of messages that are being handled, and ends those that were left.
//!
//! One task for a handler, which renews all its locks in one call. It is no part of the lanes' tasks: a
//! handler that keeps its thread is renewed all the same.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::IdempotencyPolicy;
use super::counts::{Counters, count};
use crate::store::idempotency::{DynIdempotencyStore, Hold, IdempotencyKey, Lock, LockToken};

/// What a handler's guard, its locks and their keeper share.
pub(super) struct Keeper {
    pub(super) store: Arc<dyn DynIdempotencyStore>,
    pub(super) policy: IdempotencyPolicy,
    pub(super) counters: Counters,
    pub(super) handler_id: Arc<str>,
    state: Mutex<State>,
    /// The keeper has nothing to do and wants to be told of the next lock.
    asleep: AtomicBool,
    news: Notify,
}

#[derive(Default)]
struct State {
    /// Locks of messages that are being handled.
    held: HashMap<LockToken, IdempotencyKey>,
    /// Locks whose owners are gone, or got no answer.
    left: Vec<Left>,
}

/// A lock that is to be ended by the keeper.
struct Left {
    lock: Lock,
    ending: Ending,
    /// When to let it be: the lock has ended by then.
    until: Instant,
}

/// How a lock is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The message was handled.
    Confirm,
    /// It was not.
    Release,
}

impl Keeper {
    pub(super) fn new(
        store: Arc<dyn DynIdempotencyStore>,
        policy: IdempotencyPolicy,
        handler_id: Arc<str>,
    ) -> Self {
        Self {
            store,
            policy,
            counters: Counters::default(),
            handler_id,
            state: Mutex::default(),
            asleep: AtomicBool::new(false),
            news: Notify::new(),
        }
    }

    /// Renew a lock from now on.
    pub(super) fn hold(&self, lock: &Lock) {
        self.lock().held.insert(lock.token, lock.key.clone());
        self.wake();
    }

    /// Renew a lock no longer.
    pub(super) fn let_go(&self, lock: &Lock) {
        self.lock().held.remove(&lock.token);
    }

    /// End a lock whose owner cannot: as soon as the store answers, and no longer than it may last.
    pub(super) fn leave(&self, lock: Lock, ending: Ending) {
        let until = Instant::now() + self.policy.lock_timeout;
        self.lock().left.push(Left { lock, ending, until });
        self.news.notify_one();
    }

    fn wake(&self) {
        if self.asleep.swap(false, Ordering::AcqRel) {
            self.news.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renew and end locks, for ever.
    pub(super) async fn run(&self) {
        let period = self.policy.lock_timeout / 3;
        let mut due = Instant::now() + period;
        loop {
            if self.sleep().await {
                due = Instant::now() + period;
            }
            let again = self.end_left().await;
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(due) => {
                    let all_answered = self.renew().await;
                    due = Instant::now() + if all_answered { period } else { period / 4 };
                }
                () = self.news.notified() => {}
                () = tokio::time::sleep(period / 4), if again => {}
            }
        }
    }

    /// Wait while there is nothing to do; `true` if there was.
    async fn sleep(&self) -> bool {
        let mut slept = false;
        loop {
            self.asleep.store(true, Ordering::Release);
            {
                let state = self.lock();
                if !state.held.is_empty() || !state.left.is_empty() {
                    self.asleep.store(false, Ordering::Release);
                    return slept;
                }
            }
            slept = true;
            self.news.notified().await;
        }
    }

    /// Renew what is held; `false` if something was not answered.
    async fn renew(&self) -> bool {
        let locks: Vec<Lock> = {
            let state = self.lock();
            let lock = |(&token, key): (&LockToken, &IdempotencyKey)| Lock {
                key: key.clone(),
                token,
            };
            state.held.iter().map(lock).collect()
        };
        if locks.is_empty() {
            return true;
        }
        let answers = self.store.renew(&locks, self.policy.lock_timeout).await;
        let failed = answers.iter().filter(|answer| answer.is_err()).count();
        count(&self.counters.store_failures, failed);
        for (lock, answer) in locks.iter().zip(answers) {
            self.renewed(lock, answer.ok());
        }
        failed == 0
    }

    fn renewed(&self, lock: &Lock, hold: Option<Hold>) {
        let is_held = self.lock().held.contains_key(&lock.token);
        match hold {
            // Its message is done with. If that was a release, the renewal came after it.
            Some(Hold::Restored) if !is_held => self.leave(lock.clone(), Ending::Release),
            Some(hold) if is_held => self.report(lock, hold),
            _ => {}
        }
        if hold == Some(Hold::Lost) {
            self.let_go(lock);
        }
    }

    /// Say what a lock was found to be, if it was not held.
    pub(super) fn report(&self, lock: &Lock, hold: Hold) {
        let (handler, key) = (&self.handler_id, &lock.key);
        match hold {
            Hold::Kept => {}
            Hold::Restored => {
                count(&self.counters.lapsed, 1);
                tracing::warn!(%handler, %key, "the lock on a message had ended, or the store had lost it: it was taken again");
            }
            Hold::Lost => {
                count(&self.counters.lost, 1);
                tracing::warn!(%handler, %key, "another one has the message whose lock had ended: it is handled twice");
            }
        }
    }

    /// End what was left; `true` if something has to be tried again.
    async fn end_left(&self) -> bool {
        let left = std::mem::take(&mut self.lock().left);
        if left.is_empty() {
            return false;
        }
        let (confirms, releases): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|left| left.ending == Ending::Confirm);
        let (confirmed, released) = tokio::join!(self.confirm_left(&confirms), self.release_left(&releases));
        let now = Instant::now();
        let answered = confirmed.into_iter().chain(released);
        let unanswered: Vec<_> = confirms.into_iter().chain(releases).zip(answered).collect();
        let mut again = Vec::new();
        for (left, is_answered) in unanswered {
            match (is_answered, left.ending) {
                (true, _) => {}
                (false, _) if now < left.until => again.push(left),
                (false, Ending::Confirm) => self.unconfirmed(&left.lock),
                (false, Ending::Release) => {}
            }
        }
        let is_again = !again.is_empty();
        self.lock().left.extend(again);
        is_again
    }

    async fn confirm_left(&self, left: &[Left]) -> Vec<bool> {
        let locks = locks(left);
        if locks.is_empty() {
            return Vec::new();
        }
        let answers = self.store.confirm(&locks, self.policy.ttl).await;
        let answered = |(lock, answer): (&Lock, Result<Hold, _>)| {
            let hold = answer.ok();
            hold.inspect(|hold| self.confirmed(lock, *hold)).is_some()
        };
        locks.iter().zip(answers).map(answered).collect()
    }

    async fn release_left(&self, left: &[Left]) -> Vec<bool> {
        let locks = locks(left);
        if locks.is_empty() {
            return Vec::new();
        }
        let answers = self.store.release(&locks).await;
        answers.iter().map(Result::is_ok).collect()
    }

    pub(super) fn confirmed(&self, lock: &Lock, hold: Hold) {
        if hold != Hold::Lost {
            count(&self.counters.confirmed, 1);
        }
        self.report(lock, hold);
    }

    pub(super) fn unconfirmed(&self, lock: &Lock) {
        count(&self.counters.unconfirmed, 1);
        tracing::warn!(
            handler = %self.handler_id, key = %lock.key,
            "a message was handled and the store gave no answer about it: if it comes again it may be handled again"
        );
    }

    /// How long to wait before a message that another one has is looked at again.
    pub(super) fn patience(&self, remaining: Duration) -> Duration {
        let often = (self.policy.lock_timeout / 10).clamp(SOON, LATER);
        crate::retry::jittered(remaining.clamp(SOON, often))
    }
}

const SOON: Duration = Duration::from_millis(20);
const LATER: Duration = Duration::from_secs(1);

fn locks(left: &[Left]) -> Vec<Lock> {
    left.iter().map(|left| left.lock.clone()).collect()
}
