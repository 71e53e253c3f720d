//! What each call does to a bucket.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::{Now, millis};
use crate::mutant::{self, Mutant};
use crate::store::StoreError;
use crate::store::ordering::{
    Admission, Aggregate, AggregateReport, Arrival, Beat, BucketReport, Claim, ClaimTerms, Completed,
    Completion, Digest, FencingToken, First, Frame, Grant, ParkedMessage, RoomLimits, SessionId,
    SessionState, SkippedRange, Steering,
};

/// After so long a dead session is forgotten.
const SESSION_MEMORY: Duration = Duration::from_secs(600);
/// How many skipped ranges of an aggregate are remembered.
const SKIPPED: usize = 16;
/// How many wanted aggregates one beat takes.
const WANTED: usize = 512;
/// How many keys a survey shows of a kind.
const SHOWN: usize = 1000;

/// A bucket.
#[derive(Debug, Clone, Default)]
pub(super) struct Bucket {
    /// The last token granted.
    token: u64,
    /// When each session ends, in milliseconds.
    sessions: BTreeMap<SessionId, i64>,
    /// When somebody should look at an aggregate. It stands here as long as its room is not empty and it
    /// is not halted.
    due: BTreeMap<Arc<str>, i64>,
    /// Aggregates that a session holds and that somebody else has the next message of.
    wanted: BTreeSet<(SessionId, Arc<str>)>,
    aggregates: BTreeMap<Arc<str>, State>,
    /// Bytes and messages in all rooms.
    bytes: u64,
    messages: u64,
}

/// What is known of an aggregate.
#[derive(Debug, Clone, Default)]
struct State {
    /// The next expected sequence; `None` while it is not settled where to begin.
    next: Option<u64>,
    owner: Option<SessionId>,
    token: u64,
    /// How often `next` was granted.
    deliveries: u32,
    /// The payload of the one before `next`, if it was done here and not skipped.
    digest: Option<Digest>,
    /// The time of the newest record that was done.
    time: Option<i64>,
    /// Since when `next` is missing while others wait.
    gap: Option<i64>,
    /// When the aggregate was seen first.
    seen: i64,
    halted: Option<String>,
    condemned: Option<String>,
    /// What was skipped, the last ranges of it.
    skipped: VecDeque<SkippedRange>,
    error: Option<String>,
    room: BTreeMap<u64, Parked>,
    bytes: u64,
    /// When the aggregate is forgotten.
    expiry: Option<i64>,
}

#[derive(Debug, Clone)]
struct Parked {
    digest: Digest,
    bytes: bytes::Bytes,
}

impl State {
    fn grant(&self) -> Grant {
        Grant {
            token: FencingToken(self.token),
            deliveries: self.deliveries,
            condemned: self.condemned.is_some(),
        }
    }

    /// Return what follows without a gap.
    fn take(&self, limit: usize) -> Vec<Frame> {
        let Some(next) = self.next else { return Vec::new() };
        let contiguous = self.room.range(next..).zip(next..=u64::MAX);
        contiguous
            .take_while(|((sequence, _), expected)| *sequence == expected)
            .take(limit)
            .map(|((&sequence, parked), _)| Frame {
                sequence,
                bytes: parked.bytes.clone(),
            })
            .collect()
    }

    /// Take note that a range is skipped: what comes of it is late.
    fn skip(&mut self, first: u64, last: u64) {
        self.skipped.truncate(SKIPPED - 1);
        self.skipped.push_front(SkippedRange { first, last });
    }

    fn head(&self) -> Option<u64> {
        self.room.keys().next().copied()
    }

    fn waits(&self) -> bool {
        !self.room.is_empty() && self.halted.is_none()
    }

    fn is_gap(&self) -> bool {
        matches!((self.next, self.head()), (Some(next), Some(head)) if head > next)
    }
}

impl Bucket {
    fn is_live(&self, session: SessionId, now: Now<'_>) -> bool {
        self.sessions.get(&session).is_some_and(|end| *end > now.millis())
    }

    /// Return the owner that is alive.
    fn owner(&self, state: &State, now: Now<'_>) -> Option<SessionId> {
        let is_held = |owner: &_| self.is_live(*owner, now) && !mutant::is(Mutant::GrantsWhatIsHeld);
        state.owner.filter(is_held)
    }

    /// Give a session the lease of an aggregate.
    fn grant(&mut self, session: SessionId, key: &Arc<str>, now: Now<'_>) -> &mut State {
        let token = self.new_token(now);
        let state = self.state(key, now);
        state.owner = Some(session);
        state.token = token;
        state
    }

    fn new_token(&mut self, now: Now<'_>) -> u64 {
        let clock = u64::try_from(now.micros).unwrap_or_default();
        self.token = (self.token + 1).max(clock);
        self.token
    }

    pub(super) fn beat(
        &mut self,
        session: SessionId,
        number: u16,
        ttl: Duration,
        generation: u64,
        now: Now<'_>,
    ) -> Beat {
        let state = match self.sessions.get(&session) {
            None => SessionState::New,
            Some(end) if *end > now.millis() => SessionState::Live,
            Some(_) => SessionState::Lapsed,
        };
        if state != SessionState::Lapsed {
            self.sessions.insert(session, now.millis() + millis(ttl));
        }
        let forgotten = now.millis() - millis(SESSION_MEMORY);
        self.sessions
            .retain(|other, end| *end > forgotten || *other == session);
        let sessions = &self.sessions;
        self.wanted.retain(|(owner, _)| sessions.contains_key(owner));
        let mine = |(owner, _): &&(SessionId, Arc<str>)| *owner == session;
        let wanted: Vec<_> = self.wanted.iter().filter(mine).take(WANTED).cloned().collect();
        for entry in &wanted {
            self.wanted.remove(entry);
        }
        Beat {
            state,
            wanted: wanted
                .into_iter()
                .map(|(_, key)| Aggregate::stored(key, number))
                .collect(),
            token: FencingToken(self.token),
            generation,
            bytes: self.bytes,
            messages: self.messages,
        }
    }

    pub(super) fn admit(
        &mut self,
        session: SessionId,
        limits: RoomLimits,
        arrival: &Arrival,
        now: Now<'_>,
    ) -> Result<Admission, StoreError> {
        if !self.is_live(session, now) {
            return Err(StoreError::SessionLapsed);
        }
        self.expire(arrival.aggregate.key(), now);
        let key: Arc<str> = arrival.aggregate.key().into();
        let known = self.aggregates.get(&key);
        let sequence = arrival.sequence;
        let below_first = matches!(arrival.first, First::Exact(first) if sequence < first);
        if below_first || sequence == u64::MAX {
            return Ok(Admission::Invalid);
        }
        let next = match (known.and_then(|state| state.next), arrival.first) {
            (Some(next), _) | (None, First::Exact(next) | First::Known(next)) => Some(next),
            (None, First::Seen) => Some(sequence),
            (None, First::Settle | First::Halt(_)) => None,
            (None, First::Ask) => return Ok(Admission::Unknown),
        };
        if let Some(next) = next.filter(|next| sequence < *next) {
            return Ok(known.map_or(Admission::Duplicate { newer: false }, |state| {
                of_the_past(state, next, arrival)
            }));
        }
        if known.is_some_and(|state| state.next.is_none()) && next.is_some() {
            self.settle(&key, next);
        }
        let known = self.aggregates.get(&key);
        let owner = known.and_then(|state| self.owner(state, now));
        let halted = known.is_some_and(|state| state.halted.is_some());
        if next == Some(sequence) && !halted && owner.is_none_or(|owner| owner == session) {
            self.state(&key, now).next = next;
            if owner.is_none() {
                self.grant(session, &key, now).deliveries += 1;
            }
            return Ok(Admission::Run(self.state(&key, now).grant()));
        }
        Ok(self.park(&key, next, owner, limits, arrival, now))
    }

    /// Know from elsewhere what is next of an aggregate that waited to know it. What waits below is done.
    fn settle(&mut self, key: &Arc<str>, next: Option<u64>) {
        if let Some(state) = self.aggregates.get_mut(key) {
            state.next = next;
            self.purge(key);
        }
        if self
            .aggregates
            .get(key)
            .is_some_and(|state| state.room.is_empty())
        {
            self.due.remove(key);
        }
    }

    fn park(
        &mut self,
        key: &Arc<str>,
        next: Option<u64>,
        owner: Option<SessionId>,
        limits: RoomLimits,
        arrival: &Arrival,
        now: Now<'_>,
    ) -> Admission {
        let (bytes, messages) = (self.bytes, self.messages);
        let known = self.aggregates.get(key);
        if let Some(parked) = known.and_then(|state| state.room.get(&arrival.sequence)) {
            if parked.digest != arrival.digest {
                return Admission::Conflict;
            }
            return Admission::Parked {
                halted: known.is_some_and(|state| state.halted.is_some()),
            };
        }
        let Some(frame) = &arrival.frame else {
            return Admission::Need;
        };
        let length = frame.len() as u64;
        let is_head = next == Some(arrival.sequence);
        let (count, size) = known.map_or((0, 0), |state| (state.room.len() as u64, state.bytes));
        let is_full = count >= limits.messages
            || size + length > limits.bytes
            || messages >= limits.bucket_messages
            || bytes + length > limits.bucket_bytes;
        if is_full && !is_head {
            return Admission::Full;
        }
        self.bytes += length;
        self.messages += 1;
        let state = self.state(key, now);
        state.next = next;
        state.bytes += length;
        state.room.insert(
            arrival.sequence,
            Parked {
                digest: arrival.digest,
                bytes: frame.clone(),
            },
        );
        if let First::Halt(reason) = arrival.first
            && next.is_none()
        {
            state.halted.get_or_insert_with(|| reason.to_owned());
        }
        if is_head {
            state.gap = None;
        } else if state.is_gap() {
            state.gap.get_or_insert(now.millis());
        }
        let halted = state.halted.is_some();
        if halted {
            self.due.remove(key);
        } else {
            self.due.entry(Arc::clone(key)).or_insert(now.soon());
            if let Some(owner) = owner.filter(|_| is_head) {
                self.wanted.insert((owner, Arc::clone(key)));
            }
        }
        Admission::Parked { halted }
    }

    pub(super) fn complete(
        &mut self,
        session: SessionId,
        limit: usize,
        completion: &Completion,
        now: Now<'_>,
    ) -> Completed {
        self.expire(completion.aggregate.key(), now);
        let Some((key, state)) = self.aggregates.get_key_value(completion.aggregate.key()) else {
            return Completed::Fenced;
        };
        let (key, sequence) = (Arc::clone(key), completion.sequence);
        let Some(next) = state.next else {
            return Completed::Fenced;
        };
        let is_current = state.token == completion.token.get() || mutant::is(Mutant::CountsUnderAnyToken);
        let is_mine = state.owner == Some(session);
        if sequence < next {
            let held = is_current && is_mine;
            let frames = if held && sequence + 1 == next && state.halted.is_none() {
                state.take(limit)
            } else {
                Vec::new()
            };
            return Completed::Already { frames, held };
        }
        let fits = match completion.skip {
            None => sequence == next,
            Some(given_up) => state.room.range(..=sequence).count() as u64 == given_up,
        };
        if !is_current || sequence == u64::MAX || !fits {
            return Completed::Fenced;
        }
        let state = self.state(&key, now);
        state.next = Some(sequence + 1);
        state.deliveries = 0;
        state.error = None;
        state.gap = None;
        if completion.skip.is_some() {
            state.digest = None;
            state.skip(next, sequence);
        } else {
            state.digest = Some(completion.digest);
            state.time = state.time.max(Some(completion.time));
        }
        self.purge(&key);
        let state = self.state(&key, now);
        let goes_on = state.halted.is_none() && state.condemned.is_none() && is_mine;
        let frames = if goes_on { state.take(limit) } else { Vec::new() };
        let held = !frames.is_empty() || (goes_on && completion.keep);
        if !frames.is_empty() {
            state.deliveries = 1;
        }
        if !held {
            state.owner = None;
        }
        self.reschedule(&key, now);
        Completed::Done { frames, held }
    }

    pub(super) fn release(&mut self, session: SessionId, key: &str, token: FencingToken, now: Now<'_>) {
        let Some((key, state)) = self.aggregates.get_key_value(key) else {
            return;
        };
        if state.token != token.get() || state.owner != Some(session) {
            return;
        }
        let key = Arc::clone(key);
        let state = self.state(&key, now);
        state.owner = None;
        state.deliveries = state.deliveries.saturating_sub(1);
        self.reschedule(&key, now);
    }

    pub(super) fn due(&self, number: u16, limit: usize, now: Now<'_>) -> Vec<Aggregate> {
        let mut due: Vec<_> = self.due.iter().filter(|(_, at)| **at <= now.millis()).collect();
        due.sort_by_key(|(key, at)| (**at, Arc::clone(key)));
        due.truncate(limit);
        let aggregate = |(key, _): (&Arc<str>, _)| Aggregate::stored(Arc::clone(key), number);
        due.into_iter().map(aggregate).collect()
    }

    pub(super) fn claim(
        &mut self,
        session: SessionId,
        terms: ClaimTerms,
        key: &str,
        now: Now<'_>,
    ) -> Result<Claim, StoreError> {
        if !self.is_live(session, now) {
            return Err(StoreError::SessionLapsed);
        }
        let key: Arc<str> = key.into();
        let Some(state) = self.aggregates.get(&key).filter(|state| !state.room.is_empty()) else {
            self.due.remove(&key);
            return Ok(Claim::Empty);
        };
        if state.halted.is_some() {
            self.due.remove(&key);
            return Ok(Claim::Halted);
        }
        let is_head = state.next == state.head();
        match self.owner(state, now) {
            Some(owner) if owner == session => {
                let claim = Claim::Mine(FencingToken(state.token), state.take(terms.frames));
                self.due.insert(key, now.soon());
                return Ok(claim);
            }
            Some(owner) => {
                if is_head {
                    self.wanted.insert((owner, Arc::clone(&key)));
                }
                self.due.insert(key, now.soon());
                return Ok(Claim::Busy);
            }
            None => {}
        }
        if state.next.is_none() {
            let settled = state.seen + millis(terms.settle);
            if settled > now.millis() {
                self.due.insert(key, settled);
                return Ok(Claim::Waiting);
            }
            let head = state.head();
            self.state(&key, now).next = head;
        }
        Ok(self.claim_free(session, terms, key, now))
    }

    /// Claim an aggregate that nobody holds.
    fn claim_free(&mut self, session: SessionId, terms: ClaimTerms, key: Arc<str>, now: Now<'_>) -> Claim {
        let state = self.state(&key, now);
        let (next, head) = (state.next.expect("settled"), state.head().expect("not empty"));
        if head == next {
            let state = self.grant(session, &key, now);
            state.deliveries += 1;
            let claim = Claim::Granted(state.grant(), state.take(terms.frames));
            if let (true, Claim::Granted(_, frames)) = (mutant::is(Mutant::DropsFramesAtClaim), &claim) {
                frames.iter().for_each(|frame| self.remove(&key, frame.sequence));
            }
            self.due.insert(key, now.soon());
            return claim;
        }
        let mut since = *state.gap.get_or_insert(now.millis());
        if mutant::is(Mutant::CountsGapsFromTheFirstSight) {
            since = state.seen;
        }
        match terms.gap {
            Some(gap) if since + millis(gap) <= now.millis() => {
                let state = self.grant(session, &key, now);
                let claim = Claim::Gap {
                    grant: state.grant(),
                    missing: next,
                    head,
                    since,
                };
                self.due.insert(key, now.soon());
                claim
            }
            gap => {
                let again = gap.map_or(now.later(), |gap| since + millis(gap));
                self.due.insert(key, again);
                Claim::Waiting
            }
        }
    }

    pub(super) fn probe(&mut self, key: &str, now: Now<'_>) -> Option<u64> {
        self.expire(key, now);
        self.aggregates.get(key)?.next
    }

    pub(super) fn read(&self, key: &str, from: u64, limit: usize) -> Vec<Frame> {
        let room = self.aggregates.get(key).map(|state| state.room.range(from..));
        let frame = |(&sequence, parked): (&u64, &Parked)| Frame {
            sequence,
            bytes: parked.bytes.clone(),
        };
        room.into_iter().flatten().take(limit).map(frame).collect()
    }

    pub(super) fn steer(&mut self, key: &str, action: Steering, now: Now<'_>) {
        self.expire(key, now);
        let key: Arc<str> = key.into();
        match action {
            Steering::Halt { reason } => {
                self.state(&key, now).halted = Some(reason);
                self.tell_owner(&key, now);
            }
            Steering::Condemn { reason } => {
                self.state(&key, now).condemned = Some(reason);
                self.tell_owner(&key, now);
            }
            Steering::Resume { next } => {
                let state = self.state(&key, now);
                state.halted = None;
                state.condemned = None;
                state.deliveries = 0;
                if let Some(next) = next {
                    // What was not done below is late from now on.
                    if let Some(first) = state.next.filter(|first| *first < next) {
                        state.skip(first, next - 1);
                    }
                    self.expect(&key, next, now);
                }
            }
            Steering::Restore { next } => {
                let state = self.state(&key, now);
                if state.next.is_none() {
                    state.halted = None;
                }
                if state.next.is_none_or(|known| known < next) {
                    self.expect(&key, next, now);
                }
            }
            Steering::Remove { sequence } => {
                self.remove(&key, sequence);
            }
            Steering::Forget => {
                while let Some(head) = self.aggregates.get(&key).and_then(State::head) {
                    self.remove(&key, head);
                }
                self.aggregates.remove(&key);
                self.wanted.retain(|(_, wanted)| *wanted != key);
            }
            Steering::Note { error } => {
                if let Some(state) = self.aggregates.get_mut(&key) {
                    state.error = Some(error);
                }
                return;
            }
        }
        self.reschedule(&key, now);
    }

    /// Have whoever holds the aggregate look at it, also if nothing of it runs there.
    fn tell_owner(&mut self, key: &Arc<str>, now: Now<'_>) {
        let state = self.aggregates.get(key);
        if let Some(owner) = state.and_then(|state| self.owner(state, now)) {
            self.wanted.insert((owner, Arc::clone(key)));
        }
    }

    /// Expect a sequence next; whoever holds the aggregate does so no longer.
    fn expect(&mut self, key: &Arc<str>, next: u64, now: Now<'_>) {
        let token = self.new_token(now);
        let state = self.state(key, now);
        state.next = Some(next);
        state.owner = None;
        state.token = token;
        state.digest = None;
        state.gap = None;
        state.deliveries = 0;
        self.purge(key);
    }

    /// Set by what waits now, and for whom, when somebody should look, and since when there is a gap.
    fn reschedule(&mut self, key: &Arc<str>, now: Now<'_>) {
        let Some(state) = self.aggregates.get_mut(key) else {
            self.due.remove(key);
            return;
        };
        state.gap = state.is_gap().then(|| state.gap.unwrap_or(now.millis()));
        let is_idle = state.room.is_empty() && state.owner.is_none() && state.halted.is_none();
        state.expiry = (now.scope.policies().state_ttl)
            .filter(|_| is_idle)
            .map(|ttl| now.millis() + millis(ttl));
        if !state.waits() {
            self.due.remove(key);
        } else if state.owner.is_none() && !state.is_gap() {
            self.due.insert(Arc::clone(key), now.millis());
        } else {
            self.due.insert(Arc::clone(key), now.soon());
        }
    }

    /// Remove what waits below the next expected sequence.
    fn purge(&mut self, key: &Arc<str>) {
        while let Some(state) = self.aggregates.get(key)
            && let (Some(next), Some(head)) = (state.next, state.head())
            && head < next
        {
            self.remove(key, head);
        }
    }

    fn remove(&mut self, key: &Arc<str>, sequence: u64) {
        let Some(state) = self.aggregates.get_mut(key) else {
            return;
        };
        if let Some(parked) = state.room.remove(&sequence) {
            let length = parked.bytes.len() as u64;
            state.bytes -= length;
            self.bytes -= length;
            self.messages -= 1;
        }
    }

    /// Return what is known of an aggregate; from now on something is.
    fn state(&mut self, key: &Arc<str>, now: Now<'_>) -> &mut State {
        let state = self.aggregates.entry(Arc::clone(key)).or_insert_with(|| State {
            seen: now.millis(),
            ..State::default()
        });
        state.expiry = None;
        state
    }

    /// Forget an aggregate that was idle for too long.
    fn expire(&mut self, key: &str, now: Now<'_>) {
        let expiry = self.aggregates.get(key).and_then(|state| state.expiry);
        if expiry.is_some_and(|expiry| expiry <= now.millis()) {
            self.aggregates.remove(key);
        }
    }

    pub(super) fn survey(&self, number: u16, now: Now<'_>) -> BucketReport {
        let rooms = |filter: fn(&State) -> bool| {
            let all = self.aggregates.iter().filter(move |(_, state)| filter(state));
            all.map(|(key, _)| key.to_string()).take(SHOWN).collect()
        };
        let oldest = self.aggregates.values().filter_map(|state| state.gap).min();
        BucketReport {
            bucket: number,
            rooms: self.due.len() as u64,
            messages: self.messages,
            bytes: self.bytes,
            oldest_gap_ms: oldest.map(|since| u64::try_from(now.millis() - since).unwrap_or_default()),
            halted: rooms(|state| state.halted.is_some()),
            waiting: rooms(|state| !state.room.is_empty()),
            sessions: self.sessions.values().filter(|end| **end > now.millis()).count() as u64,
        }
    }

    pub(super) fn inspect(&mut self, key: &str, limit: usize, now: Now<'_>) -> Option<AggregateReport> {
        self.expire(key, now);
        let state = self.aggregates.get(key)?;
        let parked = |(&sequence, parked): (&u64, &Parked)| ParkedMessage {
            sequence,
            bytes: parked.bytes.len() as u64,
            frame: parked.bytes.clone(),
        };
        Some(AggregateReport {
            key: key.to_owned(),
            next: state.next,
            owner: self.owner(state, now).map(|owner| owner.to_string()),
            token: (state.token > 0).then_some(state.token),
            deliveries: state.deliveries,
            parked: state.room.len() as u64,
            bytes: state.bytes,
            gap_since: state.gap,
            halted: state.halted.clone(),
            condemned: state.condemned.clone(),
            skipped: state.skipped.front().copied(),
            last_error: state.error.clone(),
            room: state.room.iter().take(limit).map(parked).collect(),
        })
    }
}

/// Say what a message is whose sequence has passed.
fn of_the_past(state: &State, next: u64, arrival: &Arrival) -> Admission {
    let sequence = arrival.sequence;
    let mut skipped = state.skipped.iter();
    if skipped.any(|skipped| (skipped.first..=skipped.last).contains(&sequence)) {
        return Admission::Late;
    }
    let is_last = sequence + 1 == next;
    if is_last && state.digest.is_some_and(|digest| digest != arrival.digest) {
        return Admission::Conflict;
    }
    Admission::Duplicate {
        newer: state.time.is_some_and(|time| arrival.time > time),
    }
}
