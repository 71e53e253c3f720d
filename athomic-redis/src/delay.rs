//! `RedisDelays`: a delay store in Redis.
//!
//! A space is three keys in one slot, with `T` = `ath:{SPACE}`:
//!
//! | key | type | content |
//! |---|---|---|
//! | `T:u` | sorted set | name → when it is to be looked at, in milliseconds: when it is due, or its lease is over |
//! | `T:y` | hash | name → when it is due, a colon, and the frame |
//! | `T:k` | hash | name → the token that claimed it last |
//!
//! What waits is nowhere else: a server that evicts is refused, and one that forgets when it restarts is warned of.

use std::ops::Range;
use std::time::Duration;

use athomic_core::message::Timestamp;
use athomic_core::store::delay::{
    ClaimLimits, DelayClaim, DelayEntry, DelayStore, DueEntry, Each, LockToken,
};
use athomic_core::store::memory::StoreClock;
use athomic_core::store::{KeySpace, KeyValueSettings, StoreError};
use fred::error::Error;
use futures_util::future::join_all;

use crate::call::{self, Call, Script};
use crate::fitness::Eviction;
use crate::key_value::millis;
use crate::reply::{Reply, Unreadable};
use crate::space::Space;

/// How many elements a call has at most, and how many bytes before its last one.
const ELEMENTS: usize = 128;
const BYTES: usize = 256 << 10;

/// A delay store in Redis: one server, Sentinel or a cluster, which keeps a space in one slot.
#[derive(Debug)]
pub struct RedisDelays {
    space: Space,
}

impl RedisDelays {
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
        self.space.begin(script, ["u", "y", "k"])
    }

    async fn run(&self, call: Call) -> Result<Reply, Error> {
        self.space.server.run(&call.done()).await
    }

    /// Carry out a call of elements: `common` writes what they have in common, `write` each of them, `size` tells
    /// how large one is.
    async fn each<E>(
        &self,
        script: &'static Script,
        elements: &[E],
        common: impl Fn(&mut Call),
        write: impl Fn(&mut Call, &E),
        size: impl Fn(&E) -> usize,
    ) -> Each<i64> {
        let parts = parts(elements, size);
        let calls = parts.iter().map(|part| {
            let mut call = self.begin(script);
            common(&mut call);
            for element in &elements[part.clone()] {
                write(&mut call, element);
            }
            self.run(call)
        });
        let replies = join_all(calls).await;
        let mut results = Vec::with_capacity(elements.len());
        for (part, mut reply) in parts.into_iter().zip(replies) {
            results.extend(part.map(|_| self.answer(&mut reply)));
        }
        results
    }

    fn answer(&self, reply: &mut Result<Reply, Error>) -> Result<i64, StoreError> {
        match reply {
            Ok(reply) => reply
                .number()
                .map_err(|reason| self.space.server.unreadable(&reason)),
            Err(error) => Err(self.space.server.failed(error.clone())),
        }
    }
}

/// Part elements into calls, in their order.
fn parts<E>(elements: &[E], size: impl Fn(&E) -> usize) -> Vec<Range<usize>> {
    let (mut parts, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (place, element) in elements.iter().enumerate() {
        if place - begin >= ELEMENTS || bytes >= BYTES {
            parts.push(begin..place);
            (begin, bytes) = (place, 0);
        }
        bytes += size(element);
    }
    if begin < elements.len() {
        parts.push(begin..elements.len());
    }
    parts
}

fn claim(mut reply: Reply) -> Result<DelayClaim, Unreadable> {
    let next: Option<u64> = reply.optional()?;
    let mut claim = DelayClaim {
        next: next.map(Duration::from_millis),
        waiting: reply.number()?,
        overdue: Duration::from_millis(reply.number()?),
        ..DelayClaim::default()
    };
    while !reply.is_empty() {
        let (name, mut due) = (reply.text()?, reply.bytes()?);
        let colon = due.iter().position(|byte| *byte == b':');
        let frame = due.split_off(colon.map_or(0, |colon| colon + 1));
        let due = std::str::from_utf8(&due).ok();
        let due = due.and_then(|due| due.trim_end_matches(':').parse().ok());
        claim.entries.push(DueEntry {
            name,
            // What somebody else wrote there has no time; that it is no message is found out by who reads it.
            due: Timestamp::from_millis(due.unwrap_or(0)),
            frame,
        });
    }
    Ok(claim)
}

impl DelayStore for RedisDelays {
    fn name(&self) -> &str {
        &self.space.server.target.name
    }

    async fn open(&self) -> Result<(), StoreError> {
        self.space.server.open(Eviction::Refused).await?;
        self.space.server.check_persistence().await
    }

    async fn schedule(&self, entries: &[DelayEntry]) -> Each<Timestamp> {
        let write = |call: &mut Call, entry: &DelayEntry| {
            call.text(&entry.name)
                .number(millis(entry.delay))
                .bytes(&entry.frame);
        };
        let due = self.each(
            &call::DELAY_SCHEDULE,
            entries,
            |_| {},
            write,
            |entry| entry.frame.len(),
        );
        let due = due.await.into_iter();
        due.map(|due| due.map(Timestamp::from_millis)).collect()
    }

    async fn claim(
        &self,
        token: LockToken,
        lease: Duration,
        limits: ClaimLimits,
    ) -> Result<DelayClaim, StoreError> {
        let mut call = self.begin(&call::DELAY_CLAIM);
        call.number(token.0).number(millis(lease));
        for limit in [limits.entries, limits.bytes] {
            call.number(i64::try_from(limit).unwrap_or(i64::MAX));
        }
        let reply = self
            .run(call)
            .await
            .map_err(|error| self.space.server.failed(error))?;
        claim(reply).map_err(|reason| self.space.server.unreadable(&reason))
    }

    async fn hold(&self, token: LockToken, names: &[String], lease: Duration) -> Each<bool> {
        let common = |call: &mut Call| {
            call.number(token.0).number(millis(lease));
        };
        let held = self.each(
            &call::DELAY_HOLD,
            names,
            common,
            |call, name| put(call, name),
            String::len,
        );
        flags(held.await)
    }

    async fn remove(&self, token: LockToken, names: &[String]) -> Each<bool> {
        let common = |call: &mut Call| {
            call.number(token.0);
        };
        let held = self.each(
            &call::DELAY_REMOVE,
            names,
            common,
            |call, name| put(call, name),
            String::len,
        );
        flags(held.await)
    }
}

fn put(call: &mut Call, name: &str) {
    call.text(name);
}

fn flags(answers: Each<i64>) -> Each<bool> {
    let flag = |answer: Result<i64, StoreError>| answer.map(|answer| answer == 1);
    answers.into_iter().map(flag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_parted_by_number_and_by_size() {
        let lengths = |sizes: &[usize]| -> Vec<usize> {
            parts(sizes, |size| *size)
                .into_iter()
                .map(|part| part.len())
                .collect()
        };
        assert!(lengths(&[]).is_empty());
        assert_eq!(lengths(&[1; 129]), [128, 1]);
        assert_eq!(lengths(&[BYTES / 2; 5]), [2, 2, 1]);
        assert_eq!(lengths(&[3 * BYTES, 1, 1]), [1, 2]);
    }
}
