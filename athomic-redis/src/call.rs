//! A script with its keys and arguments.
//!
//! All of a call's text lies in one allocation, and the client refers to it: a call of 64 elements has
//! hundreds of arguments.

use std::fmt::Write as _;
use std::sync::LazyLock;

use athomic_core::store::ordering::{Aggregate, Digest};
use bytes::{BufMut, Bytes, BytesMut};
use fred::bytes_utils::Str;
use fred::types::Value;

use crate::keys::Keys;

/// A script and its name in Redis.
pub(crate) struct Script {
    text: String,
    hash: String,
    /// Which keys of each bucket it takes, by their letters and in this order.
    bucket: &'static str,
    /// Which of each aggregate.
    aggregate: &'static str,
}

impl Script {
    fn new(flags: &str, bucket: &'static str, aggregate: &'static str, parts: &[&str]) -> Self {
        let text = format!("#!lua{flags}\n{}", parts.concat());
        let hash = fred::util::sha1_hash(&text);
        Self {
            text,
            hash,
            bucket,
            aggregate,
        }
    }
}

/// Declare scripts: with flags, of which `allow-oom` lets those run that let a full server drain, the keys
/// that they take, and the files that they are made of.
macro_rules! scripts {
    ($($name:ident = $flags:literal ($bucket:literal, $aggregate:literal) $($part:literal)+;)+) => {
        $(
            pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
                let parts = [$(include_str!(concat!("scripts/", $part, ".lua"))),+];
                Script::new($flags, $bucket, $aggregate, &parts)
            });
        )+
    };
}

scripts! {
    OPEN = " flags=allow-oom" ("", "") "time" "open";
    ADMIT = "" ("sfmrqgh", "awp") "time" "sequences" "room" "deliveries" "admit";
    COMPLETE = " flags=allow-oom" ("mrg", "awp") "time" "sequences" "room" "schedule" "complete";
    RELEASE = " flags=allow-oom" ("rg", "aw") "time" "schedule" "release";
    CLAIM = " flags=allow-oom" ("sfrqg", "awp") "time" "sequences" "room" "deliveries" "claim";
    BEAT = " flags=allow-oom" ("sfmq", "") "time" "beat";
    STEER = " flags=allow-oom" ("sfmrqgh", "awp") "time" "sequences" "room" "schedule" "steer";
    DUE = " flags=no-writes" ("r", "") "time" "due";
    PROBE = " flags=no-writes" ("", "a") "time" "probe";
    INSPECT = " flags=no-writes" ("s", "awp") "time" "inspect";
    SURVEY = " flags=no-writes" ("smrgh", "") "time" "survey";
    ROOMS = " flags=no-writes" ("", "w") "rooms";
    KV_GET = " flags=no-writes" ("", "") "time" "kv" "kv_get";
    KV_WRITE = "" ("", "") "time" "kv" "kv_write";
    KV_SCAN = " flags=no-writes" ("", "") "time" "kv" "kv_scan";
    ACQUIRE = "" ("", "") "time" "marks" "acquire";
    HOLD = "" ("", "") "time" "marks" "hold";
    DELAY_SCHEDULE = "" ("", "") "time" "delays" "delay_schedule";
    DELAY_CLAIM = " flags=allow-oom" ("", "") "time" "delays" "delay_claim";
    DELAY_HOLD = " flags=allow-oom" ("", "") "time" "delays" "delay_hold";
    DELAY_REMOVE = " flags=allow-oom" ("", "") "time" "delays" "delay_remove";
    PENDING = " flags=allow-oom" ("", "") "pending";
    UNLOCK = " flags=allow-oom" ("", "") "time" "marks" "unlock";
}

/// A call that is being written, and that can be sent more than once.
pub(crate) struct Call {
    script: &'static Script,
    text: BytesMut,
    /// Where keys and arguments end in the text; each begins where the one before ended. Both kinds are
    /// written by turns.
    pieces: Vec<(usize, bool)>,
    keys: usize,
}

impl Call {
    pub(crate) fn new(script: &'static Script) -> Self {
        Self {
            script,
            text: BytesMut::with_capacity(1024),
            pieces: Vec::with_capacity(64),
            keys: 0,
        }
    }

    pub(crate) fn bucket(&mut self, keys: &Keys, bucket: u16) {
        let (pieces, count) = (&mut self.pieces, &mut self.keys);
        keys.put_bucket(bucket, self.script.bucket, &mut self.text, |end| {
            pieces.push((end, true));
            *count += 1;
        });
    }

    pub(crate) fn aggregate(&mut self, keys: &Keys, aggregate: &Aggregate) {
        let (pieces, count) = (&mut self.pieces, &mut self.keys);
        keys.put_aggregate(aggregate, self.script.aggregate, &mut self.text, |end| {
            pieces.push((end, true));
            *count += 1;
        });
    }

    /// Write a key that is made of parts.
    pub(crate) fn key(&mut self, parts: &[&str]) -> &mut Self {
        for part in parts {
            self.text.put_slice(part.as_bytes());
        }
        self.pieces.push((self.text.len(), true));
        self.keys += 1;
        self
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.text.put_slice(bytes);
        self.end_argument()
    }

    fn end_argument(&mut self) -> &mut Self {
        self.pieces.push((self.text.len(), false));
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.text.put_slice(text.as_bytes());
        self.end_argument()
    }

    pub(crate) fn number(&mut self, number: impl Into<i128>) -> &mut Self {
        write!(self.text, "{}", number.into()).expect("a buffer takes it");
        self.end_argument()
    }

    /// A sequence as scripts know it: 20 digits, which sort as text.
    pub(crate) fn sequence(&mut self, sequence: u64) -> &mut Self {
        write!(self.text, "{sequence:020}").expect("a buffer takes it");
        self.end_argument()
    }

    pub(crate) fn tagged_sequence(&mut self, tag: char, sequence: u64) -> &mut Self {
        self.text.put_u8(tag as u8);
        self.sequence(sequence)
    }

    /// A signed number so that it sorts as text.
    pub(crate) fn sortable(&mut self, number: i64) -> &mut Self {
        self.sequence(number.cast_unsigned() ^ (1 << 63))
    }

    pub(crate) fn digest(&mut self, digest: Digest) -> &mut Self {
        self.text.put_slice(&digest.0);
        self.end_argument()
    }

    /// A frame behind its digest, as rooms keep it; nothing if there is none.
    pub(crate) fn frame(&mut self, digest: Digest, frame: Option<&Bytes>) -> &mut Self {
        if let Some(frame) = frame {
            self.text.put_slice(&digest.0);
            self.text.put_slice(frame);
        }
        self.end_argument()
    }

    /// End the writing.
    pub(crate) fn done(self) -> Written {
        Written {
            script: self.script,
            text: self.text.freeze(),
            pieces: self.pieces,
            keys: self.keys,
        }
    }
}

/// A call that can be sent.
pub(crate) struct Written {
    script: &'static Script,
    text: Bytes,
    pieces: Vec<(usize, bool)>,
    keys: usize,
}

impl Written {
    /// Return the arguments of `EVALSHA`.
    pub(crate) fn by_hash(&self) -> Vec<Value> {
        self.values(&self.script.hash)
    }

    /// Return the arguments of `EVAL`, which makes the script known.
    pub(crate) fn by_text(&self) -> Vec<Value> {
        self.values(&self.script.text)
    }

    fn values(&self, script: &'static str) -> Vec<Value> {
        let mut values = Vec::with_capacity(self.pieces.len() + 2);
        values.push(Value::String(Str::from_static(script)));
        values.push(Value::Integer(i64::try_from(self.keys).expect("few keys")));
        self.pieces_of(true, &mut values);
        self.pieces_of(false, &mut values);
        values
    }

    fn pieces_of(&self, kind: bool, values: &mut Vec<Value>) {
        let mut begin = 0;
        for &(end, is_key) in &self.pieces {
            if is_key == kind {
                values.push(Value::Bytes(self.text.slice(begin..end)));
            }
            begin = end;
        }
    }
}
