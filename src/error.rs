//! What `main` of an application returns.

use std::error::Error as StdError;
use std::fmt;

/// Any error of building or running an application, or of what `main` does beside it.
///
/// `?` takes every error into it. A program whose `main` returns one ends with all that is known: the
/// error, then its causes, one a line. As with other errors for `main`, it is not itself a
/// [`std::error::Error`], so that `?` can take all that are.
///
/// ```
/// fn port(text: &str) -> athomic::Result<u16> {
///     Ok(text.parse()?)
/// }
/// assert_eq!(format!("{:?}", port("x").unwrap_err()), "invalid digit found in string");
/// ```
pub struct Error(Box<dyn StdError + Send + Sync>);

impl Error {
    /// Take any error, or a text.
    pub fn new(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(error.into())
    }

    /// Return the error that was taken.
    #[must_use]
    pub fn into_inner(self) -> Box<dyn StdError + Send + Sync> {
        self.0
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Debug for Error {
    /// Shows the error and its causes, since this is what a failed `main` prints.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, "\n  caused by: {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
