//! What to do with a message that arrived.

use std::sync::Arc;

use super::super::Now;
use super::{Bucket, Parked, State};
use crate::store::StoreError;
use crate::store::ordering::{Admission, Arrival, First, RoomLimits, SessionId};

impl Bucket {
    pub(in super::super) fn admit(
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
            (None, First::Settle) => None,
            (None, First::Ask) => return Ok(Admission::Unknown),
        };
        if let Some(next) = next.filter(|next| sequence < *next) {
            return Ok(known.map_or(Admission::Duplicate { newer: false }, |state| {
                of_the_past(state, next, arrival)
            }));
        }
        if known.is_some_and(|state| state.next.is_none()) && next.is_some() {
            self.settle(&key, next, now);
        }
        let known = self.aggregates.get(&key);
        let owner = known.and_then(|state| self.owner(state, now));
        let halted = known.is_some_and(|state| state.halted.is_some());
        if next == Some(sequence) && !halted && owner.is_none_or(|owner| owner == session) {
            self.state(&key, now).next = next;
            if owner.is_none() {
                self.grant_run(session, &key, now);
            }
            return Ok(Admission::Run(self.state(&key, now).grant()));
        }
        Ok(self.park(&key, next, owner, limits, arrival, now))
    }

    /// Know from elsewhere what is next of an aggregate that waited to know it. What waits below is done; if
    /// it was halted for that, it goes on.
    fn settle(&mut self, key: &Arc<str>, next: Option<u64>, now: Now<'_>) {
        if let Some(state) = self.aggregates.get_mut(key) {
            state.next = next;
            if !state.room.is_empty() && state.halted.take().is_some() {
                self.due.insert(Arc::clone(key), now.millis());
            }
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
