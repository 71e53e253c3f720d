//! From a failure to the record that tells of it.
//!
//! Key, payload and the message's own headers are kept as they came, still encoded, so that a replay is
//! a copy; with `format = "envelope"` they are in a document (`envelope.rs`). What is added has a fixed number of headers of bounded length: a record that fails again and
//! again does not grow.

use std::fmt::{self, Write as _};

use bytes::Bytes;
use twox_hash::{XxHash3_64, XxHash3_128};

use super::envelope::{self, Failure};
use super::headers::{self as names, is_of_dead_letter, is_of_retry};
use super::sets::Telling;
use super::{Chain, HeaderSet};
use crate::handler::HandlerScope;
use crate::message::{Headers, RawMessage, Timestamp};
use crate::outcome::{BoxError, FailureContext, FailureStage};
use crate::settings::DlqFormat;

/// How much a dead letter tells; less of it makes it smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Detail {
    /// All.
    Full,
    /// No text of errors.
    Brief,
    /// No text of errors and no payload.
    Bare,
}

/// What is put on dead letters.
#[derive(Debug, Clone)]
pub(super) struct Contents {
    pub(super) format: DlqFormat,
    pub(super) sets: Vec<HeaderSet>,
    pub(super) error_max_bytes: usize,
    pub(super) error_redact: bool,
}

/// Where a message stood when it failed first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
}

impl Origin {
    /// Read where a message stood first: what its retries say, or its own place.
    pub(crate) fn of(message: &RawMessage, headers: &Headers) -> Self {
        let told = headers.get(names::RETRY_ORIGIN).and_then(Self::parse);
        told.unwrap_or_else(|| Self {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().map_or(0, Timestamp::as_millis),
        })
    }

    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(text).ok()?.split('/');
        let origin = Self {
            topic: parts.next().filter(|topic| !topic.is_empty())?.to_owned(),
            partition: parts.next()?.parse().ok().filter(|number| *number >= 0)?,
            offset: parts.next()?.parse().ok().filter(|number| *number >= 0)?,
            timestamp: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(origin)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            topic,
            partition,
            offset,
            timestamp,
        } = self;
        write!(f, "{topic}/{partition}/{offset}/{timestamp}")
    }
}

/// A dead letter, before it is said where it goes.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) id: String,
    pub(super) key: Option<Bytes>,
    pub(super) payload: Option<Bytes>,
    pub(super) headers: Headers,
}

impl Letter {
    /// Write a letter about a failure.
    pub(super) fn new(
        scope: &HandlerScope,
        failure: &FailureContext,
        contents: &Contents,
        detail: Detail,
    ) -> Self {
        let message = &failure.message;
        let came = message.headers();
        let origin = Origin::of(message, &came);
        let told = Told::of(failure, contents, detail);
        let telling = Telling {
            scope,
            failure,
            origin: &origin,
            told: &told,
        };
        let payload = message.payload().filter(|_| detail != Detail::Bare);
        let now = scope.publisher.now().as_millis();
        let added = added(&telling, &contents.sets, &came, detail, now);
        let key = message.key().map(Bytes::copy_from_slice);
        let own = envelope::Contents {
            key: key.clone(),
            payload: payload.map(Bytes::copy_from_slice),
            headers: kept(came),
        };
        let (headers, payload) = match contents.format {
            DlqFormat::Headers => (own.headers.into_iter().chain(added).collect(), own.payload),
            DlqFormat::Envelope => {
                let (headers, document) = envelope::seal(&origin, own, telling.failure(now), added);
                (headers, Some(document))
            }
        };
        Self {
            id: id(&origin, scope),
            key,
            payload,
            headers,
        }
    }

    /// Take a record that is a dead letter already as it is.
    pub(super) fn copy(message: &RawMessage, headers: Headers, id: String) -> Self {
        Self {
            id,
            key: message.key().map(Bytes::copy_from_slice),
            payload: message.payload().map(Bytes::copy_from_slice),
            headers,
        }
    }
}

/// Take away of a message's headers what was put on it as a retry or as a dead letter. What another dead-letter
/// queue has said of the message in Kafka's words is set once and never overwritten.
fn kept(came: Headers) -> Headers {
    let told_before = was_told(&came);
    let stays = |name: &str| {
        (told_before && name.starts_with(names::ERRORS)) || !(is_of_retry(name) || is_of_dead_letter(name))
    };
    came.into_iter().filter(|header| stays(&header.name)).collect()
}

fn was_told(came: &Headers) -> bool {
    came.get(names::ERRORS_TOPIC).is_some()
}

/// Write down what failed.
fn added(telling: &Telling<'_>, sets: &[HeaderSet], came: &Headers, detail: Detail, now: i64) -> Headers {
    let Telling {
        scope,
        failure,
        origin,
        told,
    } = telling;
    let mut headers = Headers::new()
        .with(names::DLQ_ID, id(origin, scope))
        .with(names::DLQ_GROUP, scope.group_id.to_string())
        .with(names::DLQ_ORIGIN, origin.to_string())
        .with(names::DLQ_HANDLER, scope.handler_id.to_string())
        .with(names::DLQ_STAGE, failure.stage.as_str())
        .with(names::DLQ_ERROR_TYPE, told.error_type.clone())
        .with(names::DLQ_FINGERPRINT, told.fingerprint(scope, failure.stage))
        .with(names::DLQ_FAILED_AT, now.to_string())
        .with(names::DLQ_TIMESTAMP, origin.timestamp.to_string());
    if let Some(chain) = &told.chain {
        headers.push(names::DLQ_ERROR_CHAIN, Some(chain.clone().into()));
    }
    if detail == Detail::Bare {
        headers.push(names::DLQ_VALUE, Some("omitted".into()));
    }
    if let Some(first_at) = came.get(names::RETRY_FIRST_AT) {
        headers.push(names::DLQ_FIRST_AT, Some(Bytes::copy_from_slice(first_at)));
    }
    let told_before = was_told(came);
    for set in sets
        .iter()
        .filter(|set| !(told_before && **set == HeaderSet::Kafka))
    {
        telling.add(*set, &mut headers);
    }
    headers
}

impl Telling<'_> {
    /// Tell the failure in a document.
    fn failure(&self, failed_at: i64) -> Failure {
        let Self {
            scope, failure, told, ..
        } = self;
        Failure {
            id: id(self.origin, scope),
            handler: scope.handler_id.to_string(),
            group: scope.group_id.to_string(),
            stage: failure.stage.as_str().to_owned(),
            attempts: failure.attempt,
            error_type: told.error_type.clone(),
            error: told.chain.clone(),
            fingerprint: told.fingerprint(scope, failure.stage),
            failed_at,
        }
    }
}

/// What a letter tells of its error.
pub(super) struct Told {
    pub(super) error_type: String,
    /// The error without its causes.
    pub(super) text: Option<String>,
    /// The first of its causes.
    pub(super) cause: Option<String>,
    pub(super) chain: Option<String>,
    /// For the fingerprint, digits removed.
    shape: u64,
}

/// How much of an error's own text is told; its causes have the bound of the settings.
const TEXT: usize = 1024;

/// How long the name of an error's type may be.
const NAME: usize = 128;

impl Told {
    fn of(failure: &FailureContext, contents: &Contents, detail: Detail) -> Self {
        let error = failure.error.as_ref();
        let tells = detail == Detail::Full && !contents.error_redact;
        let bound = TEXT.min(contents.error_max_bytes);
        let text = bounded(&error, bound);
        let cause = error.source().filter(|_| tells);
        let shape: String = text.chars().filter(|c| !c.is_ascii_digit()).collect();
        Self {
            error_type: error_type(failure.stage, &failure.error),
            shape: XxHash3_64::oneshot(shape.as_bytes()),
            cause: cause.map(|cause| bounded(&cause, bound)),
            chain: tells.then(|| bounded(&Chain(error), contents.error_max_bytes)),
            text: tells.then_some(text),
        }
    }

    fn fingerprint(&self, scope: &HandlerScope, stage: FailureStage) -> String {
        let Self {
            error_type, shape, ..
        } = self;
        let all = format!("{}\0{}\0{error_type}\0{shape}", scope.handler_id, stage.as_str());
        format!("{:016x}", XxHash3_64::oneshot(all.as_bytes()))
    }
}

/// Name the kind of an error: boxed, it has told its type only by its `Debug`.
pub(crate) fn error_type(stage: FailureStage, error: &BoxError) -> String {
    if matches!(stage, FailureStage::Panic | FailureStage::Timeout) {
        return stage.as_str().to_owned();
    }
    let debug = bounded(&format_args!("{error:?}"), NAME);
    let legal = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    let name: String = debug.chars().take_while(|c| legal(*c)).collect();
    if name.is_empty() { "text".to_owned() } else { name }
}

/// Write something down, cut off at so many bytes with a mark.
pub(crate) fn bounded(text: &dyn fmt::Display, bytes: usize) -> String {
    const MARK: &str = "...";
    let mut cut = Cut {
        text: String::new(),
        most: bytes,
    };
    if write!(cut, "{text}").is_err() {
        let mut end = bytes.saturating_sub(MARK.len()).min(cut.text.len());
        while !cut.text.is_char_boundary(end) {
            end -= 1;
        }
        cut.text.truncate(end);
        cut.text.push_str(&MARK[..MARK.len().min(bytes)]);
    }
    cut.text
}

/// Takes text up to a bound and refuses more, so that nobody goes on writing.
struct Cut {
    text: String,
    most: usize,
}

impl fmt::Write for Cut {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = self.most - self.text.len();
        if more.len() <= room {
            self.text.push_str(more);
            return Ok(());
        }
        let mut end = room;
        while !more.is_char_boundary(end) {
            end -= 1;
        }
        self.text.push_str(&more[..end]);
        Err(fmt::Error)
    }
}

/// Name a dead letter in the form of a UUID of version 7: the message's time, then what its place and its
/// handler hash to. So a letter that is written twice, because its first acknowledgement was lost or its
/// writer died, has one id.
fn id(origin: &Origin, scope: &HandlerScope) -> String {
    let named = format!("{origin}\0{}\0{}", scope.group_id, scope.handler_id);
    let hash = XxHash3_128::oneshot(named.as_bytes());
    let millis = u128::try_from(origin.timestamp).unwrap_or(0) & 0xffff_ffff_ffff;
    let random = hash & ((1 << 74) - 1);
    let (a, b) = (random >> 62, random & ((1 << 62) - 1));
    let id = (millis << 80) | (7 << 76) | (a << 64) | (0b10 << 62) | b;
    let hex = format!("{id:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_with_a_mark_between_characters() {
        assert_eq!(bounded(&"short", 5), "short");
        assert_eq!(bounded(&"too long", 6), "too...");
        assert_eq!(bounded(&"ééééé", 8), "éé...");
        assert_eq!(bounded(&"long", 2), "..");
    }

    #[test]
    fn an_origin_reads_what_it_writes_and_nothing_else() {
        let origin = Origin {
            topic: "orders.v1".to_owned(),
            partition: 3,
            offset: 17,
            timestamp: 1_700_000_000_000,
        };
        assert_eq!(Origin::parse(origin.to_string().as_bytes()), Some(origin));
        for odd in ["", "a/1/2", "a/-1/2/3", "a/1/2/3/4", "/1/2/3", "a/x/2/3"] {
            assert_eq!(Origin::parse(odd.as_bytes()), None, "{odd}");
        }
    }
}
