//! The step `crypto`: payloads that only holders of a key can read or write.
//!
//! Every frame says by itself how it is to be opened, since headers may be lost. What it is bound
//! to, besides its own beginning, is the message's key and id: bytes that are put into another message do not open.
//! The topic stands in the frame, and a frame opens in that topic, in its dead letters and in its parking lot, and
//! in topics that `topics` names, such as mirrors.
//!
//! | what is wrong | what follows |
//! |---|---|
//! | the key is not known | tried again: it may be on its way to this process |
//! | not encrypted | dead letter at once, unless `accept_plaintext = true` and the handler does not say `encrypted` |
//! | damaged, forged, of another message or topic | dead letter at once; the error does not say what was wrong |

mod frame;
mod keys;

use std::borrow::Cow;
use std::sync::Arc;

pub use keys::{Key, KeyError, KeyProvider, KeyRing, wrap_key};

use self::frame::Frame;
use super::build::StepOptions;
use super::step::{PayloadContext, PayloadStep, Step, StepError};
use crate::dead_letter::TopicTemplate;
use crate::settings::{CryptoAlgorithm, Settings};

/// One text for all that does not open, so that it helps nobody who tries.
const CLOSED: &str = "it is damaged, forged, or belongs to another message";

#[derive(Debug)]
struct Crypto {
    algorithm: CryptoAlgorithm,
    keys: Arc<dyn KeyProvider>,
    /// Whether what is not encrypted passes.
    accepts_plaintext: bool,
    places: Places,
}

/// Make the step of its settings: `algorithm`, `accept_plaintext`, `topics`; none without keys.
pub(super) fn step(
    options: &mut StepOptions<'_>,
    shared: Option<(&Settings, &Arc<dyn KeyProvider>)>,
) -> Option<Step> {
    let usual = shared.map_or_else(CryptoAlgorithm::default, |(settings, _)| {
        settings.crypto.algorithm
    });
    let algorithm = match options.text("algorithm") {
        None => usual,
        Some(word) => CryptoAlgorithm::named(word).unwrap_or_else(|| {
            options.refuse_word(
                "algorithm",
                word,
                CryptoAlgorithm::ALL.map(CryptoAlgorithm::as_str).to_vec(),
            );
            usual
        }),
    };
    let topics = options.text("topics").unwrap_or_default().split(',');
    let topics = topics.map(str::trim).filter(|topic| !topic.is_empty());
    let accepts_plaintext = options.parsed("accept_plaintext", "true or false", false);
    let (settings, keys) = shared?;
    let dlq = &settings.messaging.dlq;
    Some(Step::immediate(Crypto {
        algorithm,
        keys: Arc::clone(keys),
        accepts_plaintext,
        places: Places {
            mirrors: topics.map(str::to_owned).collect(),
            letters: [dlq.topic.clone(), dlq.parking_lot_topic.clone()],
        },
    }))
}

impl PayloadStep for Crypto {
    fn label(&self) -> Cow<'_, str> {
        match self.keys.active() {
            Ok(key) => format!("{}:{}", self.algorithm.as_str(), key.id()).into(),
            Err(_) => self.algorithm.as_str().into(),
        }
    }

    fn encode(&self, payload: Vec<u8>, context: &PayloadContext<'_>) -> Result<Vec<u8>, StepError> {
        let key = self.keys.active().map_err(missing)?;
        if self.algorithm == CryptoAlgorithm::Aes256Gcm {
            key.count_random_nonce();
        }
        frame::seal(self.algorithm, &key, &payload, context)
    }

    fn decode<'p>(
        &self,
        payload: Cow<'p, [u8]>,
        context: &PayloadContext<'_>,
    ) -> Result<Cow<'p, [u8]>, StepError> {
        if !frame::begins_like_one(&payload) {
            if self.accepts_plaintext && !context.encrypted_only {
                return Ok(payload);
            }
            return Err(StepError::malformed("it is not encrypted"));
        }
        let frame = Frame::read(&payload)?;
        if !self.places.may_hold(context.topic, frame.topic) {
            return Err(StepError::malformed(CLOSED));
        }
        let key = self.keys.by_id(frame.key_id).map_err(missing)?;
        frame.open(&key, context).map(Cow::Owned)
    }
}

fn missing(error: KeyError) -> StepError {
    StepError::unavailable_because("the key is not to be had", error)
}

/// Where frames may be found besides the topic that they were written to.
#[derive(Debug)]
struct Places {
    mirrors: Vec<String>,
    letters: [TopicTemplate; 2],
}

impl Places {
    fn may_hold(&self, found_in: &str, written_to: &str) -> bool {
        found_in == written_to
            || self.mirrors.iter().any(|mirror| mirror == found_in)
            || self
                .letters
                .iter()
                .any(|letters| letters.takes(written_to, found_in))
    }
}

#[cfg(test)]
mod tests;
