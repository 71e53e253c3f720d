//! The frame: all that is needed to open a payload but the key.
//!
//! ```text
//! magic (4) | version (1) | algorithm (1) | key id length (1), key id | topic length (1), topic
//!   | nonce (24 or 12) | ciphertext | tag (16)
//! ```
//!
//! The associated data is all that stands before the nonce, then the message's key and its id, each behind its length
//! (a null key differs from an empty one). So nothing of it can be changed, and nothing moved to another message.

use chacha20poly1305::aead::{AeadInOut, Nonce, Tag};

use super::CLOSED;
use super::keys::Key;
use crate::payload::{PayloadContext, StepError};
use crate::settings::CryptoAlgorithm;

const MAGIC: [u8; 4] = *b"\xa7ath";
const VERSION: u8 = 1;
const TAG: usize = 16;

const fn number_of(algorithm: CryptoAlgorithm) -> u8 {
    match algorithm {
        CryptoAlgorithm::XChaCha20Poly1305 => 1,
        CryptoAlgorithm::Aes256Gcm => 2,
    }
}

const fn nonce_of(algorithm: CryptoAlgorithm) -> usize {
    match algorithm {
        CryptoAlgorithm::XChaCha20Poly1305 => 24,
        CryptoAlgorithm::Aes256Gcm => 12,
    }
}

/// Say whether bytes are meant to be a frame.
pub(super) fn begins_like_one(payload: &[u8]) -> bool {
    payload.starts_with(&MAGIC)
}

/// Encrypt a payload.
pub(super) fn seal(
    algorithm: CryptoAlgorithm,
    key: &Key,
    payload: &[u8],
    context: &PayloadContext<'_>,
) -> Result<Vec<u8>, StepError> {
    let (id, topic) = (
        short(key.id(), "the key's id")?,
        short(context.topic, "the topic")?,
    );
    let head = MAGIC.len() + 4 + id.len() + topic.len();
    let nonce = nonce_of(algorithm);
    let mut frame = Vec::with_capacity(head + nonce + payload.len() + TAG);
    frame.extend_from_slice(&MAGIC);
    frame.extend([VERSION, number_of(algorithm)]);
    for part in [id, topic] {
        frame.push(u8::try_from(part.len()).expect("checked by `short`"));
        frame.extend_from_slice(part);
    }
    let bound = associated(&frame, context);
    frame.resize(head + nonce, 0);
    getrandom::fill(&mut frame[head..])
        .map_err(|error| StepError::unavailable_because("the system has no random numbers", error))?;
    frame.extend_from_slice(payload);
    let (before, text) = frame.split_at_mut(head + nonce);
    let nonce = &before[head..];
    let sealed = match algorithm {
        CryptoAlgorithm::XChaCha20Poly1305 => encrypt(key.xchacha(), nonce, &bound, text),
        CryptoAlgorithm::Aes256Gcm => encrypt(key.aes(), nonce, &bound, text),
    };
    let tag = sealed.ok_or_else(|| StepError::malformed("it is too long to be encrypted"))?;
    frame.extend_from_slice(&tag);
    Ok(frame)
}

fn short<'t>(text: &'t str, what: &str) -> Result<&'t [u8], StepError> {
    if text.len() <= usize::from(u8::MAX) {
        return Ok(text.as_bytes());
    }
    Err(StepError::malformed(format!("{what} is longer than 255 bytes")))
}

fn encrypt<C: AeadInOut>(cipher: &C, nonce: &[u8], bound: &[u8], text: &mut [u8]) -> Option<[u8; TAG]> {
    let nonce: &Nonce<C> = nonce.try_into().ok()?;
    let tag = cipher.encrypt_inout_detached(nonce, bound, text.into()).ok()?;
    tag.as_slice().try_into().ok()
}

fn decrypt<C: AeadInOut>(cipher: &C, nonce: &[u8], bound: &[u8], text: &mut [u8], tag: &[u8]) -> Option<()> {
    let nonce: &Nonce<C> = nonce.try_into().ok()?;
    let tag: &Tag<C> = tag.try_into().ok()?;
    cipher.decrypt_inout_detached(nonce, bound, text.into(), tag).ok()
}

/// Put together what a frame is bound to.
fn associated(head: &[u8], context: &PayloadContext<'_>) -> Vec<u8> {
    let parts = [context.key, context.message_id];
    let length = parts
        .iter()
        .map(|part| 5 + part.map_or(0, <[u8]>::len))
        .sum::<usize>();
    let mut bound = Vec::with_capacity(head.len() + length);
    bound.extend_from_slice(head);
    for part in parts {
        bound.push(u8::from(part.is_some()));
        let part = part.unwrap_or_default();
        // Records are far below 4 GiB.
        bound.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        bound.extend_from_slice(part);
    }
    bound
}

/// A frame taken apart; nothing of it can be trusted before it opens.
#[derive(Debug)]
pub(super) struct Frame<'p> {
    /// All that stands before the nonce.
    head: &'p [u8],
    algorithm: CryptoAlgorithm,
    pub(super) key_id: &'p str,
    pub(super) topic: &'p str,
    nonce: &'p [u8],
    text: &'p [u8],
    tag: &'p [u8],
}

impl<'p> Frame<'p> {
    /// Take a frame apart.
    pub(super) fn read(payload: &'p [u8]) -> Result<Self, StepError> {
        let cut = || StepError::malformed("the frame is cut short");
        let mut rest = payload;
        let mut take = |bytes: usize| rest.split_off(..bytes).ok_or_else(cut);
        let start = take(MAGIC.len() + 2)?;
        let (version, number) = (start[MAGIC.len()], start[MAGIC.len() + 1]);
        if version != VERSION {
            let what = format!("the frame is of version {version}, and this program knows {VERSION}");
            return Err(StepError::malformed(what));
        }
        let mut algorithms = CryptoAlgorithm::ALL.into_iter();
        let algorithm = algorithms.find(|algorithm| number_of(*algorithm) == number);
        let algorithm = algorithm
            .ok_or_else(|| StepError::malformed(format!("there is no algorithm with the number {number}")))?;
        let mut text = || {
            let length = usize::from(take(1)?[0]);
            let text = std::str::from_utf8(take(length)?);
            text.map_err(|_| StepError::malformed("a name in the frame is no text"))
        };
        let (key_id, topic) = (text()?, text()?);
        let nonce = take(nonce_of(algorithm))?;
        let head = &payload[..payload.len() - rest.len() - nonce.len()];
        let end = rest.len().checked_sub(TAG).ok_or_else(cut)?;
        let (text, tag) = rest.split_at(end);
        Ok(Self {
            head,
            algorithm,
            key_id,
            topic,
            nonce,
            text,
            tag,
        })
    }

    /// Decrypt it.
    pub(super) fn open(&self, key: &Key, context: &PayloadContext<'_>) -> Result<Vec<u8>, StepError> {
        let bound = associated(self.head, context);
        let mut text = self.text.to_vec();
        let (nonce, tag) = (self.nonce, self.tag);
        let opened = match self.algorithm {
            CryptoAlgorithm::XChaCha20Poly1305 => decrypt(key.xchacha(), nonce, &bound, &mut text, tag),
            CryptoAlgorithm::Aes256Gcm => decrypt(key.aes(), nonce, &bound, &mut text, tag),
        };
        opened.map(|()| text).ok_or_else(|| StepError::malformed(CLOSED))
    }
}
