//! One call of `publish`: records that are reported on one by one, and a caller that waits for the last.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use athomic_core::message::{Offset, Partition, TopicPartition};
use athomic_core::transport::{Delivery, OutgoingMessage, TransportError};
use tokio::sync::oneshot;

/// The result of one record.
pub(crate) type Outcome = Result<Delivery, TransportError>;

/// One call of `publish`: its outcomes so far, and who waits for the last.
pub(crate) struct Call {
    progress: Mutex<Progress>,
}

struct Progress {
    /// [`TransportError::Closed`] until there is another.
    outcomes: Vec<Outcome>,
    left: usize,
    /// The topic of the last record that was delivered, mostly that of the next as well.
    topic: Arc<str>,
    done: Option<oneshot::Sender<()>>,
}

impl Call {
    /// Begin a call; the receiver ends when all its records have an outcome.
    pub(crate) fn new(messages: &[OutgoingMessage]) -> (Arc<Self>, oneshot::Receiver<()>) {
        let (done, completed) = oneshot::channel();
        let outcomes = messages.iter().map(|_| Err(TransportError::Closed)).collect();
        // With no messages nothing settles, so the sender is not kept and the wait ends at once.
        let done = (!messages.is_empty()).then_some(done);
        let progress = Mutex::new(Progress {
            outcomes,
            left: messages.len(),
            topic: "".into(),
            done,
        });
        (Arc::new(Self { progress }), completed)
    }

    /// Take note that a record was written.
    pub(crate) fn deliver(&self, index: usize, topic: &str, partition: Partition, offset: Offset) {
        let mut progress = self.lock();
        if *progress.topic != *topic {
            progress.topic = topic.into();
        }
        let partition = TopicPartition::new(Arc::clone(&progress.topic), partition);
        progress.settle(index, Ok(Delivery { partition, offset }));
    }

    /// Take note of what became of a record.
    pub(crate) fn settle(&self, index: usize, outcome: Outcome) {
        self.lock().settle(index, outcome);
    }

    /// Return what became of the records, in their order.
    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        std::mem::take(&mut self.lock().outcomes)
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    fn settle(&mut self, index: usize, outcome: Outcome) {
        self.outcomes[index] = outcome;
        self.left -= 1;
        if self.left == 0
            && let Some(done) = self.done.take()
        {
            let _caller_gone = done.send(());
        }
    }
}
