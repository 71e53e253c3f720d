//! `MemoryDelays`: a delay store in memory, and the specification of the others.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::{Link, StoreClock, millis};
use crate::message::Timestamp;
use crate::store::StoreError;
use crate::store::delay::{ClaimLimits, DelayClaim, DelayEntry, DelayStore, DueEntry, Each, LockToken};

/// A delay store in memory. Clones are the same store.
#[derive(Debug, Clone, Default)]
pub struct MemoryDelays {
    clock: StoreClock,
    link: Link,
    room: Arc<Mutex<Room>>,
}

#[derive(Debug, Default)]
struct Room {
    by_name: HashMap<String, Waiting>,
    /// When each is to be looked at, in milliseconds, and its name: when it is due, or its lease is over.
    turns: BTreeSet<(i64, String)>,
}

#[derive(Debug)]
struct Waiting {
    due: i64,
    /// Its place in `turns`.
    turn: i64,
    /// Who claimed it last.
    token: Option<LockToken>,
    frame: Bytes,
}

impl MemoryDelays {
    /// Make an empty store that goes by a clock.
    #[must_use]
    pub fn with_clock(clock: StoreClock) -> Self {
        Self {
            clock,
            ..Self::default()
        }
    }

    /// Reach the same store by a way that can be cut.
    pub(super) fn by(&self, link: Link) -> Self {
        Self { link, ..self.clone() }
    }

    /// Return how many messages there are, with those that are claimed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.room().by_name.len()
    }

    /// Say whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> Result<(), StoreError> {
        self.link.check()
    }

    fn each<E, T>(&self, elements: &[E], mut one: impl FnMut(&mut Room, i64, &E) -> T) -> Each<T> {
        let (mut room, now) = (self.room(), self.clock.millis());
        let element = |element| self.check().map(|()| one(&mut room, now, element));
        elements.iter().map(element).collect()
    }
}

impl Room {
    fn schedule(&mut self, now: i64, entry: &DelayEntry) -> i64 {
        if let Some(there) = self.by_name.get(&entry.name) {
            return there.due;
        }
        let due = now.saturating_add(millis(entry.delay));
        let waiting = Waiting {
            due,
            turn: due,
            token: None,
            frame: entry.frame.clone(),
        };
        self.by_name.insert(entry.name.clone(), waiting);
        self.turns.insert((due, entry.name.clone()));
        due
    }

    fn claim(&mut self, now: i64, token: LockToken, lease: Duration, limits: ClaimLimits) -> DelayClaim {
        let first = self.turns.first().map_or(now, |(turn, _)| *turn);
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while let Some((turn, name)) = self.turns.first() {
            let size = self.by_name[name].frame.len();
            let is_full = entries.len() >= limits.entries || (bytes + size > limits.bytes && bytes > 0);
            if *turn > now || is_full {
                break;
            }
            let name = name.clone();
            self.turn(&name, now.saturating_add(millis(lease)).max(now + 1), Some(token));
            bytes += size;
            entries.push(name);
        }
        let next = self.turns.first().map(|(turn, _)| until(now, *turn));
        DelayClaim {
            entries: entries.into_iter().map(|name| self.due(name)).collect(),
            next,
            waiting: self.by_name.len() as u64,
            overdue: until(first, now),
        }
    }

    fn due(&self, name: String) -> DueEntry {
        let Waiting { due, frame, .. } = &self.by_name[&name];
        DueEntry {
            due: Timestamp::from_millis(*due),
            frame: frame.clone(),
            name,
        }
    }

    /// Have an entry looked at at another time, and by whom.
    fn turn(&mut self, name: &str, turn: i64, token: Option<LockToken>) {
        if let Some(waiting) = self.by_name.get_mut(name) {
            self.turns.remove(&(waiting.turn, name.to_owned()));
            self.turns.insert((turn, name.to_owned()));
            (waiting.turn, waiting.token) = (turn, token);
        }
    }

    fn is_of(&self, token: LockToken, name: &str) -> bool {
        self.by_name
            .get(name)
            .is_some_and(|waiting| waiting.token == Some(token))
    }

    fn hold(&mut self, now: i64, token: LockToken, name: &str, lease: Duration) -> bool {
        let held = self.is_of(token, name);
        if held {
            let token = (!lease.is_zero()).then_some(token);
            self.turn(name, now.saturating_add(millis(lease)), token);
        }
        held
    }

    fn remove(&mut self, token: LockToken, name: &str) -> bool {
        if !self.is_of(token, name) {
            return false;
        }
        if let Some(waiting) = self.by_name.remove(name) {
            self.turns.remove(&(waiting.turn, name.to_owned()));
        }
        true
    }
}

/// Return the time from one moment to another; none if that has passed.
fn until(now: i64, then: i64) -> Duration {
    Duration::from_millis(u64::try_from(then.saturating_sub(now)).unwrap_or(0))
}

impl DelayStore for MemoryDelays {
    fn name(&self) -> &str {
        "memory"
    }

    async fn open(&self) -> Result<(), StoreError> {
        self.check()
    }

    async fn schedule(&self, entries: &[DelayEntry]) -> Each<Timestamp> {
        self.each(entries, |room, now, entry| {
            Timestamp::from_millis(room.schedule(now, entry))
        })
    }

    async fn claim(
        &self,
        token: LockToken,
        lease: Duration,
        limits: ClaimLimits,
    ) -> Result<DelayClaim, StoreError> {
        self.check()?;
        Ok(self.room().claim(self.clock.millis(), token, lease, limits))
    }

    async fn hold(&self, token: LockToken, names: &[String], lease: Duration) -> Each<bool> {
        self.each(names, |room, now, name| room.hold(now, token, name, lease))
    }

    async fn remove(&self, token: LockToken, names: &[String]) -> Each<bool> {
        self.each(names, |room, _, name| room.remove(token, name))
    }
}
