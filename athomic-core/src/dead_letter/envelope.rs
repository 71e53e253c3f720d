//! `format = "envelope"`: a dead letter as one JSON document, for readers that know nothing of headers.
//!
//! The document has the message whole, with what failed and where. Bytes that are text stand there as text, others in
//! base64, so that a replay has them all back:
//!
//! ```json
//! {
//!   "version": 1,
//!   "message": {
//!     "topic": "orders.v1", "partition": 3, "offset": 17, "timestamp": 1700000000000,
//!     "key": { "text": "order-7" }, "payload": { "base64": "/wA=" },
//!     "headers": [ { "name": "tenant", "value": { "text": "acme" } } ]
//!   },
//!   "failure": {
//!     "id": "018bcfe5-6800-7b2c-9d0e-3f6a5c1b2e4d", "handler": "billing::on_order", "group": "billing",
//!     "stage": "handler", "attempts": 3, "error_type": "text", "error": "no card: no 7 here",
//!     "fingerprint": "9f86d081884c7d65", "failed_at": 1700000003000
//!   }
//! }
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::headers::{DLQ_FORMAT, is_of_replay};
use super::letter::Origin;
use crate::message::{Header, Headers};

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;

/// The value of the header [`DLQ_FORMAT`] on such letters.
const FORMAT: &str = "envelope";

/// The document.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Envelope {
    version: u32,
    message: Message,
    failure: Failure,
}

#[derive(Debug, Serialize, Deserialize)]
struct Message {
    topic: String,
    partition: i32,
    offset: i64,
    timestamp: i64,
    key: Option<Text>,
    payload: Option<Text>,
    headers: Vec<Named>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Named {
    name: String,
    value: Option<Text>,
}

/// What failed, as the headers tell it, too.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) id: String,
    pub(super) handler: String,
    pub(super) group: String,
    pub(super) stage: String,
    pub(super) attempts: u32,
    pub(super) error_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    pub(super) fingerprint: String,
    pub(super) failed_at: i64,
}

/// Bytes in a document of text.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Text {
    Text(String),
    Base64(String),
}

impl Text {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(STANDARD.encode(bytes)),
        }
    }

    fn bytes(self) -> Option<Bytes> {
        match self {
            Self::Text(text) => Some(text.into()),
            Self::Base64(text) => STANDARD.decode(text).ok().map(Bytes::from),
        }
    }
}

/// A message as it was before it became a dead letter.
#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    pub(super) key: Option<Bytes>,
    pub(super) payload: Option<Bytes>,
    pub(super) headers: Headers,
}

/// Write a message and its failure as one document; returns the headers and the payload of the record.
pub(super) fn seal(origin: &Origin, contents: Contents, failure: Failure, told: Headers) -> (Headers, Bytes) {
    let Contents {
        key,
        payload,
        headers,
    } = contents;
    // The next reader counts replays by them.
    let kept = headers
        .iter()
        .filter(|header| is_of_replay(&header.name))
        .cloned();
    let on_record = kept.chain(told).collect::<Headers>().with(DLQ_FORMAT, FORMAT);
    let named = headers.into_iter().map(|Header { name, value }| Named {
        name: name.into_owned(),
        value: value.as_deref().map(Text::of),
    });
    let envelope = Envelope {
        version: VERSION,
        message: Message {
            topic: origin.topic.clone(),
            partition: origin.partition,
            offset: origin.offset,
            timestamp: origin.timestamp,
            key: key.as_deref().map(Text::of),
            payload: payload.as_deref().map(Text::of),
            headers: named.collect(),
        },
        failure,
    };
    let document = serde_json::to_vec(&envelope).expect("texts and numbers can be written as JSON");
    (on_record, document.into())
}

/// Say whether a dead letter is such a document.
pub(super) fn is_sealed(headers: &Headers) -> bool {
    headers.get(DLQ_FORMAT) == Some(FORMAT.as_bytes())
}

/// Read the message out of a document; `None` if it is none that this version reads.
pub(super) fn open(document: &[u8]) -> Option<Contents> {
    let envelope: Envelope = serde_json::from_slice(document).ok()?;
    if envelope.version != VERSION {
        return None;
    }
    let Message {
        key,
        payload,
        headers,
        ..
    } = envelope.message;
    let mut opened = Headers::new();
    for Named { name, value } in headers {
        opened.push(name, bytes(value)?);
    }
    Some(Contents {
        key: bytes(key)?,
        payload: bytes(payload)?,
        headers: opened,
    })
}

/// Return the bytes that may be there; `None` if they cannot be read.
fn bytes(text: Option<Text>) -> Option<Option<Bytes>> {
    match text {
        None => Some(None),
        Some(text) => text.bytes().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_readable_and_other_bytes_come_back() {
        for (bytes, expected) in [
            (b"{\"a\": 1}".as_slice(), r#"{"text":"{\"a\": 1}"}"#),
            (b"", r#"{"text":""}"#),
            (&[0xff, 0], r#"{"base64":"/wA="}"#),
        ] {
            let text = Text::of(bytes);
            assert_eq!(serde_json::to_string(&text).unwrap(), expected);
            assert_eq!(text.bytes().as_deref(), Some(bytes));
        }
    }

    #[test]
    fn what_is_no_envelope_is_not_opened() {
        for odd in ["", "{}", "[]", "null"] {
            assert!(open(odd.as_bytes()).is_none(), "{odd}");
        }
    }
}
