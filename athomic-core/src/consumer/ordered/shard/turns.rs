//! Turns: which aggregates wait for what, and which message is started next.
//!
//! A message whose last process died while it was begun is a *suspect*: it, or one that ran beside it, is
//! what killed the process. Suspects run one at a time in a process, and the store is told before each that
//! it is begun. So a message that kills is told from those that only stood near it.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;
use tokio_util::sync::PollSemaphore;

use super::super::super::lane::Permit;
use super::super::super::strategies::slots::{Runner, Slots};
use super::super::aggregate::{Entry, Phase};
use super::super::item::Item;
use super::super::work::Alone;
use super::super::{Ended, Verdict, Work};
use super::replies::{Reply, Then};
use super::{AGAIN, PATIENCE, Running, Shard};
use crate::handler::OrderedHandler;
use crate::mutant::{self, Mutant};
use crate::store::StoreError;
use crate::store::ordering::{FencingToken, Grant, Steering};

/// For how long a suspect keeps others from beginning, if its first attempt does not end before.
const ALONE: Duration = Duration::from_secs(10);

impl<H, F, Start> Shard<'_, H, F, Start>
where
    H: OrderedHandler,
    F: Future<Output = Ended>,
    Start: Fn(Work<H::Payload>) -> F,
{
    /// Decide what is to be done about an aggregate.
    pub(super) fn consider(&mut self, index: usize) {
        let Some(local) = self.locals.get_mut(index) else {
            return;
        };
        if self.session.is_none() {
            return;
        }
        // The lease is here, and the store need not know of what is done before more is.
        if self.pipelined && local.goes_on() {
            return self.make_ready(index);
        }
        if !local.is_free() || matches!(local.phase, Phase::Again(_)) {
            self.soon |= local.done.in_line && local.waits_for_answer();
            return;
        }
        if std::mem::take(&mut local.goes) && local.lease.is_some() {
            return self.give_lease_back(index);
        }
        let front = local.queue.front().map(Entry::sequence);
        match (local.phase, local.lease, front) {
            (_, Some(_), Some(front)) if local.next == Some(front) => self.make_ready(index),
            (_, None, Some(front)) if local.next.is_some_and(|next| next < front) => self.be_patient(index),
            (_, Some(_), Some(front)) if local.next.is_some_and(|next| next < front) => {
                self.give_lease_back(index);
            }
            (Phase::Patient(_), None, Some(front)) if local.next.is_none() && local.asked <= Some(front) => {}
            (_, _, Some(_)) => {
                local.phase = Phase::Asking;
                self.asks.push_back(index);
            }
            (_, Some(_), None) => self.keep_or_give_back(index),
            (_, None, None) => {
                local.phase = Phase::Idle;
                self.rest(index);
            }
        }
    }

    pub(super) fn make_ready(&mut self, index: usize) {
        self.locals[index].phase = Phase::Ready;
        self.ready.push_back(index);
    }

    /// Wait for what is missing below what is here, for a moment.
    pub(super) fn be_patient(&mut self, index: usize) {
        let local = &mut self.locals[index];
        if !matches!(local.phase, Phase::Patient(_)) {
            let until = Instant::now() + PATIENCE;
            local.phase = Phase::Patient(until);
            self.patient.push_back((until, index));
        }
    }

    /// Ask again about an aggregate after a while.
    pub(super) fn ask_again(&mut self, index: usize) {
        let until = Instant::now() + AGAIN;
        self.locals[index].phase = Phase::Again(until);
        self.again.push_back((until, index));
    }

    pub(super) fn keep_or_give_back(&mut self, index: usize) {
        let local = &mut self.locals[index];
        local.phase = Phase::Idle;
        if local.shared || !self.stickiness.keeps() {
            self.give_lease_back(index);
        }
        self.rest(index);
    }

    pub(super) fn start_next(&mut self, permit: Permit) {
        let Some(index) = self.ready.pop_front() else {
            return;
        };
        let Some(local) = self.locals.get(index).filter(|local| local.phase == Phase::Ready) else {
            return; // it was let go meanwhile
        };
        let policies = &self.settings.policies;
        let is_suspect = |grant: Grant| grant.deliveries > 1 && Verdict::of(grant, policies) == Verdict::Run;
        match local.lease {
            Some(grant) if is_suspect(grant) => self.begin_alone(index, grant.token),
            _ => self.start_now(index, permit, None),
        }
    }

    /// Start an aggregate's next message, if it is still here and its turn.
    pub(super) fn start_now(&mut self, index: usize, permit: Permit, alone: Option<Alone>) {
        let local = &mut self.locals[index];
        // What was done already may have come since it was made ready, and stands first.
        let lease = local.lease.filter(|_| local.has_next());
        let next = lease.and_then(|grant| Some((grant, local.queue.pop_front()?)));
        let Some((grant, entry)) = next else {
            local.pause();
            return self.consider(index);
        };
        self.begin(index, entry, grant, permit, alone);
    }

    /// Begin with an aggregate's next message.
    fn begin(
        &mut self,
        index: usize,
        mut entry: Entry<H::Payload>,
        grant: Grant,
        permit: Permit,
        alone: Option<Alone>,
    ) {
        let local = &mut self.locals[index];
        if mutant::is(Mutant::SettlesAtTheBeginning) {
            std::mem::take(&mut entry.item.places).settle();
        }
        local.phase = Phase::Running;
        let token = grant.token;
        let work = Work {
            message: entry.item.message.clone(),
            payload: entry.payload.take(),
            token,
            verdict: Verdict::of(grant, &self.settings.policies),
            stop: entry.item.places.state(),
            permit,
            alone,
            aggregate: local.aggregate.clone(),
        };
        let future = (self.start)(work);
        let item = entry.item;
        if let Some((end, running)) = self.running.start(future, Running { index, item, token }) {
            self.finish(end, running);
        }
    }

    /// Let a message that arrived join its aggregate; where nothing stands before it, it runs without that.
    pub(super) fn take_in_turn(&mut self, index: usize, entry: Entry<H::Payload>) {
        let nobody_waits = self.ready.is_empty() && self.session.is_some() && !self.is_far_ahead();
        let grant = self.locals[index].grant_for(entry.sequence(), self.pipelined);
        if let Some(grant) = grant.filter(|grant| nobody_waits && grant.deliveries <= 1)
            && self.may_start()
            && let Some(permit) = self.spare_permit()
        {
            return self.begin(index, entry, grant, permit, None);
        }
        self.join(index, entry);
        self.consider(index);
    }

    /// Return leave to run a message at once, unless there is none or others stand in line for it.
    fn spare_permit(&mut self) -> Option<Permit> {
        let another = || Arc::clone(self.executions).try_acquire_owned().ok();
        self.spare.take().or_else(|| another().map(Permit::from))
    }

    /// Return leave to run a message, or wait in line for it.
    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Option<Permit> {
        if let Some(permit) = self.spare.take() {
            return Some(permit);
        }
        let polled = self.permits.poll_acquire(cx);
        self.in_line = polled.is_pending();
        match polled {
            Poll::Ready(permit) => Some(permit.expect("nobody closes the semaphore").into()),
            Poll::Pending => None,
        }
    }

    /// Give back leave that nobody uses, and stand in line for none without a use for it.
    pub(super) fn give_permits_back(&mut self) {
        self.spare = None;
        if self.in_line && self.ready.is_empty() {
            self.permits = PollSemaphore::new(Arc::clone(self.executions));
            self.in_line = false;
        }
    }

    /// Have a message begun apart from others that may have killed their process as well, and have the store
    /// know of it before.
    pub(super) fn begin_alone(&mut self, index: usize, token: FencingToken) {
        let local = &mut self.locals[index];
        local.phase = Phase::Suspected;
        let (caller, aggregate) = (self.caller.clone(), local.aggregate.clone());
        let (suspects, executions) = (Arc::clone(&self.settings.suspects), Arc::clone(self.executions));
        self.calls.push(Box::pin(async move {
            let turn = suspects
                .acquire_owned()
                .await
                .expect("nobody closes the semaphore");
            let permit = executions
                .acquire_owned()
                .await
                .expect("nobody closes the semaphore");
            let begun = (aggregate, Steering::Begun { token });
            let told = caller.one(begun, |store, (aggregate, begun)| {
                store.steer(aggregate, begun.clone())
            });
            let begun = told.await.map(|()| (turn, permit.into()));
            Reply::Begun(index, begun)
        }));
    }

    pub(super) fn on_begun(
        &mut self,
        index: usize,
        begun: Result<(OwnedSemaphorePermit, Permit), StoreError>,
    ) {
        let (turn, permit) = match begun {
            Ok(permits) => permits,
            Err(error) => return self.on_error(error),
        };
        if !self.may_start() {
            return self.fence_in_time();
        }
        let (alone, over) = oneshot::channel();
        self.calls.push(Box::pin(async move {
            let _tried_or_long = tokio::time::timeout(ALONE, over).await;
            drop(turn);
            Reply::Unwatched
        }));
        self.start_now(index, permit, Some(alone));
    }

    /// Take note that a message is done, to tell the store.
    pub(super) fn take_note(&mut self, index: usize, mut item: Item, token: FencingToken) {
        if mutant::is(Mutant::SettlesBeforeTheStoreKnows) {
            std::mem::take(&mut item.places).settle();
        }
        let local = &mut self.locals[index];
        if self.pipelined {
            // The next one may start before the store knows of this one.
            local.next = Some(item.sequence + 1);
            local.done.push(item, token);
        } else {
            local.done.push_kept(item, token);
        }
        self.untold += 1;
        self.stand_in_line(index);
    }
}

impl<H, F, Start> Runner for Shard<'_, H, F, Start>
where
    H: OrderedHandler,
    F: Future<Output = Ended>,
    Start: Fn(Work<H::Payload>) -> F,
{
    type Future = F;
    type Belongs = Running;

    fn running(&mut self) -> &mut Slots<F, Running> {
        &mut self.running
    }

    /// Take note of how a message ended.
    fn finish(&mut self, ended: Ended, running: Running) {
        let Running {
            index,
            mut item,
            token,
        } = running;
        let local = &mut self.locals[index];
        match ended {
            Ended::Done(permit) => {
                // Who stands in line gets none sooner than others who do.
                self.spare = permit.filter(|_| !self.in_line);
                local.phase = Phase::Completing;
                self.take_note(index, item, token);
                if self.pipelined {
                    self.consider(index);
                }
            }
            Ended::Condemn(reason) => {
                local.phase = Phase::Steering;
                local.done.push_kept(item, token);
                self.untold += 1;
                self.steer(index, Steering::Condemn { reason }, Then::Complete);
            }
            Ended::Halt(reason) => {
                local.phase = Phase::Steering;
                // It waits in the room until the aggregate is resumed. What came from there still does.
                local.requeue(item, true);
                self.caller.counters.halted.add(1);
                self.steer(index, Steering::Halt { reason }, Then::Release);
            }
            Ended::Abandoned => {
                item.places.drop_stopping();
                local.requeue(item, false);
                local.goes = true;
                local.pause();
                self.consider(index);
            }
        }
    }

    fn start_some(&mut self, cx: &mut Context<'_>, limit: usize) -> usize {
        let mut started = 0;
        // Asked for each: a handler may block, or the process stall, in the middle of this.
        while started < limit && !self.ready.is_empty() && !self.is_far_ahead() && self.may_start() {
            let Some(permit) = self.poll_permit(cx) else {
                break;
            };
            self.start_next(permit);
            started += 1;
        }
        started
    }
}
