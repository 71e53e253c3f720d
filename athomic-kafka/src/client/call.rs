//! One call of `publish`: records that are reported on one by one, and a caller that waits for the last.

use std::sync::{Arc, Mutex, PoisonError};

use athomic_core::transport::{Delivery, OutgoingMessage, TransportError};
use tokio::sync::oneshot;

/// The result of one record.
pub(crate) type Outcome = Result<Delivery, TransportError>;

/// One call of `publish`: its outcomes so far, and who waits for the last.
pub(crate) struct Call {
    progress: Mutex<Progress>,
}

struct Progress {
    outcomes: Vec<Option<Outcome>>,
    left: usize,
    done: Option<oneshot::Sender<()>>,
}

impl Call {
    /// Begin a call; the receiver ends when all its records have an outcome.
    pub(crate) fn new(messages: &[OutgoingMessage]) -> (Arc<Self>, oneshot::Receiver<()>) {
        let (done, completed) = oneshot::channel();
        let outcomes = messages.iter().map(|_| None).collect();
        // With no messages nothing settles, so the sender is not kept and the wait ends at once.
        let done = (!messages.is_empty()).then_some(done);
        let progress = Mutex::new(Progress {
            outcomes,
            left: messages.len(),
            done,
        });
        (Arc::new(Self { progress }), completed)
    }

    /// Take note of what became of a record.
    pub(crate) fn settle(&self, index: usize, outcome: Outcome) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.outcomes[index] = Some(outcome);
        progress.left -= 1;
        if progress.left == 0
            && let Some(done) = progress.done.take()
        {
            let _caller_gone = done.send(());
        }
    }

    /// Return what became of the records, in their order.
    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let outcomes = std::mem::take(&mut progress.outcomes);
        outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or(Err(TransportError::Closed)))
            .collect()
    }
}
