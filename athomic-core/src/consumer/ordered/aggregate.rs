//! An aggregate as a shard knows it: its lease, and its messages that are here.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::done::Done;
use super::item::{Held, Item};
use super::names::Identity;
use crate::store::ordering::{Aggregate, First, Grant};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Local<P> {
    pub(super) aggregate: Aggregate,
    pub(super) identity: Identity,
    pub(super) lease: Option<Grant>,
    /// The next sequence to run, as far as is known here. The store's is never lower, but for what is done
    /// here and not told.
    pub(super) next: Option<u64>,
    /// If that is only known to be no lower: what it was taken for.
    at_least: Option<u64>,
    /// Messages that are here and not started, by their sequences, each once.
    pub(super) queue: VecDeque<Entry<P>>,
    pub(super) done: Done,
    /// Messages that wait in the room and whose offsets are held.
    pub(super) held: Vec<Held>,
    pub(super) phase: Phase,
    /// The lowest sequence that was asked about while nothing was known.
    pub(super) asked: Option<u64>,
    /// Where it begins, if the application said so.
    pub(super) known: Option<First>,
    /// Nothing waits in its room, as far as the store has said since the lease is here.
    pub(super) has_empty_room: bool,
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
    /// The store is told that messages are done.
    Completing,
    /// The store is told what becomes of a poison message or of a gap; until then it is told nothing else.
    Steering,
    /// The next message waits to be run apart from others that may have killed their process, and the store
    /// is told so.
    Suspected,
}

/// A message that is here and not started.
#[derive(Debug)]
pub(super) struct Entry<P> {
    pub(super) item: Item,
    /// Decoded already, unless it came from a room or was tried before.
    pub(super) payload: Option<P>,
    /// Parked when it is asked about next, whether or not it is the first.
    pub(super) parks: bool,
}

impl<P> Entry<P> {
    pub(super) fn sequence(&self) -> u64 {
        self.item.sequence
    }
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
    pub(super) fn new(aggregate: Aggregate, identity: Identity) -> Self {
        Self {
            aggregate,
            identity,
            lease: None,
            next: None,
            at_least: None,
            queue: VecDeque::new(),
            done: Done::default(),
            held: Vec::new(),
            phase: Phase::Idle,
            asked: None,
            known: None,
            has_empty_room: false,
            shared: false,
            rest: 0,
            calls: 0,
            goes: false,
        }
    }

    /// Take a message in.
    pub(super) fn join(&mut self, entry: Entry<P>) -> Joined<P> {
        let (sequence, digest) = (entry.item.sequence, entry.item.digest);
        if let Some(held) = self.held.iter_mut().find(|held| held.sequence == sequence) {
            if held.digest != digest {
                return Joined::Conflict(entry);
            }
            // From the room: that is the message itself. From a partition: another copy.
            if !entry.item.places.is_empty() {
                let mut places = entry.item.places;
                places.hold();
                held.places.add(places);
                return Joined::Copy;
            }
        }
        let place = match self.queue.back() {
            Some(last) if last.sequence() < sequence => self.queue.len(),
            None => 0,
            Some(_) => match self.find(sequence) {
                Err(place) => place,
                Ok(place) => {
                    let queued = &mut self.queue[place].item;
                    if queued.digest != digest {
                        return Joined::Conflict(entry);
                    }
                    queued.places.add(entry.item.places);
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
        self.queue.binary_search_by_key(&sequence, Entry::sequence)
    }

    /// Take a queued message out.
    pub(super) fn remove(&mut self, sequence: u64) -> Option<Entry<P>> {
        let place = self.find(sequence).ok()?;
        self.queue.remove(place)
    }

    /// Take note of a lease.
    pub(super) fn take_lease(&mut self, grant: Grant) {
        self.lease = Some(grant);
        self.has_empty_room = !grant.waits;
    }

    /// Take note that all up to a sequence is done, and perhaps more.
    pub(super) fn advance_past(&mut self, sequence: u64) {
        let next = sequence + 1;
        if self.next < Some(next) {
            self.at_least = Some(next);
        }
        self.advance(next);
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
    pub(super) fn requeue(&mut self, mut item: Item, parks: bool) {
        if item.places.is_empty() {
            return;
        }
        item.places.begin_anew();
        let _no_conflict = self.join(Entry {
            item,
            payload: None,
            parks,
        });
    }

    /// Take back what is done and still here, since nobody knows whether it counts.
    pub(super) fn requeue_kept(&mut self) {
        if let Some(item) = self.done.take_kept() {
            self.next = Some(item.sequence);
            self.requeue(item, false);
        }
    }

    /// Take back what was done under a lease that had ended. Says whether some of it has to be read again
    /// from partitions that are still ours.
    pub(super) fn requeue_done(&mut self) -> bool {
        // It is next again, for all that the store knows.
        let first = self.done.first().or(self.next);
        self.requeue_kept();
        self.next = first;
        self.done.take_gone().iter().any(|place| !place.is_stopping())
    }

    /// Say that nothing runs, unless the store is still to be told of what ran.
    pub(super) fn pause(&mut self) {
        self.phase = if self.done.is_empty() {
            Phase::Idle
        } else {
            Phase::Completing
        };
    }

    /// Say whether nothing is under way: it may be asked about, claimed, or let go.
    pub(super) fn is_free(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Patient(_) | Phase::Again(_)) && self.done.is_empty()
    }

    /// Say whether the first message here is the next one.
    pub(super) fn has_next(&self) -> bool {
        let front = self.queue.front().map(Entry::sequence);
        front.is_some() && front == self.next
    }

    /// Return the lease if a message may run under it at once that just came: it is the next one, and nothing
    /// is under way or waits here. With `ahead` what is done need not be known to the store.
    pub(super) fn grant_for(&self, sequence: u64, ahead: bool) -> Option<Grant> {
        let follows = || self.done.last().map(|last| last + 1) == self.next;
        let is_free = match self.phase {
            Phase::Idle => self.done.is_empty() && !self.goes,
            Phase::Completing => ahead && follows(),
            _ => false,
        };
        let is_next = self.next == Some(sequence) && self.queue.is_empty() && self.held.is_empty();
        self.lease.filter(|_| is_free && is_next)
    }

    /// Say whether the first message here follows what is done under the lease and not told yet.
    pub(super) fn goes_on(&self) -> bool {
        let follows = || self.done.last().map(|last| last + 1) == self.next;
        self.phase == Phase::Completing && self.lease.is_some() && self.has_next() && follows()
    }

    /// Say whether something may wait until the store has been told what is done: messages that do not follow
    /// it, here or in the room; others who want the lease; a lease that is not known to have been kept, or
    /// whose messages are suspects.
    pub(super) fn waits_for_answer(&self) -> bool {
        let out_of_turn = self.phase == Phase::Completing && !self.queue.is_empty() && !self.goes_on();
        let in_doubt = self.lease.is_none_or(|grant| grant.deliveries > 1);
        out_of_turn || in_doubt || self.shared || !self.has_empty_room
    }

    /// Return the next expected sequence, as far as the store was heard to know it.
    pub(super) fn confirmed(&self) -> Option<u64> {
        let exact = self.next.filter(|next| self.at_least != Some(*next));
        self.done.first().or(exact)
    }

    /// Say whether nothing of it is here but what is remembered, and perhaps a lease.
    pub(super) fn is_at_rest(&self) -> bool {
        self.phase == Phase::Idle
            && self.queue.is_empty()
            && self.done.is_empty()
            && self.held.is_empty()
            && self.calls == 0
    }
}
