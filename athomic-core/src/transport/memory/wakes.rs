//! Wakers collected under the broker's lock, to be woken after it is released.

use std::task::Waker;

/// Wakers to wake.
///
/// A waker may run foreign code, which may come back for the lock; so nothing is woken under it.
#[derive(Debug, Default)]
pub(super) struct Wakes(Vec<Waker>);

impl Wakes {
    pub(super) fn add(&mut self, waker: Option<Waker>) {
        self.0.extend(waker);
    }

    pub(super) fn wake_all(self) {
        for waker in self.0 {
            waker.wake();
        }
    }
}
