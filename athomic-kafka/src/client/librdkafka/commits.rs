//! Commits: one at a time, only for partitions that this member owns, and asked again while a
//! rebalance keeps the broker from taking them.
//!
//! # Invariants
//! - An older commit cannot land after a newer one: the next is sent when the one before is answered,
//!   also if nobody waits for that answer any more.
//! - What is sent for a partition was sent while the partition was owned: who gives it back first
//!   takes it off the list here, and then tells the group.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use athomic_core::message::{PartitionOffset, TopicPartition};
use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::native::{Client, Queue};
use super::partition::Slot;
use super::{Code, Fault};

/// How long a commit is asked again while a rebalance is going on.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before it is asked again: a heartbeat that brings the new epoch is quicker.
const PAUSE: Duration = Duration::from_millis(50);
/// How long who leaves waits for an answer before it asks over new connections.
const ANSWER: Duration = Duration::from_secs(1);

/// Why a commit failed.
#[derive(Debug)]
pub(crate) enum CommitError {
    Refused(Fault),
    /// The member has left, or leaves.
    Closed,
}

/// Sends commits and hands out the answers.
pub(super) struct Committer {
    group: Arc<Client>,
    queue: Arc<Queue>,
    /// Held by the commit that is under way.
    turn: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What may be committed: for each partition the assignment, which is void when its stream has ended.
    owned: HashMap<TopicPartition, Arc<Slot>>,
    under_way: Option<UnderWay>,
    /// The number of the last commit that was sent.
    token: usize,
    /// Whether the member is about to leave.
    leaving: bool,
    /// Whether the member leaves: nothing more is sent.
    closed: bool,
}

struct UnderWay {
    done: oneshot::Sender<Result<(), Fault>>,
    /// Lets the next commit go when this one is answered, not when its caller loses interest.
    _turn: Arc<OwnedMutexGuard<()>>,
}

impl Committer {
    pub(super) fn new(group: Arc<Client>, queue: Arc<Queue>) -> Self {
        Self {
            group,
            queue,
            turn: Arc::default(),
            state: Mutex::default(),
        }
    }

    /// Commit what is owned of this; returns when the broker has answered.
    pub(super) async fn commit(&self, offsets: &[PartitionOffset]) -> Result<(), CommitError> {
        let turn = Arc::new(Arc::clone(&self.turn).lock_owned().await);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.send(offsets, Arc::clone(&turn))?;
            match self.wait_for(answer).await {
                Err(_member_left) => return Err(CommitError::Closed),
                Ok(Err(fault)) if is_rebalance(&fault) && Instant::now() < deadline => sleep(PAUSE).await,
                Ok(answer) => return answer.map_err(CommitError::Refused),
            }
        }
    }

    /// Wait for an answer.
    ///
    /// Who is about to leave may stand in a rebalance that waits for a member that is dead, see
    /// `sockets.rs`. It then begins to leave right away, so as not to join again, and asks over new
    /// connections. It stays a member until its partitions are given back.
    async fn wait_for<T>(&self, mut answer: oneshot::Receiver<T>) -> Result<T, oneshot::error::RecvError> {
        loop {
            match timeout(ANSWER, &mut answer).await {
                Ok(answer) => return answer,
                Err(_no_answer) if self.lock().leaving => {
                    if let Err(fault) = self.group.close(&self.queue) {
                        tracing::debug!(%fault, "cannot begin to leave the group");
                    }
                    self.group.reconnect();
                }
                Err(_no_answer) => {}
            }
        }
    }

    fn send(
        &self,
        offsets: &[PartitionOffset],
        turn: Arc<OwnedMutexGuard<()>>,
    ) -> Result<oneshot::Receiver<Result<(), Fault>>, CommitError> {
        let mut state = self.lock();
        if state.closed {
            return Err(CommitError::Closed);
        }
        let is_owned = |offset: &&PartitionOffset| {
            let slot = state.owned.get(&offset.partition);
            slot.is_some_and(|slot| !slot.is_over())
        };
        let owned: Vec<_> = offsets.iter().filter(is_owned).cloned().collect();
        if owned.is_empty() {
            let fault = Fault::new(Code::AssignmentLost, "the partitions are no longer this member's");
            return Err(CommitError::Refused(fault));
        }
        state.token += 1;
        self.group
            .commit(&owned, &self.queue, state.token)
            .map_err(CommitError::Refused)?;
        let (done, answer) = oneshot::channel();
        state.under_way = Some(UnderWay { done, _turn: turn });
        Ok(answer)
    }

    /// Hand out the answer to a commit.
    pub(super) fn answer(&self, token: usize, answer: Result<(), Fault>) {
        let mut state = self.lock();
        if state.token != token {
            return;
        }
        if let Some(commit) = state.under_way.take() {
            let _caller_gone = commit.done.send(answer);
        }
    }

    pub(super) fn own(&self, partition: TopicPartition, slot: Arc<Slot>) {
        self.lock().owned.insert(partition, slot);
    }

    pub(super) fn disown(&self, partitions: &[TopicPartition]) {
        let mut state = self.lock();
        for partition in partitions {
            state.owned.remove(partition);
        }
    }

    /// See to it that the commits to come get through: they are the last.
    pub(super) fn prepare_to_close(&self) {
        self.lock().leaving = true;
    }

    /// Send nothing more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    /// Give up the commit that is under way: nobody will answer.
    pub(super) fn give_up(&self) {
        self.lock().under_way = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Say whether a commit was refused only because the group is being rebalanced: with the next generation
/// the broker takes it, as far as the partitions are still ours.
fn is_rebalance(fault: &Fault) -> bool {
    matches!(
        fault.code,
        Code::RebalanceInProgress | Code::IllegalGeneration | Code::StaleMemberEpoch
    )
}
