//! What the headers of a dead letter tell of it.

use serde::{Deserialize, Serialize};

use super::headers as names;
use super::letter::Origin;
use crate::message::{Headers, Partition, Timestamp};

/// A dead letter without its message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// Its id: the same for the same message and handler, however often it is written.
    pub id: String,
    /// The topic in which the message failed.
    pub topic: String,
    /// The partition in which it failed.
    pub partition: Partition,
    /// The offset at which it failed first.
    pub offset: i64,
    /// The group that gave it up.
    pub group: String,
    /// The handler that gave it up.
    pub handler: String,
    /// Where it failed, such as `handler` or `decode`.
    pub stage: String,
    /// What kind of error it was.
    pub error_type: String,
    /// The error and its causes, unless they are redacted or were too long.
    pub error: Option<String>,
    /// The same for failures of a handler that differ in numbers alone.
    pub fingerprint: String,
    /// When it was given up; as JSON, milliseconds since the Unix epoch.
    pub failed_at: Timestamp,
    /// How often it was replayed before it failed again.
    pub replays: u32,
}

impl Summary {
    /// Read the headers of a dead letter; `None` if athomic has not written them.
    pub(super) fn read(headers: &Headers) -> Option<Self> {
        let text = |name: &str| Some(String::from_utf8_lossy(headers.get(name)?).into_owned());
        let origin = Origin::parse(headers.get(names::DLQ_ORIGIN)?)?;
        Some(Self {
            id: text(names::DLQ_ID)?,
            topic: origin.topic,
            partition: origin.partition,
            offset: origin.offset,
            group: text(names::DLQ_GROUP)?,
            handler: text(names::DLQ_HANDLER)?,
            stage: text(names::DLQ_STAGE)?,
            error_type: text(names::DLQ_ERROR_TYPE)?,
            error: text(names::DLQ_ERROR_CHAIN),
            fingerprint: text(names::DLQ_FINGERPRINT)?,
            failed_at: Timestamp::from_millis(text(names::DLQ_FAILED_AT)?.parse().ok()?),
            replays: text(names::REDRIVE_COUNT)
                .and_then(|count| count.parse().ok())
                .unwrap_or(0),
        })
    }
}
