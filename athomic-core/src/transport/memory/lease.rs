//! The right of one stream to read one partition, for one assignment.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::task::AtomicWaker;

use super::wakes::Wakes;

/// Shared by the group, which ends it, the stream, which obeys it, and the log, which wakes it.
///
/// All three change it under the broker's lock; the stream looks at it without.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// The assignment is over: the stream gives nothing more.
    over: AtomicBool,
    /// The member hears nothing from the broker, so its streams neither end nor go on.
    silenced: AtomicBool,
    /// The stream, where it waits.
    pub(super) waker: AtomicWaker,
}

impl Lease {
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub(super) fn is_silenced(&self) -> bool {
        self.silenced.load(Ordering::Acquire)
    }

    /// End the assignment.
    pub(super) fn end(&self, wakes: &mut Wakes) {
        self.over.store(true, Ordering::Release);
        self.wake(wakes);
    }

    /// Cut the stream off from the broker, or let it hear again.
    pub(super) fn silence(&self, silenced: bool, wakes: &mut Wakes) {
        self.silenced.store(silenced, Ordering::Release);
        self.wake(wakes);
    }

    pub(super) fn wake(&self, wakes: &mut Wakes) {
        wakes.add(self.waker.take());
    }
}
