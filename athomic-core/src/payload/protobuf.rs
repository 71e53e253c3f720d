//! The format `protobuf`: payloads that are Protocol Buffers messages, as `prost` makes types of them.

use std::error::Error;
use std::ops::{Deref, DerefMut};

use super::types::{Encode, Reads};
use super::{DecodeError, Format, Payload};
use crate::handler::MessageContext;

/// A Protocol Buffers message, for a type that implements `prost::Message`: a handler that takes a `Proto<T>` reads
/// the format `protobuf`, whatever its topics are written in by default, and publishing one writes it.
///
/// Fields that the type does not know are passed over, as Protocol Buffers wants it. What is nested deeper than a
/// hundred messages is refused. A null payload is refused as well: take `Nullable<Proto<T>>` to see tombstones.
///
/// ```
/// use athomic_core::handler::register::subscribe;
/// use athomic_core::payload::Proto;
///
/// #[derive(Clone, PartialEq, prost::Message)]
/// struct Paid {
///     #[prost(string, tag = "1")]
///     order: String,
///     #[prost(uint64, tag = "2")]
///     cents: u64,
/// }
///
/// async fn on_paid(Proto(paid): Proto<Paid>) {
///     println!("{} paid {} cents", paid.order, paid.cents);
/// }
///
/// let definition = subscribe("payments.v1").group_id("billing").handler(on_paid);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Proto<T>(pub T);

impl<T> Deref for Proto<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Proto<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> From<T> for Proto<T> {
    fn from(message: T) -> Self {
        Self(message)
    }
}

#[diagnostic::do_not_recommend]
impl<T: prost::Message + Default + 'static> Payload for Proto<T> {
    type Target = T;

    const READS: Reads = Reads::Only(Format::Protobuf);

    fn decode(context: &MessageContext<'_>) -> Result<Self, DecodeError> {
        let target = std::any::type_name::<Self>();
        let bytes = context.payload().ok_or(DecodeError::null(target))?;
        T::decode(bytes).map(Self).map_err(|source| DecodeError::Format {
            target,
            format: Format::Protobuf,
            source: source.into(),
        })
    }
}

impl<T: prost::Message> Encode for Proto<T> {
    const WRITES: Option<Format> = Some(Format::Protobuf);

    fn encode(&self, format: Format) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        match format {
            Format::Protobuf => Ok(self.0.encode_to_vec()),
            other => Err(format!("a Protobuf message is written in `protobuf`, not in `{other}`").into()),
        }
    }
}

#[cfg(test)]
mod tests;
