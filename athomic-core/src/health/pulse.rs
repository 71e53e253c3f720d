//! What a consumer writes down about itself, for those who ask how it does.

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{ConsumerHealth, Finding};
use crate::circuit_breaker::CircuitBreaker;
use crate::consumer::{OrderedSettings, PartitionReading, PartitionState};
use crate::dead_letter::{Chain, Trouble};
use crate::idempotency::Guard;
use crate::transport::{DynConsumer, TransportError};

/// How long a group may go unserved at least. The client and the service look every ten seconds
/// at least, or at each commit interval.
const UNSERVED: Duration = Duration::from_secs(30);

/// A consumer's health, written by its service and read by probes.
#[derive(Debug)]
pub(crate) struct Pulse {
    handler: String,
    /// How long an execution may take until its handler counts as stuck.
    patience: Duration,
    /// How long its group may go unserved.
    unserved: Duration,
    /// What an ordered handler's store is known to be in.
    ordered: Option<Arc<OrderedSettings>>,
    /// What its idempotency store is known to be in.
    guard: Option<Arc<Guard>>,
    /// What keeps it from running.
    breaker: Option<Arc<CircuitBreaker>>,
    /// What it cannot give up.
    dead_letters: Arc<Trouble>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Since when it has waited for its group; nothing while it is a member that knows its partitions.
    joining: Option<Since>,
    /// What the client said last about brokers.
    trouble: Option<String>,
    /// Since when no broker could be reached, as far as anybody looked.
    disconnected: Option<Instant>,
    commits_fail: Option<Since>,
    /// When the service last turned.
    turned: Instant,
    membership: Option<Membership>,
}

/// Something that goes on, and the last error about it.
#[derive(Debug)]
struct Since {
    began: Instant,
    error: Option<String>,
}

impl Since {
    fn now() -> Self {
        Self {
            began: Instant::now(),
            error: None,
        }
    }
}

/// What there is of a consumer while it is a member.
struct Membership {
    consumer: Arc<dyn DynConsumer>,
    partitions: Vec<Arc<PartitionState>>,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.partitions).finish()
    }
}

impl Pulse {
    pub(crate) fn new(
        handler: String,
        patience: Duration,
        commit_interval: Duration,
        ordered: Option<Arc<OrderedSettings>>,
        guard: Option<Arc<Guard>>,
        breaker: Option<Arc<CircuitBreaker>>,
        dead_letters: Arc<Trouble>,
    ) -> Self {
        let state = State {
            joining: Some(Since::now()),
            trouble: None,
            disconnected: None,
            commits_fail: None,
            turned: Instant::now(),
            membership: None,
        };
        Self {
            handler,
            patience,
            unserved: UNSERVED.max(2 * commit_interval),
            ordered,
            guard,
            breaker,
            dead_letters,
            state: Mutex::new(state),
        }
    }

    /// The group could not be joined; it will be tried again.
    pub(crate) fn cannot_join(&self, error: &(dyn Error + 'static)) {
        let mut state = self.lock();
        state.joining.get_or_insert_with(Since::now).error = Some(Chain(error).to_string());
    }

    /// It joined; which partitions it gets is not known yet.
    pub(crate) fn join(&self, consumer: Arc<dyn DynConsumer>) {
        let mut state = self.lock();
        state.joining = Some(Since::now());
        state.turned = Instant::now();
        state.membership = Some(Membership {
            consumer,
            partitions: Vec::new(),
        });
    }

    /// The group has said which partitions it gets.
    pub(crate) fn assign(&self) {
        self.lock().joining = None;
    }

    /// The group has given its partitions to others without a word.
    pub(crate) fn lose(&self) {
        self.lock().joining.get_or_insert_with(Since::now);
    }

    /// These are the partitions that it reads.
    pub(crate) fn read(&self, partitions: Vec<Arc<PartitionState>>) {
        if let Some(membership) = &mut self.lock().membership {
            membership.partitions = partitions;
        }
    }

    /// The service has looked at what there is to do.
    pub(crate) fn turn(&self) {
        self.lock().turned = Instant::now();
    }

    /// The client said that something failed which it goes on to repair.
    pub(crate) fn trouble(&self, error: &TransportError) {
        self.lock().trouble = Some(Chain(error).to_string());
    }

    /// A commit was answered.
    pub(crate) fn committed(&self, result: Result<(), &TransportError>) {
        let mut state = self.lock();
        match result {
            Ok(()) => state.commits_fail = None,
            Err(error) => {
                state.commits_fail.get_or_insert_with(Since::now).error = Some(Chain(error).to_string());
            }
        }
    }

    /// It is no member any more.
    pub(crate) fn leave(&self) {
        let mut state = self.lock();
        state.membership = None;
        state.commits_fail = None;
        state.disconnected = None;
    }

    /// Say how it does.
    pub(super) fn check(&self) -> ConsumerHealth {
        let (mut state, now) = (self.lock(), Instant::now());
        let mut findings = Vec::new();
        state.look_at_the_client(now, self.unserved, &mut findings);
        if let Some(joining) = &state.joining {
            findings.push(Finding::Joining {
                lasting: now - joining.began,
                error: joining.error.clone(),
            });
        }
        if let Some(failing) = &state.commits_fail {
            findings.push(Finding::CommitsFail {
                lasting: now - failing.began,
                error: failing.error.clone().unwrap_or_default(),
            });
        }
        let partitions = state.membership.as_ref().map_or(&[][..], |it| &it.partitions);
        if let Some(ordered) = &self.ordered {
            ordered.find(now, &mut findings);
        }
        if let Some(guard) = &self.guard {
            guard.find(now, &mut findings);
        }
        if let Some(breaker) = &self.breaker {
            breaker.find(now, &mut findings);
        }
        self.dead_letters.find(now, &mut findings);
        for partition in partitions {
            partition.find(now, self.patience, &mut findings);
        }
        ConsumerHealth {
            handler: self.handler.clone(),
            partitions: partitions.len(),
            findings,
        }
    }

    /// Say what it has of each of its partitions.
    pub(crate) fn readings(&self) -> Vec<PartitionReading> {
        let state = self.lock();
        let of_partition = |membership: &Membership, state: &Arc<PartitionState>| {
            state.reading(membership.consumer.log_end(&state.partition))
        };
        let membership = state.membership.iter();
        membership
            .flat_map(|it| it.partitions.iter().map(move |state| of_partition(it, state)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn look_at_the_client(&mut self, now: Instant, limit: Duration, findings: &mut Vec<Finding>) {
        let Some(membership) = &self.membership else {
            return;
        };
        let client = membership.consumer.condition();
        if client.connected {
            self.disconnected = None;
        } else {
            findings.push(Finding::BrokerDown {
                lasting: now - *self.disconnected.get_or_insert(now),
                error: self.trouble.clone(),
            });
        }
        let lasting = client.unserved.max(now - self.turned);
        if lasting > limit {
            findings.push(Finding::Unserved { lasting });
        }
    }
}
