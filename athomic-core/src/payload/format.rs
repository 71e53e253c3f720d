//! Formats: from a value to bytes and back. The first step of every pipeline.
//!
//! Every decoder refuses what is nested deeper than [`MAX_DEPTH`], since a stack that overflows ends the
//! process, and what has bytes left over. None takes memory by a length that the bytes only claim.

use std::error::Error;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::scratch::written;

/// How deep a payload may be nested.
#[cfg(any(feature = "msgpack", feature = "cbor", feature = "avro"))]
pub(super) const MAX_DEPTH: usize = 128;

type BoxError = Box<dyn Error + Send + Sync>;

/// How values are written as bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// JSON.
    #[default]
    Json,
    /// MessagePack, structs as maps; needs the feature `msgpack`.
    MessagePack,
    /// CBOR; needs the feature `cbor`.
    Cbor,
    /// Avro, for payloads that are an `Avro`; needs the feature `avro`.
    Avro,
    /// Protocol Buffers, for payloads that are a `Proto`; needs the feature `protobuf`.
    Protobuf,
    /// The bytes themselves, for `Vec<u8>`, `String`, `bytes::Bytes` and the like.
    Raw,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Json,
        Self::MessagePack,
        Self::Cbor,
        Self::Avro,
        Self::Protobuf,
        Self::Raw,
    ];

    /// Return the word that settings and attributes use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::MessagePack => "msgpack",
            Self::Cbor => "cbor",
            Self::Avro => "avro",
            Self::Protobuf => "protobuf",
            Self::Raw => "raw",
        }
    }

    /// Return the format that a word stands for; `orjson` is the Python framework's word for JSON.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        let word = if word == "orjson" { "json" } else { word };
        Self::ALL.into_iter().find(|format| format.as_str() == word)
    }

    /// Return the content type that records say.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MessagePack => "application/vnd.msgpack",
            Self::Cbor => "application/cbor",
            Self::Avro => "avro/binary",
            Self::Protobuf => "application/protobuf",
            Self::Raw => "application/octet-stream",
        }
    }

    /// Return the format that a content type names; its parameters do not count.
    #[must_use]
    pub fn from_content_type(content_type: &[u8]) -> Option<Self> {
        let essence = content_type.split(|byte| *byte == b';').next()?.trim_ascii();
        let is = |name: &str| essence.eq_ignore_ascii_case(name.as_bytes());
        if is("application/msgpack") || is("application/x-msgpack") {
            return Some(Self::MessagePack);
        }
        if is("application/x-protobuf") || is("application/vnd.google.protobuf") {
            return Some(Self::Protobuf);
        }
        Self::ALL.into_iter().find(|format| is(format.content_type()))
    }

    /// Say whether this program was built with it.
    #[must_use]
    pub const fn is_built_in(self) -> bool {
        match self {
            Self::Json | Self::Raw => true,
            Self::MessagePack => cfg!(feature = "msgpack"),
            Self::Cbor => cfg!(feature = "cbor"),
            Self::Avro => cfg!(feature = "avro"),
            Self::Protobuf => cfg!(feature = "protobuf"),
        }
    }

    /// Say whether any value that implements serde's traits has a form in it. The others have types of their own.
    #[must_use]
    pub const fn is_of_serde(self) -> bool {
        !matches!(self, Self::Avro | Self::Protobuf)
    }

    /// Write a value.
    ///
    /// # Errors
    /// The value has no form in this format, or the program was built without it.
    pub fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Vec<u8>, BoxError> {
        match self {
            Self::Json => Ok(written(|out| serde_json::to_writer(out, value))?),
            Self::Raw => Ok(super::raw::to_vec(value)?),
            #[cfg(feature = "msgpack")]
            Self::MessagePack => Ok(written(|out| rmp_serde::encode::write_named(out, value))?),
            #[cfg(feature = "cbor")]
            Self::Cbor => Ok(written(|out| ciborium::into_writer(value, out))?),
            Self::Avro | Self::Protobuf => Err(self.of_other_types::<T>()),
            #[cfg(not(all(feature = "msgpack", feature = "cbor")))]
            other => Err(other.missing()),
        }
    }

    /// Read a value; the bytes may hold nothing else.
    ///
    /// # Errors
    /// The bytes are not such a value, or the program was built without this format.
    pub fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, BoxError> {
        match self {
            Self::Json => Ok(serde_json::from_slice(bytes)?),
            Self::Raw => Ok(super::raw::from_slice(bytes)?),
            #[cfg(feature = "msgpack")]
            Self::MessagePack => message_pack(bytes),
            #[cfg(feature = "cbor")]
            Self::Cbor => cbor(bytes),
            Self::Avro | Self::Protobuf => Err(self.of_other_types::<T>()),
            #[cfg(not(all(feature = "msgpack", feature = "cbor")))]
            other => Err(other.missing()),
        }
    }

    /// Say that values of serde have no form in this format.
    fn of_other_types<T: ?Sized>(self) -> BoxError {
        let (wrapper, needed) = self.wrapper();
        let target = std::any::type_name::<T>();
        format!("`{target}` has no form in `{self}`: put it into a `{wrapper}`, which takes types that implement {needed}")
            .into()
    }

    /// Return what payloads in a format of its own are put into, and what their types must be.
    pub(crate) const fn wrapper(self) -> (&'static str, &'static str) {
        match self {
            Self::Avro => ("Avro", "`AvroSchema`"),
            Self::Protobuf => ("Proto", "`prost::Message`"),
            _ => ("Message", "`serde::Deserialize`"),
        }
    }

    #[cfg(not(all(feature = "msgpack", feature = "cbor")))]
    fn missing(self) -> BoxError {
        format!("this program was built without `{self}`: add the feature of that name").into()
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(feature = "msgpack")]
fn message_pack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BoxError> {
    // A cursor, since a reader of slices does not say how far it came.
    let mut decoder = rmp_serde::Deserializer::new(std::io::Cursor::new(bytes));
    decoder.set_max_depth(MAX_DEPTH);
    let value = T::deserialize(&mut decoder)?;
    let read = usize::try_from(decoder.position()).unwrap_or(usize::MAX);
    left_over(bytes.len().saturating_sub(read))?;
    Ok(value)
}

#[cfg(feature = "cbor")]
fn cbor<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BoxError> {
    let mut rest = bytes;
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH)?;
    left_over(rest.len())?;
    Ok(value)
}

#[cfg(any(feature = "msgpack", feature = "cbor"))]
fn left_over(bytes: usize) -> Result<(), BoxError> {
    if bytes == 0 {
        return Ok(());
    }
    Err(format!("{bytes} bytes are left over after the value").into())
}

#[cfg(test)]
mod tests;
