//! An assigned partition: its queue in librdkafka, drained in batches by whoever reads the stream.
//!
//! Two threads meet in a [`Slot`]: the async task that reads, and the polling thread that gives
//! partitions back.
//!
//! # Invariants
//! - Nothing is taken from a queue once its slot has ended, and a slot ends *before* librdkafka is told
//!   to unassign: librdkafka notes the position of what was taken after it was taken, and a note that
//!   came after the unassignment would move the start of the next assignment (see `Slot::end`).
//! - Records are given in order and once, also where librdkafka rewinds (see [`Cursor`]).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use athomic_core::message::{Offset, TopicPartition};
use athomic_core::transport::{FetchLimits, Fetched, PartitionStream, TransportError};
use futures_util::task::AtomicWaker;

use super::native::{Batch, Client, Message, PartitionQueue};
use super::{Fault, FaultKind};
use crate::error::Endpoint;

/// How many messages are taken from librdkafka at a time: the byte limit is looked at in between. Larger
/// steps are no faster.
const STEP: usize = 64;

/// What the polling thread and the reader of a partition share.
pub(super) struct Slot {
    /// Gone when the partition is.
    queue: Mutex<Option<PartitionQueue>>,
    /// Woken by librdkafka when there are messages, and at the end.
    waker: Arc<AtomicWaker>,
    /// Counts the rebalances that this assignment has seen, because librdkafka may rewind in each.
    rebalances: AtomicU64,
}

impl Slot {
    /// Split the partition's queue off the main queue; before the partition is assigned.
    pub(super) fn open(client: &Arc<Client>, partition: &TopicPartition) -> Option<Arc<Self>> {
        let waker = Arc::new(AtomicWaker::new());
        let queue = PartitionQueue::open(client, partition, &waker)?;
        Some(Arc::new(Self {
            queue: Mutex::new(Some(queue)),
            waker,
            rebalances: AtomicU64::new(0),
        }))
    }

    /// Note that a rebalance has begun: librdkafka has paused the partition.
    pub(super) fn note_rebalance(&self) {
        self.rebalances.fetch_add(1, Ordering::SeqCst);
    }

    /// End the stream and return the queue, to be purged when the partition is unassigned.
    pub(super) fn end(&self) -> Option<PartitionQueue> {
        // The lock waits for a reader that is just taking messages; there is none afterwards.
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.waker.wake();
        queue
    }
}

/// The messages of an assigned partition.
pub(super) struct KafkaPartitionStream {
    partition: TopicPartition,
    slot: Arc<Slot>,
    endpoint: Arc<Endpoint>,
    cursor: Cursor,
    /// An error that stood behind messages, to be given after them.
    fault: Option<Fault>,
    /// The log cannot be read from where the group is, and the settings say to stop: for good.
    out_of_range: bool,
    /// The mean size of the messages seen last, for how many fit into what is left of a limit.
    mean_size: usize,
    /// Empty between two reads; kept so that a read that finds nothing does not allocate.
    taken: Vec<Message>,
}

impl KafkaPartitionStream {
    pub(super) fn new(partition: TopicPartition, slot: Arc<Slot>, endpoint: Arc<Endpoint>) -> Self {
        Self {
            partition,
            slot,
            endpoint,
            cursor: Cursor::default(),
            fault: None,
            out_of_range: false,
            mean_size: 0,
            taken: Vec::new(),
        }
    }

    /// Take messages until a limit, the end of the queue, or an error.
    fn fill(&mut self, queue: &PartitionQueue, limits: FetchLimits) {
        let most = limits.messages.max(1);
        let mut bytes = 0;
        while self.taken.len() < most && (bytes < limits.bytes || self.taken.is_empty()) {
            let fitting = (limits.bytes.saturating_sub(bytes) / self.mean_size.max(1)).max(1);
            let step = fitting.min(STEP).min(most - self.taken.len());
            let begin = self.taken.len();
            self.cursor.begin(self.slot.rebalances.load(Ordering::SeqCst));
            let count = queue.take(&mut self.taken, step);
            if count == 0 {
                return;
            }
            let failed = self.cut_at_error(begin);
            self.cursor.pass(&mut self.taken, begin);
            let fresh = &self.taken[begin..];
            let size: usize = fresh.iter().map(Message::size).sum();
            self.mean_size = size.checked_div(fresh.len()).unwrap_or(self.mean_size);
            bytes += size;
            if failed {
                return self.rewind(queue);
            }
        }
    }

    /// Cut off the first error and what stands behind it, and note the error.
    fn cut_at_error(&mut self, begin: usize) -> bool {
        let found = self.taken[begin..]
            .iter()
            .position(|message| message.fault().is_some());
        let Some(at) = found.map(|at| begin + at) else {
            return false;
        };
        let message = &self.taken[at];
        self.cursor.start_at(message.offset());
        self.fault = message.fault();
        self.taken.truncate(at);
        true
    }

    /// Have librdkafka read on behind the last message that was given.
    ///
    /// librdkafka 2.2 to 2.12 counts an error in a batch as a message: its own position is then one
    /// too far, and would be used after the next rebalance (librdkafka pull request 5213).
    fn rewind(&mut self, queue: &PartitionQueue) {
        if self
            .fault
            .as_ref()
            .is_some_and(|fault| fault.kind == FaultKind::OffsetReset)
        {
            self.out_of_range = true;
        } else if let Some(offset) = self.cursor.resume_at() {
            queue.client().seek(&self.partition, offset);
        }
    }

    /// Give what was taken, or else the error that stood behind it.
    fn give(&mut self, queue: &PartitionQueue) -> Option<Result<Fetched, TransportError>> {
        if !self.taken.is_empty() {
            let messages = std::mem::take(&mut self.taken);
            let batch = Batch::new(self.partition.clone(), messages, Arc::clone(queue.client()));
            return Some(Ok(Fetched::Records(Arc::new(batch))));
        }
        if let Some(fault) = self.fault.take() {
            return Some(Err(self.endpoint.reading(&self.partition, fault)));
        }
        // Transaction markers are never given, but librdkafka's position passes them.
        let position = queue.client().position(&self.partition)?;
        self.cursor
            .passed(position)
            .then_some(Ok(Fetched::Position(position)))
    }
}

impl PartitionStream for KafkaPartitionStream {
    fn poll_fetch(
        &mut self,
        cx: &mut Context<'_>,
        limits: FetchLimits,
    ) -> Poll<Result<Fetched, TransportError>> {
        // Before the queue is looked at: whatever comes afterwards wakes us.
        self.slot.waker.register(cx.waker());
        let slot = Arc::clone(&self.slot);
        let queue = slot.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else {
            return Poll::Ready(Ok(Fetched::Ended));
        };
        if self.fault.is_none() && !self.out_of_range {
            self.fill(queue, limits);
        } else if self.fault.is_none() {
            let partition = self.partition.clone();
            return Poll::Ready(Err(TransportError::OffsetOutOfRange { partition }));
        }
        self.give(queue).map_or(Poll::Pending, Poll::Ready)
    }
}

/// Where a stream stands: what was given and what librdkafka may give again.
///
/// In each rebalance librdkafka pauses the partitions that stay and reads on, afterwards, from the
/// position that it had noted. It notes a position when a read ends, so that the messages of the one
/// read that overlapped with the pause come twice. They are recognised by their offsets and by the
/// epoch of the leader that wrote them: a log that was truncated, or made anew, goes back as well, and
/// must not be taken for a repetition.
#[derive(Debug, Default)]
struct Cursor {
    /// The offset behind the last record that was given.
    next: Option<Offset>,
    /// The first offset of the last read that gave records.
    floor: Offset,
    /// The epoch of the last record that was given.
    leader_epoch: i32,
    /// The highest position that was reported.
    reported: Offset,
    /// The rebalances seen when the current read began, and those whose repetitions are over.
    rebalances: (u64, u64),
}

impl Cursor {
    /// Begin a read, after so many rebalances.
    fn begin(&mut self, rebalances: u64) {
        self.rebalances.0 = rebalances;
    }

    /// Drop repetitions from what was read, and note where that ends.
    fn pass(&mut self, messages: &mut Vec<Message>, begin: usize) {
        let Some(first) = messages.get(begin).map(Message::offset) else {
            return;
        };
        if self.rebalances.0 != self.rebalances.1 {
            let repeated = messages[begin..]
                .iter()
                .take_while(|message| self.was_given(message))
                .count();
            messages.drain(begin..begin + repeated);
        }
        let Some(last) = messages.last().filter(|_| messages.len() > begin) else {
            return;
        };
        // Something new: what follows in this assignment is new as well, until the next rebalance.
        self.rebalances.1 = self.rebalances.0;
        self.floor = first;
        self.next = Some(last.offset() + 1);
        self.leader_epoch = last.leader_epoch();
        self.reported = last.offset() + 1;
    }

    fn was_given(&self, message: &Message) -> bool {
        self.repeats(message.offset(), message.leader_epoch())
    }

    fn repeats(&self, offset: Offset, leader_epoch: i32) -> bool {
        let given = self.next.is_some_and(|next| offset < next);
        given && offset >= self.floor && leader_epoch <= self.leader_epoch
    }

    /// Note where reading began, if nothing was given yet: an error knows.
    fn start_at(&mut self, offset: Offset) {
        if self.next.is_none() && offset >= 0 {
            self.next = Some(offset);
            self.floor = offset;
        }
    }

    /// Return the offset to read on from, if one is known.
    fn resume_at(&self) -> Option<Offset> {
        self.next.map(|next| next.max(self.reported))
    }

    /// Note a position; `false` if it is no news.
    fn passed(&mut self, position: Offset) -> bool {
        let news = position > self.reported;
        self.reported = self.reported.max(position);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::Cursor;

    fn after_records(floor: i64, next: i64, leader_epoch: i32) -> Cursor {
        Cursor {
            next: Some(next),
            floor,
            leader_epoch,
            reported: next,
            ..Cursor::default()
        }
    }

    #[test]
    fn only_records_of_the_last_read_can_repeat() {
        let cursor = after_records(10, 20, 3);
        assert!(cursor.repeats(10, 3));
        assert!(cursor.repeats(19, 2));
        assert!(!cursor.repeats(20, 3));
        assert!(
            !cursor.repeats(9, 3),
            "the log went back further: it was made anew"
        );
    }

    #[test]
    fn a_record_of_a_later_leader_is_not_a_repetition() {
        assert!(!after_records(10, 20, 3).repeats(15, 4));
    }

    #[test]
    fn a_position_is_reported_once_and_only_forwards() {
        let mut cursor = after_records(10, 20, 0);
        assert!(!cursor.passed(20));
        assert!(cursor.passed(21));
        assert!(!cursor.passed(21));
        assert_eq!(cursor.resume_at(), Some(21));
    }

    #[test]
    fn an_error_before_the_first_record_says_where_reading_began() {
        let mut cursor = Cursor::default();
        cursor.start_at(-1001);
        assert_eq!(cursor.resume_at(), None);
        cursor.start_at(7);
        assert_eq!(cursor.resume_at(), Some(7));
    }
}
