//! Messages that failed for good. Stage 8 of 9: decides between another try and giving up.
//!
//! The only strategy so far is `logging_only`: an error event with the coordinates, by which the
//! record can be found in its topic. Payload and headers are never logged; they may hold secrets.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::handler::HandlerScope;
use crate::outcome::FailureContext;
use crate::retry::{RetryDecision, RetryPolicy};
use crate::settings::DlqSettings;

/// Decides what follows a failure, and takes the messages that are given up.
#[derive(Debug, Clone)]
pub struct DlqHandler {
    policy: RetryPolicy,
    /// Without dead letters nothing is given up: a message is tried until it succeeds, and its lane
    /// stands still meanwhile.
    enabled: bool,
}

impl DlqHandler {
    /// Decide by the settings of section `dlq`.
    #[must_use]
    pub fn new(settings: &DlqSettings) -> Self {
        Self {
            policy: settings.into(),
            enabled: settings.enabled,
        }
    }

    /// Decide on a failure, and log it. After [`RetryDecision::GiveUp`] the message may be settled.
    #[must_use]
    pub fn handle(&self, scope: &HandlerScope, failure: &FailureContext) -> RetryDecision {
        let decision = self.decide(failure);
        match decision {
            RetryDecision::GiveUp => self.give_up(scope, failure),
            RetryDecision::RetryAfter(delay) => self.retry(scope, failure, delay),
        }
        decision
    }

    /// Decide on a failure.
    #[must_use]
    pub fn decide(&self, failure: &FailureContext) -> RetryDecision {
        match self.policy.decide(failure) {
            RetryDecision::GiveUp if !self.enabled => RetryDecision::RetryAfter(self.policy.delay(failure)),
            decision => decision,
        }
    }

    /// Take a message that is given up. It may be settled then.
    pub fn give_up(&self, scope: &HandlerScope, failure: &FailureContext) {
        log_dead_letter(scope, failure);
    }

    /// Take note that a message is tried again.
    pub fn retry(&self, scope: &HandlerScope, failure: &FailureContext, delay: Duration) {
        log_retry(scope, failure, delay);
    }

    /// Say whether an attempt is the last one that the policy allows.
    #[must_use]
    pub fn is_last(&self, attempt: u32) -> bool {
        self.enabled && attempt >= self.policy.max_attempts
    }
}

fn log_dead_letter(scope: &HandlerScope, failure: &FailureContext) {
    tracing::error!(
        handler = %scope.handler_id,
        group = %scope.group_id,
        topic = failure.message.topic(),
        partition = failure.message.partition(),
        offset = failure.message.offset(),
        attempt = failure.attempt,
        stage = failure.stage.as_str(),
        error = %Chain(failure.error.as_ref()),
        "message given up: dead letter (logging_only)"
    );
}

fn log_retry(scope: &HandlerScope, failure: &FailureContext, delay: Duration) {
    tracing::warn!(
        handler = %scope.handler_id,
        group = %scope.group_id,
        topic = failure.message.topic(),
        partition = failure.message.partition(),
        offset = failure.message.offset(),
        attempt = failure.attempt,
        stage = failure.stage.as_str(),
        error = %Chain(failure.error.as_ref()),
        delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
        "message failed, trying again"
    );
}

/// Shows an error and its causes, with a colon between.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
