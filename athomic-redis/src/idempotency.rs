//! `RedisIdempotency`: an idempotency store in Redis.
//!
//! Each message is a string of its own, `ath:{SPACE:BUCKET}:d:KEY`, which Redis lets go when its time is
//! over. A batch is one round trip: to a server one script for each [`ELEMENTS`] of it, to a cluster one for
//! each bucket, all sent at once.

use std::sync::Arc;
use std::time::Duration;

use athomic_core::store::idempotency::{Acquisition, Each, Hold, IdempotencyStore, Lock};
use athomic_core::store::memory::StoreClock;
use athomic_core::store::{KeySpace, KeyValueSettings, StoreError};
use fred::error::Error;
use futures_util::future::join_all;

use crate::call::{self, Call, Script, Written};
use crate::fitness::Eviction;
use crate::key_value::millis;
use crate::reply::{Reply, Unreadable};
use crate::server::Server;
use crate::space::Space;

/// How many elements a call has at most.
const ELEMENTS: usize = 128;

/// An idempotency store in Redis: one server, Sentinel or a cluster.
///
/// Connects when it is [opened](IdempotencyStore::open), or called first. A connection that breaks is made
/// anew for as long as the store lives.
#[derive(Debug)]
pub struct RedisIdempotency {
    space: Space,
}

impl RedisIdempotency {
    /// Make the store of a space. Opens no connection.
    ///
    /// # Errors
    /// [`StoreError::Unfit`]: the URI cannot be used.
    pub fn connect(settings: &KeyValueSettings, space: &KeySpace) -> Result<Self, StoreError> {
        let space = Space::connect(settings, space)?;
        Ok(Self { space })
    }

    /// Make the store of a space over a connection that others use as well.
    pub(crate) fn on(server: &Arc<Server>, space: &KeySpace) -> Self {
        Self {
            space: Space::on(server, space),
        }
    }

    /// Go by another clock than Redis'. For tests that let time pass.
    #[doc(hidden)]
    #[must_use]
    pub fn driven_by(self, clock: StoreClock) -> Self {
        Self {
            space: self.space.driven_by(clock),
        }
    }

    /// Carry out a call of elements: `common` writes what they have in common, `read` reads an answer.
    async fn each<T>(
        &self,
        script: &'static Script,
        locks: &[Lock],
        common: impl Fn(&mut Call),
        read: impl Fn(i64) -> Option<T>,
    ) -> Each<T> {
        let calls = self.plan(locks);
        let sent = calls.iter().map(|places| {
            let call = self.write(script, locks, places, &common);
            async move { self.space.server.run(&call).await }
        });
        let sent = join_all(sent).await;
        let mut results: Vec<_> = locks.iter().map(|_| None).collect();
        for (places, mut reply) in calls.iter().zip(sent) {
            for &place in places {
                results[place] = Some(self.answer(&mut reply, &read));
            }
        }
        let result = |result: Option<_>| result.expect("each element is in one call");
        results.into_iter().map(result).collect()
    }

    /// Say which elements go into which call. Those of one key are in one, in their order.
    fn plan(&self, locks: &[Lock]) -> Vec<Vec<usize>> {
        if !self.space.server.target.is_cluster() {
            let places: Vec<_> = (0..locks.len()).collect();
            return places.chunks(ELEMENTS).map(<[usize]>::to_vec).collect();
        }
        let mut places: Vec<_> = (0..locks.len())
            .map(|place| (locks[place].key.bucket(), place))
            .collect();
        places.sort_unstable();
        let of_bucket = places.chunk_by(|one, other| one.0 == other.0);
        of_bucket
            .map(|places| places.iter().map(|(_, place)| *place).collect())
            .collect()
    }

    fn write(
        &self,
        script: &'static Script,
        locks: &[Lock],
        places: &[usize],
        common: impl Fn(&mut Call),
    ) -> Written {
        let mut call = self.space.server.begin(script);
        common(&mut call);
        for &place in places {
            let Lock { key, token } = &locks[place];
            call.number(token.0);
            let bucket = key.bucket().to_string();
            call.key(&["ath:{", &self.space.id, ":", &bucket, "}:d:", key.as_str()]);
        }
        call.done()
    }

    fn answer<T>(
        &self,
        reply: &mut Result<Reply, Error>,
        read: impl Fn(i64) -> Option<T>,
    ) -> Result<T, StoreError> {
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => return Err(self.space.server.failed(error.clone())),
        };
        let answer = reply
            .number()
            .and_then(|number| read(number).ok_or(Unreadable("an answer is none of those that are known")));
        answer.map_err(|reason| self.space.server.unreadable(&reason))
    }
}

fn hold(answer: i64) -> Option<Hold> {
    match answer {
        0 => Some(Hold::Lost),
        1 => Some(Hold::Kept),
        2 => Some(Hold::Restored),
        _ => None,
    }
}

fn acquisition(answer: i64) -> Option<Acquisition> {
    match answer {
        -1 => Some(Acquisition::Acquired),
        -2 => Some(Acquisition::Duplicate),
        millis => u64::try_from(millis)
            .ok()
            .map(|millis| Acquisition::Busy(Duration::from_millis(millis))),
    }
}

impl IdempotencyStore for RedisIdempotency {
    fn name(&self) -> &str {
        &self.space.server.target.name
    }

    async fn open(&self) -> Result<(), StoreError> {
        self.space.server.open(Eviction::Endured).await
    }

    async fn acquire(&self, locks: &[Lock], timeout: Duration) -> Each<Acquisition> {
        let common = |call: &mut Call| {
            call.number(millis(timeout).max(1));
        };
        self.each(&call::ACQUIRE, locks, common, acquisition).await
    }

    async fn renew(&self, locks: &[Lock], timeout: Duration) -> Each<Hold> {
        let common = |call: &mut Call| {
            call.text("L").number(millis(timeout).max(1));
        };
        self.each(&call::HOLD, locks, common, hold).await
    }

    async fn confirm(&self, locks: &[Lock], ttl: Duration) -> Each<Hold> {
        let common = |call: &mut Call| {
            call.text("D").number(millis(ttl).max(1));
        };
        self.each(&call::HOLD, locks, common, hold).await
    }

    async fn release(&self, locks: &[Lock]) -> Each<bool> {
        let read = |answer| (0..=1).contains(&answer).then_some(answer == 1);
        self.each(&call::UNLOCK, locks, |_| {}, read).await
    }
}
