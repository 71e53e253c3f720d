//! The names of keys. All of a bucket have one hash tag, and so lie in one slot of a cluster.
//!
//! With `T` = `ath:{SCOPE:BUCKET}`:
//!
//! | key | type | content |
//! |---|---|---|
//! | `T:s` | sorted set | session → when it ends |
//! | `T:f` | string | the last token granted |
//! | `T:m` | hash | `b` bytes and `c` messages that wait |
//! | `T:r` | sorted set | aggregate → when somebody should look at it |
//! | `T:q` | sorted set | `session\|aggregate`: somebody waits for an aggregate that the session holds |
//! | `T:g` | sorted set | aggregate → since when its next message is missing |
//! | `T:h` | sorted set | halted aggregates |
//! | `T:a:AGGREGATE` | hash | the state, see below |
//! | `T:w:AGGREGATE` | sorted set | sequences that wait; all scores are 0, so that they sort as text, exactly |
//! | `T:p:AGGREGATE` | hash | sequence → digest (16 bytes) and frame |
//! | `ath:{SCOPE}:meta` | hash | the policies under which all this was made; `life` tells which life of the data opened it last, `lost` when state was lost last |
//! | `ath:{SCOPE}:events` | list | events for operators, the newest first |
//!
//! Fields of a state: `x` the next sequence, `o` the owner, `f` its token, `k` how often `x` was begun
//! (see `scripts/deliveries.lua`), `i` the token of a lease that was given for a gap, `d` the
//! digest of the one before, `m` the newest record's time, `n` and `b` messages and bytes that wait, `g`
//! since when `x` is missing, `l` when that began anew because a lease ended, `t` when the aggregate was seen first, `h` why it is halted, `c` why it is
//! condemned, `s` what was skipped, range by range, `e` the last error, `z` when it is forgotten. Empty is nothing.

use athomic_core::store::ordering::Aggregate;
use bytes::{BufMut, BytesMut};

/// Names the keys of a scope.
#[derive(Debug)]
pub(crate) struct Keys {
    scope: String,
}

impl Keys {
    pub(crate) fn new(scope: &str) -> Self {
        Self {
            scope: scope.to_owned(),
        }
    }

    /// Return the key of the policies.
    pub(crate) fn meta(&self) -> String {
        format!("ath:{{{}}}:meta", self.scope)
    }

    /// Return the key of the events.
    pub(crate) fn events(&self) -> String {
        format!("ath:{{{}}}:events", self.scope)
    }

    fn prefix(&self, bucket: u16) -> String {
        format!("ath:{{{}:{bucket}}}:", self.scope)
    }

    /// Write keys of a bucket, each named by its letter, and tell of each where it ends.
    pub(crate) fn put_bucket(
        &self,
        bucket: u16,
        kinds: &str,
        into: &mut BytesMut,
        mut ended: impl FnMut(usize),
    ) {
        let prefix = self.prefix(bucket);
        for kind in kinds.bytes() {
            into.put_slice(prefix.as_bytes());
            into.put_u8(kind);
            ended(into.len());
        }
    }

    /// Write keys of an aggregate, likewise.
    pub(crate) fn put_aggregate(
        &self,
        aggregate: &Aggregate,
        kinds: &str,
        into: &mut BytesMut,
        mut ended: impl FnMut(usize),
    ) {
        let prefix = self.prefix(aggregate.bucket());
        for kind in kinds.bytes() {
            into.put_slice(prefix.as_bytes());
            into.put_slice(&[kind, b':']);
            into.put_slice(aggregate.key().as_bytes());
            ended(into.len());
        }
    }
}
