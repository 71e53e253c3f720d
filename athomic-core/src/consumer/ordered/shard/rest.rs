//! Leases that are kept or given back, and aggregates of which nothing is here.

use std::future::Future;

use super::super::aggregate::{Local, Phase};
use super::super::{Ended, Work};
use super::Shard;
use super::replies::Reply;
use crate::handler::OrderedHandler;
use crate::store::StoreError;

/// How many aggregates of which nothing is here a shard remembers, with their leases if they are kept.
const REMEMBERED: usize = 50_000;
/// The number of the rest after which an aggregate is forgotten as soon as its lease is given back.
const FORGOTTEN: u64 = 0;

impl<H, F, Start> Shard<'_, H, F, Start>
where
    H: OrderedHandler,
    F: Future<Output = Ended>,
    Start: Fn(Work<H::Payload>) -> F,
{
    /// Remember an aggregate of which nothing is here, among the last ones.
    pub(super) fn rest(&mut self, index: usize) {
        let Some(local) = self.locals.get_mut(index).filter(|local| local.is_at_rest()) else {
            return;
        };
        self.rests += 1;
        local.rest = self.rests;
        self.resting.push_back((index, self.rests));
        if self.resting.len() > REMEMBERED {
            self.forget_oldest();
        }
    }

    pub(super) fn forget_oldest(&mut self) {
        let Some((index, rest)) = self.resting.pop_front() else {
            return;
        };
        let is_same = |local: &&mut Local<_>| local.rest == rest && local.is_at_rest();
        let Some(local) = self.locals.get_mut(index).filter(is_same) else {
            return;
        };
        if local.lease.is_some() {
            local.rest = FORGOTTEN;
            self.give_lease_back(index);
        } else {
            self.forget(index);
        }
    }

    /// Take note that a lease is not held here any more.
    pub(super) fn on_given_back(&mut self, index: usize) {
        let Some(local) = self.locals.get_mut(index) else {
            return;
        };
        local.phase = Phase::Idle;
        if local.is_at_rest() && local.rest == FORGOTTEN {
            self.forget(index);
        } else {
            self.consider(index);
        }
    }

    /// Give all leases back that are kept although nothing follows.
    pub(super) fn give_kept_back(&mut self) {
        let at_rest = self.locals.iter().filter(|(_, local)| local.is_at_rest());
        let at_rest: Vec<usize> = at_rest.map(|(index, _)| index).collect();
        at_rest.into_iter().for_each(|index| self.give_lease_back(index));
    }

    /// Give a lease back, if there is one; nothing else may be under way for its aggregate.
    pub(super) fn give_lease_back(&mut self, index: usize) {
        let local = &mut self.locals[index];
        if let Some(grant) = local.lease.take() {
            local.phase = Phase::Releasing;
            self.releases.push((index, grant.token));
        }
    }

    pub(super) fn release(&mut self) {
        let Some(session) = self.session else { return };
        let releases = std::mem::take(&mut self.releases);
        let lease = |&(index, token): &(usize, _)| (self.locals[index].aggregate.clone(), token);
        let leases: Vec<_> = releases.iter().map(lease).collect();
        let indices = releases.into_iter().map(|(index, _)| index).collect();
        self.pending.releasing = true;
        let caller = self.caller.clone();
        self.calls.push(Box::pin(async move {
            let call = caller.until_known(leases, |store, some| store.release(session.id, some));
            let (_, answers) = call.await;
            Reply::Released(indices, answers)
        }));
    }

    pub(super) fn on_released(&mut self, indices: Vec<usize>, answers: Vec<Result<(), StoreError>>) {
        self.pending.releasing = false;
        for (index, answer) in indices.into_iter().zip(answers) {
            match answer {
                Ok(()) => self.on_given_back(index),
                Err(error) => self.on_error(error),
            }
            if self.session.is_none() {
                return;
            }
        }
    }
}
