//! A store, its clock, and the processes that use it.

use std::time::Duration;

use bytes::Bytes;

use crate::ordering::OrderingPolicies;
use crate::store::memory::StoreClock;
use crate::store::ordering::{
    Admission, Aggregate, AggregateReport, Arrival, Beat, Claim, ClaimTerms, Completed, Completion, Digest,
    FencingToken, First, Frame, Grant, OrderingStore, RoomLimits, SessionId, Steering,
};
use crate::store::{Scope, StoreError};

/// When all stories begin: some time in 2025, in microseconds.
const BEGINNING: i64 = 1_750_000_000_000_000;

/// Room enough.
pub(super) const LIMITS: RoomLimits = RoomLimits {
    messages: 10_000,
    bytes: 1 << 24,
    bucket_messages: 1_000_000,
    bucket_bytes: 1 << 26,
};

/// How long sessions live here.
pub(super) const TTL: Duration = Duration::from_secs(10);

/// A scope of its own, and a clock.
#[derive(Debug)]
pub(super) struct Situation {
    name: String,
    clock: StoreClock,
}

impl Situation {
    pub(super) fn new(name: &str) -> Self {
        // Of its own also where earlier runs left something behind.
        let unique = SessionId::random();
        Self {
            name: format!("{name}-{unique}"),
            clock: StoreClock::stopped_at(BEGINNING),
        }
    }

    pub(super) fn clock(&self) -> StoreClock {
        self.clock.clone()
    }

    pub(super) fn scope(&self) -> Scope {
        self.scope_with(|_| {})
    }

    pub(super) fn scope_with(&self, change: impl FnOnce(&mut OrderingPolicies)) -> Scope {
        let mut policies = OrderingPolicies::default();
        change(&mut policies);
        Scope::new("test", &self.name, &["orders"], "handler", policies)
    }
}

/// A store with a process that uses it; others are made with [`Fleet::other`].
#[derive(Debug)]
pub(super) struct Fleet<'a, S> {
    pub(super) store: &'a S,
    pub(super) clock: StoreClock,
    pub(super) session: SessionId,
    /// What the calls are about unless they say otherwise.
    pub(super) aggregate: Aggregate,
    pub(super) first: First,
}

impl<'a, S: OrderingStore> Fleet<'a, S> {
    /// Let a first process begin.
    pub(super) async fn new(store: &'a S, clock: StoreClock) -> Self {
        let fleet = Self {
            store,
            clock,
            session: SessionId(1),
            aggregate: Aggregate::new("order-17", 64),
            first: First::Exact(1),
        };
        fleet.beat().await;
        fleet
    }

    /// Let another process begin.
    pub(super) async fn other(&self) -> Self {
        let other = Self {
            store: self.store,
            clock: self.clock.clone(),
            session: SessionId(self.session.0 + 1),
            aggregate: self.aggregate.clone(),
            first: self.first,
        };
        other.beat().await;
        other
    }

    /// Turn to another aggregate of the same bucket, or of another.
    pub(super) fn on(&self, key: &str, bucket: u16) -> Self {
        Self {
            store: self.store,
            clock: self.clock.clone(),
            session: self.session,
            aggregate: Aggregate::stored(key, bucket),
            first: self.first,
        }
    }

    pub(super) fn bucket(&self) -> u16 {
        self.aggregate.bucket()
    }

    pub(super) fn pass(&self, time: Duration) {
        self.clock
            .shift(i64::try_from(time.as_micros()).expect("a short time"));
    }

    pub(super) fn now(&self) -> i64 {
        self.clock.millis()
    }

    pub(super) async fn beat(&self) -> Beat {
        let beats = self.store.beat(self.session, &[self.bucket()], TTL).await;
        one(beats).expect("a beat is always taken")
    }

    pub(super) fn arrival(&self, sequence: u64) -> Arrival {
        Arrival {
            aggregate: self.aggregate.clone(),
            sequence,
            digest: digest(sequence),
            time: 1_000,
            first: self.first,
            frame: Some(frame(sequence)),
        }
    }

    /// Let another payload come for a sequence.
    pub(super) fn arrival_of(&self, sequence: u64, other: u64) -> Arrival {
        Arrival {
            digest: digest(sequence << 32 | other),
            ..self.arrival(sequence)
        }
    }

    pub(super) async fn try_admit(&self, arrival: Arrival) -> Result<Admission, StoreError> {
        one(self.store.admit(self.session, LIMITS, &[arrival]).await)
    }

    pub(super) async fn admit(&self, sequence: u64) -> Admission {
        self.admit_this(self.arrival(sequence)).await
    }

    pub(super) async fn admit_this(&self, arrival: Arrival) -> Admission {
        self.try_admit(arrival).await.expect("the session is alive")
    }

    pub(super) async fn run(&self, sequence: u64) -> Grant {
        match self.admit(sequence).await {
            Admission::Run(grant) => grant,
            other => panic!("{sequence} is next, and was answered {other:?}"),
        }
    }

    pub(super) async fn park(&self, sequence: u64) {
        assert_eq!(self.admit(sequence).await, Admission::Parked { halted: false });
    }

    pub(super) fn completion(&self, sequence: u64, token: FencingToken) -> Completion {
        Completion {
            aggregate: self.aggregate.clone(),
            first: sequence,
            last: sequence,
            token,
            digest: digest(sequence),
            time: 1_000,
            keep: false,
            skip: None,
        }
    }

    /// Make the completion of several messages.
    pub(super) fn range(&self, first: u64, last: u64, token: FencingToken) -> Completion {
        Completion {
            first,
            ..self.completion(last, token)
        }
    }

    pub(super) async fn complete(&self, sequence: u64, token: FencingToken) -> Completed {
        self.complete_this(self.completion(sequence, token)).await
    }

    pub(super) async fn complete_this(&self, completion: Completion) -> Completed {
        one(self.store.complete(self.session, 16, &[completion]).await).expect("a completion is taken")
    }

    /// Run and complete sequences, one after the other.
    pub(super) async fn do_all(&self, sequences: impl IntoIterator<Item = u64>) {
        for sequence in sequences {
            let grant = self.run(sequence).await;
            let done = self.complete(sequence, grant.token).await;
            assert!(matches!(done, Completed::Done { .. }), "{sequence}: {done:?}");
        }
    }

    pub(super) async fn release(&self, token: FencingToken) {
        let leases = [(self.aggregate.clone(), token)];
        one(self.store.release(self.session, &leases).await).expect("a release is taken");
    }

    pub(super) fn terms(&self) -> ClaimTerms {
        ClaimTerms {
            frames: 16,
            gap: None,
            crowded: false,
            settle: Duration::from_secs(2),
            begins: true,
        }
    }

    pub(super) async fn try_claim(&self, terms: ClaimTerms) -> Result<Claim, StoreError> {
        let aggregates = [self.aggregate.clone()];
        one(self.store.claim(self.session, terms, &aggregates).await)
    }

    pub(super) async fn claim(&self) -> Claim {
        self.try_claim(self.terms()).await.expect("the session is alive")
    }

    pub(super) async fn steer(&self, action: Steering) {
        let steered = self.store.steer(&self.aggregate, action).await;
        steered.expect("a steering is taken");
    }

    pub(super) async fn begun(&self, token: FencingToken) {
        self.steer(Steering::Begun { token }).await;
    }

    pub(super) async fn halt(&self) {
        let reason = "by hand".to_owned();
        self.steer(Steering::Halt { reason }).await;
    }

    pub(super) async fn is_due(&self) -> bool {
        let due = one(self.store.due(&[self.bucket()], 100).await).expect("a bucket can be asked");
        due.contains(&self.aggregate)
    }

    pub(super) async fn next(&self) -> Option<u64> {
        one(self.store.probe(std::slice::from_ref(&self.aggregate)).await).expect("an aggregate can be asked")
    }

    pub(super) async fn inspect(&self) -> AggregateReport {
        let report = self.store.inspect(&self.aggregate, 100).await;
        report
            .expect("an aggregate can be inspected")
            .expect("the aggregate is known")
    }
}

/// Return the answer of a call with one element.
pub(super) fn one<T>(answers: Vec<T>) -> T {
    let [answer] = <[T; 1]>::try_from(answers).unwrap_or_else(|_| panic!("one element, one answer"));
    answer
}

pub(super) fn digest(sequence: u64) -> Digest {
    Digest::of(Some(&sequence.to_le_bytes()))
}

pub(super) fn frame(sequence: u64) -> Bytes {
    format!("frame of {sequence}").into()
}

/// Return the frames of sequences.
pub(super) fn frames(sequences: impl IntoIterator<Item = u64>) -> Vec<Frame> {
    let frame = |sequence| Frame {
        sequence,
        bytes: frame(sequence),
    };
    sequences.into_iter().map(frame).collect()
}
