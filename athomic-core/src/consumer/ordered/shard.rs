//! A shard: the task that runs some of a handler's aggregates.
//!
//! Aggregates are spread over the shards by their buckets, so a shard needs no lock, and its calls of the
//! store gather what happened meanwhile. At most one call of each kind is under way: while it is, the
//! elements of the next one gather.
//!
//! What a message goes through: it *joins* its aggregate; the aggregate's first message is *asked* about,
//! unless the lease is here already; the next one becomes *ready*, *runs* with a permit, and is
//! *completed*; then its offset is settled. A message that is not next waits here for a moment, and then
//! in the store's room, from where it comes back with a completion or a claim, here or elsewhere.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::hash::RandomState;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use slab::Slab;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::PollSemaphore;

use super::super::lane::{LaneContext, Permit};
use super::super::strategies::slots::Slots;
use super::aggregate::{Entry, Held, Joined, Local, Phase, Places};
use super::calls::Caller;
use super::flow::Flow;
use super::replies::{Pending, Reply};
use super::session::{Session, Stopped};
use super::{Ended, OrderedSettings, Verdict, Work};
use crate::handler::OrderedHandler;
use crate::message::RawMessage;
use crate::mutant::{self, Mutant};
use crate::store::ordering::{Aggregate, Completion, Digest, FencingToken};

/// After so many messages in one poll the shard lets others have the thread.
const MESSAGES_PER_POLL: usize = 512;
/// How many elements one call of the store has at most.
pub(super) const ELEMENTS: usize = 4096;
/// How many frames a completion or a claim takes out of a room.
pub(super) const FRAMES: usize = 64;
/// How long a message that is not next waits here for those below it, before it is parked.
const PATIENCE: Duration = Duration::from_millis(10);
/// How long a message that found no room waits.
pub(super) const AGAIN: Duration = Duration::from_secs(1);
/// How often it is asked whether others have done what is held here.
const PROBE: Duration = Duration::from_secs(5);
/// How many aggregates of which nothing is here a shard remembers, with their leases if they are kept.
const REMEMBERED: usize = 50_000;
/// The number of the rest after which an aggregate is forgotten as soon as its lease is given back.
const FORGOTTEN: u64 = 0;

/// A message on its way from its lane.
#[derive(Debug)]
pub(super) struct Incoming<P> {
    pub(super) sequence: u64,
    pub(super) digest: Digest,
    pub(super) message: RawMessage,
    pub(super) payload: P,
    pub(super) places: Places,
}

/// What a shard is told.
#[derive(Debug)]
pub(super) enum Event<P> {
    /// Messages that were fetched.
    Arrived(Vec<Incoming<P>>),
    /// A partition goes: nothing more of it is started. Told when what runs of it has ended.
    Leave(Arc<Flow>, oneshot::Sender<()>),
    /// There is another session, or it lasts longer.
    Session,
    /// Somebody else has a message for an aggregate that is held here.
    Wanted(Aggregate),
    /// The store has lost its state: tell what is remembered of it here.
    Remember(oneshot::Sender<Vec<(Aggregate, u64)>>),
}

/// What belongs to a message that runs.
pub(super) struct Running<P> {
    pub(super) index: usize,
    pub(super) entry: Entry<P>,
    pub(super) token: FencingToken,
}

/// See the module's documentation.
pub(super) struct Shard<'a, H: OrderedHandler, F, Start> {
    handler: &'a H,
    pub(super) context: &'a LaneContext,
    pub(super) settings: &'a OrderedSettings,
    pub(super) caller: Caller,
    pub(super) start: Start,
    pub(super) running: Slots<F, Running<H::Payload>>,
    permits: PollSemaphore,
    pub(super) session: Option<Session>,
    pub(super) locals: Slab<Local<H::Payload>>,
    /// Where each aggregate is in `locals`.
    names: HashMap<Arc<str>, usize, RandomState>,
    /// Aggregates whose next message may start, in turn.
    ready: VecDeque<usize>,
    /// Aggregates to ask about.
    pub(super) asks: VecDeque<usize>,
    /// What is done and not told yet.
    pub(super) completions: Vec<(usize, Completion)>,
    /// Leases to give back.
    pub(super) releases: Vec<(usize, FencingToken)>,
    /// Aggregates to claim.
    pub(super) claims: Vec<Aggregate>,
    /// Aggregates of which nothing more fits: their gaps are acted upon at once.
    pub(super) crowded: Vec<Aggregate>,
    pub(super) pending: Pending,
    pub(super) calls: FuturesUnordered<std::pin::Pin<Box<dyn Future<Output = Reply> + Send + 'a>>>,
    /// When to look at an aggregate again, in order; each queue has delays of one length.
    patient: VecDeque<(Instant, usize)>,
    again: VecDeque<(Instant, usize)>,
    /// Aggregates with held messages.
    pub(super) holding: BTreeSet<usize>,
    /// Aggregates of which nothing is here, the oldest first, each with the number of its rest.
    resting: VecDeque<(usize, u64)>,
    rests: u64,
    pub(super) leaving: Vec<(Arc<Flow>, oneshot::Sender<()>)>,
    pub(super) stickiness: super::stickiness::Stickiness,
    pub(super) stopped: mpsc::UnboundedSender<Stopped>,
    sweeper: super::sweep::Sweeper,
}

/// What a shard is connected to.
pub(super) struct Links<P> {
    pub(super) inbox: mpsc::UnboundedReceiver<Event<P>>,
    pub(super) sessions: watch::Receiver<Option<Session>>,
    pub(super) stopped: mpsc::UnboundedSender<Stopped>,
    pub(super) sweeper: super::sweep::Sweeper,
}

/// Run a shard until it is told to stop and nothing runs any more.
pub(super) async fn run<H, F, Start>(
    handler: &H,
    context: &LaneContext,
    settings: &OrderedSettings,
    caller: Caller,
    mut links: Links<H::Payload>,
    start: Start,
) where
    H: OrderedHandler,
    F: Future<Output = Ended>,
    Start: Fn(Work<H::Payload>) -> F,
{
    let executions = context
        .settings
        .executions
        .as_ref()
        .expect("ordered handlers have a limit");
    let mut shard = Shard::<H, F, Start> {
        handler,
        context,
        settings,
        caller,
        start,
        running: Slots::new(),
        permits: PollSemaphore::new(Arc::clone(executions)),
        session: None,
        locals: Slab::new(),
        names: HashMap::default(),
        ready: VecDeque::new(),
        asks: VecDeque::new(),
        completions: Vec::new(),
        releases: Vec::new(),
        claims: Vec::new(),
        crowded: Vec::new(),
        pending: Pending::default(),
        calls: FuturesUnordered::new(),
        patient: VecDeque::new(),
        again: VecDeque::new(),
        holding: BTreeSet::new(),
        resting: VecDeque::new(),
        rests: 0,
        leaving: Vec::new(),
        stickiness: super::stickiness::Stickiness::new(settings.policies.sticky),
        stopped: links.stopped.clone(),
        sweeper: links.sweeper,
    };
    let mut stopping = false;
    let mut probe = tokio::time::interval(PROBE);
    while !(stopping && shard.is_drained()) {
        match links.sessions.has_changed() {
            Ok(false) => {}
            Ok(true) => {
                let session = *links.sessions.borrow_and_update();
                shard.on_session(session);
                shard.flush();
            }
            Err(_) => return, // the orchestration is gone, and so is the session
        }
        let timer = shard.next_timer();
        tokio::select! {
            biased;
            () = context.state.stopped(), if !stopping => {
                stopping = true;
                shard.drop_what_waits();
            }
            () = context.state.overdue(), if stopping => {
                tracing::warn!("ordered handlers still ran when their time was over; their messages come again");
                drop(shard.running.cancel_all());
                break;
            }
            () = poll_fn(|cx| shard.poll_run(cx)) => tokio::task::coop::consume_budget().await,
            Some(event) = links.inbox.recv() => {
                shard.on_event(event);
                while let Ok(event) = links.inbox.try_recv() {
                    shard.on_event(event);
                }
            }
            () = tokio::time::sleep_until(timer) => shard.on_time(),
            _ = probe.tick() => shard.probe(),
        }
        shard.flush();
        shard.tell_who_left();
    }
    shard.give_back().await;
}

impl<H, F, Start> Shard<'_, H, F, Start>
where
    H: OrderedHandler,
    F: Future<Output = Ended>,
    Start: Fn(Work<H::Payload>) -> F,
{
    fn on_event(&mut self, event: Event<H::Payload>) {
        match event {
            Event::Arrived(messages) => messages.into_iter().for_each(|message| self.arrive(message)),
            Event::Leave(flow, told) => {
                self.leaving.push((flow, told));
                self.drop_what_waits();
            }
            Event::Session => {} // looked at before all else
            Event::Wanted(aggregate) => self.on_wanted(aggregate),
            Event::Remember(told) => {
                let known = self
                    .locals
                    .iter()
                    .filter_map(|(_, local)| Some((local.aggregate.clone(), local.next?)));
                let _membership_gone = told.send(known.collect());
            }
        }
    }

    fn arrive(&mut self, incoming: Incoming<H::Payload>) {
        if self.context.state.is_stopping() || incoming.places.iter().all(super::flow::Place::is_stopping) {
            return; // fetched before its lane was told
        }
        let index = {
            let key = self.handler.aggregate_key(&incoming.payload);
            match self.names.get(key.as_ref()) {
                Some(index) => *index,
                None => {
                    let aggregate = Aggregate::new(&key, self.settings.policies.buckets);
                    drop(key);
                    self.local(aggregate)
                }
            }
        };
        let entry = Entry {
            sequence: incoming.sequence,
            digest: incoming.digest,
            message: incoming.message,
            payload: Some(incoming.payload),
            places: incoming.places,
            parks: false,
        };
        self.join(index, entry);
        self.consider(index);
    }

    /// Let a message join its aggregate.
    pub(super) fn join(&mut self, index: usize, entry: Entry<H::Payload>) {
        match self.locals[index].join(entry) {
            Joined::Queued | Joined::Copy => {}
            Joined::Conflict(entry) => self.conflict(index, entry),
        }
    }

    /// Return where an aggregate is; from now on it is somewhere.
    pub(super) fn local(&mut self, aggregate: Aggregate) -> usize {
        if let Some(index) = self.names.get(aggregate.key()) {
            return *index;
        }
        let index = self.locals.insert(Local::new(aggregate.clone()));
        self.names.insert(aggregate.shared_key(), index);
        index
    }

    /// Return where an aggregate is, if it is anywhere.
    pub(super) fn find(&self, aggregate: &Aggregate) -> Option<usize> {
        self.names.get(aggregate.key()).copied()
    }

    /// Decide what is to be done about an aggregate.
    pub(super) fn consider(&mut self, index: usize) {
        let Some(local) = self.locals.get_mut(index) else {
            return;
        };
        if self.session.is_none() {
            return;
        }
        if !local.is_free() || matches!(local.phase, Phase::Again(_)) {
            return;
        }
        if std::mem::take(&mut local.goes) && local.lease.is_some() {
            return self.give_lease_back(index);
        }
        let front = local.queue.front().map(|entry| entry.sequence);
        match (local.phase, local.lease, front) {
            (_, Some(_), Some(front)) if local.next == Some(front) => {
                local.phase = Phase::Ready;
                self.ready.push_back(index);
            }
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

    fn keep_or_give_back(&mut self, index: usize) {
        let local = &mut self.locals[index];
        local.phase = Phase::Idle;
        if local.shared || !self.stickiness.keeps() {
            self.give_lease_back(index);
        }
        self.rest(index);
    }

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

    fn forget_oldest(&mut self) {
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
            let local = self.locals.remove(index);
            self.names.remove(local.aggregate.key());
        }
    }

    /// Take note that a lease is not held here any more.
    pub(super) fn on_given_back(&mut self, index: usize) {
        let Some(local) = self.locals.get_mut(index) else {
            return;
        };
        local.phase = Phase::Idle;
        if local.is_at_rest() && local.rest == FORGOTTEN {
            let local = self.locals.remove(index);
            self.names.remove(local.aggregate.key());
        } else {
            self.consider(index);
        }
    }

    /// Give all leases back that are kept although nothing follows.
    fn give_kept_back(&mut self) {
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

    /// Go on with what was woken or answered and start what may start. Ready when something has changed.
    fn poll_run(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // First of all: after a stall the timers of what runs, and of its next attempts, are all due.
        self.fence_in_time();
        let mut ended = 0;
        while let Poll::Ready(Some(reply)) = self.calls.poll_next_unpin(cx) {
            self.on_reply(reply);
            ended += 1;
        }
        self.running.begin_round(cx);
        while let Some((end, running)) = self.running.next_ended() {
            self.finish(end, running);
            ended += 1;
            if ended == MESSAGES_PER_POLL {
                return Poll::Ready(());
            }
        }
        let started = self.poll_start(cx);
        if ended + started == 0 {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    fn poll_start(&mut self, cx: &mut Context<'_>) -> usize {
        let mut started = 0;
        // Asked for each: a handler may block, or the process stall, in the middle of this.
        while started < MESSAGES_PER_POLL && !self.ready.is_empty() && self.may_start() {
            let Poll::Ready(permit) = self.permits.poll_acquire(cx) else {
                break;
            };
            let permit = permit.expect("nobody closes the semaphore").into();
            self.start_next(permit);
            started += 1;
        }
        started
    }

    fn start_next(&mut self, permit: Permit) {
        let Some(index) = self.ready.pop_front() else {
            return;
        };
        let Some(local) = self
            .locals
            .get_mut(index)
            .filter(|local| local.phase == Phase::Ready)
        else {
            return; // it was let go meanwhile
        };
        // What was done already may have come since it was made ready, and stands first.
        let lease = local.lease.filter(|_| local.has_next());
        let next = lease.and_then(|grant| Some((grant, local.queue.pop_front()?)));
        let Some((grant, mut entry)) = next else {
            local.pause();
            return self.consider(index);
        };
        if mutant::is(Mutant::SettlesAtTheBeginning) {
            std::mem::take(&mut entry.places).settle();
        }
        local.phase = Phase::Running;
        let verdict = Verdict::of(grant, &self.settings.policies);
        let token = grant.token;
        let work = Work {
            message: entry.message.clone(),
            payload: entry.payload.take(),
            token,
            verdict,
            stop: entry
                .places
                .iter()
                .next()
                .map(|place| Arc::clone(&place.flow.state)),
            permit,
            aggregate: local.aggregate.clone(),
        };
        let future = (self.start)(work);
        if let Some((end, running)) = self.running.start(future, Running { index, entry, token }) {
            self.finish(end, running);
        }
    }

    /// Take note that somebody else has a message for an aggregate.
    fn on_wanted(&mut self, aggregate: Aggregate) {
        if mutant::is(Mutant::KeepsWhatIsWanted) {
            return;
        }
        self.caller.counters.not_keyed.add(1);
        if self.stickiness.wanted() {
            self.give_kept_back();
        }
        if let Some(index) = self.find(&aggregate) {
            self.locals[index].shared = true;
        }
        // Also where nothing is known of a lease here: the store takes us for its owner.
        self.claims.push(aggregate);
    }

    /// Let go of messages that have not begun and whose partition goes, or all if the shard stops.
    fn drop_what_waits(&mut self) {
        let all = self.context.state.is_stopping();
        let indices: Vec<usize> = self.locals.iter().map(|(index, _)| index).collect();
        for index in indices {
            let local = &mut self.locals[index];
            local.queue.retain_mut(|entry| {
                let was_ours = !entry.places.is_empty();
                entry.places.drop_stopping();
                // Without a place it would be somebody else's twice; what came from a room is ours.
                !all && (!was_ours || !entry.places.is_empty())
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
    fn tell_who_left(&mut self) {
        if self.leaving.is_empty() {
            return;
        }
        let mut runs: Vec<*const Flow> = Vec::new();
        let mut note = |places: &Places| runs.extend(places.iter().map(|place| Arc::as_ptr(&place.flow)));
        self.running.each(|running| note(&running.entry.places));
        for (_, local) in &self.locals {
            local.completing.iter().for_each(|entry| note(&entry.places));
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
    fn on_session(&mut self, session: Option<Session>) {
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
        indices.into_iter().for_each(|index| self.consider(index));
    }

    fn may_start(&self) -> bool {
        let may = |session: Session| !session.is_over() || mutant::is(Mutant::ForgetsToFence);
        self.session.is_some_and(may)
    }

    /// End with a session that may be over by now.
    fn fence_in_time(&mut self) {
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
        (self.completions, self.releases) = (Vec::new(), Vec::new());
        (self.claims, self.crowded) = (Vec::new(), Vec::new());
        for running in self.running.cancel_all() {
            self.locals[running.index].requeue(running.entry);
        }
        let indices: Vec<usize> = self.locals.iter().map(|(index, _)| index).collect();
        for index in indices {
            let local = &mut self.locals[index];
            local.lease = None;
            local.goes = false;
            local.calls = 0;
            local.phase = Phase::Idle;
            for entry in std::mem::take(&mut local.completing) {
                local.requeue(entry);
            }
            // What came from the room is still there.
            local.queue.retain(|entry| !entry.places.is_empty());
            self.rest(index);
        }
    }

    fn next_timer(&self) -> Instant {
        let queues = [self.patient.front(), self.again.front()];
        let first = queues.into_iter().flatten().map(|(until, _)| *until).min();
        let session = self.session.filter(|_| !mutant::is(Mutant::ForgetsToFence));
        let session = session.map(|session| session.until);
        let times = [first, session, Some(self.sweeper.next)];
        times.into_iter().flatten().min().expect("the sweeper's")
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        self.fence_in_time();
        while let Some(index) = next_due(&mut self.patient, now) {
            let Some(local) = self.locals.get_mut(index) else {
                continue;
            };
            if matches!(local.phase, Phase::Patient(until) if until <= now) {
                local.queue.iter_mut().for_each(|entry| entry.parks = true);
                local.phase = Phase::Asking;
                self.asks.push_back(index);
            }
        }
        while let Some(index) = next_due(&mut self.again, now) {
            let Some(local) = self.locals.get_mut(index) else {
                continue;
            };
            if matches!(local.phase, Phase::Again(until) if until <= now) {
                local.phase = Phase::Idle;
                self.consider(index);
            }
        }
        if self.sweeper.next <= now {
            self.sweep(now);
        }
    }

    fn sweep(&mut self, now: Instant) {
        let buckets = self.sweeper.round(now);
        if self.session.is_some() && !self.pending.sweeping && !self.context.state.is_stopping() {
            self.look_for_due(buckets);
        }
    }

    /// Say whether nothing runs and nothing has to be told.
    fn is_drained(&self) -> bool {
        let pending = &self.pending;
        let nothing_is_asked =
            !(pending.admitting || pending.claiming || pending.completing || pending.releasing);
        let nothing_runs = self.running.running() == 0 && self.completions.is_empty();
        nothing_runs && nothing_is_asked && pending.steering == 0
    }

    /// Give all leases back, so that others need not wait for the session to lapse.
    async fn give_back(&mut self) {
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

/// Take the first that is due out of a queue.
fn next_due(queue: &mut VecDeque<(Instant, usize)>, now: Instant) -> Option<usize> {
    queue.front().filter(|(until, _)| *until <= now)?;
    queue.pop_front().map(|(_, index)| index)
}
