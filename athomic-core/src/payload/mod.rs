//! From bytes to the handler's type, and back. Stage 3 of 9, between context and ordering.
//!
//! The payloads of a topic go through a [`Pipeline`]: a [`Format`], and the steps that the settings name below
//! `integration.messaging.payload.pipeline`. Publishing runs down the list, decoding up:
//!
//! ```text
//!  value ──► serializer ──► compression ──► crypto ──► claim check ──► record
//!        ◄──            ◄──             ◄──        ◄──             ◄──
//! ```
//!
//! Without settings there is JSON alone, and a handler's type is decoded straight from the fetched bytes. Retries,
//! delays, dead letters and waiting rooms carry the bytes as they stand in the record, so that a replay is a
//! copy. Each step knows its own bytes from others: what it did not write passes it by, and a step may be added
//! to a topic that has messages already (`crypto` must be told so).
//!
//! A null payload (a tombstone) goes through no step. It decodes like JSON's `null`: `Option<T>` takes it, a
//! struct does not.
//!
//! # A step of one's own
//!
//! ```
//! use std::borrow::Cow;
//! use athomic_core::app::App;
//! use athomic_core::payload::{PayloadContext, PayloadStep, Step, StepError};
//!
//! /// Puts a mark before every payload.
//! #[derive(Debug)]
//! struct Mark(Vec<u8>);
//!
//! impl PayloadStep for Mark {
//!     fn label(&self) -> Cow<'_, str> {
//!         "mark".into()
//!     }
//!
//!     fn encode(&self, payload: Vec<u8>, _: &PayloadContext<'_>) -> Result<Vec<u8>, StepError> {
//!         Ok([self.0.clone(), payload].concat())
//!     }
//!
//!     fn decode<'p>(&self, payload: Cow<'p, [u8]>, _: &PayloadContext<'_>) -> Result<Cow<'p, [u8]>, StepError> {
//!         let rest = payload.strip_prefix(self.0.as_slice());
//!         rest.map(|rest| rest.to_vec().into()).ok_or_else(|| StepError::malformed("there is no mark"))
//!     }
//! }
//!
//! let app = App::builder().payload_step("mark", |options| {
//!     let mark = options.text("text").unwrap_or("#").to_owned();
//!     Some(Step::immediate(Mark(mark.into_bytes())))
//! });
//! ```

#[cfg(feature = "avro")]
mod avro;
mod build;
mod check;
#[cfg(feature = "claim-check")]
mod claim_check;
mod compression;
#[cfg(feature = "crypto")]
pub mod crypto;
mod format;
mod parts;
mod pipeline;
#[cfg(feature = "protobuf")]
mod protobuf;
mod raw;
#[cfg(feature = "schema-registry")]
mod registry;
mod scratch;
mod step;
mod types;
#[cfg(test)]
mod warnings;

#[cfg(feature = "avro")]
pub use avro::{Avro, AvroSchema};
pub use build::{HandlerPayloads, StepOptions};
pub(crate) use build::{PayloadSteps, Payloads};
pub use format::Format;
pub(crate) use pipeline::Opening;
pub use pipeline::{Pipeline, SealError};
#[cfg(feature = "protobuf")]
pub use protobuf::Proto;
#[cfg(feature = "schema-registry")]
use registry::Named;
#[cfg(feature = "schema-registry")]
pub use registry::RegistryError;
#[cfg(feature = "schema-registry")]
pub(crate) use registry::{RegistryCheck, WriterSchema};
pub use step::{AsyncPayloadStep, DecodeLimits, PayloadContext, PayloadStep, Step, StepError};
pub(crate) use types::PayloadKind;
pub use types::{Encode, Nullable, Reads};

use std::error::Error;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::handler::{Message, MessageContext};
use crate::outcome::RetryWish;

/// The header with the content type of a payload before all steps, such as `application/json`.
pub const CONTENT_TYPE: &str = "athomic-content-type";

/// The header with what the steps did, such as `json,zstd,xchacha20poly1305:2026-11`; only where there are steps.
/// It is for people and tools: decoding goes by the settings and by the bytes.
pub const PIPELINE: &str = "athomic-pipeline";

/// A payload could not be decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are not the handler's type.
    #[error("the payload is not a `{target}` in the format `{format}`")]
    Format {
        /// The type that the handler takes.
        target: &'static str,
        /// The format that it was read as.
        format: Format,
        /// Where and why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The payload is null, and the handler's type has no place for that.
    #[error("the payload is null and `{target}` cannot be; take `{instead}<{target}>` to see tombstones")]
    Null {
        /// The type that the handler takes.
        target: &'static str,
        /// The type around it that takes tombstones too.
        instead: &'static str,
    },
    /// A step of the pipeline refuses the bytes, or cannot do its part now.
    #[error("the payload does not pass the step `{step}`")]
    Step {
        /// The step's name in the settings.
        step: Arc<str>,
        /// Why.
        #[source]
        source: StepError,
    },
    /// The schema by which the payload was written cannot be had from the schema registry. Feature `schema-registry`.
    #[cfg(feature = "schema-registry")]
    #[error("the schema by which the payload was written is not known")]
    Registry {
        /// Why.
        #[from]
        source: RegistryError,
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

    /// Say that a payload is null whose type is taken as `Nullable` then.
    #[cfg(any(feature = "avro", feature = "protobuf"))]
    const fn null(target: &'static str) -> Self {
        Self::Null {
            target,
            instead: "Nullable",
        }
    }

    /// Say whether trying again can help: only if something was missing that may come back.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        match self {
            Self::Step { source, .. } => source.is_retriable(),
            #[cfg(feature = "schema-registry")]
            Self::Registry { source } => source.is_retriable(),
            _ => false,
        }
    }

    /// Return what it asks of the retry policy. While the schema registry cannot be asked, no message of a schema that
    /// is not known yet can be read: then they wait, instead of being given up one after the other.
    pub(crate) const fn wish(&self) -> RetryWish {
        match self {
            #[cfg(feature = "schema-registry")]
            Self::Registry { source } if source.is_retriable() => RetryWish::Always,
            _ if self.is_retriable() => RetryWish::ByPolicy,
            _ => RetryWish::Never,
        }
    }
}

/// What can stand first among a handler's arguments: a type to decode, or a [`Message`] of one.
///
/// Types that implement `serde::Deserialize` have it, `Avro` for types with a schema, and `Proto` for Protobuf
/// messages. Implement it for a type of your own to take what no [`Format`] reads; [`MessageContext::payload`] has
/// the bytes after all steps.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be decoded from a message",
    label = "not a payload",
    note = "derive `serde::Deserialize` for `{Self}`; it must own its data and be `Send + 'static`",
    note = "a Protobuf message is taken as `Proto<{Self}>`, with the feature `protobuf`",
    note = "the payload is a handler's first argument; `Meta`, `State<S>` and the like come after it"
)]
pub trait Payload: Sized + Send + 'static {
    /// The type that the payload's bytes are decoded to.
    type Target;

    /// The formats that it can be read in.
    const READS: Reads = Reads::Bytes;

    /// Decode a message.
    ///
    /// # Errors
    /// The bytes are not of this type.
    fn decode(context: &MessageContext<'_>) -> Result<Self, DecodeError>;

    /// Check what the type says of itself, such as a schema. Called when the application is built.
    ///
    /// # Errors
    /// What is wrong with the type, for which no message can be decoded.
    fn check() -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + Send + 'static> Payload for T {
    type Target = T;

    const READS: Reads = Reads::Serde;

    fn decode(context: &MessageContext<'_>) -> Result<Self, DecodeError> {
        let target = std::any::type_name::<T>();
        match context.payload() {
            Some(bytes) => {
                let format = context.format();
                format.decode(bytes).map_err(|source| DecodeError::Format {
                    target,
                    format,
                    source,
                })
            }
            None => serde_json::from_slice(b"null").map_err(|_| DecodeError::Null {
                target,
                instead: "Option",
            }),
        }
    }
}

#[diagnostic::do_not_recommend]
impl<P: Payload> Payload for Message<P> {
    type Target = P::Target;

    const READS: Reads = P::READS;

    fn decode(context: &MessageContext<'_>) -> Result<Self, DecodeError> {
        Ok(Message::new(P::decode(context)?, context.meta()))
    }

    fn check() -> Result<(), Box<dyn Error + Send + Sync>> {
        P::check()
    }
}

/// Take a message's payload through the steps, if there are any, and decode it.
pub(crate) async fn decode<P: Payload>(context: &MessageContext<'_>) -> Result<P, DecodeError> {
    let message = context.message();
    let pipeline = context.scope().payloads.of(message.topic());
    let payload = message.payload().filter(|_| !pipeline.reads_as_fetched());
    let Some(payload) = payload else {
        return P::decode(context);
    };
    let opened = match pipeline.open(message, payload)? {
        Opening::Opened(opened) => opened,
        Opening::Waits(opening) => opening.await?,
    };
    #[cfg(feature = "schema-registry")]
    if let Some(framed) = pipeline.frame(message, &opened)? {
        let context = context.opened(framed.payload);
        let schema = match &framed.schema {
            Named::Unneeded => return P::decode(&context),
            Named::Known(found) => found.clone()?,
            Named::Wanted(id) => pipeline.schema(*id).await?,
        };
        framed.check(&schema, std::any::type_name::<P::Target>())?;
        return P::decode(&context.with_schema(&schema));
    }
    P::decode(&context.opened(&opened))
}
