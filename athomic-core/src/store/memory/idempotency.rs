//! `MemoryIdempotency`: an idempotency store in memory, and the specification of the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{StoreClock, millis};
use crate::mutant::{self, Mutant};
use crate::store::StoreError;
use crate::store::idempotency::{Acquisition, Each, Hold, IdempotencyKey, IdempotencyStore, Lock, LockToken};

/// An idempotency store in memory. Clones are the same store.
#[derive(Debug, Clone, Default)]
pub struct MemoryIdempotency {
    clock: StoreClock,
    marks: Arc<Mutex<Marks>>,
}

#[derive(Debug, Default)]
struct Marks {
    by_key: HashMap<IdempotencyKey, Mark>,
    /// How many there may be before those that have ended are looked for.
    crowded: usize,
}

/// What is known about a key.
#[derive(Debug, Clone, Copy)]
struct Mark {
    token: LockToken,
    /// Whether the message was handled; if not, it is locked.
    is_done: bool,
    /// When it ends, in milliseconds.
    until: i64,
}

impl MemoryIdempotency {
    /// Make an empty store that goes by a clock.
    #[must_use]
    pub fn with_clock(clock: StoreClock) -> Self {
        Self {
            clock,
            marks: Arc::default(),
        }
    }

    /// Forget everything, as a server does that restarts without its data.
    pub fn clear(&self) {
        self.marks().by_key.clear();
    }

    /// Return how many locks and marks there are that have not ended.
    #[must_use]
    pub fn len(&self) -> usize {
        let now = self.clock.millis();
        let marks = self.marks();
        marks.by_key.values().filter(|mark| now < mark.until).count()
    }

    /// Say whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn each<T>(&self, locks: &[Lock], mut one: impl FnMut(&mut Marks, i64, &Lock) -> T) -> Each<T> {
        let (mut marks, now) = (self.marks(), self.clock.millis());
        marks.make_room(now);
        locks.iter().map(|lock| Ok(one(&mut marks, now, lock))).collect()
    }
}

impl Marks {
    /// Return what is known about a key now.
    fn at(&self, now: i64, key: &IdempotencyKey) -> Option<Mark> {
        self.by_key.get(key).filter(|mark| now < mark.until).copied()
    }

    fn put(&mut self, lock: &Lock, is_done: bool, until: i64) {
        let token = lock.token;
        let mark = Mark {
            token,
            is_done,
            until,
        };
        self.by_key.insert(lock.key.clone(), mark);
    }

    /// Turn a lock that is held, or not there, into something else.
    fn hold(&mut self, now: i64, lock: &Lock, is_done: bool, duration: Duration) -> Hold {
        let until = now.saturating_add(millis(duration));
        let hold = match self.at(now, &lock.key) {
            None => Hold::Restored,
            Some(mark) if mark.token != lock.token => return Hold::Lost,
            // A renewal that comes late does not take the mark back.
            Some(mark) if mark.is_done => return Hold::Kept,
            Some(_) => Hold::Kept,
        };
        self.put(lock, is_done, until);
        hold
    }

    /// Forget what has ended, before the table grows beyond twice of what is left.
    fn make_room(&mut self, now: i64) {
        if self.by_key.len() > self.crowded {
            self.by_key.retain(|_, mark| now < mark.until);
            self.crowded = (2 * self.by_key.len()).max(1024);
        }
    }
}

impl IdempotencyStore for MemoryIdempotency {
    fn name(&self) -> &str {
        "memory"
    }

    async fn open(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn acquire(&self, locks: &[Lock], timeout: Duration) -> Each<Acquisition> {
        self.each(locks, |marks, now, lock| match marks.at(now, &lock.key) {
            Some(mark) if mark.is_done => Acquisition::Duplicate,
            Some(mark) if mark.token != lock.token => {
                Acquisition::Busy(Duration::from_millis((mark.until - now).unsigned_abs()))
            }
            _ => {
                marks.put(lock, false, now.saturating_add(millis(timeout)));
                Acquisition::Acquired
            }
        })
    }

    async fn renew(&self, locks: &[Lock], timeout: Duration) -> Each<Hold> {
        self.each(locks, |marks, now, lock| marks.hold(now, lock, false, timeout))
    }

    async fn confirm(&self, locks: &[Lock], ttl: Duration) -> Each<Hold> {
        self.each(locks, |marks, now, lock| marks.hold(now, lock, true, ttl))
    }

    async fn release(&self, locks: &[Lock]) -> Each<bool> {
        self.each(locks, |marks, now, lock| {
            let held = marks.at(now, &lock.key);
            let is_own = |mark: Mark| mark.token == lock.token || mutant::is(Mutant::UnlocksUnderAnyToken);
            let held = held.is_some_and(|mark| !mark.is_done && is_own(mark));
            if held {
                marks.by_key.remove(&lock.key);
            }
            held
        })
    }
}
