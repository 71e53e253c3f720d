//! `RedisOrdering`: an ordering store in Redis.

mod calls;
mod opening;
mod operation;
mod reports;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use athomic_core::ordering::Durability;
use athomic_core::store::memory::StoreClock;
use athomic_core::store::ordering::{
    Admission, Aggregate, AggregateReport, Arrival, Beat, BucketReport, Claim, ClaimTerms, Completed,
    Completion, Each, FencingToken, Frame, Opened, OrderingStore, ParkedMessage, Past, RoomLimits, SWEEP,
    SessionId, Steering,
};
use athomic_core::store::{KeyValueSettings, Scope, StoreError};
use fred::error::Error;

use crate::call::{self, Call, Script, Written};
use crate::connection::{Connection, Copies, Link};
use crate::error::{classify, malformed};
use crate::fitness::{Eviction, Fitness};
use crate::keys::Keys;
use crate::reply::{Reply, Unreadable};
use crate::settings::Target;

/// How many events are kept.
const EVENTS: usize = 10_000;
/// How many aggregates a survey shows of a kind.
const SHOWN: usize = 1000;

/// An ordering store in Redis: one server, Sentinel or a cluster.
///
/// Connects when it is [opened](OrderingStore::open), or called first. A connection that breaks is made
/// anew for as long as the store lives.
pub struct RedisOrdering {
    target: Target,
    keys: Keys,
    scope: Scope,
    /// What tests drive in place of Redis' own clock.
    clock: Option<StoreClock>,
    connection: Link,
    /// Another one for calls that wait for replicas: what is sent behind them has to wait with them, and
    /// a session's beat must not.
    waiting: Link,
}

impl fmt::Debug for RedisOrdering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOrdering")
            .field("name", &self.target.name)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl RedisOrdering {
    /// Make the store of a scope. Opens no connection.
    ///
    /// # Errors
    /// [`StoreError::Unfit`]: the URI cannot be used.
    pub fn connect(settings: &KeyValueSettings, scope: Scope) -> Result<Self, StoreError> {
        Ok(Self {
            target: Target::new(settings)?,
            keys: Keys::new(scope.id()),
            scope,
            clock: None,
            connection: Link::new(true),
            waiting: Link::new(false),
        })
    }

    /// Go by another clock than Redis'. For tests that let time pass.
    #[doc(hidden)]
    #[must_use]
    pub fn driven_by(mut self, clock: StoreClock) -> Self {
        self.clock = Some(clock);
        self
    }

    async fn connection(&self) -> Result<Arc<Connection>, Error> {
        self.connection.get(&self.target).await
    }

    async fn waiting(&self) -> Result<Arc<Connection>, Error> {
        self.waiting.get(&self.target).await
    }

    /// Return what a park has to wait for, if for anything.
    fn copies(&self) -> Option<Copies> {
        match self.scope.policies().durability {
            Durability::Redis { replicas, fsync } if replicas > 0 || fsync => {
                Some(Copies { replicas, fsync })
            }
            _ => None,
        }
    }

    /// Return after how many milliseconds an idle aggregate is forgotten; 0 is never.
    fn ttl(&self) -> i64 {
        self.scope
            .policies()
            .state_ttl
            .map_or(0, |ttl| millis(ttl).max(1))
    }

    fn begin(&self, script: &'static Script) -> Call {
        let mut call = Call::new(script);
        match &self.clock {
            Some(clock) => call.number(clock.micros()),
            None => call.text(""),
        };
        call
    }

    async fn run(&self, call: &Written) -> Result<Reply, Error> {
        let value = self.connection().await?.run(call).await?;
        Ok(Reply::list_or_one(value))
    }

    fn failed(&self, error: Error) -> StoreError {
        classify(&self.target.name, error)
    }

    fn unreadable(&self, reason: &Unreadable) -> StoreError {
        malformed(&self.target.name, reason)
    }

    /// Look at an aggregate: its fields, and what waits from a sequence on.
    async fn look(&self, aggregate: &Aggregate, from: u64, limit: usize) -> Result<Reply, StoreError> {
        let mut call = self.begin(&call::INSPECT);
        call.sequence(from).number(count(limit));
        call.bucket(&self.keys, aggregate.bucket());
        call.aggregate(&self.keys, aggregate);
        self.run(&call.done()).await.map_err(|error| self.failed(error))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 64)
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl OrderingStore for RedisOrdering {
    fn name(&self) -> &str {
        &self.target.name
    }

    async fn open(&self, past: Past) -> Result<Opened, StoreError> {
        let connection = self.connection().await.map_err(|error| self.failed(error))?;
        let fitness = Fitness {
            store: &self.target.name,
            connection: &connection,
            is_cluster: self.target.is_cluster(),
            durability: self.scope.policies().durability,
            eviction: Eviction::Refused,
        };
        fitness.check().await?;
        let mut call = self.begin(&call::OPEN);
        call.key(&[&self.keys.meta()]);
        opening::put(&mut call, &self.scope, past);
        let reply = self.run(&call.done()).await.map_err(|error| self.failed(error))?;
        opening::read(&self.scope, reply).map_err(|reason| self.unreadable(&reason))?
    }

    async fn beat(&self, session: SessionId, buckets: &[u16], ttl: Duration) -> Each<Beat> {
        self.each(&calls::Beats { session, ttl }, buckets).await
    }

    async fn admit(&self, session: SessionId, limits: RoomLimits, arrivals: &[Arrival]) -> Each<Admission> {
        let admissions = calls::Admissions {
            session,
            limits,
            copies: self.copies(),
        };
        self.each(&admissions, arrivals).await
    }

    async fn complete(
        &self,
        session: SessionId,
        frames: usize,
        completions: &[Completion],
    ) -> Each<Completed> {
        let terms = calls::Completions {
            session,
            frames,
            ttl: self.ttl(),
        };
        self.each(&terms, completions).await
    }

    async fn release(&self, session: SessionId, leases: &[(Aggregate, FencingToken)]) -> Each<()> {
        let releases = calls::Releases {
            session,
            ttl: self.ttl(),
        };
        self.each(&releases, leases).await
    }

    async fn due(&self, buckets: &[u16], limit: usize) -> Each<Vec<Aggregate>> {
        self.each(&calls::Dues { limit }, buckets).await
    }

    async fn claim(&self, session: SessionId, terms: ClaimTerms, aggregates: &[Aggregate]) -> Each<Claim> {
        let claims = calls::Claims { session, terms };
        self.each(&claims, aggregates).await
    }

    async fn probe(&self, aggregates: &[Aggregate]) -> Each<Option<u64>> {
        self.each(&calls::Probes, aggregates).await
    }

    async fn read(&self, aggregate: &Aggregate, from: u64, limit: usize) -> Result<Vec<Frame>, StoreError> {
        let reply = self.look(aggregate, from, limit).await?;
        let room = reports::room(reply).map_err(|reason| self.unreadable(&reason))?;
        let frame = |message: ParkedMessage| Frame {
            sequence: message.sequence,
            bytes: message.frame,
        };
        Ok(room.into_iter().map(frame).collect())
    }

    async fn steer(&self, aggregate: &Aggregate, action: Steering) -> Result<(), StoreError> {
        let mut call = self.begin(&call::STEER);
        call.number(millis(SWEEP)).number(self.ttl());
        match &action {
            Steering::Halt { reason } => call.text("halt").text(reason),
            Steering::HaltUnsettled { reason } => call.text("unsettled").text(reason),
            Steering::Condemn { reason } => call.text("condemn").text(reason),
            Steering::Resume { next: None } => call.text("resume").text(""),
            Steering::Resume { next: Some(next) } => call.text("resume").sequence(*next),
            Steering::Restore { next } => call.text("restore").sequence(*next),
            Steering::Remove { sequence } => call.text("remove").sequence(*sequence),
            Steering::Forget => call.text("forget").text(""),
            Steering::Begun { token } => call.text("begun").text(&token.to_string()),
            Steering::Note { error } => call.text("note").text(error),
        };
        call.bucket(&self.keys, aggregate.bucket());
        call.aggregate(&self.keys, aggregate);
        let done = self.run(&call.done()).await;
        done.map(drop).map_err(|error| self.failed(error))
    }

    async fn survey(&self, buckets: &[u16]) -> Each<BucketReport> {
        let mut reports = self.each(&calls::Surveys, buckets).await;
        for report in reports.iter_mut().flatten() {
            // Halted aggregates are not due, so that nothing tells yet which of them have a room.
            let halted = report.halted.iter();
            let halted: Vec<_> = halted
                .map(|key| Aggregate::stored(key.as_str(), report.bucket))
                .collect();
            for (aggregate, is_waiting) in halted.iter().zip(self.each(&calls::Rooms, &halted).await) {
                if is_waiting.unwrap_or_default() {
                    report.waiting.push(aggregate.key().to_owned());
                }
            }
            report.waiting.sort_unstable();
            report.waiting.truncate(SHOWN);
        }
        reports
    }

    async fn inspect(
        &self,
        aggregate: &Aggregate,
        limit: usize,
    ) -> Result<Option<AggregateReport>, StoreError> {
        let reply = self.look(aggregate, 0, limit).await?;
        reports::aggregate(aggregate.key(), reply).map_err(|reason| self.unreadable(&reason))
    }

    async fn record(&self, event: &str) -> Result<(), StoreError> {
        let key = self.keys.events();
        let last = (EVENTS - 1).to_string();
        let connection = self.connection().await.map_err(|error| self.failed(error))?;
        for (name, arguments) in [("LPUSH", &[&key, event][..]), ("LTRIM", &[&key, "0", &last])] {
            let done = connection.on_key(name, arguments).await;
            done.map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    async fn events(&self, limit: usize) -> Result<Vec<String>, StoreError> {
        let key = self.keys.events();
        let Some(last) = limit.checked_sub(1) else {
            return Ok(Vec::new());
        };
        let connection = self.connection().await.map_err(|error| self.failed(error))?;
        let events = connection
            .on_key("LRANGE", &[&key, "0", &count(last).to_string()])
            .await;
        let events = Reply::list(events.map_err(|error| self.failed(error))?);
        events
            .and_then(Reply::texts)
            .map_err(|reason| self.unreadable(&reason))
    }
}
