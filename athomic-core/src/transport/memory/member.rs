//! One member as the coordinator sees it: what it should hear, and how long it may stay silent.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::MemoryConsumerConfig;
use super::lease::Lease;
use super::topics::TopicId;
use super::wakes::Wakes;
use crate::message::{Offset, TopicPartition};
use crate::transport::{AssignmentEpoch, TransportError};

/// Whether a member takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It takes part.
    In,
    /// It was thrown out, and has yet to hear of it.
    Out,
    /// It has heard, and joins again as soon as the broker can be reached.
    Returning,
}

/// A member of a group.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) handler_id: String,
    pub(super) topics: BTreeSet<Arc<str>>,
    pub(super) standing: Standing,
    /// The consumer exists; `false` after it was dropped without leaving.
    pub(super) alive: bool,
    /// Nothing passes between the consumer and the broker.
    pub(super) silenced: bool,
    /// Leases that ended while the member could not hear of it. Let go when it hears again.
    pub(super) unheard: Vec<Arc<Lease>>,
    /// When the coordinator gives up waiting for a heartbeat; `None` while they come.
    session_ends: Option<Instant>,
    pub(super) revocation: Option<PendingRevocation>,
    revocations: u64,
    /// Whether it knows what it was given, be it nothing.
    pub(super) told: bool,
    /// What the consumer has not read yet.
    pub(super) events: VecDeque<PendingEvent>,
    /// The consumer, where it waits for an event.
    pub(super) waker: Option<Waker>,
    session_timeout: Duration,
    rebalance_timeout: Duration,
}

/// Partitions that were asked back.
#[derive(Debug)]
pub(super) struct PendingRevocation {
    /// Tells revocations of a member apart, so that a late answer to an old one is ignored.
    pub(super) id: u64,
    pub(super) partitions: Vec<TopicPartition>,
    /// The member gave them back; the coordinator acts on it when it can be reached.
    pub(super) completed: bool,
    deadline: Instant,
}

/// What a member has to be told. Becomes a [`ConsumerEvent`](crate::transport::ConsumerEvent) when it is read.
///
/// Not one before: a dropped `Revocation` comes back for the lock that guards this queue.
#[derive(Debug)]
pub(super) enum PendingEvent {
    Assigned(Vec<Grant>),
    Revoked {
        id: u64,
        partitions: Vec<TopicPartition>,
    },
    Lost(Vec<TopicPartition>),
    Trouble(TransportError),
}

/// A partition on its way to its new owner.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) partition: TopicPartition,
    pub(super) topic: TopicId,
    pub(super) epoch: AssignmentEpoch,
    pub(super) lease: Arc<Lease>,
    pub(super) committed: Option<Offset>,
    /// Where the log ended when the partition was granted: where "latest" starts.
    pub(super) end: Offset,
    /// The partition was added after the group first asked for its topic.
    pub(super) added_later: bool,
}

impl Member {
    pub(super) fn new(handler_id: String, topics: BTreeSet<Arc<str>>, config: &MemoryConsumerConfig) -> Self {
        Self {
            handler_id,
            topics,
            standing: Standing::In,
            alive: true,
            silenced: false,
            unheard: Vec::new(),
            session_ends: None,
            revocation: None,
            revocations: 0,
            told: false,
            events: VecDeque::new(),
            waker: None,
            session_timeout: config.session_timeout,
            rebalance_timeout: config.rebalance_timeout,
        }
    }

    pub(super) fn takes(&self, topic: &str) -> bool {
        self.standing == Standing::In && self.topics.contains(topic)
    }

    pub(super) fn may_be_granted(&self) -> bool {
        self.standing == Standing::In && self.revocation.is_none()
    }

    /// Start to count the session time-out, unless it counts already.
    pub(super) fn lose_touch(&mut self, now: Instant) {
        self.session_ends.get_or_insert(now + self.session_timeout);
    }

    /// Heartbeats come again, if there is anybody to send them.
    pub(super) fn regain_touch(&mut self) {
        if self.alive && !self.silenced {
            self.session_ends = None;
        }
    }

    /// Start all time-outs anew, as a coordinator does that has just started.
    pub(super) fn restart_timers(&mut self, now: Instant) {
        self.regain_touch();
        if self.session_ends.take().is_some() {
            self.lose_touch(now);
        }
        if let Some(revocation) = &mut self.revocation {
            revocation.deadline = now + self.rebalance_timeout;
        }
    }

    /// Return when the member's time is up, if it is counted.
    pub(super) fn deadline(&self, broker_down: bool) -> Option<Instant> {
        let revocation = self
            .revocation
            .as_ref()
            .filter(|revocation| !revocation.completed);
        let drained_by = revocation
            .filter(|_| !broker_down)
            .map(|revocation| revocation.deadline);
        let counted = self.standing == Standing::In;
        self.session_ends
            .into_iter()
            .chain(drained_by)
            .min()
            .filter(|_| counted)
    }

    /// Ask for partitions back.
    pub(super) fn ask_back(&mut self, partitions: Vec<TopicPartition>, now: Instant) {
        self.revocations += 1;
        let id = self.revocations;
        self.revocation = Some(PendingRevocation {
            id,
            partitions: partitions.clone(),
            completed: false,
            deadline: now + self.rebalance_timeout,
        });
        self.events.push_back(PendingEvent::Revoked { id, partitions });
    }

    /// Note that the member was thrown out and lost these of the partitions it knew of.
    pub(super) fn fence(&mut self, lost: Vec<TopicPartition>) {
        self.standing = Standing::Out;
        self.told = false;
        self.revocation = None;
        self.session_ends = None;
        // What it has not read is void; it need not hear of partitions that came and went.
        self.events
            .retain(|event| matches!(event, PendingEvent::Trouble(_) | PendingEvent::Lost(_)));
        if !lost.is_empty() {
            self.events.push_back(PendingEvent::Lost(lost));
        }
    }

    /// Take the next event. Who was thrown out joins again with the last loss it hears of.
    pub(super) fn take_event(&mut self, waker: &Waker, wakes: &mut Wakes) -> Option<PendingEvent> {
        let event = if self.silenced {
            None
        } else {
            self.events.pop_front()
        };
        let losses = |event: &PendingEvent| matches!(event, PendingEvent::Lost(_));
        if self.standing == Standing::Out && !self.silenced && !self.events.iter().any(losses) {
            self.standing = Standing::Returning;
        }
        let known = self.waker.as_ref().is_some_and(|known| known.will_wake(waker));
        if event.is_none() && !known {
            // To drop a waker may drop its task, and more of ours with it; so not here, under the lock.
            wakes.let_go(self.waker.replace(waker.clone()));
        }
        event
    }
}
