//! Changes from outside: by operators, by policies, out of somebody's memory.

use std::sync::Arc;

use super::super::Now;
use super::{Bucket, State};
use crate::store::ordering::Steering;

impl Bucket {
    pub(in super::super) fn steer(&mut self, key: &str, action: Steering, now: Now<'_>) {
        self.expire(key, now);
        let key: Arc<str> = key.into();
        match action {
            Steering::Halt { reason } => {
                self.state(&key, now).halted = Some(reason);
                self.tell_owner(&key, now);
            }
            Steering::HaltUnsettled { reason } => {
                let state = self.aggregates.get_mut(&key);
                let Some(state) = state.filter(|state| state.next.is_none()) else {
                    return;
                };
                state.halted.get_or_insert(reason);
            }
            Steering::Condemn { reason } => {
                self.state(&key, now).condemned = Some(reason);
                self.tell_owner(&key, now);
            }
            Steering::Resume { next } => {
                let state = self.state(&key, now);
                state.halted = None;
                state.condemned = None;
                state.absolve();
                let Some(next) = next else {
                    state.next = state.next.or(state.head());
                    return self.reschedule(&key, now);
                };
                // What was not done below is late from now on.
                if let Some(first) = state.next.filter(|first| *first < next) {
                    state.skip(first, next - 1);
                }
                self.expect(&key, next, now);
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
            Steering::Begun { token } => {
                let state = self.aggregates.get_mut(&key);
                if let Some(state) = state.filter(|state| state.token == token.get() && state.owner.is_some())
                {
                    state.begun = true;
                }
                return;
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
        state.absolve();
        self.purge(key);
    }
}
