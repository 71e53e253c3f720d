//! The class of a failure by the handler's own error: a function of its type says it.
//!
//! It is asked about errors that say nothing themselves; a [`HandlerError`](super::HandlerError) that was
//! made for the dead letters, say, stays what it is.

use std::time::Duration;

use super::{BatchOutcome, BoxError, IntoOutcome, Outcome, classify};

/// What is to become of a message whose handler returned an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Try again as the retry policy says.
    Retry,
    /// Try again after a time; zero is at once.
    RetryAfter(Duration),
    /// Give up at once: to the dead letters.
    DeadLetter,
    /// Log the failure, and settle the message without a dead letter.
    Ignore,
}

impl Disposition {
    fn of(self, error: BoxError) -> Outcome {
        match self {
            Self::Retry => Outcome::Retry { after: None, error },
            Self::RetryAfter(delay) => Outcome::Retry {
                after: Some(delay),
                error,
            },
            Self::DeadLetter => Outcome::DeadLetter { error },
            Self::Ignore => Outcome::Ignore { error },
        }
    }
}

/// Turn a handler's result into an outcome, with the class of its error as a function says.
///
/// `retry(classify = ..)` of the attributes does this; for handlers that are registered by hand it is called
/// in the handler. [`HandlerError::get_ref`](super::HandlerError::get_ref) has the error that `?` took.
///
/// ```
/// use athomic_core::handler::register::subscribe;
/// use athomic_core::outcome::{Disposition, classified};
///
/// #[derive(Debug, thiserror::Error)]
/// enum ChargeError {
///     #[error("the bank does not answer")]
///     Bank(#[from] std::io::Error),
///     #[error("there is no card {0}")]
///     NoCard(u64),
/// }
///
/// fn class(error: &ChargeError) -> Disposition {
///     match error {
///         ChargeError::Bank(_) => Disposition::Retry,
///         ChargeError::NoCard(_) => Disposition::DeadLetter,
///     }
/// }
///
/// async fn charge(card: u64) -> Result<(), ChargeError> {
///     Err(ChargeError::NoCard(card))
/// }
///
/// let _definition = subscribe("charges.v1").handler(async |card: u64| classified(charge(card).await, class));
/// ```
pub fn classified<R: Fallible>(result: R, classify: fn(&R::Error) -> Disposition) -> Outcome {
    result.into_outcome_by(classify)
}

/// Turn a batch handler's result into outcomes, with the class of its errors as a function says.
///
/// See [`classified`].
pub fn classified_batch<R: FallibleBatch>(result: R, classify: fn(&R::Error) -> Disposition) -> BatchOutcome {
    result.into_batch_outcome_by(classify)
}

/// What a handler for single messages may return if its errors are classified by a function.
#[diagnostic::on_unimplemented(
    message = "the errors of `{Self}` cannot be classified",
    label = "has no error of one type",
    note = "return `Result<(), E>` or `Result<Outcome, E>`, or remove `classify`"
)]
pub trait Fallible {
    /// The handler's error.
    type Error;

    /// Say what the result means.
    fn into_outcome_by(self, classify: fn(&Self::Error) -> Disposition) -> Outcome;
}

#[diagnostic::do_not_recommend]
impl<E: Into<BoxError> + 'static> Fallible for Result<(), E> {
    type Error = E;

    fn into_outcome_by(self, classify: fn(&E) -> Disposition) -> Outcome {
        self.map_or_else(|error| by(error, classify), |()| Outcome::Ack)
    }
}

#[diagnostic::do_not_recommend]
impl<E: Into<BoxError> + 'static> Fallible for Result<Outcome, E> {
    type Error = E;

    fn into_outcome_by(self, classify: fn(&E) -> Disposition) -> Outcome {
        self.unwrap_or_else(|error| by(error, classify))
    }
}

/// What a batch handler may return if its errors are classified by a function.
#[diagnostic::on_unimplemented(
    message = "the errors of `{Self}` cannot be classified",
    label = "has no error of one type",
    note = "return `Result<(), E>`, `Result<Outcome, E>`, `Vec<Result<(), E>>` or `Result<Vec<Outcome>, E>`, or remove `classify`"
)]
pub trait FallibleBatch {
    /// The handler's error.
    type Error;

    /// Say what the result means.
    fn into_batch_outcome_by(self, classify: fn(&Self::Error) -> Disposition) -> BatchOutcome;
}

#[diagnostic::do_not_recommend]
impl<E: Into<BoxError> + 'static> FallibleBatch for Result<(), E> {
    type Error = E;

    fn into_batch_outcome_by(self, classify: fn(&E) -> Disposition) -> BatchOutcome {
        BatchOutcome::All(self.into_outcome_by(classify))
    }
}

#[diagnostic::do_not_recommend]
impl<E: Into<BoxError> + 'static> FallibleBatch for Result<Outcome, E> {
    type Error = E;

    fn into_batch_outcome_by(self, classify: fn(&E) -> Disposition) -> BatchOutcome {
        BatchOutcome::All(self.into_outcome_by(classify))
    }
}

#[diagnostic::do_not_recommend]
impl<R: Fallible> FallibleBatch for Vec<R> {
    type Error = R::Error;

    fn into_batch_outcome_by(self, classify: fn(&R::Error) -> Disposition) -> BatchOutcome {
        let each = self.into_iter().map(|result| result.into_outcome_by(classify));
        BatchOutcome::Each(each.collect())
    }
}

#[diagnostic::do_not_recommend]
impl<O: IntoOutcome, E: Into<BoxError> + 'static> FallibleBatch for Result<Vec<O>, E> {
    type Error = E;

    fn into_batch_outcome_by(self, classify: fn(&E) -> Disposition) -> BatchOutcome {
        match self {
            Ok(each) => BatchOutcome::Each(each.into_iter().map(IntoOutcome::into_outcome).collect()),
            Err(error) => BatchOutcome::All(by(error, classify)),
        }
    }
}

/// Ask the function, unless the error says itself what is to happen.
fn by<E: Into<BoxError> + 'static>(error: E, disposition: fn(&E) -> Disposition) -> Outcome {
    let disposition = disposition(&error);
    match classify(error) {
        Outcome::Retry { after: None, error } => disposition.of(error),
        said => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::HandlerError;

    fn class(error: &HandlerError) -> Disposition {
        match error.get_ref().downcast_ref::<std::fmt::Error>() {
            Some(_) => Disposition::Ignore,
            None => Disposition::DeadLetter,
        }
    }

    fn check(error: HandlerError, expected: &str) {
        assert_eq!(format!("{:?}", classified(Err::<(), _>(error), class)), expected);
    }

    #[test]
    fn what_an_error_says_itself_comes_before_what_the_function_says() {
        check(std::fmt::Error.into(), "Ignore { error: Error }");
        check(HandlerError::retry("x"), r#"DeadLetter { error: "x" }"#);
        check(
            HandlerError::retry_now("x"),
            r#"Retry { after: Some(0ns), error: "x" }"#,
        );
        check(HandlerError::ignore("x"), r#"Ignore { error: "x" }"#);
    }

    #[test]
    fn each_message_of_a_batch_is_classified_by_its_own_error() {
        let class = |number: &String| match number.as_str() {
            "0" => Disposition::RetryAfter(Duration::from_secs(1)),
            _ => Disposition::DeadLetter,
        };
        let each = vec![Ok(()), Err("0".to_owned()), Err("1".to_owned())];
        let each = format!("{:?}", classified_batch(each, class));
        let expected = r#"Each([Ack, Retry { after: Some(1s), error: "0" }, DeadLetter { error: "1" }])"#;
        assert_eq!(each, expected);
    }
}
