//! Extractors: what may stand after the payload in a handler's arguments.

use std::error::Error;
use std::str::FromStr;

use bytes::Bytes;

use super::context::{BatchContext, MessageContext, Meta, StateMap};
use crate::message::{Headers, RawMessage};
use crate::publisher::Publisher;
use crate::store::ordering::FencingToken;

/// An argument of a handler could not be made from the message.
#[derive(Debug, thiserror::Error)]
#[error("cannot take `{what}` from the message")]
pub struct ExtractError {
    what: &'static str,
    retriable: bool,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

impl ExtractError {
    /// Say that the message is at fault: it goes to the dead letters at once.
    pub fn message(what: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            what,
            retriable: false,
            source: source.into(),
        }
    }

    /// Say that something else is at fault: the message is tried again.
    pub fn retry(what: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            what,
            retriable: true,
            source: source.into(),
        }
    }

    /// Say whether trying again can help.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        self.retriable
    }
}

/// A handler takes what it will never be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MissingState {
    /// A state that the application was not given.
    #[error("no state of type `{wanted}`; add `.state(..)` to the builder (present: {})", if present.is_empty() {
        "none".to_owned()
    } else {
        present.join(", ")
    })]
    NotGiven {
        /// The type that a handler takes.
        wanted: &'static str,
        /// The types that are there.
        present: Vec<&'static str>,
    },
    /// A fencing token, in a handler that is not ordered.
    #[error(
        "only ordered consumers have a `FencingToken`; use `#[ordered_consumer]` or `register::ordered`, or do not take it"
    )]
    NotOrdered,
}

/// An argument of a handler that is made from the message or its context.
///
/// Implement it for your own types:
///
/// ```
/// use athomic_core::handler::{ExtractError, FromMessage, MessageContext};
///
/// struct Tenant(String);
///
/// impl FromMessage for Tenant {
///     fn from_message(context: &MessageContext<'_>) -> Result<Self, ExtractError> {
///         let headers = context.message().headers();
///         let tenant = headers.get("tenant").ok_or_else(|| ExtractError::message("Tenant", "no such header"))?;
///         Ok(Self(String::from_utf8_lossy(tenant).into_owned()))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no extractor",
    label = "not something a handler can take from a message",
    note = "after the payload a handler takes `Meta`, `Headers`, `Context`, `Key<K>`, `State<S>`, `RawMessage`, `Publisher`, `FencingToken` (ordered consumers), or a type that implements `FromMessage`"
)]
pub trait FromMessage: Sized + Send {
    /// Make the argument.
    ///
    /// # Errors
    /// The message does not hold it, or something needed for it is not to be had now.
    fn from_message(context: &MessageContext<'_>) -> Result<Self, ExtractError>;

    /// Check at start-up that what it needs of the application is there. One that is made of others
    /// calls theirs.
    ///
    /// # Errors
    /// A state is missing, or a fencing token.
    fn check(_states: &StateMap) -> Result<(), MissingState> {
        Ok(())
    }
}

/// An argument of a batch handler: something that does not speak of one message.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no extractor of a batch handler",
    label = "speaks of one message, or is no extractor",
    note = "a batch handler takes `State<S>`, `Publisher`, or a type that implements `FromBatch`; for what belongs to each message take `Vec<Message<T>>`"
)]
pub trait FromBatch: Sized + Send {
    /// Make the argument.
    ///
    /// # Errors
    /// Something needed for it is not to be had now.
    fn from_batch(context: &BatchContext<'_>) -> Result<Self, ExtractError>;

    /// Check at start-up that what it needs of the application is there.
    ///
    /// # Errors
    /// A state is missing.
    fn check(_states: &StateMap) -> Result<(), MissingState> {
        Ok(())
    }
}

impl FromMessage for Meta {
    fn from_message(context: &MessageContext<'_>) -> Result<Self, ExtractError> {
        Ok(context.meta())
    }
}

impl FromMessage for RawMessage {
    fn from_message(context: &MessageContext<'_>) -> Result<Self, ExtractError> {
        Ok(context.message().clone())
    }
}

impl FromMessage for Headers {
    fn from_message(context: &MessageContext<'_>) -> Result<Self, ExtractError> {
        Ok(context.message().headers())
    }
}

/// Only for ordered consumers, whose messages are handled under a lease on their aggregate.
impl FromMessage for FencingToken {
    fn from_message(context: &MessageContext<'_>) -> Result<Self, ExtractError> {
        let token = context.fencing_token();
        token.ok_or_else(|| ExtractError::retry("FencingToken", MissingState::NotOrdered))
    }

    fn check(states: &StateMap) -> Result<(), MissingState> {
        if states.is_ordered() {
            Ok(())
        } else {
            Err(MissingState::NotOrdered)
        }
    }
}

impl FromMessage for Publisher {
    fn from_message(context: &MessageContext<'_>) -> Result<Self, ExtractError> {
        Ok(context.scope().publisher.clone())
    }
}

impl FromBatch for Publisher {
    fn from_batch(context: &BatchContext<'_>) -> Result<Self, ExtractError> {
        Ok(context.scope().publisher.clone())
    }
}

/// A clone of a value that the application was given by `App::builder().state(..)`.
///
/// Put an `Arc` around what is dear to clone; most clients and pools are cheap already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State<S>(pub S);

impl<S: Clone + Send + Sync + 'static> State<S> {
    fn take(states: &StateMap) -> Result<Self, ExtractError> {
        let state = states
            .get::<S>()
            .map_err(|missing| ExtractError::retry("State", missing))?;
        Ok(Self(state.clone()))
    }
}

impl<S: Clone + Send + Sync + 'static> FromMessage for State<S> {
    fn from_message(context: &MessageContext<'_>) -> Result<Self, ExtractError> {
        Self::take(&context.scope().states)
    }

    fn check(states: &StateMap) -> Result<(), MissingState> {
        states.get::<S>().map(|_| ())
    }
}

impl<S: Clone + Send + Sync + 'static> FromBatch for State<S> {
    fn from_batch(context: &BatchContext<'_>) -> Result<Self, ExtractError> {
        Self::take(&context.scope().states)
    }

    fn check(states: &StateMap) -> Result<(), MissingState> {
        states.get::<S>().map(|_| ())
    }
}

/// The message's key, decoded: text, a number written as text, bytes, or `Option` of one of them.
///
/// A null key is `None` for an `Option` and an error for the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key<K>(pub K);

impl<K: FromKey> FromMessage for Key<K> {
    fn from_message(context: &MessageContext<'_>) -> Result<Self, ExtractError> {
        K::from_key(context.message().key())
            .map(Self)
            .map_err(|source| ExtractError::message("Key", source))
    }
}

/// A type that a key can be decoded to.
#[diagnostic::on_unimplemented(
    message = "a key cannot be decoded to `{Self}`",
    note = "keys are `String`, `Bytes`, `Vec<u8>`, an integer, or `Option` of one of them; implement `FromKey` for others"
)]
pub trait FromKey: Sized + Send {
    /// Decode a key; `None` is a null key.
    ///
    /// # Errors
    /// The key is not of this type.
    fn from_key(key: Option<&[u8]>) -> Result<Self, Box<dyn Error + Send + Sync>>;
}

fn present(key: Option<&[u8]>) -> Result<&[u8], Box<dyn Error + Send + Sync>> {
    key.ok_or_else(|| "the key is null; take `Key<Option<_>>` where that is allowed".into())
}

fn parse<K>(key: Option<&[u8]>) -> Result<K, Box<dyn Error + Send + Sync>>
where
    K: FromStr<Err: Error + Send + Sync + 'static>,
{
    Ok(std::str::from_utf8(present(key)?)?.parse()?)
}

impl FromKey for Bytes {
    fn from_key(key: Option<&[u8]>) -> Result<Self, Box<dyn Error + Send + Sync>> {
        present(key).map(Self::copy_from_slice)
    }
}

impl FromKey for Vec<u8> {
    fn from_key(key: Option<&[u8]>) -> Result<Self, Box<dyn Error + Send + Sync>> {
        present(key).map(<[u8]>::to_vec)
    }
}

impl<K: FromKey> FromKey for Option<K> {
    fn from_key(key: Option<&[u8]>) -> Result<Self, Box<dyn Error + Send + Sync>> {
        key.map(|key| K::from_key(Some(key))).transpose()
    }
}

macro_rules! from_text {
    ($($kind:ty),*) => {$(
        impl FromKey for $kind {
            fn from_key(key: Option<&[u8]>) -> Result<Self, Box<dyn Error + Send + Sync>> {
                parse(key)
            }
        }
    )*};
}

from_text!(
    String, i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize
);
