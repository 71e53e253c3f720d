//! A message as it waits in a room: its bytes as they were fetched, and where they came from.
//!
//! All numbers are little endian. The layout of version 1:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version |
//! | 16 | digest of the payload |
//! | 8, 8 | record's time, time of parking (milliseconds; `i64::MIN` is none) |
//! | 8, 4 | offset, partition |
//! | 4 + n | topic |
//! | 4 + n | key; length `u32::MAX` is null, here and below |
//! | 4 | number of headers, each 4 + n for its name and 4 + n for its value |
//! | 4 + n | payload |
//! | 4 | CRC-32C of all before |

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::message::{Headers, Offset, OwnedRecord, RawMessage, Timestamp, TopicPartition};
use crate::store::ordering::Digest;

const VERSION: u8 = 1;
const NULL: u32 = u32::MAX;

/// A message that waited, decoded from its frame.
#[derive(Debug, Clone)]
pub struct ParkedFrame {
    /// The message; its topic, partition and offset are those where it was fetched.
    pub message: RawMessage,
    /// The digest of its payload.
    pub digest: Digest,
    /// When it was parked, by the clock of the process that did it.
    pub parked: Timestamp,
}

/// A frame that cannot be read: damaged, or of a later version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the frame of a message that waited cannot be read: {0}")]
pub struct FrameError(&'static str);

/// Write a message down.
#[must_use]
pub fn encode(message: &RawMessage, digest: Digest, parked: Timestamp) -> Bytes {
    let headers = message.headers();
    let mut frame = BytesMut::with_capacity(96 + message.topic().len() + message.size());
    frame.put_u8(VERSION);
    frame.put_slice(&digest.0);
    frame.put_i64_le(message.timestamp().map_or(i64::MIN, Timestamp::as_millis));
    frame.put_i64_le(parked.as_millis());
    frame.put_i64_le(message.offset());
    frame.put_i32_le(message.partition());
    put(&mut frame, Some(message.topic().as_bytes()));
    put(&mut frame, message.key());
    frame.put_u32_le(length(headers.len()));
    for header in &headers {
        put(&mut frame, Some(header.name.as_bytes()));
        put(&mut frame, header.value.as_deref());
    }
    put(&mut frame, message.payload());
    let crc = crc32c::crc32c(&frame);
    frame.put_u32_le(crc);
    frame.freeze()
}

fn put(frame: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        None => frame.put_u32_le(NULL),
        Some(bytes) => {
            frame.put_u32_le(length(bytes.len()));
            frame.put_slice(bytes);
        }
    }
}

fn length(length: usize) -> u32 {
    length.try_into().expect("Kafka's records are below 2 GiB")
}

/// Read a message that was written down. Its parts refer to the frame's memory.
///
/// # Errors
/// The frame is damaged or of another version.
pub fn decode(frame: &Bytes) -> Result<ParkedFrame, FrameError> {
    let content = frame.len().checked_sub(4).ok_or(FrameError("it is too short"))?;
    let (content, crc) = (frame.slice(..content), frame.slice(content..));
    if crc32c::crc32c(&content) != (&crc[..]).get_u32_le() {
        return Err(FrameError("its checksum is wrong"));
    }
    let mut rest = Reader(content);
    if rest.number(u8::from_le_bytes)? != VERSION {
        return Err(FrameError("it is of another version"));
    }
    let digest = Digest(rest.number(|bytes| bytes)?);
    let timestamp = rest.number(i64::from_le_bytes)?;
    let parked = Timestamp::from_millis(rest.number(i64::from_le_bytes)?);
    let offset: Offset = rest.number(i64::from_le_bytes)?;
    let partition = rest.number(i32::from_le_bytes)?;
    let topic = rest.text()?;
    let key = rest.bytes()?;
    let mut headers = Headers::new();
    for _ in 0..rest.number(u32::from_le_bytes)? {
        headers.push(rest.text()?, rest.bytes()?);
    }
    let payload = rest.bytes()?;
    let record = OwnedRecord {
        offset,
        key,
        payload,
        headers,
        timestamp: (timestamp != i64::MIN).then(|| Timestamp::from_millis(timestamp)),
    };
    Ok(ParkedFrame {
        message: RawMessage::from_record(TopicPartition::new(topic, partition), record),
        digest,
        parked,
    })
}

/// What is left of a frame to read.
struct Reader(Bytes);

impl Reader {
    fn take(&mut self, length: usize) -> Result<Bytes, FrameError> {
        if length > self.0.len() {
            return Err(FrameError("it ends early"));
        }
        Ok(self.0.split_to(length))
    }

    fn number<const N: usize, T>(&mut self, read: impl Fn([u8; N]) -> T) -> Result<T, FrameError> {
        let bytes = self.take(N)?;
        Ok(read(bytes[..].try_into().expect("as many as were taken")))
    }

    fn bytes(&mut self) -> Result<Option<Bytes>, FrameError> {
        match self.number(u32::from_le_bytes)? {
            NULL => Ok(None),
            length => self.take(length as usize).map(Some),
        }
    }

    fn text(&mut self) -> Result<String, FrameError> {
        let bytes = self.bytes()?.ok_or(FrameError("a name is missing"))?;
        String::from_utf8(bytes.into()).map_err(|_| FrameError("a name is no text"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message() -> RawMessage {
        let record = OwnedRecord {
            offset: 7,
            key: Some("k".into()),
            payload: None,
            headers: Headers::new().with("a", "1").with_null("b"),
            timestamp: None,
        };
        RawMessage::from_record(TopicPartition::new("orders", 3), record)
    }

    #[test]
    fn nothing_of_a_message_is_lost() {
        let message = message();
        let digest = Digest::of(message.payload());
        let decoded = decode(&encode(&message, digest, Timestamp::from_millis(5))).unwrap();
        let same = decoded.message;
        assert_eq!(same.topic_partition(), message.topic_partition());
        assert_eq!((same.offset(), same.timestamp()), (7, None));
        assert_eq!((same.key(), same.payload()), (Some(b"k".as_slice()), None));
        assert_eq!(same.headers(), message.headers());
        assert_eq!(
            (decoded.digest, decoded.parked),
            (digest, Timestamp::from_millis(5))
        );
    }

    proptest! {
        #[test]
        fn damage_is_noticed(place: prop::sample::Index, bit in 0..8u8) {
            let mut frame = encode(&message(), Digest::of(None), Timestamp::from_millis(5)).to_vec();
            let place = place.index(frame.len());
            frame[place] ^= 1 << bit;
            prop_assert!(decode(&frame.into()).is_err());
        }

        #[test]
        fn whatever_is_read_nothing_panics(mut content: Vec<u8>) {
            let crc = crc32c::crc32c(&content);
            content.extend(crc.to_le_bytes());
            let _either = decode(&content.into());
        }
    }
}
