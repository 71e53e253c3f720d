//! What a handler's result means. Stage 7 of 9, between the handler and retry or dead letter.
//!
//! A handler returns `()`, `Result<(), E>`, [`Outcome`] or `Result<Outcome, E>`; a batch handler
//! may also return one outcome for each message. All become an [`Outcome`] here, which the runtime
//! turns into a [`ConsumptionOutcome`]. What an error means its own type may say ([`Disposition`]).

mod disposition;

pub use disposition::{Disposition, Fallible, FallibleBatch, classified, classified_batch};

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::context::TraceContext;
use crate::message::RawMessage;

/// Any error, boxed.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// What is to happen with a message.
#[derive(Debug)]
#[must_use = "an outcome that is dropped settles nothing"]
pub enum Outcome {
    /// It is done.
    Ack,
    /// It failed and is to be tried again, after the given time or as the retry policy says.
    Retry {
        /// When to try again; `None` leaves it to the policy.
        after: Option<Duration>,
        /// Why.
        error: BoxError,
    },
    /// It failed and trying again cannot help: to the dead letters at once.
    DeadLetter {
        /// Why.
        error: BoxError,
    },
    /// It failed and nothing is to come of it: it is logged and settled, and there is no dead letter.
    Ignore {
        /// Why.
        error: BoxError,
    },
}

impl Outcome {
    /// Try again as the retry policy says.
    pub fn retry(error: impl Into<BoxError>) -> Self {
        Self::Retry {
            after: None,
            error: error.into(),
        }
    }

    /// Try again after a time.
    pub fn retry_after(error: impl Into<BoxError>, after: Duration) -> Self {
        Self::Retry {
            after: Some(after),
            error: error.into(),
        }
    }

    /// Try again at once.
    pub fn retry_now(error: impl Into<BoxError>) -> Self {
        Self::retry_after(error, Duration::ZERO)
    }

    /// Give up at once.
    pub fn dead_letter(error: impl Into<BoxError>) -> Self {
        Self::DeadLetter { error: error.into() }
    }

    /// Log the failure, and settle the message without a dead letter.
    pub fn ignore(error: impl Into<BoxError>) -> Self {
        Self::Ignore { error: error.into() }
    }

    /// Say whether the message is done.
    #[must_use]
    pub fn is_ack(&self) -> bool {
        matches!(self, Self::Ack)
    }
}

/// A handler's error that says what is to happen next.
///
/// `?` turns any error into one that is tried again by policy; the constructors say otherwise. It
/// is not itself a [`std::error::Error`], so that `?` can take all that are.
///
/// ```
/// use std::time::Duration;
/// use athomic_core::outcome::HandlerError;
///
/// fn charge(card: &str) -> Result<(), HandlerError> {
///     let digits: u64 = card.parse()?; // tried again by policy
///     if digits == 0 {
///         return Err(HandlerError::dead_letter("no such card"));
///     }
///     Err(HandlerError::retry_after("the bank is busy", Duration::from_secs(5)))
/// }
/// assert!(charge("0").is_err());
/// ```
pub struct HandlerError(Outcome);

impl HandlerError {
    /// Try again as the retry policy says.
    pub fn retry(error: impl Into<BoxError>) -> Self {
        Self(Outcome::retry(error))
    }

    /// Try again after a time.
    pub fn retry_after(error: impl Into<BoxError>, after: Duration) -> Self {
        Self(Outcome::retry_after(error, after))
    }

    /// Try again at once; it counts as an attempt.
    pub fn retry_now(error: impl Into<BoxError>) -> Self {
        Self(Outcome::retry_now(error))
    }

    /// Give up at once: to the dead letters.
    pub fn dead_letter(error: impl Into<BoxError>) -> Self {
        Self(Outcome::dead_letter(error))
    }

    /// Log the failure, and settle the message without a dead letter.
    pub fn ignore(error: impl Into<BoxError>) -> Self {
        Self(Outcome::ignore(error))
    }

    /// Return what failed, as to ask for its type by `downcast_ref`.
    #[must_use]
    pub fn get_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        match &self.0 {
            Outcome::Retry { error, .. } | Outcome::DeadLetter { error } | Outcome::Ignore { error } => {
                error.as_ref()
            }
            Outcome::Ack => unreachable!("no constructor makes an error of an acknowledgement"),
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::retry(error)
    }
}

impl From<HandlerError> for BoxError {
    fn from(error: HandlerError) -> Self {
        match error.0 {
            Outcome::Retry { error, .. } | Outcome::DeadLetter { error } | Outcome::Ignore { error } => error,
            Outcome::Ack => unreachable!("no constructor makes an error of an acknowledgement"),
        }
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.get_ref(), f)
    }
}

/// Read an error's class: a [`HandlerError`] says it itself, all others are tried again by policy.
fn classify<E: Into<BoxError> + 'static>(error: E) -> Outcome {
    let mut error = Some(error);
    // Decided when compiling, for each `E`: the one type that cannot be an `Error`, so that `?` works.
    if let Some(classified) = (&mut error as &mut dyn Any).downcast_mut::<Option<HandlerError>>() {
        return classified.take().expect("it was put there above").0;
    }
    Outcome::retry(error.take().expect("it was put there above"))
}

/// What a handler for single messages may return.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "not a handler's result",
    note = "return `()`, `Result<(), E>`, `Outcome` or `Result<Outcome, E>`, where `E` is any error (`E: Into<Box<dyn Error + Send + Sync>>`)"
)]
pub trait IntoOutcome {
    /// Say what the result means.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Outcome::Ack
    }
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

#[diagnostic::do_not_recommend]
impl<E: Into<BoxError> + 'static> IntoOutcome for Result<(), E> {
    fn into_outcome(self) -> Outcome {
        self.map_or_else(classify, |()| Outcome::Ack)
    }
}

#[diagnostic::do_not_recommend]
impl<E: Into<BoxError> + 'static> IntoOutcome for Result<Outcome, E> {
    fn into_outcome(self) -> Outcome {
        self.unwrap_or_else(classify)
    }
}

/// What a batch handler's result means.
#[derive(Debug)]
pub enum BatchOutcome {
    /// The same for each message of the batch.
    All(Outcome),
    /// One for each message, in the batch's order. Messages without one are tried again.
    Each(Vec<Outcome>),
}

/// What a batch handler may return.
#[diagnostic::on_unimplemented(
    message = "a batch handler cannot return `{Self}`",
    label = "not a batch handler's result",
    note = "return `()`, `Result<(), E>`, `Outcome`, `Result<Outcome, E>`, or one outcome for each message: `Vec<Outcome>`, `Vec<Result<(), E>>` or `Result<Vec<Outcome>, E>`"
)]
pub trait IntoBatchOutcome {
    /// Say what the result means.
    fn into_batch_outcome(self) -> BatchOutcome;
}

impl IntoBatchOutcome for () {
    fn into_batch_outcome(self) -> BatchOutcome {
        BatchOutcome::All(Outcome::Ack)
    }
}

impl IntoBatchOutcome for Outcome {
    fn into_batch_outcome(self) -> BatchOutcome {
        BatchOutcome::All(self)
    }
}

#[diagnostic::do_not_recommend]
impl<E: Into<BoxError> + 'static> IntoBatchOutcome for Result<(), E> {
    fn into_batch_outcome(self) -> BatchOutcome {
        BatchOutcome::All(self.into_outcome())
    }
}

#[diagnostic::do_not_recommend]
impl<E: Into<BoxError> + 'static> IntoBatchOutcome for Result<Outcome, E> {
    fn into_batch_outcome(self) -> BatchOutcome {
        BatchOutcome::All(self.into_outcome())
    }
}

#[diagnostic::do_not_recommend]
impl<O: IntoOutcome> IntoBatchOutcome for Vec<O> {
    fn into_batch_outcome(self) -> BatchOutcome {
        BatchOutcome::Each(self.into_iter().map(IntoOutcome::into_outcome).collect())
    }
}

#[diagnostic::do_not_recommend]
impl<O: IntoOutcome, E: Into<BoxError> + 'static> IntoBatchOutcome for Result<Vec<O>, E> {
    fn into_batch_outcome(self) -> BatchOutcome {
        match self {
            Ok(each) => each.into_batch_outcome(),
            Err(error) => BatchOutcome::All(classify(error)),
        }
    }
}

/// How the processing of a message ended, after all stages.
#[derive(Debug)]
pub enum ConsumptionOutcome {
    /// The handler is done with it.
    Success,
    /// It failed; what follows is decided by the retry policy and the dead-letter handler.
    Failure(FailureContext),
    /// It was not tried: another one handles it, or the idempotency store gives no answer. To be asked for
    /// again after this time.
    Deferred(Duration),
}

/// Where a message failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureStage {
    /// Its payload, its key or another argument of the handler could not be decoded.
    Decode,
    /// The handler returned an error.
    Handler,
    /// The handler panicked.
    Panic,
    /// The handler ran for longer than `handler_timeout_ms`.
    Timeout,
    /// It has no place in the order of its aggregate, or its aggregate's messages are given up.
    Ordering,
}

impl FailureStage {
    /// Return the name used in logs, headers and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Handler => "handler",
            Self::Panic => "panic",
            Self::Timeout => "timeout",
            Self::Ordering => "ordering",
        }
    }
}

/// A failed message and all that is known of its failure: what retry and dead letter decide on.
#[derive(Debug)]
pub struct FailureContext {
    /// The message as it came.
    pub message: RawMessage,
    /// Where it failed.
    pub stage: FailureStage,
    /// Why.
    pub error: BoxError,
    /// How often it has been tried, this time included: 1 is the first.
    pub attempt: u32,
    /// What the failure asks for.
    pub wish: RetryWish,
    /// The span of the execution that failed; `None` where no spans are recorded, or none ran.
    pub span: Option<Box<TraceContext>>,
}

/// What a failure asks of the retry policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryWish {
    /// Try again with the policy's delay.
    ByPolicy,
    /// Try again after this time.
    After(Duration),
    /// Try again with the policy's delay, in the message's place, however often: it is not at fault.
    Always,
    /// Do not try again.
    Never,
    /// Settle the message without a dead letter.
    Ignore,
}

/// Return what a panic said.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a value that is no text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(outcome: Outcome, expected: &str) {
        assert_eq!(format!("{outcome:?}"), expected);
    }

    #[test]
    fn results_become_outcomes() {
        check(().into_outcome(), "Ack");
        check(Ok::<(), BoxError>(()).into_outcome(), "Ack");
        check(
            Err::<(), _>("busy").into_outcome(),
            r#"Retry { after: None, error: "busy" }"#,
        );
        check(
            Ok::<_, BoxError>(Outcome::dead_letter("x")).into_outcome(),
            r#"DeadLetter { error: "x" }"#,
        );
    }

    #[test]
    fn a_handler_error_keeps_its_class() {
        check(
            Err::<(), _>(HandlerError::dead_letter("x")).into_outcome(),
            r#"DeadLetter { error: "x" }"#,
        );
        let later = HandlerError::retry_after("x", Duration::from_secs(2));
        check(
            Err::<Outcome, _>(later).into_outcome(),
            r#"Retry { after: Some(2s), error: "x" }"#,
        );
        check(
            Err::<(), HandlerError>(fmt::Error.into()).into_outcome(),
            "Retry { after: None, error: Error }",
        );
    }

    #[test]
    fn a_batch_may_answer_for_each_message() {
        let each = vec![Ok(()), Err("late")].into_batch_outcome();
        let BatchOutcome::Each(each) = each else {
            panic!("one outcome each")
        };
        assert!(each[0].is_ack() && !each[1].is_ack());
    }
}
