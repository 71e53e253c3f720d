//! Circuit breakers: a handler whose messages keep failing is left alone for a while. Beside stage 6 of 9.
//!
//! | state | what runs | ends |
//! |---|---|---|
//! | closed | everything | when the window holds enough outcomes and too many of them are failures |
//! | open | nothing is begun; what runs may end | after `open_for`, with the next message that waits |
//! | half-open | at most `trials` executions at a time | when `trials` outcomes are known: closed or open, by the same rate |
//!
//! An open circuit is no state of the group: a lane that has leave for no execution does not pull, as with back
//! pressure. What waits is not tried, not counted as an attempt, not published elsewhere and not settled. A
//! stop or a revocation leaves it as it is, and whoever has the partition next begins with it.
//!
//! What counts are failures that say something about what the handler needs: errors that may be tried again,
//! time-outs, panics. A payload that cannot be decoded, an error that is ignored and a message that is given up
//! at once say something about the message, and count as nothing. A batch counts message by message.
//!
//! Invariant: an outcome counts in the state in which its execution was begun, and in no later one.

mod policy;
mod window;

pub use policy::{CircuitBreakerPolicy, Window};
pub(crate) use policy::{MOST_CALLS, faults, resolve};
pub(crate) use window::Tally;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::health::Finding;
use crate::outcome::{FailureStage, RetryWish};
use window::Rolling;

/// A handler's circuit breaker, shared by all its lanes in the process.
#[derive(Debug)]
pub(crate) struct CircuitBreaker {
    handler_id: Arc<str>,
    policy: CircuitBreakerPolicy,
    /// Read before each execution, so that a closed circuit costs no lock there.
    closed: AtomicBool,
    /// How often the state has changed: tells to which one an execution belongs.
    turn: AtomicU64,
    opened: AtomicU64,
    /// Told whenever more may run than before, or nothing any more.
    changed: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Since when it has not been closed, and what opened it.
    open: Option<(Instant, Tally)>,
}

#[derive(Debug)]
enum Phase {
    Closed(Rolling),
    /// Until then nothing runs.
    Open(Instant),
    HalfOpen {
        running: u32,
        known: Tally,
    },
}

/// What a circuit breaker does at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CircuitState {
    /// Everything runs.
    Closed,
    /// Nothing is begun.
    Open,
    /// A few messages are tried.
    HalfOpen,
}

/// What is known of a handler's circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CircuitReport {
    /// What it does at present.
    pub state: CircuitState,
    /// How often it has opened since the process began.
    pub opened: u64,
}

/// Leave to begin one execution; a trial's place is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    trial: Option<(Arc<CircuitBreaker>, u64)>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some((breaker, turn)) = self.trial.take() {
            breaker.end_trial(turn);
        }
    }
}

impl CircuitBreaker {
    pub(crate) fn new(handler_id: Arc<str>, policy: CircuitBreakerPolicy) -> Self {
        Self {
            handler_id,
            policy,
            closed: AtomicBool::new(true),
            turn: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            changed: Notify::new(),
            state: Mutex::new(State {
                phase: Phase::Closed(Rolling::new(policy.window)),
                open: None,
            }),
        }
    }

    /// Say whether everything runs.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Return leave for one execution; `None` if it is to wait.
    pub(crate) fn pass(self: &Arc<Self>) -> Option<Pass> {
        if self.is_closed() {
            return Some(Pass { trial: None });
        }
        let mut state = self.lock();
        match &mut state.phase {
            Phase::Closed(_) => return Some(Pass { trial: None }),
            Phase::Open(until) if Instant::now() < *until => return None,
            Phase::Open(_) => {
                let half_open = Phase::HalfOpen {
                    running: 1,
                    known: Tally::default(),
                };
                self.enter(&mut state, half_open);
            }
            Phase::HalfOpen { running, known } if *running + known.total < self.policy.trials => {
                *running += 1
            }
            Phase::HalfOpen { .. } => return None,
        }
        let turn = self.turn.load(Relaxed);
        drop(state);
        Some(Pass {
            trial: Some((Arc::clone(self), turn)),
        })
    }

    /// Wait until [`pass`](Self::pass) may give leave.
    pub(crate) async fn passable(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let until = match &self.lock().phase {
                Phase::Closed(_) => return,
                Phase::HalfOpen { running, known } if *running + known.total < self.policy.trials => return,
                Phase::HalfOpen { .. } => None,
                Phase::Open(until) => Some(*until),
            };
            match until {
                None => changed.await,
                Some(until) => {
                    let due = tokio::time::timeout_at(until, changed).await.is_err();
                    if due {
                        return;
                    }
                }
            }
        }
    }

    /// Wait until not everything runs.
    pub(crate) async fn broken(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if !self.is_closed() {
                return;
            }
            changed.await;
        }
    }

    /// Return the turn in which an execution begins, for [`note`](Self::note).
    pub(crate) fn begin(&self) -> u64 {
        self.turn.load(Relaxed)
    }

    /// Take note of what came of an execution. Nothing comes of it if the state has changed since it began.
    pub(crate) fn note(&self, turn: u64, outcomes: Tally) {
        let (mut state, now) = (self.lock(), Instant::now());
        if outcomes.total == 0 || turn != self.turn.load(Relaxed) {
            return;
        }
        let CircuitBreakerPolicy {
            failure_percent: percent,
            minimum_calls,
            trials,
            ..
        } = self.policy;
        match &mut state.phase {
            Phase::Closed(window) => {
                let known = window.add(now, outcomes);
                if known.total >= minimum_calls && known.reaches(percent, 1) {
                    state.open = Some((now, known));
                    self.open(&mut state, known);
                }
            }
            Phase::HalfOpen { known, .. } => {
                known.add(outcomes);
                let known = *known;
                if known.reaches(percent, trials) {
                    self.open(&mut state, known);
                } else if known.total >= trials {
                    state.open = None;
                    self.enter(&mut state, Phase::Closed(Rolling::new(self.policy.window)));
                }
            }
            Phase::Open(_) => {}
        }
    }

    /// Say how it is.
    pub(crate) fn report(&self) -> CircuitReport {
        CircuitReport {
            state: self.lock().phase.state(),
            opened: self.opened.load(Relaxed),
        }
    }

    /// Add what is to be said about it. One that is due and for which no message waits holds nothing up.
    pub(crate) fn find(&self, now: Instant, findings: &mut Vec<Finding>) {
        let state = self.lock();
        let is_idle = matches!(state.phase, Phase::Open(until) if until <= now);
        if let (Some((began, Tally { failed, total })), false) = (state.open, is_idle) {
            findings.push(Finding::CircuitOpen {
                lasting: now - began,
                failed,
                total,
            });
        }
    }

    fn open(&self, state: &mut State, known: Tally) {
        self.opened.fetch_add(1, Relaxed);
        let Tally { failed, total } = known;
        tracing::warn!(
            handler = %self.handler_id,
            failed,
            total,
            "circuit breaker opens: nothing is begun for {:?}",
            self.policy.open_for
        );
        self.enter(state, Phase::Open(Instant::now() + self.policy.open_for));
    }

    /// Change the state, and tell those who wait for it.
    fn enter(&self, state: &mut State, phase: Phase) {
        match phase {
            Phase::Open(_) => {}
            Phase::HalfOpen { .. } => {
                let trials = self.policy.trials;
                tracing::info!(handler = %self.handler_id, trials, "circuit breaker is half-open: a few messages are tried");
            }
            Phase::Closed(_) => {
                tracing::info!(handler = %self.handler_id, "circuit breaker closes: the handler works again");
            }
        }
        state.phase = phase;
        self.turn.fetch_add(1, Relaxed);
        self.closed
            .store(matches!(state.phase, Phase::Closed(_)), Relaxed);
        self.changed.notify_waiters();
    }

    fn end_trial(&self, of: u64) {
        let mut state = self.lock();
        if let Phase::HalfOpen { running, .. } = &mut state.phase
            && self.turn.load(Relaxed) == of
        {
            *running -= 1;
            self.changed.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Phase {
    const fn state(&self) -> CircuitState {
        match self {
            Self::Closed(_) => CircuitState::Closed,
            Self::Open(_) => CircuitState::Open,
            Self::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }
}

/// Say whether a failure tells of what its handler needs, and not of its message.
pub(crate) fn counts(stage: FailureStage, wish: RetryWish) -> bool {
    let is_the_handlers = matches!(
        stage,
        FailureStage::Handler | FailureStage::Panic | FailureStage::Timeout
    );
    is_the_handlers && matches!(wish, RetryWish::ByPolicy | RetryWish::After(_))
}

/// Reads the circuit breakers of all handlers that have one. Clones read the same.
#[derive(Clone, Default)]
pub struct CircuitMonitor {
    breakers: BTreeMap<String, Arc<CircuitBreaker>>,
}

impl CircuitMonitor {
    pub(crate) fn add(&mut self, handler_id: String, breaker: Arc<CircuitBreaker>) {
        self.breakers.insert(handler_id, breaker);
    }

    /// Return what is known of each, by its handler's id.
    #[must_use]
    pub fn reports(&self) -> BTreeMap<String, CircuitReport> {
        let report = |(id, breaker): (&String, &Arc<CircuitBreaker>)| (id.clone(), breaker.report());
        self.breakers.iter().map(report).collect()
    }
}

impl fmt::Debug for CircuitMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.reports()).finish()
    }
}
