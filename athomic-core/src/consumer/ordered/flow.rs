//! What a lane and the shards share of a partition's messages: how many there are, and who waits.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use super::super::lane::{LaneContext, PartitionState};
use crate::commit::Slot;
use crate::transport::FetchLimits;

/// How many messages of a partition may wait in rooms before it is read no further. Each costs a few
/// dozen bytes here; its payload is in the store.
const HELD: usize = 200_000;

/// An assigned partition as the shards see it.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) state: Arc<PartitionState>,
    /// How much may be here.
    window: FetchLimits,
    /// Messages that are here and not done.
    active: AtomicUsize,
    /// Bytes that are here, those of what is done and kept until the store knows included.
    bytes: AtomicUsize,
    /// Messages that wait in a room, and whose offsets are held.
    held: AtomicUsize,
    /// Up to which record time the partition was read; `i64::MAX` at its end.
    pub(super) read_to: AtomicI64,
    /// Set while the lane waits for room, so that settling costs no more than a look.
    waits: AtomicBool,
    room: Notify,
}

impl Flow {
    pub(super) fn new(state: Arc<PartitionState>, window: FetchLimits) -> Self {
        Self {
            state,
            window,
            active: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            read_to: AtomicI64::new(i64::MIN),
            waits: AtomicBool::new(false),
            room: Notify::new(),
        }
    }

    /// Wait until there is room, and say how much; `None` when the lane is told to stop.
    ///
    /// A window that is full opens again when it is low, so that what is read next is no trickle.
    pub(super) async fn room(&self, context: &LaneContext) -> Option<FetchLimits> {
        let mut closed = false;
        let limits = loop {
            if self.state.is_stopping() {
                break None;
            }
            let notified = self.room.notified();
            self.waits.store(true, Relaxed);
            if self.has_room(closed) {
                break Some(self.limits(context.settings.fetch));
            }
            if !closed {
                context.state.vitals.close_window(true);
                closed = true;
            }
            tokio::select! {
                biased;
                () = self.state.stopped() => {}
                () = notified => {}
            }
        };
        self.waits.store(false, Relaxed);
        if closed {
            context.state.vitals.close_window(false);
        }
        limits
    }

    fn has_room(&self, closed: bool) -> bool {
        let is_open = |part: usize, whole: usize| {
            if closed {
                part.saturating_mul(10) <= whole.saturating_mul(7)
            } else {
                part < whole
            }
        };
        let (messages, bytes) = (self.active.load(Relaxed), self.bytes.load(Relaxed));
        is_open(messages, self.window.messages) && is_open(bytes, self.window.bytes) && !self.is_crowded()
    }

    /// Say how much may be read, when there is room.
    fn limits(&self, fetch: FetchLimits) -> FetchLimits {
        let left = |whole: usize, part: &AtomicUsize| whole.saturating_sub(part.load(Relaxed));
        FetchLimits {
            messages: fetch.messages.min(left(self.window.messages, &self.active)),
            bytes: fetch.bytes.min(left(self.window.bytes, &self.bytes)),
        }
    }

    /// Say whether the partition is read no further because too many of its messages wait.
    fn is_crowded(&self) -> bool {
        self.held.load(Relaxed) >= HELD
    }

    /// Take note of messages that were fetched.
    pub(super) fn add(&self, messages: usize, bytes: usize) {
        self.active.fetch_add(messages, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    fn let_go(&self, weight: Weight) {
        let (messages, bytes) = match weight {
            Weight::Active(bytes) => (1, bytes as usize),
            Weight::Done(bytes) => (0, bytes as usize),
            Weight::Held => {
                self.held.fetch_sub(1, Relaxed);
                return self.wake();
            }
            Weight::Gone => return,
        };
        if messages > 0 {
            self.active.fetch_sub(messages, Relaxed);
        }
        self.bytes.fetch_sub(bytes, Relaxed);
        self.wake();
    }

    fn wake(&self) {
        if self.waits.load(Relaxed) && self.has_room(true) {
            self.room.notify_one();
        }
    }
}

/// A message's place in its partition, for as long as it is not settled.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) flow: Arc<Flow>,
    pub(super) slot: Slot,
    pub(super) weight: Weight,
}

/// What a message weighs in its partition's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// It is here, with so many bytes.
    Active(u32),
    /// It is done, and its bytes are here until the store knows.
    Done(u32),
    /// It is done, and its bytes were let go; the store is still to know.
    Gone,
    /// Its bytes were let go; its offset is held.
    Held,
}

impl Place {
    /// Settle the message: it is done, given up, or safe elsewhere.
    pub(super) fn settle(self) {
        self.flow.state.settle(self.slot);
    }

    /// Let the message's bytes go; its offset stays held.
    pub(super) fn hold(&mut self) {
        if self.weight != Weight::Held {
            self.flow.held.fetch_add(1, Relaxed);
            self.flow
                .let_go(std::mem::replace(&mut self.weight, Weight::Held));
        }
    }

    /// Take note that the message is done, and let its bytes go; the store is still to be told.
    pub(super) fn let_go(&mut self) {
        self.flow
            .let_go(std::mem::replace(&mut self.weight, Weight::Gone));
    }

    /// Take note that the message is done; its bytes stay until the store is told.
    pub(super) fn finish(&mut self) {
        if let Weight::Active(bytes) = self.weight {
            self.weight = Weight::Done(bytes);
            self.flow.active.fetch_sub(1, Relaxed);
            self.flow.wake();
        }
    }

    /// Take note that the message has to wait again.
    pub(super) fn begin_anew(&mut self) {
        if let Weight::Done(bytes) = self.weight {
            self.weight = Weight::Active(bytes);
            self.flow.active.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.flow.state.is_stopping()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.flow.let_go(self.weight);
    }
}

/// Settle messages, those of one partition that follow each other in one go.
pub(super) fn settle_all(places: impl Iterator<Item = Place>) {
    let mut places = places.peekable();
    while let Some(first) = places.next() {
        let flow = Arc::clone(&first.flow);
        let rest = std::iter::from_fn(|| places.next_if(|place| Arc::ptr_eq(&place.flow, &flow)));
        flow.state
            .settle_all(std::iter::once(first).chain(rest).map(|place| place.slot));
    }
}

/// The partitions that are read, for those who must know how far.
#[derive(Debug, Default)]
pub(crate) struct Flows(Mutex<Vec<Weak<Flow>>>);

impl Flows {
    pub(super) fn add(&self, flow: &Arc<Flow>) {
        let mut flows = self.lock();
        flows.retain(|flow| flow.strong_count() > 0);
        flows.push(Arc::downgrade(flow));
    }

    /// Say whether a partition is not read up to a moment yet: what is missing may stand there.
    pub(super) fn any_behind(&self, since: i64) -> bool {
        let flows = self.lock();
        let mut flows = flows.iter().filter_map(Weak::upgrade);
        flows.any(|flow| {
            let is_behind = flow.read_to.load(Relaxed) < since || flow.state.vitals.is_unreadable();
            is_behind && !flow.is_crowded()
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Flow>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
