//! A shard: the task that runs some of a handler's aggregates.
//!
//! Aggregates are spread over the shards by their buckets, so a shard needs no lock, and its calls of the
//! store gather what happened meanwhile. At most one call of each kind is under way: while it is, the
//! elements of the next one gather.
//!
//! What a message goes through: it *joins* its aggregate; the aggregate's first message is *asked* about,
//! unless the lease is here already; the next one becomes *ready*, *runs* with a permit, and is
//! *completed*; then its offset is settled. One that comes as the next under a lease that is here, while nothing
//! else of its aggregate waits or runs, begins at once. A message that is not next waits here for a moment, and then
//! in the store's room, from where it comes back with a completion or a claim, here or elsewhere.

mod admissions;
mod claims;
mod completions;
mod ends;
mod gaps;
mod replies;
mod rest;
mod turns;
mod unknown;

use std::collections::{BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use slab::Slab;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::PollSemaphore;

use super::super::lane::{LaneContext, Permit};
use super::super::strategies::slots::{self, MESSAGES_PER_POLL, Slots};
use super::aggregate::{Entry, Joined, Local, Phase};
use super::calls::Caller;
use super::flow::Flow;
use super::item::Item;
use super::names::{Identity, Names};
use super::pace::Pace;
use super::session::{Session, Stopped};
use super::stickiness::Stickiness;
use super::sweep::Sweeper;
use super::{Ended, OrderedSettings, Work};
use crate::handler::OrderedHandler;
use crate::mutant::{self, Mutant};
use crate::ordering::CompleteMode;
use crate::store::ordering::{Aggregate, Completion, FencingToken};
use replies::{Pending, Reply};

/// How many elements one call of the store has at most.
const ELEMENTS: usize = 4096;
/// How many frames a completion or a claim takes out of a room.
const FRAMES: usize = 64;
/// How long a message that is not next waits here for those below it, before it is parked.
const PATIENCE: Duration = Duration::from_millis(10);
/// How long a message that found no room waits.
const AGAIN: Duration = Duration::from_secs(1);
/// When so many messages of a handler are done and not told, they are told at once; with twice as many nothing
/// more is started. Each takes about 60 bytes.
const UNTOLD: u64 = 200_000;
/// How often it is asked whether others have done what is held here.
const PROBE: Duration = Duration::from_secs(5);

/// A message on its way from its lane.
#[derive(Debug)]
pub(super) struct Incoming<P> {
    pub(super) identity: Identity,
    pub(super) item: Item,
    pub(super) payload: P,
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
#[derive(Debug)]
pub(super) struct Running {
    index: usize,
    item: Item,
    token: FencingToken,
}

/// See the module's documentation.
pub(super) struct Shard<'a, H: OrderedHandler, F, Start> {
    handler: &'a H,
    context: &'a LaneContext,
    settings: &'a OrderedSettings,
    caller: Caller,
    start: Start,
    running: Slots<F, Running>,
    executions: &'a Arc<Semaphore>,
    permits: PollSemaphore,
    /// Whether it stands in line for a permit.
    in_line: bool,
    /// The permit of the message that ended last, for the next one; kept within a round.
    spare: Option<Permit>,
    session: Option<Session>,
    locals: Slab<Local<H::Payload>>,
    /// Where each aggregate is in `locals`.
    names: Names,
    /// What has arrived and is still to be taken in.
    arrivals: VecDeque<vec::IntoIter<Incoming<H::Payload>>>,
    /// Aggregates whose next message may start, in turn.
    ready: VecDeque<usize>,
    /// Aggregates to ask about.
    asks: VecDeque<usize>,
    /// Aggregates of which something is done and not told yet, each once.
    done: VecDeque<usize>,
    /// What was given up because others did not come, to be told.
    skips: Vec<(usize, Completion)>,
    /// How many messages are done and not known to the store.
    untold: u64,
    /// An aggregate's next message may start before the store knows of the last.
    pipelined: bool,
    pace: Pace,
    /// Something waits for what is done to be told soon, or at once.
    soon: bool,
    hurry: bool,
    /// Leases to give back.
    releases: Vec<(usize, FencingToken)>,
    /// Aggregates to claim.
    claims: Vec<Aggregate>,
    /// Aggregates of which nothing more fits: their gaps are acted upon at once.
    crowded: Vec<Aggregate>,
    pending: Pending,
    calls: FuturesUnordered<std::pin::Pin<Box<dyn Future<Output = Reply> + Send + 'a>>>,
    /// When to look at an aggregate again, in order; each queue has delays of one length.
    patient: VecDeque<(Instant, usize)>,
    again: VecDeque<(Instant, usize)>,
    /// Aggregates with held messages.
    holding: BTreeSet<usize>,
    /// Aggregates of which nothing is here, the oldest first, each with the number of its rest.
    resting: VecDeque<(usize, u64)>,
    rests: u64,
    leaving: Vec<(Arc<Flow>, oneshot::Sender<()>)>,
    stickiness: Stickiness,
    stopped: mpsc::UnboundedSender<Stopped>,
    sweeper: Sweeper,
}

/// What a shard is connected to.
pub(super) struct Links<P> {
    pub(super) inbox: mpsc::UnboundedReceiver<Event<P>>,
    pub(super) sessions: watch::Receiver<Option<Session>>,
    pub(super) stopped: mpsc::UnboundedSender<Stopped>,
    pub(super) sweeper: Sweeper,
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
        executions,
        permits: PollSemaphore::new(Arc::clone(executions)),
        in_line: false,
        spare: None,
        session: None,
        locals: Slab::new(),
        names: Names::default(),
        arrivals: VecDeque::new(),
        ready: VecDeque::new(),
        asks: VecDeque::new(),
        done: VecDeque::new(),
        skips: Vec::new(),
        untold: 0,
        pipelined: settings.policies.complete == CompleteMode::Pipelined,
        pace: Pace::new(settings.commit_interval),
        soon: false,
        hurry: false,
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
        stickiness: Stickiness::new(settings.policies.sticky),
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
            Event::Arrived(messages) => self.arrivals.push_back(messages.into_iter()),
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
                    .filter_map(|(_, local)| Some((local.aggregate.clone(), local.confirmed()?)));
                let _membership_gone = told.send(known.collect());
            }
        }
    }

    /// Take in what has arrived, at most so many messages, and say how many they were.
    fn take_arrivals(&mut self, limit: usize) -> usize {
        let mut taken = 0;
        while taken < limit
            && let Some(some) = self.arrivals.front_mut()
        {
            match some.next() {
                Some(incoming) => {
                    self.arrive(incoming);
                    taken += 1;
                }
                None => drop(self.arrivals.pop_front()),
            }
        }
        taken
    }

    fn arrive(&mut self, incoming: Incoming<H::Payload>) {
        if self.context.state.is_stopping()
            || incoming.item.places.iter().all(super::flow::Place::is_stopping)
        {
            return; // fetched before its lane was told
        }
        let index = self.names.get(incoming.identity).unwrap_or_else(|| {
            let key = self.handler.aggregate_key(&incoming.payload);
            self.insert(
                Aggregate::new(&key, self.settings.policies.buckets),
                incoming.identity,
            )
        });
        let entry = Entry {
            item: incoming.item,
            payload: Some(incoming.payload),
            parks: false,
        };
        self.take_in_turn(index, entry);
    }

    /// Let a message join its aggregate.
    fn join(&mut self, index: usize, entry: Entry<H::Payload>) {
        match self.locals[index].join(entry) {
            Joined::Queued | Joined::Copy => {}
            Joined::Conflict(entry) => self.conflict(index, entry),
        }
    }

    /// Return where an aggregate is; from now on it is somewhere.
    fn local(&mut self, aggregate: Aggregate) -> usize {
        let identity = Identity::of(aggregate.key());
        self.names
            .get(identity)
            .unwrap_or_else(|| self.insert(aggregate, identity))
    }

    fn insert(&mut self, aggregate: Aggregate, identity: Identity) -> usize {
        let index = self.locals.insert(Local::new(aggregate, identity));
        self.names.insert(identity, index);
        index
    }

    fn forget(&mut self, index: usize) {
        let local = self.locals.remove(index);
        self.names.remove(local.identity);
    }

    /// Return where an aggregate is, if it is anywhere.
    fn find(&self, aggregate: &Aggregate) -> Option<usize> {
        self.names.get(Identity::of(aggregate.key()))
    }

    /// Go on with what was woken or answered and start what may start. Ready when something has changed.
    fn poll_run(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // First of all: after a stall the timers of what runs, and of its next attempts, are all due.
        self.fence_in_time();
        let mut answered = false;
        while let Poll::Ready(Some(reply)) = self.calls.poll_next_unpin(cx) {
            self.on_reply(reply);
            answered = true;
        }
        let polled = slots::poll_run(self, cx);
        let taken = self.take_arrivals(MESSAGES_PER_POLL);
        self.give_permits_back();
        if answered || taken > 0 {
            Poll::Ready(())
        } else {
            polled
        }
    }

    fn may_start(&self) -> bool {
        let may = |session: Session| !session.is_over() || mutant::is(Mutant::ForgetsToFence);
        self.session.is_some_and(may)
    }

    fn next_timer(&self) -> Instant {
        let queues = [self.patient.front(), self.again.front()];
        let first = queues.into_iter().flatten().map(|(until, _)| *until).min();
        let session = self.session.filter(|_| !mutant::is(Mutant::ForgetsToFence));
        let session = session.map(|session| session.until);
        let tells = self.session.is_some() && self.has_news() && !self.pending.completing;
        let told = tells.then(|| self.pace.due(self.soon));
        let times = [first, session, told, Some(self.sweeper.next)];
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
        self.hurry = true;
        // Also where nothing is known of a lease here: the store takes us for its owner.
        self.claims.push(aggregate);
    }
}

/// Take the first that is due out of a queue.
fn next_due(queue: &mut VecDeque<(Instant, usize)>, now: Instant) -> Option<usize> {
    queue.front().filter(|(until, _)| *until <= now)?;
    queue.pop_front().map(|(_, index)| index)
}
