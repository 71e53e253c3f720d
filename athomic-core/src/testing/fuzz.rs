//! One function for each decoder that reads what others may have written, for fuzzers: `fuzz/` feeds them by libFuzzer,
//! `tests/decoders.rs` a corpus of crafted bombs and seeded changes of it.
//!
//! A target takes any bytes. It must not panic, and makes no more of them than [`LIMIT`] bytes; who feeds it
//! watches the memory.

#![cfg_attr(
    not(all(feature = "zstd", feature = "crypto", feature = "claim-check")),
    allow(dead_code, reason = "what a step that is not built in would use")
)]

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use super::payload::PayloadRig;
use crate::context::HeadersOrchestrator;
use crate::dead_letter::DeadLetter;
use crate::delay::{ENVELOPE, Envelope};
use crate::handler::MessageContext;
use crate::message::{Headers, OwnedRecord, RawMessage, Timestamp, TopicPartition};
use crate::ordering::frame;
use crate::payload::{DecodeError, Encode, Payload};
use crate::settings::Settings;
use crate::transport::OutgoingMessage;

/// The most bytes that a payload may become in any target: `max_decoded_bytes` of all of them.
pub const LIMIT: usize = 1 << 20;

const TOPIC: &str = "fuzz.v1";
const SOME_TIME: Timestamp = Timestamp::from_millis(1_760_000_000_000);

/// A decoder to be fed.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, which is that of its program in `fuzz/` and of its corpus.
    pub name: &'static str,
    feed: fn(&[u8]) -> bool,
    sample: fn() -> Vec<u8>,
}

impl Target {
    /// Feed it; it says whether it could read that.
    pub fn feed(&self, input: &[u8]) -> bool {
        (self.feed)(input)
    }

    /// Make something that it can read, to begin with.
    #[must_use]
    pub fn sample(&self) -> Vec<u8> {
        (self.sample)()
    }
}

/// All that this program was built with.
pub const TARGETS: &[Target] = &[
    target(
        "json",
        |input| read::<Tree>("backend = 'json'", "", input),
        || sealed("backend = 'json'", "", &tree()),
    ),
    #[cfg(feature = "msgpack")]
    target(
        "msgpack",
        |input| read::<Tree>("backend = 'msgpack'", "", input),
        || sealed("backend = 'msgpack'", "", &tree()),
    ),
    #[cfg(feature = "cbor")]
    target(
        "cbor",
        |input| read::<Tree>("backend = 'cbor'", "", input),
        || sealed("backend = 'cbor'", "", &tree()),
    ),
    #[cfg(feature = "avro")]
    target(
        "avro",
        |input| read::<crate::payload::Avro<Tree>>("backend = 'avro'", "", input),
        || sealed("backend = 'avro'", "", &crate::payload::Avro(tree())),
    ),
    #[cfg(feature = "protobuf")]
    target(
        "protobuf",
        |input| read::<crate::payload::Proto<Tree>>("backend = 'protobuf'", "", input),
        || sealed("backend = 'protobuf'", "", &crate::payload::Proto(tree())),
    ),
    #[cfg(feature = "zstd")]
    target("zstd", |input| opened(COMPRESSED, input), || compressed("zstd")),
    #[cfg(feature = "lz4")]
    target("lz4", |input| opened(COMPRESSED, input), || compressed("lz4")),
    #[cfg(feature = "gzip")]
    target("gzip", |input| opened(COMPRESSED, input), || compressed("gzip")),
    #[cfg(feature = "snappy")]
    target(
        "snappy",
        |input| opened(COMPRESSED, input),
        || compressed("snappy"),
    ),
    #[cfg(feature = "crypto")]
    target(
        "crypto",
        |input| opened(ENCRYPTED, input),
        || sealed("backend = 'raw'", ENCRYPTED, "a secret"),
    ),
    #[cfg(feature = "claim-check")]
    target("claim", claimed, || {
        sealed("backend = 'raw'", CLAIMED, &"x".repeat(100))
    }),
    target("envelope", envelope, || {
        let message = OutgoingMessage {
            topic: TOPIC.to_owned(),
            partition: Some(3),
            ..OutgoingMessage::default()
        };
        let waits = Envelope::new(&message, Duration::from_secs(60), SOME_TIME);
        serde_json::to_vec(&waits).expect("it is plain data")
    }),
    target("letter", letter, || {
        [
            "athomic-dlq-id: 018f-0001",
            "athomic-dlq-group: billing",
            "athomic-dlq-handler: billing::on_paid",
            "athomic-dlq-origin: orders.v1/3/17/1750000000000",
            "athomic-dlq-stage: handler",
            "athomic-dlq-error-type: handler",
            "athomic-dlq-fingerprint: 0123456789abcdef",
            "athomic-dlq-failed-at: 1760000000000",
            "__dlq.errors.topic: orders.v1",
            "__dlq.errors.partition: 3",
            "__dlq.errors.offset: 17",
        ]
        .join("\n")
        .into_bytes()
    }),
    target("trace", context, || {
        b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\ntracestate: a=1,b=2".to_vec()
    }),
    target("baggage", context, || {
        b"baggage: tenant=a,user%20id=b;p=1,c=%E2%82%AC".to_vec()
    }),
    target("frame", parked, || {
        frame_of(&record(b"{}".to_vec(), Headers::new()))
    }),
];

const fn target(name: &'static str, feed: fn(&[u8]) -> bool, sample: fn() -> Vec<u8>) -> Target {
    Target { name, feed, sample }
}

/// A type that is as deep and as wide as its bytes say.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "protobuf", derive(prost::Message))]
#[cfg_attr(not(feature = "protobuf"), derive(Debug))]
struct Tree {
    #[cfg_attr(feature = "protobuf", prost(string, tag = "1"))]
    name: String,
    #[cfg_attr(feature = "protobuf", prost(int64, repeated, tag = "2"))]
    numbers: Vec<i64>,
    #[cfg_attr(feature = "protobuf", prost(message, repeated, tag = "3"))]
    children: Vec<Tree>,
}

#[cfg(feature = "avro")]
impl crate::payload::AvroSchema for Tree {
    const SCHEMA: &'static str = r#"{"type": "record", "name": "Tree", "fields": [
        {"name": "name", "type": "string"},
        {"name": "numbers", "type": {"type": "array", "items": "long"}},
        {"name": "children", "type": {"type": "array", "items": "Tree"}}
    ]}"#;
}

fn tree() -> Tree {
    let leaf = Tree {
        name: "leaf".to_owned(),
        numbers: vec![0, -1, i64::MAX],
        children: Vec::new(),
    };
    Tree {
        name: "root".to_owned(),
        numbers: vec![1],
        children: vec![leaf.clone(), leaf],
    }
}

const COMPRESSED: &str = ", { step = 'compression' }";
#[cfg(feature = "crypto")]
const ENCRYPTED: &str = ", { step = 'crypto' }";
#[cfg(feature = "claim-check")]
const CLAIMED: &str = ", { step = 'claim_check', settings = { threshold_bytes = 1 } }";

/// A pipeline, and what runs its steps.
type Rig = Rc<(PayloadRig, Runtime)>;

/// Run something with the pipeline of a serializer and a step; each thread makes it once.
fn with_rig<T>(serializer: &str, step: &str, run: impl FnOnce(&PayloadRig, &Runtime) -> T) -> T {
    thread_local! {
        static RIGS: RefCell<Vec<(String, Rig)>> = const { RefCell::new(Vec::new()) };
    }
    let settings = format!(
        "integration.messaging.payload.max_decoded_bytes = {LIMIT}\n\
         integration.messaging.payload.pipeline = [{{ step = 'serializer', settings = {{ {serializer} }} }}{step}]\n\
         [security.crypto]\nactive_key = 'k'\nkeys = [{{ id = 'k', secret = '{}' }}]\n",
        "07".repeat(32)
    );
    let found = RIGS.with_borrow(|rigs| {
        rigs.iter()
            .find(|(key, _)| *key == settings)
            .map(|(_, rig)| rig.clone())
    });
    let rig = found.unwrap_or_else(|| {
        let loaded = Settings::loader()
            .environment::<String, String>([])
            .text("fuzz", settings.clone())
            .load();
        let rig = PayloadRig::new(&loaded.expect("the settings are valid").settings)
            .expect("the steps are built in");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let rig = Rc::new((rig, runtime.expect("it needs nothing of the system")));
        RIGS.with_borrow_mut(|rigs| rigs.push((settings, rig.clone())));
        rig
    });
    run(&rig.0, &rig.1)
}

fn record(payload: Vec<u8>, headers: Headers) -> RawMessage {
    let record = OwnedRecord {
        headers,
        key: Some(Bytes::from_static(b"key")),
        ..OwnedRecord::new(7, payload)
    };
    RawMessage::from_record(TopicPartition::new(TOPIC, 3), record)
}

/// Read bytes as a value of a format.
fn read<P: Payload>(serializer: &str, step: &str, input: &[u8]) -> bool {
    let message = record(input.to_vec(), Headers::new());
    with_rig(serializer, step, |rig, runtime| {
        runtime.block_on(rig.decode::<P>(&message)).is_ok()
    })
}

/// What is left of a payload behind all steps.
struct Opened;

impl Payload for Opened {
    type Target = Vec<u8>;

    fn decode(context: &MessageContext<'_>) -> Result<Self, DecodeError> {
        let length = context.payload().map_or(0, <[u8]>::len);
        assert!(length <= LIMIT, "{length} bytes were made, over the limit");
        Ok(Self)
    }
}

/// Take bytes through a step.
fn opened(step: &str, input: &[u8]) -> bool {
    read::<Opened>("backend = 'raw'", step, input)
}

/// Read a reference. Its object may be gone, which is known when the reference could be read.
#[cfg(feature = "claim-check")]
fn claimed(input: &[u8]) -> bool {
    let message = record(input.to_vec(), Headers::new());
    with_rig("backend = 'raw'", CLAIMED, |rig, runtime| {
        match runtime.block_on(rig.decode::<Opened>(&message)) {
            Err(DecodeError::Step { source, .. }) => source.to_string().contains("any more"),
            other => other.is_ok(),
        }
    })
}

/// Write a value as a step does.
fn sealed<T: Encode + ?Sized>(serializer: &str, step: &str, value: &T) -> Vec<u8> {
    with_rig(serializer, step, |rig, runtime| {
        let mut message = OutgoingMessage {
            topic: TOPIC.to_owned(),
            key: Some(Bytes::from_static(b"key")),
            ..OutgoingMessage::default()
        };
        let encoded = runtime.block_on(rig.encode(&mut message, value));
        encoded.expect("the value has a form in it");
        message.payload.unwrap_or_default().to_vec()
    })
}

#[cfg(any(feature = "zstd", feature = "lz4", feature = "gzip", feature = "snappy"))]
fn compressed(backend: &str) -> Vec<u8> {
    let step = format!(", {{ step = 'compression', settings = {{ backend = '{backend}', min_bytes = 1 }} }}");
    sealed("backend = 'raw'", &step, &"compressible ".repeat(50))
}

fn envelope(input: &[u8]) -> bool {
    let mut headers = Headers::new();
    headers.push(ENVELOPE, Some(Bytes::copy_from_slice(input)));
    Envelope::of(&headers).is_ok()
}

/// Read lines of `name: value` as headers; a line without a colon has no value.
fn headers_of(input: &[u8]) -> Headers {
    let mut headers = Headers::new();
    for line in input.split(|byte| *byte == b'\n') {
        let (name, value) = match line.windows(2).position(|pair| pair == b": ") {
            Some(colon) => (&line[..colon], Some(Bytes::copy_from_slice(&line[colon + 2..]))),
            None => (line, None),
        };
        let name: Cow<'_, str> = String::from_utf8_lossy(name);
        headers.push(name, value);
    }
    headers
}

/// Read headers, and behind an empty line a payload, as a dead letter.
fn letter(input: &[u8]) -> bool {
    let blank = input.windows(2).position(|pair| pair == b"\n\n");
    let (headers, payload) = blank.map_or((input, &b"{}"[..]), |blank| {
        (&input[..blank], &input[blank + 2..])
    });
    let record = record(payload.to_vec(), headers_of(headers));
    DeadLetter::read(&record).is_some_and(|letter| letter.is_complete)
}

fn context(input: &[u8]) -> bool {
    let orchestrator = HeadersOrchestrator::default();
    let context = orchestrator.restore(&record(Vec::new(), headers_of(input)));
    let mut headers = Headers::new();
    orchestrator.inject(&context, &mut headers).is_ok() && !headers.is_empty()
}

/// Give a frame the checksum that lets its contents be read.
fn parked(input: &[u8]) -> bool {
    let sum = crc32c::crc32c(input).to_le_bytes();
    frame::decode(&Bytes::from([input, &sum].concat())).is_ok()
}

/// Write a frame without its checksum.
fn frame_of(message: &RawMessage) -> Vec<u8> {
    let digest = crate::store::ordering::Digest([7; 16]);
    let written = frame::encode(message, digest, SOME_TIME);
    written[..written.len() - 4].to_vec()
}
