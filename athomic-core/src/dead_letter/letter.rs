//! From a failure to the record that tells of it.
//!
//! Key, payload and the message's own headers are kept as they came, still encoded, so that a replay is
//! a copy. What is added has a fixed number of headers of bounded length: a record that fails again and
//! again does not grow.

use std::fmt::{self, Write as _};

use bytes::Bytes;
use twox_hash::{XxHash3_64, XxHash3_128};

use super::headers::{self as names, is_of_dead_letter, is_of_retry};
use super::{Chain, HeaderSet};
use crate::handler::HandlerScope;
use crate::message::{Header, Headers, RawMessage, Timestamp};
use crate::outcome::{FailureContext, FailureStage};

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
        let id = id(&origin, scope);
        let told = Told::of(failure, contents, detail);
        let mut headers = Headers::new();
        let first_at = came.get(names::RETRY_FIRST_AT).map(Bytes::copy_from_slice);
        // What another dead-letter queue has said of the message is set once and never overwritten.
        let told_before = came.get(names::ERRORS_TOPIC).is_some();
        for Header { name, value } in came {
            let stays = told_before && name.starts_with(names::ERRORS);
            if stays || !(is_of_retry(&name) || is_of_dead_letter(&name)) {
                headers.push(name, value);
            }
        }
        let mut add = |name: &str, value: String| headers.push(name, Some(value.into()));
        for set in &contents.sets {
            match set {
                HeaderSet::Kafka if told_before => {}
                HeaderSet::Kafka => kafka(&origin, scope, failure, &told, &mut add),
                HeaderSet::Spring => {}
            }
        }
        add(names::DLQ_ID, id.clone());
        add(names::DLQ_GROUP, scope.group_id.to_string());
        add(names::DLQ_ORIGIN, origin.to_string());
        add(names::DLQ_HANDLER, scope.handler_id.to_string());
        add(names::DLQ_STAGE, failure.stage.as_str().to_owned());
        add(names::DLQ_ERROR_TYPE, told.error_type.clone());
        if let Some(chain) = &told.chain {
            add(names::DLQ_ERROR_CHAIN, chain.clone());
        }
        add(names::DLQ_FINGERPRINT, told.fingerprint(scope, failure.stage));
        let now = scope.publisher.now();
        add(names::DLQ_FAILED_AT, now.as_millis().to_string());
        add(names::DLQ_TIMESTAMP, origin.timestamp.to_string());
        if detail == Detail::Bare {
            add(names::DLQ_VALUE, "omitted".to_owned());
        }
        if let Some(first_at) = first_at {
            headers.push(names::DLQ_FIRST_AT, Some(first_at));
        }
        if contents.sets.contains(&HeaderSet::Spring) {
            spring(&origin, scope, &told, &mut headers);
        }
        Self {
            id,
            key: message.key().map(Bytes::copy_from_slice),
            payload: message
                .payload()
                .filter(|_| detail != Detail::Bare)
                .map(Bytes::copy_from_slice),
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

fn kafka(
    origin: &Origin,
    scope: &HandlerScope,
    failure: &FailureContext,
    told: &Told,
    add: &mut impl FnMut(&str, String),
) {
    add(names::ERRORS_TOPIC, origin.topic.clone());
    add(names::ERRORS_PARTITION, origin.partition.to_string());
    add(names::ERRORS_OFFSET, origin.offset.to_string());
    add(names::ERRORS_GROUP, scope.group_id.to_string());
    add(names::ERRORS_DELIVERY_COUNT, failure.attempt.to_string());
    if let Some(text) = &told.text {
        add(names::ERRORS_MESSAGE, text.clone());
    }
}

/// The names and the binary numbers of Spring for Apache Kafka.
fn spring(origin: &Origin, scope: &HandlerScope, told: &Told, headers: &mut Headers) {
    let mut add = |name: &str, value: Vec<u8>| headers.push(format!("kafka_dlt-{name}"), Some(value.into()));
    add("original-topic", origin.topic.clone().into_bytes());
    add("original-partition", origin.partition.to_be_bytes().to_vec());
    add("original-offset", origin.offset.to_be_bytes().to_vec());
    add("original-timestamp", origin.timestamp.to_be_bytes().to_vec());
    add("original-timestamp-type", b"CreateTime".to_vec());
    add("original-consumer-group", scope.group_id.to_string().into_bytes());
    add("exception-fqcn", told.error_type.clone().into_bytes());
    if let Some(text) = &told.text {
        add("exception-message", text.clone().into_bytes());
    }
}

/// What a letter tells of its error.
struct Told {
    error_type: String,
    /// The error without its causes.
    text: Option<String>,
    chain: Option<String>,
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
        let text = bounded(&error, TEXT.min(contents.error_max_bytes));
        let shape: String = text.chars().filter(|c| !c.is_ascii_digit()).collect();
        Self {
            error_type: error_type(failure),
            shape: XxHash3_64::oneshot(shape.as_bytes()),
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
fn error_type(failure: &FailureContext) -> String {
    if matches!(failure.stage, FailureStage::Panic | FailureStage::Timeout) {
        return failure.stage.as_str().to_owned();
    }
    let debug = bounded(&format_args!("{:?}", failure.error), NAME);
    let legal = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    let name: String = debug.chars().take_while(|c| legal(*c)).collect();
    if name.is_empty() { "text".to_owned() } else { name }
}

/// Write something down, cut off at so many bytes with a mark.
fn bounded(text: &dyn fmt::Display, bytes: usize) -> String {
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
