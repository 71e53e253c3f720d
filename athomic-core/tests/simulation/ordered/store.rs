//! The ordering store as an instance has it.

use std::sync::Arc;
use std::time::Duration;

use athomic_core::store::memory::MemoryOrdering;
use athomic_core::store::ordering::{
    Admission, Aggregate, AggregateReport, Arrival, Beat, BucketReport, Claim, ClaimTerms, Completed,
    Completion, Each, FencingToken, Frame, Opened, OrderingStore, Past, RoomLimits, SessionId, Steering,
};
use athomic_core::store::{Scope, StoreError};
use futures_util::FutureExt;

use crate::calls;
use crate::event::{Event, Instance};
use crate::fate::Point;
use crate::world::World;

pub(crate) struct SimulatedStore {
    world: Arc<World>,
    instance: Instance,
    inner: MemoryOrdering,
}

impl SimulatedStore {
    pub(crate) fn new(world: &Arc<World>, instance: Instance, scope: Scope) -> Self {
        let make = || MemoryOrdering::with_clock(scope.clone(), world.clock.clone());
        Self {
            world: Arc::clone(world),
            instance,
            inner: world.connect_store(make).reopened(scope),
        }
    }

    /// Make a call as the seed wants it.
    async fn call<E, T>(
        &self,
        point: Point,
        elements: Vec<E>,
        bucket: impl Fn(&E) -> u16 + Send + Sync + 'static,
        apply: impl Fn(&SimulatedStore, &[E]) -> Each<T> + Send + Sync + 'static,
    ) -> Each<T>
    where
        E: Clone + Send + Sync + 'static,
        T: Send + 'static,
    {
        let there = Self {
            world: Arc::clone(&self.world),
            instance: self.instance,
            inner: self.inner.clone(),
        };
        let part = move |element: &E| bucket(element).into();
        let apply = move |elements: &[E]| apply(&there, elements);
        calls::call(&self.world, self.instance, point, elements, part, apply).await
    }

    /// Make a call about one aggregate.
    async fn one<T: Send + 'static>(
        &self,
        aggregate: &Aggregate,
        apply: impl Fn(&Self, &Aggregate) -> Result<T, StoreError> + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let apply = move |store: &Self, elements: &[Aggregate]| {
            elements.iter().map(|element| apply(store, element)).collect()
        };
        let mut answers = self
            .call(Point::Store, vec![aggregate.clone()], Aggregate::bucket, apply)
            .await;
        answers.pop().expect("one answer")
    }

    fn saw_grant(&self, aggregate: &Aggregate, token: FencingToken) {
        let of = number(aggregate);
        self.world.note(Event::Granted(self.instance, of, token.get()));
    }

    fn saw_admission(&self, arrival: &Arrival, admission: &Result<Admission, StoreError>) {
        match admission {
            Ok(Admission::Run(grant)) => self.saw_grant(&arrival.aggregate, grant.token),
            Ok(Admission::Parked { .. }) => {
                let of = number(&arrival.aggregate);
                self.world.note(Event::Parked(of, arrival.sequence));
            }
            _ => {}
        }
    }

    fn saw_completion(&self, completion: &Completion, answer: &Result<Completed, StoreError>) {
        if let Ok(Completed::Done { .. }) = answer {
            self.world.counted(number(&completion.aggregate));
            let is_skip = completion.skip.is_some();
            let counted = if is_skip {
                completion.last
            } else {
                completion.first
            };
            for sequence in counted..=completion.last {
                self.world.note(Event::Counted {
                    of: number(&completion.aggregate),
                    sequence,
                    token: completion.token.get(),
                    skip: is_skip,
                });
            }
        }
    }
}

fn number(aggregate: &Aggregate) -> u64 {
    aggregate.key().parse().expect("aggregates are numbers")
}

/// Take the result of a call of the store in memory, which never waits.
fn now<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().expect("it never waits")
}

impl OrderingStore for SimulatedStore {
    fn name(&self) -> &str {
        "simulated"
    }

    async fn open(&self, past: Past) -> Result<Opened, StoreError> {
        let any = Aggregate::stored("0", 0);
        self.one(&any, move |store, _| now(store.inner.open(past))).await
    }

    async fn beat(&self, session: SessionId, buckets: &[u16], ttl: Duration) -> Each<Beat> {
        self.call(
            Point::Beat,
            buckets.to_vec(),
            |bucket| *bucket,
            move |store, buckets| now(store.inner.beat(session, buckets, ttl)),
        )
        .await
    }

    async fn admit(&self, session: SessionId, limits: RoomLimits, arrivals: &[Arrival]) -> Each<Admission> {
        let bucket = |arrival: &Arrival| arrival.aggregate.bucket();
        self.call(Point::Admit, arrivals.to_vec(), bucket, move |store, arrivals| {
            let admissions = now(store.inner.admit(session, limits, arrivals));
            let seen = arrivals.iter().zip(&admissions);
            seen.for_each(|(arrival, admission)| store.saw_admission(arrival, admission));
            admissions
        })
        .await
    }

    async fn complete(
        &self,
        session: SessionId,
        frames: usize,
        completions: &[Completion],
    ) -> Each<Completed> {
        let bucket = |completion: &Completion| completion.aggregate.bucket();
        self.call(
            Point::Complete,
            completions.to_vec(),
            bucket,
            move |store, completions| {
                let answers = now(store.inner.complete(session, frames, completions));
                let seen = completions.iter().zip(&answers);
                seen.for_each(|(completion, answer)| store.saw_completion(completion, answer));
                answers
            },
        )
        .await
    }

    async fn release(&self, session: SessionId, leases: &[(Aggregate, FencingToken)]) -> Each<()> {
        let bucket = |(aggregate, _): &(Aggregate, _)| aggregate.bucket();
        self.call(Point::Release, leases.to_vec(), bucket, move |store, leases| {
            now(store.inner.release(session, leases))
        })
        .await
    }

    async fn due(&self, buckets: &[u16], limit: usize) -> Each<Vec<Aggregate>> {
        self.call(
            Point::Store,
            buckets.to_vec(),
            |bucket| *bucket,
            move |store, buckets| now(store.inner.due(buckets, limit)),
        )
        .await
    }

    async fn claim(&self, session: SessionId, terms: ClaimTerms, aggregates: &[Aggregate]) -> Each<Claim> {
        self.call(
            Point::Claim,
            aggregates.to_vec(),
            Aggregate::bucket,
            move |store, aggregates| {
                let claims = now(store.inner.claim(session, terms, aggregates));
                for (aggregate, claim) in aggregates.iter().zip(&claims) {
                    if let (Ok(Claim::Gap { .. }), Some(gap), false) = (claim, terms.gap, terms.crowded) {
                        store.world.check_gap(number(aggregate), gap);
                    }
                    if let Ok(Claim::Granted(grant, _) | Claim::Gap { grant, .. }) = claim {
                        store.saw_grant(aggregate, grant.token);
                    }
                }
                claims
            },
        )
        .await
    }

    async fn probe(&self, aggregates: &[Aggregate]) -> Each<Option<u64>> {
        self.call(
            Point::Store,
            aggregates.to_vec(),
            Aggregate::bucket,
            |store, aggregates| now(store.inner.probe(aggregates)),
        )
        .await
    }

    async fn read(&self, aggregate: &Aggregate, from: u64, limit: usize) -> Result<Vec<Frame>, StoreError> {
        self.one(aggregate, move |store, aggregate| {
            now(store.inner.read(aggregate, from, limit))
        })
        .await
    }

    async fn steer(&self, aggregate: &Aggregate, action: Steering) -> Result<(), StoreError> {
        self.one(aggregate, move |store, aggregate| {
            now(store.inner.steer(aggregate, action.clone()))
        })
        .await
    }

    async fn survey(&self, buckets: &[u16]) -> Each<BucketReport> {
        self.inner.survey(buckets).await
    }

    async fn inspect(
        &self,
        aggregate: &Aggregate,
        limit: usize,
    ) -> Result<Option<AggregateReport>, StoreError> {
        self.inner.inspect(aggregate, limit).await
    }

    async fn record(&self, event: &str) -> Result<(), StoreError> {
        self.inner.record(event).await
    }

    async fn events(&self, limit: usize) -> Result<Vec<String>, StoreError> {
        self.inner.events(limit).await
    }
}
