//! What a lane lets others see of it: executions that last, a window that is closed, a partition that
//! cannot be read.
//!
//! Executions that end when they are first polled leave nothing here but two numbers, so that handlers
//! which never wait pay next to nothing.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::health::{Finding, Outage};
use crate::message::{Offset, TopicPartition};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    /// Rises before and after each poll of a handler: odd while one is polled.
    polls: AtomicU64,
    state: Mutex<State>,
    /// Since when reading fails.
    unreadable: Outage,
}

#[derive(Debug, Default)]
struct State {
    /// Executions that wait for something, the oldest first: first offset and when it began.
    executions: BTreeMap<u64, (Offset, Instant)>,
    begun: u64,
    /// A poll that was under way when somebody looked, and when that was.
    polled: Option<(u64, Instant)>,
    window_closed: Option<Instant>,
}

impl Vitals {
    /// Run a handler so that it is seen if it lasts.
    pub(crate) async fn watch<T>(&self, offset: Offset, run: impl Future<Output = T>) -> T {
        let mut run = pin!(run);
        let mut seen = None;
        poll_fn(|cx| {
            // One task polls all handlers of a lane: there is no other writer.
            let polls = self.polls.load(Ordering::Relaxed);
            self.polls.store(polls + 1, Ordering::Relaxed);
            let polled = run.as_mut().poll(cx);
            self.polls.store(polls + 2, Ordering::Relaxed);
            if polled.is_pending() && seen.is_none() {
                seen = Some(self.begin(offset));
            }
            polled
        })
        .await
    }

    fn begin(&self, offset: Offset) -> Execution<'_> {
        let mut state = self.lock();
        state.begun += 1;
        let number = state.begun;
        state.executions.insert(number, (offset, Instant::now()));
        Execution { vitals: self, number }
    }

    /// Take note that the window closes or opens.
    pub(crate) fn close_window(&self, closed: bool) {
        self.lock().window_closed = closed.then(Instant::now);
    }

    /// Say whether the window is closed: as much is unsettled as may be.
    pub(crate) fn is_window_closed(&self) -> bool {
        self.lock().window_closed.is_some()
    }

    /// Take note that reading fails.
    pub(crate) fn cannot_read(&self, error: String) {
        self.unreadable.note(error);
    }

    /// Take note that reading works again.
    pub(crate) fn can_read(&self) {
        self.unreadable.end();
    }

    /// Say whether reading fails at present.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.unreadable.is_on()
    }

    /// Add what is to be said about the partition.
    pub(crate) fn find(
        &self,
        partition: &TopicPartition,
        in_flight: usize,
        now: Instant,
        patience: Duration,
        findings: &mut Vec<Finding>,
    ) {
        let partition = || partition.clone();
        let mut state = self.lock();
        if let Some((lasting, error)) = self.unreadable.lasting(now) {
            findings.push(Finding::CannotRead {
                partition: partition(),
                lasting,
                error,
            });
        }
        if let Some(closed) = state.window_closed {
            findings.push(Finding::BackPressure {
                partition: partition(),
                lasting: now - closed,
                in_flight,
            });
        }
        let oldest = state.executions.first_key_value().map(|(_, oldest)| *oldest);
        if let Some((offset, began)) = oldest.filter(|(_, began)| now - *began > patience) {
            findings.push(Finding::HandlerStuck {
                partition: partition(),
                offset,
                lasting: now - began,
            });
        }
        if let Some(lasting) = state.same_poll(self.polls.load(Ordering::Relaxed), now)
            && lasting > patience
        {
            findings.push(Finding::HandlerBlocks {
                partition: partition(),
                lasting,
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Return how long the poll that is under way has been seen to be.
    fn same_poll(&mut self, polls: u64, now: Instant) -> Option<Duration> {
        if polls.is_multiple_of(2) {
            self.polled = None;
            return None;
        }
        match self.polled {
            Some((earlier, began)) if earlier == polls => Some(now - began),
            _ => {
                self.polled = Some((polls, now));
                Some(Duration::ZERO)
            }
        }
    }
}

/// An execution that waits for something, until this is dropped.
struct Execution<'a> {
    vitals: &'a Vitals,
    number: u64,
}

impl Drop for Execution<'_> {
    fn drop(&mut self) {
        self.vitals.lock().executions.remove(&self.number);
    }
}
