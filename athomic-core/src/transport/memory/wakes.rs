//! Wakers collected under the broker's lock, to be woken after it is released.

use std::task::Waker;

/// Wakers to wake, and wakers to let go.
///
/// A waker may run foreign code, also when it is dropped, which may come back for the lock; so neither is
/// done under it.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    woken: Vec<Waker>,
    let_go: Vec<Waker>,
}

impl Wakes {
    /// Wake it.
    pub(super) fn add(&mut self, waker: Option<Waker>) {
        self.woken.extend(waker);
    }

    /// Drop it without waking: another one of the same waiter has taken its place. To wake it would wake
    /// the waiter that is just looking, for ever, since two wakers of one task need not know each other.
    pub(super) fn let_go(&mut self, waker: Option<Waker>) {
        self.let_go.extend(waker);
    }

    pub(super) fn wake_all(self) {
        for waker in self.woken {
            waker.wake();
        }
        drop(self.let_go);
    }
}
