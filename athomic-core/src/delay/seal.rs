//! The seal: a signature over what waits in a delay topic.
//!
//! Whoever may write to a delay topic can have the republisher write wherever its user may. With
//! `republisher.envelope_key` only those who know the key can: the header [`SIGNATURE`] holds an HMAC
//! (SHA-256) over the envelope and all of the record that its destination will have, so that an envelope cannot
//! be put on another message. What tells of its trace is left out: that is written when the record is sent.

use std::fmt;

use bytes::Bytes;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::envelope::{Envelope, MalformedEnvelope, SIGNATURE};
use crate::context::{BAGGAGE, TRACEPARENT, TRACESTATE};
use crate::message::{Header, Headers, RawMessage};
use crate::settings::{RepublisherSettings, Secret};
use crate::transport::OutgoingMessage;

/// Headers that a signature says nothing of: itself, and those that are written when a record is sent.
const UNSIGNED: [&str; 4] = [SIGNATURE, TRACEPARENT, TRACESTATE, BAGGAGE];

/// Puts envelopes on messages that are to wait, and reads them again; signed, if the settings have a key.
#[derive(Debug, Clone)]
pub(crate) struct Sealing(Option<Seal>);

impl Sealing {
    /// Seal as the settings say.
    pub(crate) fn new(settings: &RepublisherSettings) -> Self {
        let seal = |key| Seal::new(key, settings.envelope_previous_key.as_ref());
        Self(settings.envelope_key.as_ref().map(seal))
    }

    /// Make the record that waits in a place.
    pub(crate) fn wrap(&self, envelope: &Envelope, message: OutgoingMessage, place: &str) -> OutgoingMessage {
        let mut record = envelope.wrap(message, place);
        if let Some(seal) = &self.0 {
            let signature = seal.sign(&Sealed {
                key: record.key.as_deref(),
                payload: record.payload.as_deref(),
                headers: &record.headers,
            });
            record.headers.push(SIGNATURE, Some(signature));
        }
        record
    }

    /// Read the envelope of a record that waited, and check its signature.
    pub(crate) fn envelope_of(&self, record: &RawMessage) -> Result<Envelope, MalformedEnvelope> {
        let headers = record.headers();
        if let Some(seal) = &self.0 {
            seal.check(&Sealed {
                key: record.key(),
                payload: record.payload(),
                headers: &headers,
            })?;
        }
        Envelope::of(&headers)
    }
}

/// Signs delayed messages, and checks the signatures of those that come due. Cheap to clone.
#[derive(Clone)]
struct Seal {
    /// Signs, and is tried first.
    key: Hmac<Sha256>,
    /// Was used before: messages that it has signed still wait.
    previous: Option<Hmac<Sha256>>,
}

/// What a signature is over.
struct Sealed<'a> {
    key: Option<&'a [u8]>,
    payload: Option<&'a [u8]>,
    /// All headers, the envelope among them.
    headers: &'a Headers,
}

impl Seal {
    fn new(key: &Secret, previous: Option<&Secret>) -> Self {
        Self {
            key: hmac(key),
            previous: previous.map(hmac),
        }
    }

    /// Sign a record.
    fn sign(&self, record: &Sealed<'_>) -> Bytes {
        let signed = record.feed(self.key.clone()).finalize().into_bytes();
        Bytes::copy_from_slice(&signed)
    }

    /// Check the signature of a record, in a time that tells nothing about it.
    fn check(&self, record: &Sealed<'_>) -> Result<(), MalformedEnvelope> {
        let signature = record.headers.get(SIGNATURE).ok_or(MalformedEnvelope::Unsigned)?;
        let is_of = |key: &Hmac<Sha256>| record.feed(key.clone()).verify_slice(signature).is_ok();
        if is_of(&self.key) || self.previous.as_ref().is_some_and(is_of) {
            return Ok(());
        }
        Err(MalformedEnvelope::Forged)
    }
}

impl Sealed<'_> {
    /// Give all parts to a signature, each with its length before it, so that none can pass for another.
    fn feed(&self, mut mac: Hmac<Sha256>) -> Hmac<Sha256> {
        let mut part = |bytes: Option<&[u8]>| {
            // A missing part is told from an empty one.
            let length = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
            mac.update(&length.to_be_bytes());
            mac.update(bytes.unwrap_or_default());
        };
        part(self.key);
        part(self.payload);
        let is_signed = |header: &&Header| !UNSIGNED.contains(&&*header.name);
        for header in self.headers.iter().filter(is_signed) {
            part(Some(header.name.as_bytes()));
            part(header.value.as_deref());
        }
        mac
    }
}

fn hmac(secret: &Secret) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes keys of any length")
}

/// Never shows the keys.
impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delay::ENVELOPE;

    fn seal(key: &str, previous: Option<&str>) -> Seal {
        let previous = previous.map(Secret::new);
        Seal::new(&Secret::new(key), previous.as_ref())
    }

    fn record<'a>(key: Option<&'a [u8]>, payload: Option<&'a [u8]>, headers: &'a Headers) -> Sealed<'a> {
        Sealed {
            key,
            payload,
            headers,
        }
    }

    fn signed(seal: &Seal, headers: Headers) -> Headers {
        let signature = seal.sign(&record(Some(b"k"), Some(b"v"), &headers));
        headers.with(SIGNATURE, signature)
    }

    #[test]
    fn nothing_of_a_signed_record_can_be_changed() {
        let seal = seal("secret", None);
        let headers = signed(&seal, Headers::new().with(ENVELOPE, "{}").with("a", "1"));
        let check = |key, payload, headers| seal.check(&record(key, payload, headers)).is_ok();
        assert!(check(Some(b"k"), Some(b"v"), &headers));
        assert!(!check(None, Some(b"v"), &headers));
        assert!(!check(Some(b"k"), None, &headers));
        assert!(!check(Some(b"k"), Some(b"w"), &headers));
        // The same bytes, parted otherwise.
        assert!(!check(Some(b"kv"), Some(b""), &headers));
        let more = headers.clone().with("b", "2");
        assert!(!check(Some(b"k"), Some(b"v"), &more));
        let other = Headers::new().with(ENVELOPE, "{ }").with("a", "1");
        let signature = headers.get(SIGNATURE).expect("it is signed").to_vec();
        assert!(!check(Some(b"k"), Some(b"v"), &other.with(SIGNATURE, signature)));
    }

    #[test]
    fn a_record_may_be_given_a_span_after_it_was_signed() {
        let seal = seal("secret", None);
        let mut headers = signed(
            &seal,
            Headers::new().with(ENVELOPE, "{}").with(TRACEPARENT, "before"),
        );
        headers.set(TRACEPARENT, "after");
        headers.set(BAGGAGE, "a=1");
        assert!(seal.check(&record(Some(b"k"), Some(b"v"), &headers)).is_ok());
    }

    #[test]
    fn unsigned_is_told_from_forged() {
        let (ours, theirs) = (seal("ours", None), seal("theirs", None));
        let plain = Headers::new().with(ENVELOPE, "{}");
        let refused = ours.check(&record(Some(b"k"), Some(b"v"), &plain));
        assert!(matches!(refused, Err(MalformedEnvelope::Unsigned)));
        let refused = ours.check(&record(Some(b"k"), Some(b"v"), &signed(&theirs, plain)));
        assert!(matches!(refused, Err(MalformedEnvelope::Forged)));
    }

    #[test]
    fn what_was_signed_by_the_key_of_before_is_still_taken() {
        let headers = signed(&seal("old", None), Headers::new().with(ENVELOPE, "{}"));
        let check = |seal: &Seal| seal.check(&record(Some(b"k"), Some(b"v"), &headers)).is_ok();
        assert!(check(&seal("new", Some("old"))));
        assert!(!check(&seal("new", None)));
        assert!(!format!("{:?}", seal("hidden", Some("too"))).contains("hidden"));
    }
}
