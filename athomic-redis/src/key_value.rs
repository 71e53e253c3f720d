//! `RedisKeyValue`: a key-value store in Redis.
//!
//! A space is three keys in one slot, with `T` = `ath:{SPACE}`:
//!
//! | key | type | content |
//! |---|---|---|
//! | `T:v` | hash | key → value |
//! | `T:e` | sorted set | key → when it goes, in milliseconds; only those that do |
//! | `T:i` | sorted set | keys; all scores are 0, so that they sort as text |
//!
//! Each write removes some of what has gone.

use std::time::Duration;

use athomic_core::store::key_value::{Change, Condition, KeyValueStore};
use athomic_core::store::memory::StoreClock;
use athomic_core::store::{KeySpace, KeyValueSettings, StoreError};
use bytes::Bytes;

use crate::call::{self, Call, Script};
use crate::fitness::Eviction;
use crate::reply::Reply;
use crate::space::Space;

/// A key-value store in Redis: one server, Sentinel or a cluster, which keeps a space in one slot.
#[derive(Debug)]
pub struct RedisKeyValue {
    space: Space,
}

impl RedisKeyValue {
    /// Make the store of a space. Opens no connection.
    ///
    /// # Errors
    /// [`StoreError::Unfit`]: the URI cannot be used.
    pub fn connect(settings: &KeyValueSettings, space: &KeySpace) -> Result<Self, StoreError> {
        let space = Space::connect(settings, space)?;
        Ok(Self { space })
    }

    /// Go by another clock than Redis'. For tests that let time pass.
    #[doc(hidden)]
    #[must_use]
    pub fn driven_by(self, clock: StoreClock) -> Self {
        Self {
            space: self.space.driven_by(clock),
        }
    }

    fn begin(&self, script: &'static Script) -> Call {
        self.space.begin(script, ["v", "e", "i"])
    }

    async fn run(&self, call: Call) -> Result<Reply, StoreError> {
        let reply = self.space.server.run(&call.done()).await;
        reply.map_err(|error| self.space.server.failed(error))
    }
}

fn put(call: &mut Call, change: &Change) {
    call.text(&change.key);
    match &change.condition {
        Condition::Always => call.text("*").text(""),
        Condition::Absent => call.text("-").text(""),
        Condition::Is(value) => call.text("=").bytes(value),
    };
    match (&change.value, change.ttl) {
        (None, _) => call.text("-").text("").text(""),
        (Some(value), None) => call.text("=").bytes(value).text(""),
        (Some(value), Some(ttl)) => call.text("=").bytes(value).number(millis(ttl)),
    };
}

/// Return a duration in whole milliseconds, as far as a script can count.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).map_or(1 << 50, |millis| millis.min(1 << 50))
}

impl KeyValueStore for RedisKeyValue {
    fn name(&self) -> &str {
        &self.space.server.target.name
    }

    async fn open(&self) -> Result<(), StoreError> {
        self.space.server.open(Eviction::Refused).await
    }

    async fn get(&self, keys: &[&str]) -> Result<Vec<Option<Bytes>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut call = self.begin(&call::KV_GET);
        for key in keys {
            call.text(key);
        }
        let mut reply = self.run(call).await?;
        let values = keys.iter().map(|_| reply.optional_bytes());
        let values: Result<_, _> = values.collect();
        values.map_err(|reason| self.space.server.unreadable(&reason))
    }

    async fn write(&self, changes: &[Change]) -> Result<Vec<bool>, StoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let mut call = self.begin(&call::KV_WRITE);
        for change in changes {
            put(&mut call, change);
        }
        let mut reply = self.run(call).await?;
        let made = changes.iter().map(|_| Ok(reply.number::<i64>()? == 1));
        let made: Result<_, _> = made.collect();
        made.map_err(|reason| self.space.server.unreadable(&reason))
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut call = self.begin(&call::KV_SCAN);
        call.text(prefix);
        match after {
            Some(after) if after >= prefix => call.text("(").text(after),
            _ => call.text("[").text(prefix),
        };
        call.number(i64::try_from(limit).unwrap_or(i64::MAX));
        let mut reply = self.run(call).await?;
        let mut entries = Vec::new();
        while !reply.is_empty() {
            let entry = reply.text().and_then(|key| Ok((key, reply.bytes()?)));
            entries.push(entry.map_err(|reason| self.space.server.unreadable(&reason))?);
        }
        Ok(entries)
    }
}
