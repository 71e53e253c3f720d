//! Random calls on two stores, which must answer the same and know the same afterwards.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use super::fleet::{LIMITS, Situation};
use crate::store::StoreError;
use crate::store::memory::{MemoryOrdering, StoreClock};
use crate::store::ordering::{
    Admission, Aggregate, Arrival, Claim, ClaimTerms, Completed, Completion, Digest, FencingToken, First,
    Grant, OrderingStore, RoomLimits, SessionId, Steering,
};

/// Keys with whatever may mean something to a store.
const KEYS: [&str; 7] = [
    "order-1",
    "order-2",
    "{a}:b",
    "a b\n\"c\"",
    "nul\0|x",
    "é:~",
    "{}",
];
const BUCKETS: [u16; 3] = [0, 1, 63];

/// Numbers that are the same for the same seed (SplitMix64).
#[derive(Debug, Clone)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        let index = usize::try_from(self.below(choices.len() as u64)).expect("an index");
        choices[index].clone()
    }
}

/// A call.
#[derive(Debug, Clone)]
pub(super) enum Call {
    Beat(SessionId, Vec<u16>, Duration),
    Admit(SessionId, RoomLimits, Vec<Arrival>),
    Complete(SessionId, usize, Vec<Completion>),
    Release(SessionId, Vec<(Aggregate, FencingToken)>),
    Due(Vec<u16>, usize),
    Claim(SessionId, ClaimTerms, Vec<Aggregate>),
    Probe(Vec<Aggregate>),
    Read(Aggregate, u64, usize),
    Steer(Aggregate, Steering),
}

/// Makes calls that are likely to mean something, out of what earlier ones were answered.
#[derive(Debug)]
pub(super) struct Calls {
    chance: Chance,
    sessions: Vec<SessionId>,
    aggregates: Vec<Aggregate>,
    /// Leases that were granted lately, and for which sequence.
    grants: Vec<(SessionId, Aggregate, FencingToken, u64)>,
    /// Where sequences are drawn from: low ones, or those before the last.
    base: u64,
    /// Whether calls have one element each.
    single: bool,
}

impl Calls {
    pub(super) fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let aggregates = KEYS.iter().flat_map(|key| {
            let buckets = BUCKETS.iter();
            buckets.map(move |bucket| Aggregate::stored(*key, *bucket))
        });
        Self {
            sessions: (0..3).map(|session| SessionId(session << 64 | 7)).collect(),
            aggregates: aggregates.filter(|_| chance.one_in(3)).collect::<Vec<_>>(),
            grants: Vec::new(),
            base: if chance.one_in(4) { u64::MAX - 9 } else { 0 },
            chance,
            single: false,
        }
        .with_some_aggregate()
    }

    fn with_some_aggregate(mut self) -> Self {
        self.aggregates.push(Aggregate::stored("order-1", 0));
        self
    }

    pub(super) fn aggregates(&self) -> &[Aggregate] {
        &self.aggregates
    }

    /// Return by how much time passes before the next call.
    pub(super) fn pause(&mut self) -> Duration {
        match self.chance.below(40) {
            0 => Duration::from_secs(self.chance.below(12)),
            1 if self.chance.one_in(10) => Duration::from_secs(700),
            2..20 => Duration::from_micros(self.chance.below(3_000)),
            _ => Duration::ZERO,
        }
    }

    pub(super) fn next(&mut self) -> Call {
        let session = self.chance.of(&self.sessions.clone());
        match self.chance.below(100) {
            0..12 => {
                let ttl = Duration::from_millis(self.chance.below(10_000));
                Call::Beat(session, BUCKETS.to_vec(), ttl)
            }
            12..50 => Call::Admit(session, self.limits(), self.many(Self::arrival)),
            50..72 => {
                let frames = self.frames();
                Call::Complete(session, frames, self.many(Self::completion))
            }
            72..76 => Call::Release(session, self.many(Self::lease)),
            76..80 => Call::Due(BUCKETS.to_vec(), self.frames()),
            80..90 => Call::Claim(session, self.terms(), self.many(Self::aggregate)),
            90..93 => Call::Probe(self.many(Self::aggregate)),
            93..95 => Call::Read(self.aggregate(), self.sequence(), self.frames()),
            _ => Call::Steer(self.aggregate(), self.steering()),
        }
    }

    fn many<T>(&mut self, one: impl Fn(&mut Self) -> T) -> Vec<T> {
        let count = match self.single {
            true => 1,
            false if self.chance.one_in(20) => 40,
            false => 1 + self.chance.below(4),
        };
        (0..count).map(|_| one(self)).collect()
    }

    fn aggregate(&mut self) -> Aggregate {
        self.chance.of(&self.aggregates.clone())
    }

    fn sequence(&mut self) -> u64 {
        self.base + self.chance.below(10)
    }

    fn frames(&mut self) -> usize {
        self.chance.of(&[0, 1, 3, 100])
    }

    fn limits(&mut self) -> RoomLimits {
        match self.chance.below(4) {
            0 => RoomLimits {
                messages: self.chance.below(4),
                bytes: self.chance.below(60),
                bucket_messages: self.chance.below(8),
                bucket_bytes: self.chance.below(100),
            },
            _ => LIMITS,
        }
    }

    fn digest(&mut self, sequence: u64) -> Digest {
        let other = u8::from(self.chance.one_in(12));
        Digest::of(Some(&[&sequence.to_le_bytes()[..], &[other]].concat()))
    }

    fn time(&mut self) -> i64 {
        self.chance
            .of(&[i64::MIN, -5, 0, 7, 1_000, 1_000_000_000_000, i64::MAX])
    }

    fn arrival(&mut self) -> Arrival {
        let sequence = self.sequence();
        let length = usize::try_from(self.chance.below(20)).expect("small");
        let frame = Bytes::from(vec![u8::try_from(sequence % 256).expect("a byte"); length]);
        let known = self.sequence();
        let first = [
            First::Exact(self.base + 1),
            First::Known(known),
            First::Seen,
            First::Settle,
            First::Ask,
        ];
        Arrival {
            aggregate: self.aggregate(),
            sequence,
            digest: self.digest(sequence),
            time: self.time(),
            first: self.chance.of(&first),
            frame: (!self.chance.one_in(6)).then_some(frame),
        }
    }

    fn completion(&mut self) -> Completion {
        let (aggregate, token, sequence) = match self.grants.len() as u64 {
            0 => (self.aggregate(), FencingToken(1), self.sequence()),
            count => {
                let latest = self.grants.iter().rev();
                let back = usize::try_from(self.chance.below(count.min(6))).expect("small");
                let (_, aggregate, token, sequence) = latest.clone().nth(back).expect("one of them").clone();
                (aggregate, token, sequence)
            }
        };
        let sequence = if self.chance.one_in(5) {
            self.sequence()
        } else {
            sequence
        };
        let before = if self.chance.one_in(3) {
            self.chance.below(4)
        } else {
            0
        };
        let first = sequence.saturating_sub(before);
        let sequence = if self.chance.one_in(6) {
            first.saturating_add(self.chance.below(4))
        } else {
            sequence
        };
        Completion {
            aggregate,
            first,
            last: sequence,
            token,
            digest: self.digest(sequence),
            time: self.time(),
            keep: self.chance.one_in(3),
            skip: self.chance.one_in(6).then(|| self.chance.below(3)),
        }
    }

    fn lease(&mut self) -> (Aggregate, FencingToken) {
        let completion = self.completion();
        (completion.aggregate, completion.token)
    }

    fn terms(&mut self) -> ClaimTerms {
        let times = [Duration::ZERO, Duration::from_millis(500), Duration::from_secs(5)];
        ClaimTerms {
            frames: self.frames(),
            gap: (!self.chance.one_in(3)).then(|| self.chance.of(&times)),
            crowded: self.chance.one_in(3),
            settle: self.chance.of(&times),
            begins: !self.chance.one_in(3),
        }
    }

    fn steering(&mut self) -> Steering {
        let reason = self.chance.of(&["why", "é\n", "x"]).to_owned();
        let sequence = self.sequence();
        match self.chance.below(11) {
            0 => Steering::Halt { reason },
            9 => Steering::HaltUnsettled { reason },
            1 => Steering::Condemn { reason },
            2 | 3 => Steering::Resume { next: None },
            4 => Steering::Resume { next: Some(sequence) },
            5 => Steering::Restore { next: sequence },
            6 => Steering::Remove { sequence },
            7 => Steering::Forget,
            8 => Steering::Begun {
                token: self.completion().token,
            },
            _ => Steering::Note { error: reason },
        }
    }

    /// Learn which leases there are from an answer.
    fn learn(&mut self, call: &Call, answer: &Answer) {
        let grants = &mut self.grants;
        let mut learn = |session, aggregate: &Aggregate, token, sequence| {
            grants.push((session, aggregate.clone(), token, sequence));
        };
        match (call, answer) {
            (Call::Admit(session, _, arrivals), Answer::Admitted(answers)) => {
                for (arrival, answer) in arrivals.iter().zip(answers) {
                    if let Ok(Admission::Run(Grant { token, .. })) = answer {
                        learn(*session, &arrival.aggregate, *token, arrival.sequence);
                    }
                }
            }
            (Call::Complete(session, _, completions), Answer::Completed(answers)) => {
                for (completion, answer) in completions.iter().zip(answers) {
                    if let Ok(Completed::Done { frames, .. }) = answer
                        && let Some(frame) = frames.first()
                    {
                        learn(*session, &completion.aggregate, completion.token, frame.sequence);
                    }
                }
            }
            (Call::Claim(session, _, aggregates), Answer::Claimed(answers)) => {
                for (aggregate, answer) in aggregates.iter().zip(answers) {
                    match answer {
                        Ok(Claim::Granted(grant, frames)) if !frames.is_empty() => {
                            learn(*session, aggregate, grant.token, frames[0].sequence);
                        }
                        Ok(Claim::Gap { grant, head, .. }) => {
                            learn(*session, aggregate, grant.token, head.saturating_sub(1));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        let too_many = self.grants.len().saturating_sub(20);
        self.grants.drain(..too_many);
    }
}

/// What a call was answered.
#[derive(Debug)]
pub(super) enum Answer {
    Admitted(Vec<Result<Admission, StoreError>>),
    Completed(Vec<Result<Completed, StoreError>>),
    Claimed(Vec<Result<Claim, StoreError>>),
    /// Anything else, as text.
    Other(#[expect(dead_code, reason = "read by `Debug`, by which answers are compared")] String),
}

impl Call {
    /// Make the call.
    pub(super) async fn on<S: OrderingStore>(&self, store: &S) -> Answer {
        match self {
            Self::Beat(session, buckets, ttl) => {
                let mut beats = store.beat(*session, buckets, *ttl).await;
                for beat in beats.iter_mut().flatten() {
                    // The lives of two stores have nothing in common.
                    beat.generation = 0;
                }
                Answer::Other(format!("{beats:?}"))
            }
            Self::Admit(session, limits, arrivals) => {
                Answer::Admitted(store.admit(*session, *limits, arrivals).await)
            }
            Self::Complete(session, frames, completions) => {
                Answer::Completed(store.complete(*session, *frames, completions).await)
            }
            Self::Release(session, leases) => {
                Answer::Other(format!("{:?}", store.release(*session, leases).await))
            }
            Self::Due(buckets, limit) => Answer::Other(format!("{:?}", store.due(buckets, *limit).await)),
            Self::Claim(session, terms, aggregates) => {
                Answer::Claimed(store.claim(*session, *terms, aggregates).await)
            }
            Self::Probe(aggregates) => Answer::Other(format!("{:?}", store.probe(aggregates).await)),
            Self::Read(aggregate, from, limit) => {
                Answer::Other(format!("{:?}", store.read(aggregate, *from, *limit).await))
            }
            Self::Steer(aggregate, action) => {
                Answer::Other(format!("{:?}", store.steer(aggregate, action.clone()).await))
            }
        }
    }
}

/// Return all that a store knows.
pub(super) async fn knowledge<S: OrderingStore>(store: &S, aggregates: &[Aggregate]) -> Vec<String> {
    let all = join_all(aggregates.iter().map(|aggregate| store.inspect(aggregate, 1000))).await;
    let mut all: Vec<_> = all.iter().map(|report| format!("{report:?}")).collect();
    all.extend(
        store
            .survey(&BUCKETS)
            .await
            .iter()
            .map(|report| format!("{report:?}")),
    );
    all
}

/// Make random calls on a store and on one in memory, and compare all answers, and what both know.
/// Returns how many calls there were.
///
/// `setup` makes the store of a scope, which goes by the clock that it is given.
///
/// # Panics
/// At the first difference.
pub async fn differential<S: OrderingStore>(
    seed: u64,
    calls: usize,
    setup: impl AsyncFn(crate::store::Scope, StoreClock) -> S,
) -> usize {
    let situation = Situation::new(&format!("differential-{seed}"));
    let state_ttl = seed.is_multiple_of(3).then(|| Duration::from_secs(60));
    let scope = situation.scope_with(|policies| policies.state_ttl = state_ttl);
    let clock = situation.clock();
    let store = setup(scope.clone(), clock.clone()).await;
    let model = MemoryOrdering::with_clock(scope, clock.clone());
    let mut random = Calls::new(seed);
    for number in 0..calls {
        clock.shift(i64::try_from(random.pause().as_micros()).expect("a short time"));
        let call = random.next();
        let (answer, expected) = (call.on(&store).await, call.on(&model).await);
        let (answer, model_answer) = (format!("{answer:?}"), expected);
        let expected = format!("{model_answer:?}");
        assert_eq!(answer, expected, "seed {seed}, call {number}: {call:?}");
        random.learn(&call, &model_answer);
        if number % 8 == 0 || number + 1 == calls {
            let known = knowledge(&store, random.aggregates()).await;
            let expected = knowledge(&model, random.aggregates()).await;
            assert_known(
                &known,
                &expected,
                &format!("seed {seed}, after call {number}: {call:?}"),
            );
        }
    }
    calls
}

/// Make each of many random calls twice. The second time changes nothing, and leads to the same.
///
/// # Panics
/// If it does not.
pub async fn repeated<S: OrderingStore>(
    seed: u64,
    calls: usize,
    setup: impl AsyncFn(crate::store::Scope, StoreClock) -> S,
) {
    let situation = Situation::new(&format!("repeated-{seed}"));
    let clock = situation.clock();
    let store = setup(situation.scope(), clock.clone()).await;
    let mut random = Calls::new(seed);
    // Elements of a call may concern the same aggregate; the first then finds something else the second time.
    random.single = true;
    for number in 0..calls {
        clock.shift(i64::try_from(random.pause().as_micros()).expect("a short time"));
        let call = random.next();
        let first = call.on(&store).await;
        let known = knowledge(&store, random.aggregates()).await;
        let second = call.on(&store).await;
        // What is given back by hand gets a new token each time, which only makes older ones void.
        if !matches!(call, Call::Steer(..)) {
            let again = knowledge(&store, random.aggregates()).await;
            assert_known(&again, &known, &format!("seed {seed}, call {number}: {call:?}"));
        }
        assert_same(&first, &second, &format!("seed {seed}, call {number}: {call:?}"));
        random.learn(&call, &first);
    }
}

/// Compare what is known, part by part.
fn assert_known(known: &[String], expected: &[String], context: &str) {
    for (known, expected) in known.iter().zip(expected) {
        assert_eq!(known, expected, "{context}");
    }
}

/// Compare the answers of a call and of the same call once more.
fn assert_same(first: &Answer, second: &Answer, context: &str) {
    match (first, second) {
        (Answer::Admitted(first), Answer::Admitted(second)) => {
            assert_eq!(format!("{first:?}"), format!("{second:?}"), "{context}");
        }
        (Answer::Completed(first), Answer::Completed(second)) => {
            for (first, second) in first.iter().zip(second) {
                let (Ok(first), Ok(second)) = (first, second) else {
                    continue;
                };
                match (first, second) {
                    (Completed::Fenced, Completed::Fenced) => {}
                    (Completed::Fenced, _) | (_, Completed::Fenced | Completed::Done { .. }) => {
                        panic!("{first:?} and then {second:?}: {context}")
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}
