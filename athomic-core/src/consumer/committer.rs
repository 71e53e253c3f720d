//! Commits: one at a time, each with what is settled when its turn comes.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::lane::PartitionState;
use crate::message::PartitionOffset;
use crate::mutant::{self, Mutant};
use crate::telemetry::HandlerTelemetry;
use crate::transport::{DynConsumer, TransportError};

/// Commits what lanes have settled.
///
/// Invariant: an older commit never lands after a newer one. The lock is held over the whole call to
/// the broker, and what is to be committed is read under it. The call runs as a task of its own, so
/// that a caller who stops waiting does not give the lock up too early.
pub(super) struct Committer {
    consumer: Arc<dyn DynConsumer>,
    /// Told of each commit; `None` without telemetry.
    telemetry: Option<Arc<HandlerTelemetry>>,
    turn: Mutex<()>,
}

impl Committer {
    pub(super) fn new(consumer: Arc<dyn DynConsumer>, telemetry: Option<Arc<HandlerTelemetry>>) -> Arc<Self> {
        Arc::new(Self {
            consumer,
            telemetry,
            turn: Mutex::new(()),
        })
    }

    /// Commit what is settled in these assignments. Does nothing if nothing is new.
    ///
    /// # Errors
    /// The broker refused, or the outcome is unknown; the same offsets, or higher ones, stay to be
    /// committed.
    pub(super) async fn commit(
        self: Arc<Self>,
        partitions: Vec<Arc<PartitionState>>,
    ) -> Result<(), TransportError> {
        let turn = tokio::spawn(async move { self.take_turn(&partitions).await });
        turn.await.unwrap_or(Err(TransportError::Closed))
    }

    async fn take_turn(&self, partitions: &[Arc<PartitionState>]) -> Result<(), TransportError> {
        let mut turn = Some(self.turn.lock().await);
        let due = partitions.iter().filter_map(|state| {
            let (offset, begun) = state.committable()?;
            Some(((state, begun), offset))
        });
        let (states, offsets): (Vec<_>, Vec<PartitionOffset>) = due.unzip();
        if offsets.is_empty() {
            return Ok(());
        }
        if mutant::is(Mutant::LetsCommitsOvertake) {
            turn = None;
        }
        let committing = self
            .telemetry
            .as_ref()
            .map(|telemetry| telemetry.commit(&offsets));
        let committed = self.consumer.commit(&offsets).await;
        if let Some(committing) = committing {
            committing.end(committed.as_ref().copied());
        }
        committed?;
        tracing::debug!(?offsets, "committed");
        for ((state, begun), committed) in states.into_iter().zip(&offsets) {
            state.mark_committed(committed.offset, begun);
        }
        drop(turn);
        Ok(())
    }
}
