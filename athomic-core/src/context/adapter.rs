//! What an adapter is, and what it reads from.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Context;
use crate::message::{Headers, RawMessage};

/// No header of an adapter is read that is longer.
const MAX_LENGTH: usize = 32 * 1024;

/// Takes a part of the context from the headers of messages, and puts it on messages that are published.
///
/// # Contract
/// - Both methods run within the consumer and the publisher, for one message after the other on any thread:
///   they are quick and wait for nothing.
/// - `extract` reads what strangers may have written. It bounds what it takes and tells
///   [`Incoming::malformed`] what it leaves.
/// - `inject` sets the headers that [`names`](Self::names) lists and no others.
///
/// An application adds its own with `App::builder().headers_adapter(..)`:
///
/// ```
/// use athomic_core::context::{Context, ContextError, HeadersAdapter, Incoming};
/// use athomic_core::message::Headers;
///
/// #[derive(Clone, Copy, Debug, PartialEq)]
/// struct Shard(u16);
///
/// #[derive(Debug)]
/// struct ShardAdapter;
///
/// impl HeadersAdapter for ShardAdapter {
///     fn names(&self) -> &[&str] {
///         &["shard"]
///     }
///
///     fn extract(&self, message: &Incoming<'_>, context: &mut Context) {
///         let Some(text) = message.text("shard") else { return };
///         match text.parse() {
///             Ok(number) => context.insert(Shard(number)),
///             Err(_) => message.malformed("shard", "is no number"),
///         }
///     }
///
///     fn inject(&self, context: &Context, headers: &mut Headers) -> Result<(), ContextError> {
///         if let Some(Shard(number)) = context.get() {
///             headers.set("shard", number.to_string());
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait HeadersAdapter: fmt::Debug + Send + Sync + 'static {
    /// Return the names of the headers that it reads and sets. Each belongs to one adapter.
    fn names(&self) -> &[&str];

    /// Take its part of the context from a message.
    fn extract(&self, message: &Incoming<'_>, context: &mut Context);

    /// Put its part of the context on a message that is about to be published.
    ///
    /// # Errors
    /// The context holds something that no header can carry; the message is not published then.
    fn inject(&self, context: &Context, headers: &mut Headers) -> Result<(), ContextError>;
}

/// A message whose context is read.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    message: &'a RawMessage,
    dropped: &'a AtomicU64,
}

impl<'a> Incoming<'a> {
    pub(super) const fn new(message: &'a RawMessage, dropped: &'a AtomicU64) -> Self {
        Self { message, dropped }
    }

    /// Return the message.
    #[must_use]
    pub const fn message(&self) -> &'a RawMessage {
        self.message
    }

    /// Return the text of the last header of this name. One that is no text, or longer than 32 KiB, is
    /// malformed and not returned.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&'a str> {
        let value = self.message.header(name)?;
        if value.len() > MAX_LENGTH {
            self.malformed(name, "is longer than 32 KiB");
            return None;
        }
        let text = std::str::from_utf8(value);
        if text.is_err() {
            self.malformed(name, "is no text");
        }
        text.ok()
    }

    /// Take note that a header, or a part of one, is left out of the context.
    pub fn malformed(&self, name: &str, reason: &str) {
        self.dropped.fetch_add(1, Relaxed);
        // The value is a stranger's: it stays out of the log.
        tracing::debug!(message = ?self.message, header = name, reason, "a part of the context is dropped");
    }
}

/// The context holds something that a message cannot carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the context's `{part}` {reason}")]
pub struct ContextError {
    part: String,
    reason: String,
}

impl ContextError {
    /// Say which part of the context it is, and what is wrong with it.
    pub fn new(part: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            part: part.into(),
            reason: reason.into(),
        }
    }
}
