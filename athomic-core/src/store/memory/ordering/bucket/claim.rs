//! What somebody should look at, and who takes it.

use std::sync::Arc;

use super::super::{Now, millis};
use super::Bucket;
use crate::mutant::{self, Mutant};
use crate::store::StoreError;
use crate::store::ordering::{Aggregate, Claim, ClaimTerms, SessionId};

impl Bucket {
    pub(in super::super) fn due(&self, number: u16, limit: usize, now: Now<'_>) -> Vec<Aggregate> {
        let mut due: Vec<_> = self.due.iter().filter(|(_, at)| **at <= now.millis()).collect();
        due.sort_by_key(|(key, at)| (**at, Arc::clone(key)));
        due.truncate(limit);
        let aggregate = |(key, _): (&Arc<str>, _)| Aggregate::stored(Arc::clone(key), number);
        due.into_iter().map(aggregate).collect()
    }

    pub(in super::super) fn claim(
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
                let claim = Claim::Mine(state.grant(), state.take(terms.frames));
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
            if !terms.begins {
                self.due.insert(key, now.soon());
                return Ok(Claim::Unsettled);
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
            let state = self.grant_run(session, &key, now);
            let claim = Claim::Granted(state.grant(), state.take(terms.frames));
            if let (true, Claim::Granted(_, frames)) = (mutant::is(Mutant::DropsFramesAtClaim), &claim) {
                frames.iter().for_each(|frame| self.remove(&key, frame.sequence));
            }
            self.due.insert(key, now.soon());
            return claim;
        }
        if state.owner.take().is_some() {
            // A process died, and what is missing may have been with it.
            state.bury();
            state.gap = Some(now.millis());
            state.gap_anew = state.gap;
        }
        let mut since = *state.gap.get_or_insert(now.millis());
        if mutant::is(Mutant::CountsGapsFromTheFirstSight) {
            since = state.seen;
        }
        let at_once = terms.crowded && state.gap_anew != state.gap;
        match terms.gap {
            Some(gap) if at_once || since + millis(gap) <= now.millis() => {
                let state = self.grant(session, &key, now);
                state.gap_token = state.token;
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
}
