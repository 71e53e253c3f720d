//! Aggregates of which the store does not know where they stand, or may not know it rightly after a loss.
//!
//! See [`loss`](super::super::loss) for the order in which it is asked.

use std::future::Future;

use super::super::aggregate::Phase;
use super::super::loss::SETTLE;
use super::super::{Ended, Work};
use super::Shard;
use super::replies::{Reply, Then};
use crate::dead_letter::Chain;
use crate::handler::OrderedHandler;
use crate::ordering::FirstSequence;
use crate::outcome::BoxError;
use crate::store::StoreError;
use crate::store::ordering::{First, Steering};

/// Why an aggregate is halted of which nobody knows where it stands.
const NOBODY_KNOWS: &str =
    "the ordering store lost state, and nobody knows where this aggregate stood: release it from a sequence";

impl<H, F, Start> Shard<'_, H, F, Start>
where
    H: OrderedHandler,
    F: Future<Output = Ended>,
    Start: Fn(Work<H::Payload>) -> F,
{
    /// Say what is next for an aggregate that the store does not know.
    pub(super) fn first(&self, known: Option<First>, sequence: u64) -> First {
        if let Some(known) = known {
            return known;
        }
        let lost = self.settings.losses.last().is_some();
        match self.settings.policies.first_sequence {
            FirstSequence::Hook => First::Ask,
            _ if lost && self.settings.resync.is_some() => First::Ask,
            // It may have a past, or its first message may be on its way.
            FirstSequence::Exact(first) if lost && sequence > first => First::Settle,
            FirstSequence::Exact(first) => First::Exact(first),
            FirstSequence::FirstSeen { settle } if settle.is_zero() => First::Seen,
            FirstSequence::FirstSeen { .. } => First::Settle,
        }
    }

    /// Say for how long it is waited where nothing is known, and whether the lowest message begins then.
    pub(super) fn settling(&self) -> (std::time::Duration, bool) {
        match self.settings.policies.first_sequence {
            FirstSequence::FirstSeen { settle } => (settle, !self.is_behind_the_loss()),
            _ => (SETTLE, false),
        }
    }

    /// Say whether messages of before the last loss may still come again here.
    fn is_behind_the_loss(&self) -> bool {
        let lost = self.settings.losses.last();
        lost.is_some_and(|lost| self.settings.flows.any_behind(lost))
    }

    /// Say whether the application is to be asked before messages that wait are claimed: what the store knows
    /// may be of before.
    pub(super) fn asks_before_claim(&self, index: usize) -> bool {
        let local = &self.locals[index];
        let is_lost = self.settings.losses.last().is_some() && self.settings.resync.is_some();
        is_lost && local.known.is_none() && local.lease.is_none()
    }

    /// Halt an aggregate of which nobody will say where it stands, unless that may still show.
    pub(super) fn on_unsettled(&mut self, index: usize) {
        if self.settings.losses.last().is_none() || self.is_behind_the_loss() {
            return;
        }
        self.caller.counters.halted.add(1);
        tracing::error!(aggregate = %self.locals[index].aggregate, "halted: {NOBODY_KNOWS}");
        let reason = NOBODY_KNOWS.to_owned();
        self.steer(index, Steering::HaltUnsettled { reason }, Then::Nothing);
    }

    /// Ask the application where an aggregate stands; if messages of it wait, also the store whether it lags
    /// behind that.
    pub(super) fn ask_application(&mut self, index: usize, waits: bool) {
        let Some(resync) = self.settings.resync.clone() else {
            return self.ask_again(index);
        };
        let first = match self.settings.policies.first_sequence {
            FirstSequence::Exact(first) => first,
            _ => 1,
        };
        let local = &mut self.locals[index];
        local.phase = Phase::Steering;
        local.calls += 1;
        let (caller, aggregate) = (self.caller.clone(), local.aggregate.clone());
        let quiet = self
            .settings
            .losses
            .leases_end(self.settings.policies.session_ttl);
        self.calls.push(Box::pin(async move {
            if let Some(quiet) = quiet {
                tokio::time::sleep_until(quiet).await;
            }
            let last = match resync.last_processed(aggregate.key()).await {
                Ok(last) => last,
                Err(error) => return Reply::Resynced(index, Err(error), Ok(false)),
            };
            let next = last.map_or(first, |last| last.saturating_add(1));
            let mut lags = Ok(false);
            if waits {
                let call = caller.until_known(vec![aggregate], |store, some| store.probe(some));
                let (_, answers) = call.await;
                let is_lower = |known: Option<u64>| known.is_none_or(|known| known < next);
                lags = answers
                    .into_iter()
                    .next()
                    .map_or(Ok(false), |known| known.map(is_lower));
            }
            Reply::Resynced(index, Ok(next), lags)
        }));
    }

    pub(super) fn on_resynced(
        &mut self,
        index: usize,
        next: Result<u64, BoxError>,
        lags: Result<bool, StoreError>,
    ) {
        let local = &mut self.locals[index];
        local.calls -= 1;
        match (next, lags) {
            (_, Err(error)) => self.on_error(error),
            (Ok(next), Ok(lags)) => {
                local.known = Some(First::Known(next));
                if lags {
                    return self.steer(index, Steering::Restore { next }, Then::GoOn);
                }
                local.phase = Phase::Idle;
                self.consider(index);
            }
            (Err(error), _) => {
                tracing::warn!(aggregate = %local.aggregate, error = %Chain(error.as_ref()), "the application cannot say where the aggregate stands, asking again");
                self.ask_again(index);
            }
        }
    }
}
