//! Idempotency in the simulation: the way to the store of locks and marks, and what must hold of them.
//!
//! - A message does not run under the live lock of another instance, as far as the store has granted it,
//!   unless the store's clock jumped, or it forgot, while who runs it waited for the answer.
//! - A message that is marked as done does not run again, unless the lock ended under which it was about to.
//! - Nobody gives up the lock of another.
//!
//! That a mark stands only for what was handled is checked with the commits: a duplicate is committed, and
//! somebody must have handled it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use athomic_core::message::{Offset, Partition};
use athomic_core::store::StoreError;
use athomic_core::store::idempotency::{Acquisition, Each, Hold, IdempotencyStore, Lock, LockToken};
use athomic_core::store::memory::{MemoryIdempotency, StoreClock};
use futures_util::FutureExt;
use tokio::time::Instant;

use crate::calls::{self, down};
use crate::event::{Event, Instance};
use crate::fate::Point;
use crate::world::World;

/// How long locks last.
pub(crate) const LOCK: Duration = Duration::from_secs(3);

type Place = (Partition, Offset);

/// The store, and what is known of it.
pub(crate) struct Marks {
    inner: MemoryIdempotency,
    clock: StoreClock,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The locks that the store has granted, by who has them.
    locks: BTreeMap<(Place, Instance), Granted>,
    done: BTreeSet<Place>,
}

struct Granted {
    token: LockToken,
    /// When it ends by the store's clock.
    until: i64,
    /// When it ends by the clock that does not jump.
    ends: Instant,
}

impl Marks {
    pub(crate) fn new(clock: &StoreClock) -> Self {
        Self {
            inner: MemoryIdempotency::with_clock(clock.clone()),
            clock: clock.clone(),
            known: Mutex::default(),
        }
    }

    /// Forget everything: what runs has no lock any more, and nothing is a duplicate.
    pub(crate) fn lose(&self) {
        self.inner.clear();
        let mut known = self.known();
        known.done.clear();
        known.locks.values_mut().for_each(|lock| lock.until = i64::MIN);
    }

    /// Say what is wrong about a message that begins to run.
    pub(crate) fn check(&self, instance: Instance, place: Place) -> Option<String> {
        let (known, now) = (self.known(), self.clock.millis());
        let of_place = (place, 0)..=(place, Instance::MAX);
        let mut others = known
            .locks
            .range(of_place)
            .filter(|((_, holder), _)| *holder != instance);
        let own = known.locks.get(&(place, instance));
        let is_over = own.is_some_and(|lock| lock.until <= now);
        let is_deceived = is_over && own.is_some_and(|lock| Instant::now() < lock.ends);
        if let Some(((_, holder), _)) = others.find(|(_, lock)| now < lock.until && !is_deceived) {
            return Some(format!("{place:?} runs in {instance} under the lock of {holder}"));
        }
        (known.done.contains(&place) && !is_over)
            .then(|| format!("{place:?} runs in {instance} although it is marked as done"))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, instance: Instance, lock: &Lock) {
        let until = self.clock.millis() + i64::try_from(LOCK.as_millis()).expect("a few seconds");
        let lock_of = (place_of(lock), instance);
        let granted = Granted {
            token: lock.token,
            until,
            ends: Instant::now() + LOCK,
        };
        self.known().locks.insert(lock_of, granted);
    }

    /// Forget a lock; `false` if the instance has none under its token.
    fn let_go(&self, instance: Instance, lock: &Lock) -> bool {
        let (mut known, lock_of) = (self.known(), (place_of(lock), instance));
        let own = known.locks.get(&lock_of);
        let is_own = own.is_some_and(|own| own.token == lock.token);
        if is_own {
            known.locks.remove(&lock_of);
        }
        is_own
    }
}

/// Read a message's place out of its key.
fn place_of(lock: &Lock) -> Place {
    let numbers = lock.key.as_str().split('-').skip(1);
    let numbers: Vec<i64> = numbers.filter_map(|part| part.parse().ok()).collect();
    let [partition, offset, ..] = numbers[..] else {
        panic!("{} is the key of a place", lock.key.as_str());
    };
    (Partition::try_from(partition).expect("a few"), offset)
}

/// The store as one instance has it.
#[derive(Clone)]
pub(crate) struct SimulatedMarks {
    pub(crate) world: Arc<World>,
    pub(crate) instance: Instance,
}

impl SimulatedMarks {
    fn marks(&self) -> &Marks {
        self.world.marks.as_ref().expect("the run has a store of marks")
    }

    async fn call<T: Send + 'static>(
        &self,
        locks: &[Lock],
        apply: impl Fn(&Self, &MemoryIdempotency, &[Lock]) -> Each<T> + Send + Sync + 'static,
        see: impl Fn(&Self, &Lock, &T) + Send + Sync + 'static,
    ) -> Each<T> {
        let there = self.clone();
        let apply = move |locks: &[Lock]| {
            let answers = apply(&there, &there.marks().inner, locks);
            let mut seen: Vec<_> = locks.iter().zip(&answers).collect();
            // The keeper's calls have no order.
            seen.sort_by_key(|(lock, _)| place_of(lock));
            for (lock, answer) in seen {
                if let Ok(answer) = answer {
                    see(&there, lock, answer);
                }
            }
            answers
        };
        let part = |lock: &Lock| place_of(lock).1.unsigned_abs();
        calls::call(
            &self.world,
            self.instance,
            Point::Marks,
            locks.to_vec(),
            part,
            apply,
        )
        .await
    }

    fn saw_lock(&self, lock: &Lock) {
        self.marks().hold(self.instance, lock);
        let (partition, offset) = place_of(lock);
        self.world.note(Event::Locked(self.instance, partition, offset));
    }

    fn saw_mark(&self, lock: &Lock) {
        let (partition, offset) = place_of(lock);
        self.marks().known().done.insert((partition, offset));
        self.marks().let_go(self.instance, lock);
        self.world.note(Event::Marked(self.instance, partition, offset));
    }

    fn saw_release(&self, lock: &Lock) {
        let (partition, offset) = place_of(lock);
        if !self.marks().let_go(self.instance, lock) {
            let wrong = format!(
                "{} gives up the lock of another on {partition}@{offset}",
                self.instance
            );
            self.world.inspect(|checker, _| checker.complain(wrong));
        }
        self.world.note(Event::Unlocked(self.instance, partition, offset));
    }
}

/// Take the result of a call of the store in memory, which never waits.
fn now<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().expect("it never waits")
}

impl IdempotencyStore for SimulatedMarks {
    fn name(&self) -> &str {
        "simulated"
    }

    async fn open(&self) -> Result<(), StoreError> {
        self.world.live(self.instance).await;
        if self.world.store_is_down() {
            Err(down())
        } else {
            Ok(())
        }
    }

    async fn acquire(&self, locks: &[Lock], timeout: Duration) -> Each<Acquisition> {
        let apply =
            move |_: &Self, store: &MemoryIdempotency, locks: &[Lock]| now(store.acquire(locks, timeout));
        let see = |there: &Self, lock: &Lock, answer: &Acquisition| {
            if *answer == Acquisition::Acquired {
                there.saw_lock(lock);
            }
        };
        self.call(locks, apply, see).await
    }

    async fn renew(&self, locks: &[Lock], timeout: Duration) -> Each<Hold> {
        let apply =
            move |_: &Self, store: &MemoryIdempotency, locks: &[Lock]| now(store.renew(locks, timeout));
        let see = |there: &Self, lock: &Lock, answer: &Hold| {
            if *answer != Hold::Lost && !there.marks().known().done.contains(&place_of(lock)) {
                there.saw_lock(lock);
            }
        };
        self.call(locks, apply, see).await
    }

    async fn confirm(&self, locks: &[Lock], ttl: Duration) -> Each<Hold> {
        let apply = move |_: &Self, store: &MemoryIdempotency, locks: &[Lock]| now(store.confirm(locks, ttl));
        let see = |there: &Self, lock: &Lock, answer: &Hold| {
            if *answer != Hold::Lost {
                there.saw_mark(lock);
            }
        };
        self.call(locks, apply, see).await
    }

    async fn release(&self, locks: &[Lock]) -> Each<bool> {
        let apply = |_: &Self, store: &MemoryIdempotency, locks: &[Lock]| now(store.release(locks));
        let see = |there: &Self, lock: &Lock, held: &bool| {
            if *held {
                there.saw_release(lock);
            }
        };
        self.call(locks, apply, see).await
    }
}
