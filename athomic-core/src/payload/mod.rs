//! From bytes to the handler's type. Stage 3 of 9, between context and ordering.
//!
//! With JSON alone, as now, a handler's type is decoded straight from the fetched bytes. A null
//! payload (a tombstone) decodes like JSON's `null`: `Option<T>` takes it, a struct does not.

use std::error::Error;

use serde::de::DeserializeOwned;

use crate::handler::{Message, MessageContext};

/// A payload could not be decoded. Trying again cannot help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are not the handler's type.
    #[error("the payload is not a `{target}`")]
    Json {
        /// The type that the handler takes.
        target: &'static str,
        /// Where and why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The payload is null, and the handler's type has no place for that.
    #[error("the payload is null and `{target}` cannot be; take `Option<{target}>` to see tombstones")]
    Null {
        /// The type that the handler takes.
        target: &'static str,
    },
    /// A [`Payload`] of the application's own refuses the message.
    #[error("the payload is not a `{target}`")]
    Other {
        /// The type that the handler takes.
        target: &'static str,
        /// Where and why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl DecodeError {
    /// Say that a message is not a `T`; for [`Payload`]s of the application's own.
    pub fn other<T>(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Other {
            target: std::any::type_name::<T>(),
            source: source.into(),
        }
    }

    /// Say whether trying again can help: never, the bytes stay what they are.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        false
    }
}

/// What can stand first among a handler's arguments: a type to decode, or a [`Message`] of one.
///
/// Types that implement `serde::Deserialize` have it. Implement it for a type of your own to take
/// what is not JSON.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be decoded from a message",
    label = "not a payload",
    note = "derive `serde::Deserialize` for `{Self}`; it must own its data and be `Send + 'static`",
    note = "the payload is a handler's first argument; `Meta`, `State<S>` and the like come after it"
)]
pub trait Payload: Sized + Send + 'static {
    /// The type that the payload's bytes are decoded to.
    type Target;

    /// Decode a message.
    ///
    /// # Errors
    /// The bytes are not of this type.
    fn decode(context: &MessageContext<'_>) -> Result<Self, DecodeError>;
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + Send + 'static> Payload for T {
    type Target = T;

    fn decode(context: &MessageContext<'_>) -> Result<Self, DecodeError> {
        decode_json(context.message().payload())
    }
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + Send + 'static> Payload for Message<T> {
    type Target = T;

    fn decode(context: &MessageContext<'_>) -> Result<Self, DecodeError> {
        let payload = decode_json(context.message().payload())?;
        Ok(Message::new(payload, context.meta()))
    }
}

fn decode_json<T: DeserializeOwned>(bytes: Option<&[u8]>) -> Result<T, DecodeError> {
    let target = std::any::type_name::<T>();
    match bytes {
        Some(bytes) => serde_json::from_slice(bytes).map_err(|source| DecodeError::Json {
            target,
            source: Box::new(source),
        }),
        None => serde_json::from_slice(b"null").map_err(|_| DecodeError::Null { target }),
    }
}
