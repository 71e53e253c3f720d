//! What ends: partitions that go, sessions that are over, the shard itself.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;

use super::super::aggregate::{Local, Phase};
use super::super::flow::{Flow, Place};
use super::super::item::Held;
use super::super::session::Session;
use super::super::{Ended, Work};
use super::replies::Pending;
use super::{ELEMENTS, Shard};
use crate::handler::OrderedHandler;
use crate::mutant::{self, Mutant};

impl<H, F, Start> Shard<'_, H, F, Start>
where
    H: OrderedHandler,
    F: Future<Output = Ended>,
    Start: Fn(Work<H::Payload>) -> F,
{
    /// Let go of messages that have not begun and whose partition goes, or all if the shard stops.
    pub(super) fn drop_what_waits(&mut self) {
        let all = self.context.state.is_stopping();
        let indices: Vec<usize> = self.locals.iter().map(|(index, _)| index).collect();
        for index in indices {
            let local = &mut self.locals[index];
            local.queue.retain_mut(|entry| {
                let places = &mut entry.item.places;
                let was_ours = !places.is_empty();
                places.drop_stopping();
                // Without a place it would be somebody else's twice; what came from a room is ours.
                !all && (!was_ours || !places.is_empty())
            });
            local.held.retain_mut(|held: &mut Held| {
                held.places.drop_stopping();
                !held.places.is_empty()
            });
            if local.is_free() || local.phase == Phase::Ready {
                local.goes = local.queue.is_empty();
                local.pause();
                self.consider(index);
            }
        }
    }

    /// Tell lanes that nothing of theirs runs any more.
    pub(super) fn tell_who_left(&mut self) {
        if self.leaving.is_empty() {
            return;
        }
        let mut runs: Vec<*const Flow> = Vec::new();
        let mut note = |place: &Place| {
            let flow = Arc::as_ptr(&place.flow);
            if runs.last() != Some(&flow) {
                runs.push(flow);
            }
        };
        self.running
            .each(|running| running.item.places.iter().for_each(&mut note));
        // Without a session nobody can be told, and who reads the partition next reads it again.
        for (_, local) in self.locals.iter().filter(|_| self.session.is_some()) {
            local.done.places().for_each(&mut note);
        }
        let released = self.releases.is_empty() && !self.pending.releasing;
        for (flow, told) in std::mem::take(&mut self.leaving) {
            if released && !runs.contains(&Arc::as_ptr(&flow)) {
                let _lane_gone = told.send(());
            } else {
                self.leaving.push((flow, told));
            }
        }
    }

    /// Begin with a session, or end with one.
    pub(super) fn on_session(&mut self, session: Option<Session>) {
        let before = self.session;
        if before.map(|session| session.id) == session.map(|session| session.id) {
            self.session = session;
            return;
        }
        if before.is_some() && !mutant::is(Mutant::ForgetsToFence) {
            self.fence();
        }
        self.session = session;
        let indices: Vec<usize> = self.locals.iter().map(|(index, _)| index).collect();
        for index in indices {
            // What was done in the session before counts if nobody else was given the aggregate since.
            if self.session.is_some() && self.locals[index].done.has_news() {
                self.stand_in_line(index);
            }
            self.consider(index);
        }
    }

    /// End with a session that may be over by now.
    pub(super) fn fence_in_time(&mut self) {
        if self.session.is_some_and(|session| session.is_over()) && !mutant::is(Mutant::ForgetsToFence) {
            self.fence();
        }
    }

    /// Stop all that goes on under a session that is over: it may be somebody else's by now.
    pub(super) fn fence(&mut self) {
        self.session = None;
        self.calls = FuturesUnordered::new();
        self.pending = Pending::default();
        (self.asks, self.ready) = (VecDeque::new(), VecDeque::new());
        (self.done, self.skips, self.releases) = (VecDeque::new(), Vec::new(), Vec::new());
        (self.soon, self.hurry) = (false, false);
        (self.claims, self.crowded) = (Vec::new(), Vec::new());
        for running in self.running.cancel_all() {
            self.locals[running.index].requeue(running.item, false);
        }
        let indices: Vec<usize> = self.locals.iter().map(|(index, _)| index).collect();
        for index in indices {
            let local = &mut self.locals[index];
            local.lease = None;
            local.goes = false;
            local.calls = 0;
            local.done.in_line = false;
            self.untold -= local.done.len();
            local.requeue_kept();
            self.untold += local.done.len();
            local.pause();
            // What came from the room is still there.
            local.queue.retain(|entry| !entry.item.places.is_empty());
            self.rest(index);
        }
    }

    /// Say whether nothing runs and nothing has to be told.
    pub(super) fn is_drained(&self) -> bool {
        let pending = &self.pending;
        let nothing_is_asked =
            !(pending.admitting || pending.claiming || pending.completing || pending.releasing);
        let nothing_runs = self.running.running() == 0 && !self.has_news();
        nothing_runs && nothing_is_asked && pending.steering == 0
    }

    /// Give all leases back, so that others need not wait for the session to lapse.
    pub(super) async fn give_back(&mut self) {
        let Some(session) = self.session else { return };
        let ours = |(_, local): (usize, &mut Local<_>)| {
            let grant = local.lease.take()?;
            Some((local.aggregate.clone(), grant.token))
        };
        let releases: Vec<_> = self.locals.iter_mut().filter_map(ours).collect();
        for some in releases.chunks(ELEMENTS) {
            self.caller.counters.round_trip(some.len());
            // Once: what is not heard lapses with the session.
            let _lapses_otherwise = self.caller.store.release(session.id, some).await;
        }
    }
}
