//! What each call does to a bucket: the specification of all ordering stores.
//!
//! Each kind of call has a file: [`admission`], [`completion`] with releases, [`claim`] with what is due,
//! [`session`], [`steering`], and [`look`] for those that change nothing. Here is what they share: what is
//! known, leases, and when somebody should look at an aggregate.

mod admission;
mod claim;
mod completion;
mod look;
mod session;
mod steering;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::{Now, millis};
use crate::mutant::{self, Mutant};
use crate::store::ordering::{Digest, FencingToken, Frame, Grant, SessionId, SkippedRange};

/// How many skipped ranges of an aggregate are remembered.
const SKIPPED: usize = 16;

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
    /// How many leases ended with their process while `next` was begun, as far as is known.
    fatal: u32,
    /// Whether `next` is begun under the present lease. A first lease is taken to be for running it; once a
    /// process has died, that it is begun has to be said.
    begun: bool,
    /// The payload of the one before `next`, if it was done here and not skipped.
    digest: Option<Digest>,
    /// The time of the newest record that was done.
    time: Option<i64>,
    /// Since when `next` is missing while others wait, and nobody who had it has lost it since.
    gap: Option<i64>,
    /// When the clock of a gap began anew because a lease ended.
    gap_anew: Option<i64>,
    /// The lease that was given to act on the gap: `next` is not there, so that it ends nothing.
    gap_token: u64,
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
            deliveries: self.fatal + 1,
            condemned: self.condemned.is_some(),
            waits: !self.room.is_empty(),
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

    /// Say how often `next` was begun, as far as is known.
    fn deliveries(&self) -> u32 {
        self.fatal + u32::from(self.begun)
    }

    /// Take note that a lease has ended with its process, if one has.
    fn bury(&mut self) {
        self.fatal += u32::from(std::mem::take(&mut self.begun));
    }

    /// Count anew: another message is next, or it is given another chance.
    fn absolve(&mut self) {
        (self.fatal, self.begun) = (0, false);
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

    /// Give a session the lease of an aggregate that nobody holds.
    fn grant(&mut self, session: SessionId, key: &Arc<str>, now: Now<'_>) -> &mut State {
        let token = self.new_token(now);
        let state = self.state(key, now);
        state.bury();
        state.owner = Some(session);
        state.token = token;
        state
    }

    /// Give a session the lease of an aggregate to run its next message.
    fn grant_run(&mut self, session: SessionId, key: &Arc<str>, now: Now<'_>) -> &mut State {
        let state = self.grant(session, key, now);
        state.begun = state.fatal == 0;
        state
    }

    fn new_token(&mut self, now: Now<'_>) -> u64 {
        let clock = u64::try_from(now.micros).unwrap_or_default();
        self.token = (self.token + 1).max(clock);
        self.token
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
}
