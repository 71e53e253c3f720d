//! The step `claim_check`: large payloads stand in a store of objects, and the record has a reference to them.
//!
//! The object is written before the record, so that who reads the record finds it. What is published and then fails
//! leaves an object that nobody asks for; objects are never deleted here, since dead letters and replays refer to them
//! too: let the store expire them, later than the topics and the dead letters.
//!
//! A reference is no path and no address: it names an object of the configured store below the configured prefix by
//! a random id, with its size and SHA-256, which are checked before anything sees the payload. `store.rs` opens the store
//! of the settings, `cloud.rs` those of clouds.
//!
//! ```text
//! magic (4) | version (1) | id (16) | size (8, big-endian) | SHA-256 (32)
//! ```
//!
//! | what is wrong | what follows |
//! |---|---|
//! | the store cannot be reached, is too slow, or refuses; the bucket is not there | tried again |
//! | the object is missing, or another one | dead letter at once |

#[cfg(any(
    feature = "claim-check-s3",
    feature = "claim-check-gcs",
    feature = "claim-check-azure"
))]
mod cloud;
mod store;

use std::borrow::Cow;
use std::time::Duration;

use object_store::path::Path;
use object_store::{Error, ObjectStoreExt};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::build::StepOptions;
use super::step::{AsyncPayloadStep, PayloadContext, Step, StepError};

pub(super) use self::store::{Objects, StoreFault, open};

const MAGIC: [u8; 4] = *b"\xa7clm";
const VERSION: u8 = 1;
const REFERENCE: usize = 4 + 1 + 16 + 8 + 32;

/// From this size on payloads stand in the store, unless the settings say otherwise: below the megabyte that brokers
/// take by default.
const THRESHOLD_BYTES: u64 = 786_432;

/// The object by which a store is checked at the start, and what is in it.
const PROBE: &str = "athomic-check";

#[derive(Debug)]
struct ClaimCheck {
    objects: Objects,
    prefix: Path,
    threshold: usize,
    timeout: Duration,
}

/// Make the step of its settings: `threshold_bytes`, `prefix`, `timeout_ms`; none without a store.
pub(super) fn step(options: &mut StepOptions<'_>, objects: Option<&Objects>) -> Option<Step> {
    let threshold = options.number("threshold_bytes", 1..=u64::from(u32::MAX), THRESHOLD_BYTES);
    let timeout = options.number("timeout_ms", 1..=3_600_000, 30_000);
    let prefix = options.text("prefix").unwrap_or("claims/").trim_end_matches('/');
    let prefix = match Path::parse(prefix) {
        Ok(prefix) => prefix,
        Err(error) => {
            options.refuse("prefix", format!("it is no path of objects: {error}"));
            return None;
        }
    };
    Some(Step::waiting(ClaimCheck {
        objects: objects?.clone(),
        prefix,
        threshold: usize::try_from(threshold).unwrap_or(usize::MAX),
        timeout: Duration::from_millis(timeout),
    }))
}

impl ClaimCheck {
    fn place_of(&self, id: Uuid) -> Path {
        self.prefix.clone().join(id.simple().to_string())
    }

    /// Ask the store, for as long as it may take.
    async fn ask<T>(&self, question: impl Future<Output = Result<T, Error>>) -> Result<T, StepError> {
        match tokio::time::timeout(self.timeout, question).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error @ Error::NotFound { .. })) if !is_of_the_bucket(&error) => {
                Err(StepError::malformed("the payload is not in the store any more"))
            }
            Ok(Err(error)) => Err(StepError::unavailable_because(
                "the store of payloads cannot be used",
                error,
            )),
            Err(_) => Err(StepError::unavailable(format!(
                "the store of payloads did not answer within {} ms",
                self.timeout.as_millis()
            ))),
        }
    }
}

/// Say whether it is the bucket that is missing, or the container: that can be mended, and no payload is lost by it.
fn is_of_the_bucket(error: &Error) -> bool {
    // All three say so in the body alone, by a code.
    let text = error.to_string();
    ["NoSuchBucket", "ContainerNotFound"]
        .iter()
        .any(|code| text.contains(code))
}

impl AsyncPayloadStep for ClaimCheck {
    fn label(&self) -> Cow<'_, str> {
        "claim_check".into()
    }

    fn is_mine(&self, payload: &[u8]) -> bool {
        payload.starts_with(&MAGIC)
    }

    /// Write an object and read it again.
    async fn check(&self) -> Result<(), StepError> {
        if !self.objects.is_checked {
            return Ok(());
        }
        let place = self.prefix.clone().join(PROBE);
        let asked = self.ask(async {
            self.objects.store.put(&place, PROBE.into()).await?;
            self.objects.store.get(&place).await?.bytes().await
        });
        asked.await.map(|_| ()).map_err(|source| {
            let what = format!(
                "{} cannot be used: it has to be there (`storage.provider.bucket`, `endpoint`, `region`), and who asks \
                 (`storage.provider.secret`, or the environment) needs the rights to write and read objects below `{}/`; \
                 a program that only reads sets `storage.provider.check_at_start = false`",
                self.objects.place, self.prefix
            );
            StepError::unavailable_because(what, source)
        })
    }

    async fn encode(&self, payload: Vec<u8>, _: &PayloadContext<'_>) -> Result<Vec<u8>, StepError> {
        if payload.len() < self.threshold && !AsyncPayloadStep::is_mine(self, &payload) {
            return Ok(payload);
        }
        let reference = Reference {
            id: Uuid::now_v7(),
            size: payload.len() as u64,
            digest: Sha256::digest(&payload).into(),
        };
        let place = self.place_of(reference.id);
        self.ask(self.objects.store.put(&place, payload.into())).await?;
        Ok(reference.write())
    }

    async fn decode(&self, payload: &[u8], context: &PayloadContext<'_>) -> Result<Vec<u8>, StepError> {
        let reference = Reference::read(payload)?;
        let limit = context.limits.bytes;
        if reference.size > limit as u64 {
            return Err(StepError::TooLarge { limit });
        }
        let place = self.place_of(reference.id);
        let fetched = self.ask(async {
            let found = self.objects.store.get(&place).await?;
            // The size is looked at before a byte is read.
            if found.meta.size != reference.size {
                return Ok(None);
            }
            found.bytes().await.map(Some)
        });
        let matches = |payload: &bytes::Bytes| Sha256::digest(payload)[..] == reference.digest;
        match fetched.await?.filter(matches) {
            Some(payload) => Ok(payload.into()),
            None => Err(StepError::malformed(
                "what is in the store is not the payload that was put there",
            )),
        }
    }
}

/// What stands in the record.
#[derive(Debug, PartialEq, Eq)]
struct Reference {
    id: Uuid,
    size: u64,
    digest: [u8; 32],
}

impl Reference {
    fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(REFERENCE);
        bytes.extend_from_slice(&MAGIC);
        bytes.push(VERSION);
        bytes.extend_from_slice(self.id.as_bytes());
        bytes.extend(self.size.to_be_bytes());
        bytes.extend_from_slice(&self.digest);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Self, StepError> {
        let malformed = || StepError::malformed("it is no reference to a payload");
        let mut rest = bytes;
        if bytes.len() != REFERENCE || !rest.starts_with(&MAGIC) || bytes[4] != VERSION {
            return Err(malformed());
        }
        let mut take = |count: usize| rest.split_off(..count).ok_or_else(malformed);
        take(5)?;
        Ok(Self {
            id: Uuid::from_slice(take(16)?).map_err(|_| malformed())?,
            size: u64::from_be_bytes(take(8)?.try_into().map_err(|_| malformed())?),
            digest: take(32)?.try_into().map_err(|_| malformed())?,
        })
    }
}

#[cfg(test)]
mod tests;
