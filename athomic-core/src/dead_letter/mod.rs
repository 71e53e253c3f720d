//! Messages that failed for good. Stage 8 of 9: decides between another try and giving up, and sees to it
//! that what is given up can be found again.
//!
//! | strategy | what becomes of a message that is given up |
//! |---|---|
//! | `logging_only` | an error event with its coordinates; the record stays where it is (`log_only.rs`) |
//! | `keep` | a record in the dead-letter topic, which stays there until somebody replays it |
//! | `republish_to_parking_lot` | the same, and the [`DeadLetterProcessor`] moves it on to the parking lot |
//!
//! Invariants:
//! - A message is settled only after its dead letter was acknowledged by the broker. If the topic cannot be
//!   written to, the message waits, readiness says so, and nothing is lost.
//! - A letter that is written twice has the same id twice ([`headers::DLQ_ID`]).
//! - A dead letter never becomes another one: what fails with such an id on it, or in the dead-letter topic,
//!   goes to the parking lot as it is; what fails in the parking lot stays there.
//! - A letter that is larger than its topic takes loses the text of its errors, then its
//!   payload, never its coordinates.

mod envelope;
pub mod headers;
mod index;
mod letter;
mod log_only;
mod processor;
mod replay;
mod routes;
mod sets;
mod summary;
mod topic;
mod trouble;
mod writer;

pub(crate) use index::DeadLetterIndexService;
pub use index::{DeadLetterIndex, IndexEntry, IndexFilter};
#[cfg(feature = "otel")]
pub(crate) use letter::bounded;
pub(crate) use letter::{Origin, error_type};
pub use processor::DeadLetterProcessor;
pub use replay::{DeadLetter, DeadLetterDesk, Filter, ReplayError, ReplayOptions, ReplayReport};
pub(crate) use routes::Routes;
pub use summary::Summary;
pub use topic::TopicTemplate;
pub(crate) use trouble::Trouble;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use writer::Writer;

use crate::handler::HandlerScope;
use crate::message::RawMessage;
use crate::outcome::FailureContext;
use crate::retry::{RetryDecision, RetryPolicy, Standing};
use crate::settings::{DlqSettings, DlqStrategy, RetryMode};

/// The log's target for everything that is about failed messages.
const TARGET: &str = "athomic_core::dead_letter";

pub use crate::settings::DlqHeaderSet as HeaderSet;

/// Decides what follows a failure, and takes the messages that are given up.
#[derive(Debug, Clone)]
pub struct DlqHandler {
    policy: RetryPolicy,
    /// Without dead letters nothing is given up: a message is tried until it succeeds, and its lane
    /// stands still meanwhile.
    enabled: bool,
    /// Writes dead letters; `None` if they are only logged.
    writer: Option<Arc<Writer>>,
    trouble: Arc<Trouble>,
}

impl DlqHandler {
    /// Decide on the failures of a handler by the settings of section `dlq`; what is written is noted in the index.
    #[must_use]
    pub fn new(settings: &DlqSettings, handler_id: &str, index: Option<DeadLetterIndex>) -> Self {
        let writes = settings.enabled && settings.strategy != DlqStrategy::LoggingOnly;
        let routes = Routes::of(handler_id, settings);
        Self {
            policy: settings.into(),
            enabled: settings.enabled,
            writer: writes.then(|| Arc::new(Writer::new(settings, routes, index))),
            trouble: Arc::default(),
        }
    }

    /// Decide by another policy.
    #[must_use]
    pub fn with_policy(mut self, policy: RetryPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Decide on a failure.
    #[must_use]
    pub fn decide(&self, failure: &FailureContext) -> RetryDecision {
        match self.policy.decide(failure) {
            RetryDecision::GiveUp if !self.enabled => RetryDecision::RetryAfter(self.policy.delay(failure)),
            decision => decision,
        }
    }

    /// Take a message that is given up: it may be settled when this returns, and not before.
    ///
    /// A dead letter that is not acknowledged is written again until it is. Cancel safe: what is dropped
    /// may have been written, and has the same id when it is written again.
    pub async fn give_up(&self, scope: &HandlerScope, failure: &FailureContext) {
        match &self.writer {
            None => log_only::dead_letter(scope, failure, "dead letter (logging_only)"),
            Some(writer) => writer.write(scope, failure, &self.trouble).await,
        }
        if let Some(telemetry) = &scope.telemetry {
            telemetry.given_up(failure);
        }
    }

    /// Take note that a message is tried again.
    pub fn retry(&self, scope: &HandlerScope, failure: &FailureContext, delay: Duration) {
        log_only::retry(scope, failure, delay);
        if let Some(telemetry) = &scope.telemetry {
            telemetry.retried(failure);
        }
    }

    /// Take note that a failure is ignored.
    pub fn ignore(&self, scope: &HandlerScope, failure: &FailureContext) {
        log_only::ignored(scope, failure);
    }

    /// Say whether an attempt is the last one that the policy allows.
    #[must_use]
    pub fn is_last(&self, attempt: u32) -> bool {
        self.enabled && attempt >= self.policy.max_attempts
    }

    /// Say where a message waits for its next attempt.
    pub(crate) fn mode(&self) -> RetryMode {
        self.policy.mode
    }

    /// Read what a record says of itself as a retry.
    pub(crate) fn standing(&self, scope: &HandlerScope, message: &RawMessage) -> Standing {
        let now = || scope.publisher.now();
        Standing::of(message, &scope.group_id, self.policy.max_attempts, now)
    }

    /// Return what probes see of dead letters on their way.
    pub(crate) fn trouble(&self) -> &Arc<Trouble> {
        &self.trouble
    }
}

/// Return the topic in which the message of a dead letter failed; `None` if the record is no dead letter.
pub(crate) fn failed_in(record: &RawMessage) -> Option<String> {
    Some(Origin::parse(record.header(headers::DLQ_ORIGIN)?)?.topic)
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
