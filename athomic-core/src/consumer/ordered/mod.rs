//! `OrderedOrchestrationStrategy`: messages run in the order of their aggregates, wherever they arrive.
//!
//! An orchestration lives as long as a membership. Its lanes ([`lane`]) decode what they fetch and hand
//! it to the shards ([`shard`]), which ask the ordering store and run the handler; a session
//! ([`session`]) keeps the leases of all shards alive. The next message of an aggregate may come from any
//! partition, or out of a waiting room, so what is executed does not belong to a lane.
//!
//! Invariants:
//! - A handler is started only under a lease whose session is certainly alive.
//! - A message's offset is settled only when the store knows that it is done (or, with
//!   `durability = "redis"`, that it waits there).
//! - One message of an aggregate runs at a time.

mod aggregate;
mod calls;
mod counters;
mod desk;
mod done;
mod flow;
mod item;
mod lane;
mod loss;
mod names;
mod pace;
mod session;
mod shard;
mod stickiness;
mod sweep;
mod work;

pub(crate) use counters::OrderingCounters;
pub use counters::OrderingCounts;
pub use desk::{Action, AggregateView, OrderedScope, OrderingDesk, ScopeReport, WaitingMessage};
pub(crate) use flow::Flows;
pub(crate) use loss::Losses;
pub(crate) use session::Stopped;
pub(super) use work::OrderedMessageProcessor;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::lane::{LaneContext, LaneSettings, LaneSource, PartitionState};
use crate::dead_letter::Chain;
use crate::handler::OrderedHandler;
use crate::health::{Finding, Outage};
use crate::message::TopicPartition;
use crate::ordering::{OrderingPolicies, Resync};
use crate::store::ordering::{Aggregate, DynOrderingStore, Steering};
use crate::transport::{AssignmentEpoch, TransportError};
use calls::Caller;
use session::{Session, SessionKeeper};
use shard::Event;
use sweep::Sweeper;
use work::{Ended, Verdict, Work, give_up, unordered};

/// What is the same for all memberships of an ordered handler.
pub(crate) struct OrderedSettings {
    pub(crate) store: Arc<dyn DynOrderingStore>,
    /// Where the settings have the store.
    pub(crate) store_key: String,
    pub(crate) policies: OrderingPolicies,
    /// Tells where an aggregate stands that the store does not know.
    pub(crate) resync: Option<Arc<dyn Resync>>,
    pub(crate) counters: Arc<OrderingCounters>,
    pub(crate) shards: usize,
    /// One at a time: messages whose processes died with them.
    pub(crate) suspects: Arc<Semaphore>,
    pub(crate) losses: Losses,
    pub(crate) flows: Flows,
    /// Since when the store has not been heard.
    pub(crate) outage: Outage,
    /// How often the offsets of what is settled are committed.
    pub(crate) commit_interval: Duration,
}

impl OrderedSettings {
    /// Add what is to be said about the store.
    pub(crate) fn find(&self, now: Instant, findings: &mut Vec<Finding>) {
        if let Some((lasting, error)) = self.outage.lasting(now) {
            findings.push(Finding::OrderingStoreDown {
                store: self.store.name().to_owned(),
                key: self.store_key.clone(),
                lasting,
                error,
            });
        }
    }
}

impl fmt::Debug for OrderedSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderedSettings")
            .field("store", &self.store.name())
            .field("policies", &self.policies)
            .finish_non_exhaustive()
    }
}

/// An ordered handler's executions in one membership.
pub(super) struct OrderedOrchestrationStrategy<H: OrderedHandler> {
    processor: Arc<OrderedMessageProcessor<H>>,
    settings: Arc<OrderedSettings>,
    shards: Vec<mpsc::UnboundedSender<Event<H::Payload>>>,
}

/// What a membership holds of its orchestration: a way to end it, and to hear that it cannot go on.
pub(super) struct Orchestration {
    /// One for each shard: told to stop, and seen by probes.
    pub(super) states: Vec<Arc<PartitionState>>,
    pub(super) stopped: mpsc::UnboundedReceiver<Stopped>,
    shards: Vec<AbortOnDropHandle<()>>,
    keeper: AbortOnDropHandle<()>,
    session: watch::Receiver<Option<Session>>,
    buckets: Vec<u16>,
    caller: Caller,
    /// Asks each shard what it remembers.
    remember: Box<dyn Fn() -> Vec<Memory> + Send + Sync>,
}

/// What a shard will say it remembers: the next expected sequences.
type Memory = oneshot::Receiver<Vec<(Aggregate, u64)>>;

impl Orchestration {
    /// Start nothing more; what runs may end until the deadline.
    pub(super) fn stop(&self, deadline: Instant) {
        self.states.iter().for_each(|state| state.stop(deadline));
    }

    /// Tell a store that has lost its state what is remembered here, before a deadline.
    pub(super) async fn restore(&self, deadline: Instant) {
        let mut known = Vec::new();
        for memory in (self.remember)() {
            known.extend(memory.await.unwrap_or_default());
        }
        let count = known.len();
        let restored = futures_util::stream::iter(known).for_each_concurrent(RESTORED_AT_ONCE, async |(aggregate, next)| {
            let restore = (aggregate, Steering::Restore { next });
            let restored = self.caller.one(&restore, |store, (aggregate, action)| store.steer(aggregate, action.clone()));
            if let Err(error) = restored.await {
                let (aggregate, _) = &restore;
                tracing::warn!(%aggregate, next, error = %Chain(&error), "could not restore where an aggregate stood");
            }
        });
        let in_time = tokio::time::timeout_at(deadline, restored).await.is_ok();
        tracing::warn!(
            aggregates = count,
            in_time,
            "told the ordering store what is remembered here"
        );
    }

    /// Wait until nothing runs and the leases are given back, at the longest until the deadline; then end
    /// the session.
    pub(super) async fn join(self, deadline: Instant) {
        let patience = deadline.max(Instant::now()) + GRACE;
        for mut shard in self.shards {
            if tokio::time::timeout_at(patience, &mut shard).await.is_err() {
                shard.abort();
                let _cancelled = shard.await;
            }
        }
        self.keeper.abort();
        let _cancelled = self.keeper.await;
        let session = *self.session.borrow();
        if let Some(session) = session {
            // Also for leases of which nobody heard here. Once: what is not heard lapses.
            let end = self.caller.store.beat(session.id, &self.buckets, Duration::ZERO);
            let _lapses_otherwise = tokio::time::timeout_at(patience, end).await;
        }
    }
}

/// How much longer than its time a stop may take when the store does not answer.
const GRACE: Duration = Duration::from_millis(500);
/// How many aggregates are restored at once.
const RESTORED_AT_ONCE: usize = 256;

impl<H: OrderedHandler> OrderedOrchestrationStrategy<H> {
    /// Start the shards and the session of a membership.
    pub(super) fn start(
        processor: Arc<OrderedMessageProcessor<H>>,
        lane: &Arc<LaneSettings>,
    ) -> (Self, Orchestration) {
        let settings = Arc::clone(
            lane.ordered
                .as_ref()
                .expect("the factory sets it for ordered handlers"),
        );
        let caller = Caller {
            store: Arc::clone(&settings.store),
            counters: Arc::clone(&settings.counters),
        };
        let buckets: Vec<u16> = (0..settings.policies.buckets).collect();
        let waiting: Arc<Vec<AtomicBool>> = Arc::new(buckets.iter().map(|_| AtomicBool::new(true)).collect());
        let (sessions, session) = watch::channel(None::<Session>);
        let (stop, stopped) = mpsc::unbounded_channel();
        let (mut senders, mut states, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..settings.shards {
            let (sender, inbox) = mpsc::unbounded_channel();
            let state = Arc::new(PartitionState::new(
                TopicPartition::new("aggregates", i32::try_from(number).unwrap_or_default()),
                AssignmentEpoch(0),
            ));
            let mine = buckets
                .iter()
                .copied()
                .filter(|bucket| usize::from(*bucket) % settings.shards == number);
            let links = shard::Links {
                inbox,
                sessions: session.clone(),
                stopped: stop.clone(),
                sweeper: Sweeper::new(mine.collect(), Arc::clone(&waiting)),
            };
            let context = LaneContext::new(Arc::clone(lane), Arc::clone(&state));
            let run = Arc::clone(&processor).run_shard(context, Arc::clone(&settings), caller.clone(), links);
            tasks.push(AbortOnDropHandle::new(tokio::spawn(run)));
            senders.push(sender);
            states.push(state);
        }
        let asked = senders.clone();
        let remember = Box::new(move || {
            let ask = |shard: &mpsc::UnboundedSender<Event<H::Payload>>| {
                let (tell, told) = oneshot::channel();
                let _shard_gone = shard.send(Event::Remember(tell));
                told
            };
            asked.iter().map(ask).collect()
        });
        let keeper = SessionKeeper {
            settings: Arc::clone(&settings),
            caller: caller.clone(),
            seen: buckets.iter().map(|_| None).collect(),
            buckets: buckets.clone(),
            ttl: settings.policies.session_ttl,
            sessions,
            shards: senders.clone(),
            waiting,
            had_a_session: false,
            stopped: stop,
        };
        let orchestration = Orchestration {
            states,
            stopped,
            shards: tasks,
            keeper: AbortOnDropHandle::new(tokio::spawn(keeper.run())),
            session,
            buckets,
            caller,
            remember,
        };
        let strategy = Self {
            processor,
            settings,
            shards: senders,
        };
        (strategy, orchestration)
    }

    /// Run a lane until it stops.
    pub(super) async fn run_lane(
        &self,
        context: &LaneContext,
        source: &mut LaneSource,
    ) -> Result<(), TransportError> {
        lane::run(self, context, source).await
    }
}
