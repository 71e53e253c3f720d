//! `MessageProcessor`: a handler, with its types erased once for all its messages.

use std::fmt;
use std::sync::Arc;

use crate::handler::{BatchHandler, Handler, MissingState, StateMap};

/// A handler behind the part of the runtime that knows its types.
#[derive(Clone)]
pub enum MessageProcessor {
    /// Handles one message at a time.
    Single(Arc<dyn SingleMessageProcessor>),
    /// Handles batches.
    Batch(Arc<dyn BatchMessageProcessor>),
}

impl MessageProcessor {
    /// Erase a handler of single messages.
    pub fn single<H: Handler>(handler: H) -> Self {
        Self::Single(Arc::new(Typed(handler)))
    }

    /// Erase a batch handler.
    pub fn batch<H: BatchHandler>(handler: H) -> Self {
        Self::Batch(Arc::new(Typed(handler)))
    }
}

impl fmt::Debug for MessageProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Single(_) => "Single",
            Self::Batch(_) => "Batch",
        })
    }
}

struct Typed<H>(H);

/// Stub until the lanes are written.
pub trait SingleMessageProcessor: Send + Sync {
    /// See [`Handler::check`].
    ///
    /// # Errors
    /// The first state that is missing.
    fn check(&self, states: &StateMap) -> Result<(), MissingState>;
}
/// Stub until the lanes are written.
pub trait BatchMessageProcessor: Send + Sync {
    /// See [`BatchHandler::check`].
    ///
    /// # Errors
    /// The first state that is missing.
    fn check(&self, states: &StateMap) -> Result<(), MissingState>;
}
impl<H: Handler> SingleMessageProcessor for Typed<H> {
    fn check(&self, states: &StateMap) -> Result<(), MissingState> {
        self.0.check(states)
    }
}
impl<H: BatchHandler> BatchMessageProcessor for Typed<H> {
    fn check(&self, states: &StateMap) -> Result<(), MissingState> {
        self.0.check(states)
    }
}
