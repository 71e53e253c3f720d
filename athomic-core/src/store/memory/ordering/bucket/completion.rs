//! What is done or given up, and leases that are given back.

use std::sync::Arc;

use super::super::Now;
use super::Bucket;
use crate::mutant::{self, Mutant};
use crate::store::ordering::{Completed, Completion, FencingToken, SessionId};

impl Bucket {
    pub(in super::super) fn complete(
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
        let (key, last) = (Arc::clone(key), completion.last);
        let Some(next) = state.next else {
            return Completed::Fenced;
        };
        let is_current = state.token == completion.token.get() || mutant::is(Mutant::CountsUnderAnyToken);
        let is_mine = state.owner == Some(session);
        if last < next {
            let held = is_current && is_mine;
            let frames = if held && last + 1 == next && state.halted.is_none() {
                state.take(limit)
            } else {
                Vec::new()
            };
            return Completed::Already { frames, held };
        }
        let all_given_up = |given_up| state.room.range(..=last).count() as u64 == given_up;
        let fits = completion.first <= next && completion.skip.is_none_or(all_given_up);
        if !is_current || last == u64::MAX || !fits {
            return Completed::Fenced;
        }
        let state = self.state(&key, now);
        state.next = Some(last + 1);
        state.absolve();
        state.error = None;
        state.gap = None;
        if completion.skip.is_some() {
            state.digest = None;
            state.skip(next, last);
        } else {
            state.digest = Some(completion.digest);
            state.time = state.time.max(Some(completion.time));
        }
        self.purge(&key);
        let state = self.state(&key, now);
        let goes_on = state.halted.is_none() && state.condemned.is_none() && is_mine;
        let frames = if goes_on { state.take(limit) } else { Vec::new() };
        let held = !frames.is_empty() || (goes_on && completion.keep);
        state.begun = !frames.is_empty();
        if !held {
            state.owner = None;
        }
        self.reschedule(&key, now);
        Completed::Done { frames, held }
    }

    pub(in super::super) fn release(
        &mut self,
        session: SessionId,
        key: &str,
        token: FencingToken,
        now: Now<'_>,
    ) {
        let Some((key, state)) = self.aggregates.get_key_value(key) else {
            return;
        };
        if state.token != token.get() || state.owner != Some(session) {
            return;
        }
        let key = Arc::clone(key);
        let state = self.state(&key, now);
        state.owner = None;
        state.begun = false;
        let had_the_message = state.gap_token != token.get();
        if had_the_message {
            // Who had the lease may have had what is missing: others get the time to find it.
            state.gap = None;
        }
        self.reschedule(&key, now);
        if let Some(state) = self.aggregates.get_mut(&key)
            && had_the_message
        {
            state.gap_anew = state.gap;
        }
    }
}
