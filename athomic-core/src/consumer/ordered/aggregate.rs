//! An aggregate as a shard knows it: its lease, and its messages that are here.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::flow::Place;
use crate::message::RawMessage;
use crate::store::ordering::{Aggregate, Digest, First, Grant};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Local<P> {
    pub(super) aggregate: Aggregate,
    pub(super) lease: Option<Grant>,
    /// The next expected sequence, as far as is known here. The store's is never lower.
    pub(super) next: Option<u64>,
    /// Messages that are here and not started, by their sequences, each once.
    pub(super) queue: VecDeque<Entry<P>>,
    /// Messages that are done, until the store knows.
    pub(super) completing: VecDeque<Entry<P>>,
    /// Messages that wait in the room and whose offsets are held.
    pub(super) held: Vec<Held>,
    pub(super) phase: Phase,
    /// The lowest sequence that was asked about while nothing was known.
    pub(super) asked: Option<u64>,
    /// Where it begins, if the application said so.
    pub(super) known: Option<First>,
    /// Somebody else has messages of it as well: its lease is not kept.
    pub(super) shared: bool,
    /// The number of its last rest.
    pub(super) rest: u64,
    /// How many calls of the store are under way for it besides those of its phase.
    pub(super) calls: u32,
    /// Its lease is given back as soon as nothing is under way: its messages went with their partition.
    pub(super) goes: bool,
}

/// What is being done about an aggregate.
///
/// Invariant: one call of the store at most is under way that can give or take its lease, so that no
/// answer is about a lease that another call has ended meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing.
    Idle,
    /// The store is asked about its first messages.
    Asking,
    /// The store is asked for what waits in its room; until then there was no room, if it was so.
    Claiming(Option<Instant>),
    /// Its lease is on its way back.
    Releasing,
    /// Its next message is not here; it may still come before the others are parked.
    Patient(Instant),
    /// There is no room, or the store does not take it now: asked again at this time.
    Again(Instant),
    /// Its next message may start.
    Ready,
    /// Its next message runs.
    Running,
    /// The store is told that a message is done, or what becomes of a poison message.
    Completing,
}

/// A message that is here.
#[derive(Debug)]
pub(super) struct Entry<P> {
    pub(super) sequence: u64,
    pub(super) digest: Digest,
    pub(super) message: RawMessage,
    /// Decoded already, unless it came from a room or was tried before.
    pub(super) payload: Option<P>,
    /// Where its offset is to be settled; none if it came from a room.
    pub(super) places: Places,
    /// Parked when it is asked about next, whether or not it is the first.
    pub(super) parks: bool,
}

/// Places of one message: one almost always, more if it was produced twice, none if it came from a room.
#[derive(Debug, Default)]
pub(super) struct Places {
    first: Option<Place>,
    others: Vec<Place>,
}

impl Places {
    pub(super) fn one(place: Place) -> Self {
        Self {
            first: Some(place),
            others: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, places: Self) {
        for place in places.into_iter() {
            match self.first {
                None => self.first = Some(place),
                Some(_) => self.others.push(place),
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.first.iter().chain(&self.others)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Let go of those whose partition is on its way out.
    pub(super) fn drop_stopping(&mut self) {
        self.others.retain(|place| !place.is_stopping());
        if self.first.as_ref().is_some_and(Place::is_stopping) {
            self.first = self.others.pop();
        }
    }

    pub(super) fn settle(self) {
        self.into_iter().for_each(Place::settle);
    }

    fn into_iter(self) -> impl Iterator<Item = Place> {
        self.first.into_iter().chain(self.others)
    }
}

/// A message that waits in the room and whose offset is held.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) sequence: u64,
    pub(super) digest: Digest,
    pub(super) places: Places,
}

/// What became of a message that was to join an aggregate.
#[derive(Debug)]
pub(super) enum Joined<P> {
    /// It waits for its turn.
    Queued,
    /// It is a second copy of one that is here.
    Copy,
    /// Another payload has its sequence.
    Conflict(Entry<P>),
}

impl<P> Local<P> {
    pub(super) fn new(aggregate: Aggregate) -> Self {
        Self {
            aggregate,
            lease: None,
            next: None,
            queue: VecDeque::new(),
            completing: VecDeque::new(),
            held: Vec::new(),
            phase: Phase::Idle,
            asked: None,
            known: None,
            shared: false,
            rest: 0,
            calls: 0,
            goes: false,
        }
    }

    /// Take a message in.
    pub(super) fn join(&mut self, entry: Entry<P>) -> Joined<P> {
        if let Some(held) = self.held.iter_mut().find(|held| held.sequence == entry.sequence) {
            if held.digest != entry.digest {
                return Joined::Conflict(entry);
            }
            // From the room: that is the message itself. From a partition: another copy.
            if !entry.places.is_empty() {
                let mut places = entry.places;
                places.hold();
                held.places.add(places);
                return Joined::Copy;
            }
        }
        let place = match self.queue.back() {
            Some(last) if last.sequence < entry.sequence => self.queue.len(),
            None => 0,
            Some(_) => match self
                .queue
                .binary_search_by_key(&entry.sequence, |queued| queued.sequence)
            {
                Err(place) => place,
                Ok(place) => {
                    let queued = &mut self.queue[place];
                    if queued.digest != entry.digest {
                        return Joined::Conflict(entry);
                    }
                    queued.places.add(entry.places);
                    return Joined::Copy;
                }
            },
        };
        self.queue.insert(place, entry);
        Joined::Queued
    }

    /// Say whether a message is queued.
    pub(super) fn has(&self, sequence: u64) -> bool {
        self.find(sequence).is_ok()
    }

    fn find(&self, sequence: u64) -> Result<usize, usize> {
        self.queue.binary_search_by_key(&sequence, |entry| entry.sequence)
    }

    /// Take a queued message out.
    pub(super) fn remove(&mut self, sequence: u64) -> Option<Entry<P>> {
        let place = self.find(sequence).ok()?;
        self.queue.remove(place)
    }

    /// Take note that all below a sequence is done: what was held for it is settled.
    pub(super) fn advance(&mut self, next: u64) {
        self.next = self.next.max(Some(next));
        if self.held.iter().any(|held| held.sequence < next) {
            let (done, held) = self.held.drain(..).partition(|held| held.sequence < next);
            self.held = held;
            let done: Vec<Held> = done;
            done.into_iter().for_each(|held| held.places.settle());
        }
    }

    /// Put what was under way back to where it waits, since nobody knows how it ended.
    ///
    /// What came from a room is still there.
    pub(super) fn requeue(&mut self, entry: Entry<P>) {
        if !entry.places.is_empty() {
            let entry = Entry {
                payload: None,
                ..entry
            };
            let _no_conflict = self.join(entry);
        }
    }

    /// Say that nothing runs, unless the store is still to be told of what ran.
    pub(super) fn pause(&mut self) {
        self.phase = if self.completing.is_empty() {
            Phase::Idle
        } else {
            Phase::Completing
        };
    }

    /// Say whether nothing is under way: it may be asked about, claimed, or let go.
    pub(super) fn is_free(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Patient(_) | Phase::Again(_)) && self.completing.is_empty()
    }

    /// Say whether the first message here is the next one.
    pub(super) fn has_next(&self) -> bool {
        let front = self.queue.front().map(|entry| entry.sequence);
        front.is_some() && front == self.next
    }

    /// Say whether nothing of it is here but what is remembered, and perhaps a lease.
    pub(super) fn is_at_rest(&self) -> bool {
        self.phase == Phase::Idle
            && self.queue.is_empty()
            && self.completing.is_empty()
            && self.held.is_empty()
            && self.calls == 0
    }
}

impl Places {
    /// Let the bytes go; see [`Place::hold`].
    pub(super) fn hold(&mut self) {
        self.first
            .iter_mut()
            .chain(&mut self.others)
            .for_each(Place::hold);
    }
}
