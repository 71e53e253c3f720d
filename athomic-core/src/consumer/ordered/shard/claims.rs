//! What waits in rooms and that nobody looks after, and what is held here until others have done it.

use std::future::Future;

use tokio::time::Instant;

use super::super::aggregate::{Entry, Phase};
use super::super::item::{Item, Places};
use super::super::session::Stopped;
use super::super::{Ended, Work};
use super::gaps::Gap;
use super::replies::{Claiming, Reply, Then};
use super::{FRAMES, Shard};
use crate::handler::OrderedHandler;
use crate::ordering::{OnGap, frame};
use crate::store::StoreError;
use crate::store::ordering::{Aggregate, Claim, ClaimTerms, Frame, Steering};

impl<H, F, Start> Shard<'_, H, F, Start>
where
    H: OrderedHandler,
    F: Future<Output = Ended>,
    Start: Fn(Work<H::Payload>) -> F,
{
    /// Look for aggregates that wait and that nobody looks after.
    pub(super) fn look_for_due(&mut self, buckets: Vec<u16>) {
        if buckets.is_empty() {
            return;
        }
        self.pending.sweeping = true;
        let caller = self.caller.clone();
        self.calls.push(Box::pin(async move {
            let call = caller.until_known(buckets, |store, some| store.due(some, FRAMES));
            let (_, answers) = call.await;
            Reply::Due(answers)
        }));
    }

    pub(super) fn on_due(&mut self, answers: Vec<Result<Vec<Aggregate>, StoreError>>) {
        self.pending.sweeping = false;
        for answer in answers {
            match answer {
                Ok(due) => self.claims.extend(due),
                Err(error) => self.on_error(error),
            }
        }
    }

    pub(super) fn claim(&mut self) {
        let Some(session) = self.session else { return };
        let (aggregates, why) = if self.crowded.is_empty() {
            (std::mem::take(&mut self.claims), Claiming::InTurn)
        } else {
            (std::mem::take(&mut self.crowded), Claiming::ForRoom)
        };
        if self.context.state.is_stopping() {
            return;
        }
        let claimed = aggregates
            .into_iter()
            .filter_map(|aggregate| self.begin_claim(aggregate));
        let claimed: Vec<usize> = claimed.collect();
        if claimed.is_empty() {
            return;
        }
        let aggregates = claimed.iter().map(|index| self.locals[*index].aggregate.clone());
        let aggregates: Vec<Aggregate> = aggregates.collect();
        let policies = &self.settings.policies;
        let gap = match policies.on_gap {
            OnGap::Wait => None,
            OnGap::After(after, _) => Some(after),
        };
        let (settle, begins) = self.settling();
        let terms = ClaimTerms {
            frames: FRAMES,
            gap,
            crowded: why == Claiming::ForRoom,
            settle,
            begins,
        };
        self.pending.claiming = true;
        let caller = self.caller.clone();
        self.calls.push(Box::pin(async move {
            let call = caller.until_known(aggregates, |store, some| store.claim(session.id, terms, some));
            let (_, answers) = call.await;
            Reply::Claimed(claimed, answers, why)
        }));
    }

    /// Begin to claim an aggregate, unless something is under way for it: that brings what waits, too.
    pub(super) fn begin_claim(&mut self, aggregate: Aggregate) -> Option<usize> {
        let index = self.local(aggregate);
        if !self.locals[index].is_free() {
            return None;
        }
        if self.asks_before_claim(index) {
            self.ask_application(index, true);
            return None;
        }
        let local = &mut self.locals[index];
        local.phase = Phase::Claiming(match local.phase {
            Phase::Again(until) => Some(until),
            _ => None,
        });
        Some(index)
    }

    pub(super) fn on_all_claimed(
        &mut self,
        claimed: Vec<usize>,
        answers: Vec<Result<Claim, StoreError>>,
        why: Claiming,
    ) {
        self.pending.claiming = false;
        for (index, answer) in claimed.into_iter().zip(answers) {
            match answer {
                Ok(claim) => self.on_claimed(index, claim, why),
                Err(error) => self.on_error(error),
            }
            if self.session.is_none() {
                return;
            }
        }
    }

    pub(super) fn on_claimed(&mut self, index: usize, claim: Claim, why: Claiming) {
        let local = &mut self.locals[index];
        let again = match local.phase {
            Phase::Claiming(again) => again.filter(|until| *until > Instant::now()),
            _ => None,
        };
        local.phase = Phase::Idle;
        if let Claim::Granted(grant, _) = &claim {
            self.caller.counters.claims.add(1);
            self.caller.counters.takeover(local.lease, *grant);
        }
        let (grant, frames) = match claim {
            Claim::Granted(grant, frames) | Claim::Mine(grant, frames) => (grant, frames),
            Claim::Gap {
                grant,
                missing,
                head,
                since,
            } => {
                local.take_lease(grant);
                let token = grant.token;
                return self.on_gap(index, Gap { missing, head, token }, since, why);
            }
            Claim::Busy | Claim::Waiting | Claim::Unsettled | Claim::Halted | Claim::Empty => {
                match claim {
                    Claim::Busy | Claim::Waiting | Claim::Unsettled => local.lease = None,
                    // Nobody waits for it: a lease that is only kept goes back if others want it.
                    _ => local.goes = local.shared && !local.has_next(),
                }
                if let (Some(until), None) = (again, local.lease) {
                    local.phase = Phase::Again(until);
                }
                if claim == Claim::Unsettled {
                    self.on_unsettled(index);
                }
                return self.consider(index);
            }
        };
        local.take_lease(grant);
        if let Some(first) = frames.first() {
            local.next = local.next.max(Some(first.sequence));
        }
        self.take_in(index, frames);
        let local = &mut self.locals[index];
        local.goes = !local.has_next();
        self.consider(index);
    }

    /// Take messages in that come out of a room.
    pub(super) fn take_in(&mut self, index: usize, frames: Vec<Frame>) {
        for Frame { sequence, bytes } in frames {
            match frame::decode(&bytes) {
                Ok(parked) => {
                    self.caller.counters.released.add(1);
                    let item = Item {
                        sequence,
                        digest: parked.digest,
                        message: parked.message,
                        places: Places::default(),
                    };
                    let entry = Entry {
                        item,
                        payload: None,
                        parks: false,
                    };
                    self.join(index, entry);
                }
                Err(error) => {
                    tracing::error!(aggregate = %self.locals[index].aggregate, sequence, %error, "a message that waited is damaged, and is read again from its partition");
                    self.steer(index, Steering::Remove { sequence }, Then::Nothing);
                    let _membership_gone = self.stopped.send(Stopped::StateLost);
                    return;
                }
            }
        }
    }

    /// Ask whether others have done what is held here.
    pub(super) fn probe(&mut self) {
        self.holding.retain(|index| {
            self.locals
                .get(*index)
                .is_some_and(|local| !local.held.is_empty())
        });
        if self.holding.is_empty() || self.pending.probing || self.session.is_none() {
            return;
        }
        let aggregate = |index: &usize| self.locals[*index].aggregate.clone();
        let aggregates: Vec<Aggregate> = self.holding.iter().map(aggregate).collect();
        self.pending.probing = true;
        let caller = self.caller.clone();
        self.calls.push(Box::pin(async move {
            let call = caller.until_known(aggregates, |store, some| store.probe(some));
            let (aggregates, answers) = call.await;
            Reply::Probed(aggregates, answers)
        }));
    }

    pub(super) fn on_probed(
        &mut self,
        aggregates: Vec<Aggregate>,
        answers: Vec<Result<Option<u64>, StoreError>>,
    ) {
        self.pending.probing = false;
        for (aggregate, answer) in aggregates.into_iter().zip(answers) {
            match (self.find(&aggregate), answer) {
                (Some(index), Ok(Some(next))) => {
                    self.locals[index].advance(next);
                    self.consider(index);
                }
                (_, Err(error)) => self.on_error(error),
                _ => {}
            }
        }
    }
}
