//! From an assignment to reading: where the group stands in a partition is asked here, and not left to
//! librdkafka.
//!
//! librdkafka would ask once. If the answer is that the coordinator has moved, or no answer, it says so
//! in an event that names no partition, and the partitions stay silent for ever. Here they are
//! asked about again until there is an answer for each, or one that asking again cannot change.
//!
//! The question blocks, so a thread of its own asks; there is at most one at a time. It goes by the
//! client that fetches: on the member's connection it would wait behind a join for the whole group.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use athomic_core::message::TopicPartition;
use athomic_core::retry::Backoff;

use super::native::{Client, Committed, Queue};
use super::{Code, Fault, FaultKind};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before partitions are asked about again.
const AGAIN: Backoff = Backoff {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(2),
    factor: 2.0,
    jitter: true,
};

type Answer = Result<Vec<(TopicPartition, Committed)>, Fault>;

/// Finds out where to begin.
pub(super) struct Starter {
    client: Arc<Client>,
    queue: Arc<Queue>,
    /// To be asked about.
    waiting: HashSet<TopicPartition>,
    /// Asked about; those that were taken away meanwhile are no longer here.
    asked: HashSet<TopicPartition>,
    /// Where the thread that asks leaves the answer; nothing if nobody asks.
    answer: Option<Arc<Mutex<Option<Answer>>>>,
    failures: u32,
    /// When to ask again after a failure.
    again: Option<Instant>,
}

/// What has become known.
#[derive(Default)]
pub(super) struct Known {
    /// Where the group stands, or why that will never be known.
    pub(super) partitions: Vec<(TopicPartition, Committed)>,
    /// What failed, and is tried again.
    pub(super) trouble: Option<Fault>,
}

impl Starter {
    pub(super) fn new(client: Arc<Client>, queue: Arc<Queue>) -> Self {
        Self {
            client,
            queue,
            waiting: HashSet::new(),
            asked: HashSet::new(),
            answer: None,
            failures: 0,
            again: None,
        }
    }

    /// Find out where the group stands in these partitions.
    pub(super) fn add(&mut self, partitions: impl IntoIterator<Item = TopicPartition>) {
        self.waiting.extend(partitions);
    }

    /// Forget partitions that are not ours any more.
    pub(super) fn forget(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.waiting.remove(partition);
            self.asked.remove(partition);
        }
    }

    /// Return when [`serve`](Self::serve) has something to do although nothing wakes the thread.
    pub(super) fn due(&self) -> Option<Instant> {
        self.again
            .filter(|_| self.answer.is_none() && !self.waiting.is_empty())
    }

    /// Take the answer if there is one, and ask if something is to be asked.
    pub(super) fn serve(&mut self) -> Known {
        let known = self
            .take_answer()
            .map(|answer| self.sort(answer))
            .unwrap_or_default();
        let resting = self.again.is_some_and(|again| Instant::now() < again);
        if !self.waiting.is_empty() && self.answer.is_none() && !resting {
            self.again = None;
            self.ask();
        }
        known
    }

    fn take_answer(&mut self) -> Option<Answer> {
        let answer = lock(self.answer.as_ref()?).take()?;
        self.answer = None;
        Some(answer)
    }

    /// Tell what is known from what is to be asked again.
    fn sort(&mut self, answer: Answer) -> Known {
        let mut known = Known::default();
        let asked = std::mem::take(&mut self.asked);
        let each = answer.unwrap_or_else(|fault| {
            let all = asked.iter().cloned();
            all.map(|partition| (partition, Err(fault.clone()))).collect()
        });
        for (partition, committed) in each {
            if !asked.contains(&partition) {
                continue;
            }
            match committed {
                Err(fault) if !is_final(&fault) => {
                    known.trouble = Some(fault);
                    self.waiting.insert(partition);
                }
                committed => known.partitions.push((partition, committed)),
            }
        }
        self.failures = if known.trouble.is_some() {
            self.failures + 1
        } else {
            0
        };
        self.again = (self.failures > 0).then(|| Instant::now() + AGAIN.delay(self.failures));
        known
    }

    fn ask(&mut self) {
        self.asked = std::mem::take(&mut self.waiting);
        let partitions: Vec<_> = self.asked.iter().cloned().collect();
        let answer = Arc::default();
        self.answer = Some(Arc::clone(&answer));
        let (client, queue, result) = (
            Arc::clone(&self.client),
            Arc::clone(&self.queue),
            Arc::clone(&answer),
        );
        let asking = std::thread::Builder::new()
            .name("athomic-offsets".to_owned())
            .spawn(move || {
                *lock(&result) = Some(client.committed(&partitions, PATIENCE));
                queue.wake();
            });
        if let Err(error) = asking {
            *lock(&answer) = Some(Err(Fault::new(Code::Fail, error.to_string())));
            self.queue.wake();
        }
    }
}

/// Say whether asking again can change nothing: everything else is asked again, since a partition that
/// nobody reads is worse than a question too many.
fn is_final(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::Settings | FaultKind::Closed)
}

fn lock(answer: &Mutex<Option<Answer>>) -> std::sync::MutexGuard<'_, Option<Answer>> {
    answer.lock().unwrap_or_else(PoisonError::into_inner)
}
