//! Side by side: messages of different keys at once, those of one key in order.
//!
//! A lane owns its partition's keys; the limit on executions is the handler's, shared by its lanes.
//! A key stands in `keys` while one of its messages runs or waits, so a message whose key is not
//! there can start at once. Keys are told apart by a 64-bit hash: two that collide wait for each
//! other, which costs time and never order.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio_util::sync::PollSemaphore;

use super::super::lane::{LaneContext, LaneSource, Permit, Settlement};
use super::super::priorities::Turn;
use super::slots::{self, Runner, Slots};
use crate::commit::Slot;
use crate::handler::Ordering;
use crate::message::{RawMessage, RecordBatch};
use crate::mutant::{self, Mutant};
use crate::transport::{FetchLimits, TransportError};

/// A message that has not been started.
struct Waiting {
    message: RawMessage,
    slot: Slot,
    size: usize,
}

/// What belongs to a message that runs.
struct Running {
    /// Its key's place in `keys`; `None` if nothing waits for it.
    key: Option<u64>,
    slot: Slot,
    size: usize,
}

/// A lane whose messages run side by side.
struct KeyedLane<'a, F, Start> {
    context: &'a LaneContext,
    start: Start,
    running: Slots<F, Running>,
    /// Waits in line for a permit when there is none.
    permits: PollSemaphore,
    /// Waits until the handler's circuit may let something run; only while it is not closed.
    blocked: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Its part in the handler's priorities, if there are several.
    turn: Option<Turn>,
    /// The messages that wait for each key that is busy; empty while only the running one is there.
    keys: HashMap<u64, VecDeque<Waiting>, BuildHasherDefault<Hashed>>,
    /// Keys with a message that may start as soon as there is a permit, in the order they came.
    ready: VecDeque<u64>,
    /// Messages that wait for a permit and for no other message.
    free: VecDeque<Waiting>,
    /// The highest place of a message that was started.
    last_started: Option<Slot>,
    /// Bytes of all messages that are not settled.
    bytes: usize,
    hash: RandomState,
    /// Whether the window is open: it closes when full and opens again below its low mark.
    reading: bool,
}

/// Run a lane until it stops; `start` makes the future that settles a message
/// and gives its permit back.
pub(in super::super) async fn run<F, Start>(
    context: &LaneContext,
    source: &mut LaneSource,
    start: Start,
) -> Result<(), TransportError>
where
    F: Future<Output = Settlement>,
    Start: Fn(RawMessage, Permit) -> F,
{
    let mut lane = KeyedLane::new(context, start);
    let ended = loop {
        let room = lane.room();
        tokio::select! {
            biased;
            () = context.state.stopped() => break Ok(()),
            () = poll_fn(|cx| slots::poll_run(&mut lane, cx)) => tokio::task::coop::consume_budget().await,
            fetched = source.next(context, room.unwrap_or(context.settings.fetch)), if room.is_some() => match fetched {
                Ok(Some(batch)) => {
                    lane.admit(&batch);
                    // Handlers that never wait have all run by now, without any of tokio's budget.
                    tokio::task::yield_now().await;
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            },
        }
    };
    lane.leave_later();
    poll_fn(|cx| lane.poll_drained(cx)).await;
    ended
}

impl<'a, F, Start> KeyedLane<'a, F, Start>
where
    F: Future<Output = Settlement>,
    Start: Fn(RawMessage, Permit) -> F,
{
    fn new(context: &'a LaneContext, start: Start) -> Self {
        let executions = context
            .settings
            .executions
            .as_ref()
            .expect("a keyed lane has a limit");
        Self {
            context,
            start,
            running: Slots::new(),
            permits: PollSemaphore::new(Arc::clone(executions)),
            blocked: None,
            turn: context
                .settings
                .priorities
                .as_ref()
                .map(|priorities| priorities.turn(&context.state.partition.topic)),
            keys: HashMap::default(),
            ready: VecDeque::new(),
            free: VecDeque::new(),
            last_started: None,
            bytes: 0,
            hash: RandomState::new(),
            reading: true,
        }
    }

    /// Say how much may be read now; `None` while the window is closed.
    fn room(&mut self) -> Option<FetchLimits> {
        let (window, fetch) = (self.context.settings.window, self.context.settings.fetch);
        let messages = self.context.state.in_flight();
        if mutant::is(Mutant::ForgetsTheWindow) && self.context.state.epoch.0 > 1 {
            return Some(fetch);
        }
        let is_low = |part: usize, whole: usize| part.saturating_mul(10) <= whole.saturating_mul(7);
        let reading = if self.reading {
            messages < window.messages && self.bytes < window.bytes
        } else {
            is_low(messages, window.messages) && is_low(self.bytes, window.bytes)
        };
        if reading != self.reading {
            self.context.state.vitals.close_window(!reading);
            self.reading = reading;
        }
        self.reading.then(|| FetchLimits {
            messages: fetch.messages.min(window.messages - messages),
            bytes: fetch.bytes.min(window.bytes - self.bytes),
        })
    }

    /// Start the messages of a fetched batch, or let them wait for their turn.
    fn admit(&mut self, batch: &Arc<dyn RecordBatch>) {
        let mut slot = self.context.state.track(batch.as_ref());
        for index in 0..batch.len() {
            let message = RawMessage::new(Arc::clone(batch), index);
            let size = message.size();
            self.bytes += size;
            let key = self.key_of(&message);
            self.admit_one(key, Waiting { message, slot, size });
            slot = slot.next();
        }
        self.tell_whether_any_waits();
    }

    fn admit_one(&mut self, key: Option<u64>, waiting: Waiting) {
        if let Some(queue) = key.and_then(|key| self.keys.get_mut(&key)) {
            return queue.push_back(waiting);
        }
        let is_first = self.turn.as_ref().is_none_or(Turn::is_first);
        let permit = (is_first && !self.has_startable())
            .then(|| self.context.settings.try_permit())
            .flatten();
        match (permit, key) {
            (Some(permit), _) if !self.context.state.is_stopping() => self.start(key, waiting, permit),
            (_, None) => self.free.push_back(waiting),
            (_, Some(key)) => {
                self.keys.insert(key, VecDeque::from([waiting]));
                self.ready.push_back(key);
            }
        }
    }

    fn start(&mut self, key: Option<u64>, waiting: Waiting, permit: Permit) {
        let Waiting { message, slot, size } = waiting;
        self.last_started = self.last_started.max(Some(slot));
        if let Some(turn) = &mut self.turn {
            turn.begin();
        }
        let future = (self.start)(message, permit);
        match self.running.start(future, Running { key, slot, size }) {
            Some((settlement, running)) => self.finish(settlement, running),
            None => {
                if let Some(key) = key {
                    self.keys.entry(key).or_default();
                }
            }
        }
    }

    fn start_next(&mut self, permit: Permit) {
        if let Some(key) = self.ready.pop_front() {
            let queue = self.keys.get_mut(&key).expect("a ready key is busy");
            let waiting = queue.pop_front().expect("a ready key has a message");
            self.start(Some(key), waiting, permit);
        } else if let Some(waiting) = self.free.pop_front() {
            self.start(None, waiting, permit);
        }
    }

    /// Run what is left until nothing runs and nothing can start. What the handler's circuit does not let
    /// run by then is left for the next owner of the partition.
    fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.context.settings.is_broken() {
                self.free.clear();
                self.ready.clear();
            }
            if self.running.running() == 0 && !self.has_startable() {
                return Poll::Ready(());
            }
            // The circuit may have opened only now: then there is something to be left.
            if slots::poll_run(self, cx).is_pending()
                && !(self.has_startable() && self.context.settings.is_broken())
            {
                return Poll::Pending;
            }
        }
    }

    /// Leave what waits for the next owner of the partition, but for messages below one that was
    /// started: without them that one could not be committed, and would come again.
    fn leave_later(&mut self) {
        let last = self.last_started.filter(|_| self.context.state.is_stopping());
        let stays = |waiting: &Waiting| last.is_some_and(|last| waiting.slot < last);
        self.free.retain(stays);
        self.keys.values_mut().for_each(|queue| queue.retain(stays));
        self.ready
            .retain(|key| self.keys.get(key).is_some_and(|queue| !queue.is_empty()));
        self.tell_whether_any_waits();
    }

    /// Say whether there is a message that could start.
    fn has_startable(&self) -> bool {
        !(self.ready.is_empty() && self.free.is_empty())
    }

    fn tell_whether_any_waits(&mut self) {
        let waits = self.has_startable();
        if let Some(turn) = &mut self.turn {
            turn.wait(waits);
        }
    }

    /// Wait for leave to start a message: for the lane's turn first, where priorities share the executions, then
    /// for the handler's circuit, if it has one that is not closed.
    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<Permit> {
        if let Some(turn) = &mut self.turn {
            std::task::ready!(turn.poll_ask(cx));
        }
        loop {
            if let Some(blocked) = &mut self.blocked {
                std::task::ready!(blocked.as_mut().poll(cx));
                self.blocked = None;
            }
            let permit = std::task::ready!(self.permits.poll_acquire(cx));
            if let Some(permit) = self.context.settings.admit(permit) {
                return Poll::Ready(permit);
            }
            let breaker = self.context.settings.breaker.clone();
            self.blocked = breaker.map(|breaker| -> Pin<Box<dyn Future<Output = ()> + Send>> {
                Box::pin(async move { breaker.passable().await })
            });
        }
    }

    /// Return what stands for a message's key; `None` if it waits for no other.
    fn key_of(&self, message: &RawMessage) -> Option<u64> {
        let ordered =
            self.context.settings.ordering == Ordering::Key && !mutant::is(Mutant::LetsKeysOvertake);
        ordered.then(|| match message.key() {
            Some(key) => {
                // The bytes alone: what `Hash` adds to them costs as much again.
                let mut hasher = self.hash.build_hasher();
                hasher.write(key);
                hasher.finish()
            }
            None => NULL_KEY,
        })
    }
}

impl<F, Start> Runner for KeyedLane<'_, F, Start>
where
    F: Future<Output = Settlement>,
    Start: Fn(RawMessage, Permit) -> F,
{
    type Future = F;
    type Belongs = Running;

    fn running(&mut self) -> &mut Slots<F, Running> {
        &mut self.running
    }

    fn finish(&mut self, settlement: Settlement, running: Running) {
        if settlement == Settlement::Abandoned {
            // Nor may a later message of its key run.
            return;
        }
        self.context.state.settle(running.slot);
        self.bytes -= running.size;
        let Some(key) = running.key else { return };
        match self.keys.get(&key).map(VecDeque::is_empty) {
            Some(true) => drop(self.keys.remove(&key)),
            Some(false) => self.ready.push_back(key),
            None => {}
        }
    }

    fn start_some(&mut self, cx: &mut Context<'_>, limit: usize) -> usize {
        if self.context.state.is_stopping() && self.context.state.is_lost() {
            return 0; // What waits comes again, and what runs is about to be cancelled.
        }
        let mut started = 0;
        // Also when another message of a key that was running could start only now.
        self.tell_whether_any_waits();
        while started < limit && self.has_startable() {
            let Poll::Ready(permit) = self.poll_permit(cx) else {
                break;
            };
            self.start_next(permit);
            started += 1;
        }
        self.tell_whether_any_waits();
        started
    }
}

/// Stands for all null keys, which wait for each other.
const NULL_KEY: u64 = 0;

/// Keys that are hashes already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("keys are u64");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
