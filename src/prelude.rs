//! The few names that a file with handlers needs.

pub use athomic_core::context::Context;
pub use athomic_core::handler::{
    ExtractError, FromBatch, FromMessage, Key, Message, MessageContext, Meta, State,
};
pub use athomic_core::message::{Headers, RawMessage};
pub use athomic_core::outcome::{Disposition, HandlerError, Outcome};
#[cfg(feature = "protobuf")]
pub use athomic_core::payload::Proto;
#[cfg(feature = "avro")]
pub use athomic_core::payload::{Avro, AvroSchema};
pub use athomic_core::publisher::Publisher;
pub use athomic_core::store::ordering::FencingToken;
pub use athomic_macros::{ordered_consumer, subscribe_to};
pub use serde::{Deserialize, Serialize};
