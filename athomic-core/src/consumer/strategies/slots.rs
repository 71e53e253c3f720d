//! Futures that run side by side in slots which are used again and again.
//!
//! A future that is ready at once costs no allocation; one that waits stays pinned in its slot. A
//! slot's waker notes which slot is to be polled, so that one poll of the lane touches only those.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// After so many messages in one poll a task lets others have the thread.
pub(in super::super) const MESSAGES_PER_POLL: usize = 512;

/// Who runs futures in slots: takes note of those that end, and starts others.
pub(in super::super) trait Runner {
    type Future: Future;
    /// What belongs to each.
    type Belongs;

    fn running(&mut self) -> &mut Slots<Self::Future, Self::Belongs>;

    /// Take note of one that has ended.
    fn finish(&mut self, ended: <Self::Future as Future>::Output, belongs: Self::Belongs);

    /// Start what may start, at most so many, and say how many they were.
    fn start_some(&mut self, cx: &mut Context<'_>, limit: usize) -> usize;
}

/// Go on with what was woken and start what may start. Ready when something has changed.
pub(in super::super) fn poll_run(runner: &mut impl Runner, cx: &mut Context<'_>) -> Poll<()> {
    let mut changed = 0;
    runner.running().begin_round(cx);
    while let Some((ended, belongs)) = runner.running().next_ended() {
        runner.finish(ended, belongs);
        changed += 1;
        if changed == MESSAGES_PER_POLL {
            return Poll::Ready(());
        }
    }
    changed += runner.start_some(cx, MESSAGES_PER_POLL);
    if changed == 0 {
        Poll::Pending
    } else {
        Poll::Ready(())
    }
}

/// A set of running futures, each with something that belongs to it.
pub(in super::super) struct Slots<F, T> {
    slots: Vec<Slot<F, T>>,
    free: Vec<usize>,
    woken: Arc<Woken>,
    /// Filled from `woken` at each round; kept for its memory.
    due: Vec<usize>,
}

struct Slot<F, T> {
    future: Pin<Box<Option<F>>>,
    belongs: Option<T>,
    waker: Waker,
    flag: Arc<SlotWaker>,
}

/// Which slots were woken since the last poll, and whom to tell.
#[derive(Default)]
struct Woken {
    slots: Mutex<Vec<usize>>,
    lane: AtomicWaker,
}

struct SlotWaker {
    slot: usize,
    /// Set while the slot stands in `woken.slots`, so that it stands there once.
    noted: AtomicBool,
    woken: Arc<Woken>,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.noted.swap(true, AcqRel) {
            self.woken
                .slots
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(self.slot);
            self.woken.lane.wake();
        }
    }
}

impl<F: Future, T> Slots<F, T> {
    pub(in super::super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            woken: Arc::default(),
            due: Vec::new(),
        }
    }

    /// Return how many futures are running.
    pub(in super::super) fn running(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Start a future and poll it once; give its result and what belongs to it if it is ready.
    pub(in super::super) fn start(&mut self, future: F, belongs: T) -> Option<(F::Output, T)> {
        let index = self.free.pop().unwrap_or_else(|| self.grow());
        let slot = &mut self.slots[index];
        slot.future.as_mut().set(Some(future));
        slot.belongs = Some(belongs);
        self.poll_slot(index)
    }

    /// Take note of who was woken; what is woken from now on wakes the lane's task.
    ///
    /// A round polls each slot once, however often it wakes itself, so that one poll of the lane has
    /// an end.
    pub(in super::super) fn begin_round(&mut self, cx: &Context<'_>) {
        // Before the look at the list: who is woken after it finds the waker.
        self.woken.lane.register(cx.waker());
        let mut woken = self.woken.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // Also when the last round was left early, or nobody would poll these.
        self.due.append(&mut woken);
    }

    /// Poll what the round has left, until a future is ready; give its result and what belongs to it.
    pub(in super::super) fn next_ended(&mut self) -> Option<(F::Output, T)> {
        while let Some(index) = self.due.pop() {
            // A swap, not a store: a wake that found the note still there happened before this poll.
            self.slots[index].flag.noted.swap(false, AcqRel);
            if let Some(ended) = self.poll_slot(index) {
                return Some(ended);
            }
        }
        None
    }

    /// Look at what belongs to each running future.
    pub(in super::super) fn each(&self, look: impl FnMut(&T)) {
        self.slots
            .iter()
            .filter_map(|slot| slot.belongs.as_ref())
            .for_each(look);
    }

    /// Drop all futures, and give what belongs to them.
    pub(in super::super) fn cancel_all(&mut self) -> Vec<T> {
        let mut belongs = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if let Some(belonged) = slot.belongs.take() {
                slot.future.as_mut().set(None);
                self.free.push(index);
                belongs.push(belonged);
            }
        }
        belongs
    }

    fn poll_slot(&mut self, index: usize) -> Option<(F::Output, T)> {
        let slot = &mut self.slots[index];
        // A slot may be woken once more after its future has ended.
        let future = slot.future.as_mut().as_pin_mut()?;
        let Poll::Ready(output) = future.poll(&mut Context::from_waker(&slot.waker)) else {
            return None;
        };
        slot.future.as_mut().set(None);
        self.free.push(index);
        Some((output, slot.belongs.take().expect("set when the future was")))
    }

    fn grow(&mut self) -> usize {
        let index = self.slots.len();
        let flag = Arc::new(SlotWaker {
            slot: index,
            noted: AtomicBool::new(false),
            woken: Arc::clone(&self.woken),
        });
        let waker = Waker::from(Arc::clone(&flag));
        self.slots.push(Slot {
            future: Box::pin(None),
            belongs: None,
            waker,
            flag,
        });
        index
    }
}
