//! What a payload's type has to do with formats: which ones it can be read and written in.
//!
//! Types that implement serde's traits have a form in most formats, and the settings choose. The others are put into
//! a type that knows its format, such as `Proto<T>`: then the type chooses, in handlers and for the publisher.

use std::ops::{Deref, DerefMut};

use serde::Serialize;

use super::{DecodeError, Format, Payload};
use crate::handler::MessageContext;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// In which formats a type of payloads can be read. Compared with the settings when the application is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reads {
    /// In all that serde has, as the settings say.
    Serde,
    /// In this one, whatever the settings say of its topics.
    Only(Format),
    /// It looks at the bytes itself.
    Bytes,
}

/// What a handler's payload is, without its type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PayloadKind {
    /// See [`Payload::READS`].
    pub(crate) reads: Reads,
    /// See [`Payload::check`].
    pub(crate) check: fn() -> Result<(), BoxError>,
}

impl PayloadKind {
    pub(crate) const BYTES: Self = Self {
        reads: Reads::Bytes,
        check: || Ok(()),
    };

    pub(crate) const fn of<P: Payload>() -> Self {
        Self {
            reads: P::READS,
            check: P::check,
        }
    }
}

/// What can be published: values that implement `serde::Serialize`, and types with a format of their own.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be written as a payload",
    label = "not a payload",
    note = "derive `serde::Serialize` for `{Self}`, or put a Protobuf message into a `Proto`, a value with a schema into an `Avro`"
)]
pub trait Encode {
    /// The one format that it can be written in; `None` leaves it to the topic.
    const WRITES: Option<Format>;

    /// Write it in a format.
    ///
    /// # Errors
    /// It has no form in that format.
    fn encode(&self, format: Format) -> Result<Vec<u8>, BoxError>;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> Encode for T {
    const WRITES: Option<Format> = None;

    fn encode(&self, format: Format) -> Result<Vec<u8>, BoxError> {
        format.encode(self)
    }
}

/// A payload, or none: for handlers that take tombstones in a format whose types are no `Option`, as in
/// `Nullable<Proto<Price>>`. Types of serde take them by `Option<T>`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Nullable<P>(pub Option<P>);

#[diagnostic::do_not_recommend]
impl<P: Payload> Payload for Nullable<P> {
    type Target = P::Target;

    const READS: Reads = P::READS;

    fn decode(context: &MessageContext<'_>) -> Result<Self, DecodeError> {
        match context.payload() {
            Some(_) => P::decode(context).map(Some).map(Self),
            None => Ok(Self(None)),
        }
    }

    fn check() -> Result<(), BoxError> {
        P::check()
    }
}

impl<P> Deref for Nullable<P> {
    type Target = Option<P>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<P> DerefMut for Nullable<P> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}
