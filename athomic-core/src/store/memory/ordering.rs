//! `MemoryOrdering`: an ordering store in memory, and the specification of the others.
//!
//! What each call does to a bucket stands in `bucket`, in the order of the rules; a store elsewhere
//! answers the same to the same calls, which a differential test shows for Redis.

mod bucket;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bucket::Bucket;

use super::{Link, StoreClock, cut_off};
use crate::ordering::StoredPolicies;
use crate::store::ordering::{
    Admission, Aggregate, AggregateReport, Arrival, Beat, BucketReport, Claim, ClaimTerms, Completed,
    Completion, Each, FencingToken, Frame, Loss, Opened, OrderingStore, Past, RoomLimits, SWEEP, SessionId,
    Steering,
};
use crate::store::{Scope, StoreError};

/// How many events are kept.
const EVENTS: usize = 10_000;

/// An ordering store in memory. Clones are the same store.
#[derive(Debug, Clone)]
pub struct MemoryOrdering {
    scope: Arc<Scope>,
    clock: StoreClock,
    link: Link,
    state: Arc<Mutex<State>>,
}

/// All that is lost when the store is.
#[derive(Debug, Default)]
struct State {
    buckets: BTreeMap<u16, Bucket>,
    policies: Option<StoredPolicies>,
    /// The newest first.
    events: VecDeque<String>,
    generation: u64,
    /// The generation when the store was opened last.
    opened_in: u64,
    /// When state was lost last, as far as anybody noticed.
    lost: Option<i64>,
}

/// What is the same for all elements of a call.
#[derive(Debug, Clone, Copy)]
struct Now<'a> {
    scope: &'a Scope,
    micros: i64,
}

impl Now<'_> {
    fn millis(self) -> i64 {
        self.micros.div_euclid(1000)
    }

    /// When somebody should look again at an aggregate that waits for a process.
    fn soon(self) -> i64 {
        self.millis() + millis(SWEEP)
    }

    /// When somebody should look again at an aggregate that waits for a message.
    fn later(self) -> i64 {
        self.millis() + 30 * millis(SWEEP)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 64)
}

impl MemoryOrdering {
    /// Make an empty store for a scope.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self::with_clock(scope, StoreClock::default())
    }

    /// Make an empty store for a scope that goes by a clock.
    #[must_use]
    pub fn with_clock(scope: Scope, clock: StoreClock) -> Self {
        Self {
            scope: Arc::new(scope),
            clock,
            link: Link::default(),
            state: Arc::default(),
        }
    }

    /// Serve the same data by other policies, as another version of a program would.
    #[must_use]
    pub fn reopened(&self, scope: Scope) -> Self {
        Self {
            scope: Arc::new(scope),
            ..self.clone()
        }
    }

    /// Reach the same data by a way.
    pub(super) fn by(self, link: Link) -> Self {
        Self { link, ..self }
    }

    /// Return the store's clock.
    #[must_use]
    pub fn clock(&self) -> &StoreClock {
        &self.clock
    }

    /// Forget everything, as a server without persistence does when it restarts.
    pub fn lose_everything(&self) {
        let mut state = self.lock();
        *state = State {
            generation: state.generation + 1,
            ..State::default()
        };
    }

    /// Take a copy of all that is known, to [`restore`](Self::restore) later.
    #[must_use]
    pub fn snapshot(&self) -> OrderingSnapshot {
        OrderingSnapshot(self.lock().buckets.clone())
    }

    /// Go back to what was known before, as a replica does that is promoted without the last writes.
    pub fn restore(&self, snapshot: OrderingSnapshot) {
        let mut state = self.lock();
        state.generation += 1;
        state.buckets = snapshot.0;
    }

    /// Carry a call out, element by element, at one moment.
    fn each<E, T>(
        &self,
        elements: &[E],
        bucket_of: impl Fn(&E) -> u16,
        mut step: impl FnMut(&mut Bucket, &E, Now<'_>) -> Result<T, StoreError>,
    ) -> Each<T> {
        let now = self.now();
        let Ok(mut state) = self.up() else {
            return elements.iter().map(|_| Err(cut_off())).collect();
        };
        let step = |element| step(state.buckets.entry(bucket_of(element)).or_default(), element, now);
        elements.iter().map(step).collect()
    }

    fn on<T>(
        &self,
        aggregate: &Aggregate,
        step: impl FnOnce(&mut Bucket, Now<'_>) -> T,
    ) -> Result<T, StoreError> {
        let now = self.now();
        let mut state = self.up()?;
        Ok(step(state.buckets.entry(aggregate.bucket()).or_default(), now))
    }

    /// Refuse to go on with what was made under other policies.
    fn compare(&self, theirs: &StoredPolicies) -> Result<(), StoreError> {
        let ours = self.scope.policies().stored();
        for ((policy, ours), (_, theirs)) in ours.into_iter().zip(theirs) {
            if ours != *theirs {
                return Err(StoreError::PolicyMismatch {
                    policy,
                    ours,
                    theirs: theirs.clone(),
                });
            }
        }
        Ok(())
    }

    fn now(&self) -> Now<'_> {
        Now {
            scope: &self.scope,
            micros: self.clock.micros(),
        }
    }

    fn up(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        self.link.check()?;
        Ok(self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a store knew at a moment.
#[derive(Debug, Clone)]
pub struct OrderingSnapshot(BTreeMap<u16, Bucket>);

impl OrderingStore for MemoryOrdering {
    fn name(&self) -> &str {
        "memory"
    }

    async fn open(&self, past: Past) -> Result<Opened, StoreError> {
        let now = self.now().millis();
        let mut state = self.up()?;
        let state = &mut *state;
        let noticed = match &state.policies {
            None if past == Past::Unasked => return Ok(Opened::Empty),
            None => past != Past::None,
            Some(theirs) => {
                self.compare(theirs)?;
                past == Past::Lost || state.opened_in != state.generation
            }
        };
        state
            .policies
            .get_or_insert_with(|| self.scope.policies().stored());
        state.opened_in = state.generation;
        state.lost = if noticed { Some(now) } else { state.lost };
        let lost = state.lost.map(|at| Loss::of(at, now));
        Ok(Opened::There { lost, noticed })
    }

    async fn beat(&self, session: SessionId, buckets: &[u16], ttl: Duration) -> Each<Beat> {
        let generation = self.lock().generation;
        self.each(
            buckets,
            |bucket| *bucket,
            |bucket, &number, now| Ok(bucket.beat(session, number, ttl, generation, now)),
        )
    }

    async fn admit(&self, session: SessionId, limits: RoomLimits, arrivals: &[Arrival]) -> Each<Admission> {
        self.each(
            arrivals,
            |arrival| arrival.aggregate.bucket(),
            |bucket, arrival, now| bucket.admit(session, limits, arrival, now),
        )
    }

    async fn complete(
        &self,
        session: SessionId,
        frames: usize,
        completions: &[Completion],
    ) -> Each<Completed> {
        self.each(
            completions,
            |completion| completion.aggregate.bucket(),
            |bucket, completion, now| Ok(bucket.complete(session, frames, completion, now)),
        )
    }

    async fn release(&self, session: SessionId, leases: &[(Aggregate, FencingToken)]) -> Each<()> {
        self.each(
            leases,
            |(aggregate, _)| aggregate.bucket(),
            |bucket, (aggregate, token), now| {
                bucket.release(session, aggregate.key(), *token, now);
                Ok(())
            },
        )
    }

    async fn due(&self, buckets: &[u16], limit: usize) -> Each<Vec<Aggregate>> {
        self.each(
            buckets,
            |bucket| *bucket,
            |bucket, &number, now| Ok(bucket.due(number, limit, now)),
        )
    }

    async fn claim(&self, session: SessionId, terms: ClaimTerms, aggregates: &[Aggregate]) -> Each<Claim> {
        self.each(aggregates, Aggregate::bucket, |bucket, aggregate, now| {
            bucket.claim(session, terms, aggregate.key(), now)
        })
    }

    async fn probe(&self, aggregates: &[Aggregate]) -> Each<Option<u64>> {
        self.each(aggregates, Aggregate::bucket, |bucket, aggregate, now| {
            Ok(bucket.probe(aggregate.key(), now))
        })
    }

    async fn read(&self, aggregate: &Aggregate, from: u64, limit: usize) -> Result<Vec<Frame>, StoreError> {
        self.on(aggregate, |bucket, _| bucket.read(aggregate.key(), from, limit))
    }

    async fn steer(&self, aggregate: &Aggregate, action: Steering) -> Result<(), StoreError> {
        self.on(aggregate, |bucket, now| {
            bucket.steer(aggregate.key(), action, now)
        })
    }

    async fn survey(&self, buckets: &[u16]) -> Each<BucketReport> {
        self.each(
            buckets,
            |bucket| *bucket,
            |bucket, &number, now| Ok(bucket.survey(number, now)),
        )
    }

    async fn inspect(
        &self,
        aggregate: &Aggregate,
        limit: usize,
    ) -> Result<Option<AggregateReport>, StoreError> {
        self.on(aggregate, |bucket, now| {
            bucket.inspect(aggregate.key(), limit, now)
        })
    }

    async fn record(&self, event: &str) -> Result<(), StoreError> {
        let mut state = self.up()?;
        state.events.push_front(event.to_owned());
        state.events.truncate(EVENTS);
        Ok(())
    }

    async fn events(&self, limit: usize) -> Result<Vec<String>, StoreError> {
        Ok(self.up()?.events.iter().take(limit).cloned().collect())
    }
}
