//! What probes see of dead letters on their way: since when none was taken, and why.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Chain, TARGET};
use crate::handler::HandlerScope;
use crate::health::Finding;
use crate::outcome::FailureContext;
use crate::publisher::PublishError;
use crate::retry::Backoff;

/// So long a write may take before somebody is told that it is not acknowledged.
const PATIENCE: Duration = Duration::from_secs(10);

/// The writes of one handler that are not acknowledged yet.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    writing: usize,
    /// Since when none of them got through.
    began: Option<Instant>,
    error: Option<String>,
}

/// How long to wait before a record is written again.
const AGAIN: Backoff = Backoff {
    first: Duration::from_millis(250),
    longest: Duration::from_secs(30),
    factor: 2.0,
    jitter: true,
};

/// A write under way; ends when dropped, also if nobody waits for it any more.
#[derive(Debug)]
pub(crate) struct Write {
    trouble: Arc<Trouble>,
    failures: u32,
}

impl Trouble {
    /// Take note that a write begins.
    pub(crate) fn begin(self: &Arc<Self>) -> Write {
        let mut state = self.lock();
        state.writing += 1;
        state.began.get_or_insert_with(Instant::now);
        Write {
            trouble: Arc::clone(self),
            failures: 0,
        }
    }

    /// Say whether the last write that ended failed, with others still under way.
    pub(crate) fn is_failing(&self) -> bool {
        self.lock().error.is_some()
    }

    /// Add what is to be said.
    pub(crate) fn find(&self, now: Instant, findings: &mut Vec<Finding>) {
        let state = self.lock();
        let Some(began) = state.began else { return };
        let lasting = now - began;
        if state.error.is_some() || lasting > PATIENCE {
            findings.push(Finding::DeadLettersFail {
                lasting,
                waiting: state.writing,
                error: state.error.clone().unwrap_or_else(|| "no answer yet".to_owned()),
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write {
    /// Take note that it failed, and wait until it is to be tried again.
    pub(crate) async fn failed(
        &mut self,
        scope: &HandlerScope,
        failure: &FailureContext,
        error: &PublishError,
    ) {
        self.failures = self.failures.saturating_add(1);
        let text = Chain(error).to_string();
        tracing::warn!(
            target: TARGET,
            handler = %scope.handler_id,
            message = ?failure.message,
            failures = self.failures,
            error = text,
            "cannot write what becomes of a message that failed, trying again"
        );
        self.trouble.lock().error = Some(text);
        tokio::time::sleep(AGAIN.delay(self.failures)).await;
    }

    /// Take note that it was acknowledged.
    pub(crate) fn acknowledged(self) {
        let mut state = self.trouble.lock();
        state.began = Some(Instant::now());
        state.error = None;
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        let mut state = self.trouble.lock();
        state.writing -= 1;
        if state.writing == 0 {
            *state = State::default();
        }
    }
}
