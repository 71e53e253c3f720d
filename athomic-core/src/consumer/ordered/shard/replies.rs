//! Calls of the store and their answers, each on its way to where it belongs.

use std::future::Future;

use tokio::sync::OwnedSemaphorePermit;

use super::super::super::lane::Permit;
use super::super::session::Stopped;
use super::super::{Ended, Work};
use super::Shard;
use super::gaps::Gap;
use crate::handler::OrderedHandler;
use crate::outcome::BoxError;
use crate::store::StoreError;
use crate::store::ordering::{Admission, Aggregate, Claim, Completed, Completion, Frame, Steering};

/// Which calls are under way.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) admitting: bool,
    pub(super) completing: bool,
    pub(super) releasing: bool,
    pub(super) claiming: bool,
    pub(super) sweeping: bool,
    pub(super) probing: bool,
    pub(super) steering: usize,
}

/// An answer of the store, with what was asked.
#[derive(Debug)]
pub(super) enum Reply {
    Admitted(Vec<(usize, u64)>, Vec<Result<Admission, StoreError>>),
    Completed(Vec<usize>, Vec<Completion>, Vec<Result<Completed, StoreError>>),
    Released(Vec<usize>, Vec<Result<(), StoreError>>),
    Due(Vec<Result<Vec<Aggregate>, StoreError>>),
    Claimed(Vec<usize>, Vec<Result<Claim, StoreError>>, Claiming),
    Probed(Vec<Aggregate>, Vec<Result<Option<u64>, StoreError>>),
    Begun(usize, Result<(OwnedSemaphorePermit, Permit), StoreError>),
    /// A suspect need not be alone any more.
    Unwatched,
    Steered(usize, Then, Result<(), StoreError>),
    Room(usize, Gap, Result<Vec<Frame>, StoreError>),
    /// What waited behind a gap is given up: through which sequence, and how many.
    RoomGivenUp(usize, Gap, u64, usize),
    /// What is next for all that the application knows, and whether the store is behind that.
    Resynced(usize, Result<u64, BoxError>, Result<bool, StoreError>),
}

/// Why aggregates are claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claiming {
    /// They were due.
    InTurn,
    /// Nothing more of them fits: a gap is told at once, unless its clock began anew with the end of a lease.
    ForRoom,
}

/// What follows when the store has taken a change.
#[derive(Debug)]
pub(super) enum Then {
    /// Nothing.
    Nothing,
    /// The poison message is completed.
    Complete,
    /// The lease is given back.
    Release,
    /// What waits is looked at anew.
    GoOn,
}

impl<H, F, Start> Shard<'_, H, F, Start>
where
    H: OrderedHandler,
    F: Future<Output = Ended>,
    Start: Fn(Work<H::Payload>) -> F,
{
    /// Ask and tell what has gathered, unless it is being asked or told already.
    pub(super) fn flush(&mut self) {
        if self.session.is_none() {
            return;
        }
        if !self.pending.admitting && !self.asks.is_empty() {
            self.admit();
        }
        if !self.pending.completing && self.is_time_to_tell() {
            self.complete();
        }
        if !self.pending.releasing && !self.releases.is_empty() {
            self.release();
        }
        let wants_claims = !self.claims.is_empty() || !self.crowded.is_empty();
        if !self.pending.claiming && wants_claims {
            self.claim();
        }
    }

    pub(super) fn on_reply(&mut self, reply: Reply) {
        match reply {
            Reply::Admitted(asked, answers) => self.on_admitted(asked, answers),
            Reply::Completed(indices, completions, answers) => {
                self.on_all_completed(indices, completions, answers);
            }
            Reply::Released(indices, answers) => self.on_released(indices, answers),
            Reply::Due(answers) => self.on_due(answers),
            Reply::Claimed(claimed, answers, why) => self.on_all_claimed(claimed, answers, why),
            Reply::Probed(aggregates, answers) => self.on_probed(aggregates, answers),
            Reply::Begun(index, begun) => self.on_begun(index, begun),
            Reply::Unwatched => {}
            Reply::Steered(index, then, done) => self.on_steered(index, then, done),
            Reply::Room(index, gap, frames) => self.on_room(index, gap, frames),
            Reply::RoomGivenUp(index, gap, last, count) => {
                self.locals[index].calls -= 1;
                self.skip(index, gap, last, count);
            }
            Reply::Resynced(index, next, lags) => self.on_resynced(index, next, lags),
        }
    }

    pub(super) fn on_error(&mut self, error: StoreError) {
        match error {
            // The keeper notices too, and begins another session.
            StoreError::SessionLapsed => self.fence(),
            error => {
                let _membership_gone = self.stopped.send(Stopped::Refused(error));
            }
        }
    }

    /// Change an aggregate in the store; then go on.
    pub(super) fn steer(&mut self, index: usize, action: Steering, then: Then) {
        self.pending.steering += 1;
        let local = &mut self.locals[index];
        local.calls += 1;
        let (caller, aggregate) = (self.caller.clone(), local.aggregate.clone());
        self.calls.push(Box::pin(async move {
            let event = format!("{aggregate}: {action}");
            tracing::warn!(%aggregate, "{action}");
            let steered = caller.one((aggregate, action), |store, (aggregate, action)| {
                store.steer(aggregate, action.clone())
            });
            let done = match steered.await {
                Ok(()) => caller.one(event, |store, event| store.record(event)).await,
                Err(error) => Err(error),
            };
            Reply::Steered(index, then, done)
        }));
    }

    pub(super) fn on_steered(&mut self, index: usize, then: Then, done: Result<(), StoreError>) {
        self.pending.steering -= 1;
        self.locals[index].calls -= 1;
        if let Err(error) = done {
            return self.on_error(error);
        }
        match then {
            Then::Nothing => self.rest(index),
            Then::GoOn => {
                self.locals[index].pause();
                self.consider(index);
            }
            Then::Complete => {
                self.locals[index].pause();
                self.stand_in_line(index);
            }
            Then::Release => {
                let local = &mut self.locals[index];
                (local.goes, local.next) = (true, None);
                local.pause();
                if local.done.has_news() {
                    self.stand_in_line(index);
                }
                self.consider(index);
            }
        }
    }
}
