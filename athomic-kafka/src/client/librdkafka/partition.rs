//! An assigned partition: its queue in librdkafka, drained in batches by whoever reads the stream.
//!
//! Two threads meet in a [`Slot`]: the async task that reads, and the polling thread that gives
//! partitions back.
//!
//! # Invariants
//! - Nothing is taken from a queue once its slot has ended, and a slot ends *before* librdkafka is told
//!   to unassign: librdkafka notes the position of what was taken after it was taken, and must not
//!   do so in the partition's next assignment.
//! - Nothing is left out: behind an error, reading begins again after the last record that was given.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use athomic_core::message::{Offset, TopicPartition};
use athomic_core::transport::{FetchLimits, Fetched, PartitionStream, TransportError};
use futures_util::task::AtomicWaker;

use super::native::{Batch, Client, Message, PartitionQueue, Queue};
use super::{Code, Fault, FaultKind};
use crate::error::Endpoint;

/// How many messages are taken from librdkafka at a time: the byte limit is looked at in between. Larger
/// steps are no faster.
const STEP: usize = 64;

/// What the polling thread and the reader of a partition share.
pub(super) struct Slot {
    shared: Mutex<Shared>,
    /// Woken by librdkafka when there are messages, and at the end.
    waker: Arc<AtomicWaker>,
    /// The reader has come to where the log cannot be read: it is to begin elsewhere.
    lost_its_place: AtomicBool,
    /// Wakes the polling thread.
    queue: Arc<Queue>,
}

struct Shared {
    /// Gone when the partition is.
    queue: Option<PartitionQueue>,
    ended: bool,
    /// Why the partition cannot be read, for as long as it is assigned.
    fault: Option<Fault>,
}

impl Slot {
    /// Split the partition's queue off the main queue; before the partition is assigned.
    pub(super) fn open(
        client: &Arc<Client>,
        partition: &TopicPartition,
        member: &Arc<Queue>,
    ) -> Option<Arc<Self>> {
        let waker = Arc::new(AtomicWaker::new());
        let queue = Some(PartitionQueue::open(client, partition, &waker)?);
        let shared = Mutex::new(Shared {
            queue,
            ended: false,
            fault: None,
        });
        Some(Arc::new(Self {
            shared,
            waker,
            lost_its_place: AtomicBool::new(false),
            queue: Arc::clone(member),
        }))
    }

    /// Let every read fail from now on.
    pub(super) fn fail(&self, fault: Fault) {
        self.lock().fault = Some(fault);
        self.waker.wake();
    }

    /// Say once whether the reader has lost its place since this was asked last.
    pub(super) fn takes_a_new_place(&self) -> bool {
        self.lost_its_place.swap(false, Ordering::SeqCst)
    }

    fn ask_for_a_new_place(&self) {
        self.lost_its_place.store(true, Ordering::SeqCst);
        self.queue.wake();
    }

    /// End the stream. A reader that is just taking messages is waited for, and there is none
    /// afterwards.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.waker.wake();
    }

    /// Say whether the stream has ended.
    pub(super) fn is_over(&self) -> bool {
        self.lock().ended
    }

    /// Free the queue and what was fetched ahead; when the partition is no longer fetched.
    pub(super) fn free(&self) {
        let queue = self.lock().queue.take();
        if let Some(queue) = queue {
            queue.purge();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The messages of an assigned partition.
pub(super) struct KafkaPartitionStream {
    partition: TopicPartition,
    slot: Arc<Slot>,
    endpoint: Arc<Endpoint>,
    /// Taken and not yet given: what was too much for the last read. Dropped before `client`, which
    /// messages must not outlive.
    taken: Vec<Message>,
    client: Arc<Client>,
    /// The end of the log, where it stood behind what was taken.
    end_of_log: Option<Offset>,
    /// An error that stood behind what was taken.
    fault: Option<Fault>,
    /// The log cannot be read from where the group is: an error if the settings say to stop, else the
    /// stream waits for its end, and another one begins elsewhere.
    out_of_range: bool,
    stops_at_resets: bool,
    /// The offset behind the last record that was given.
    next: Option<Offset>,
    /// The mean size of the messages seen last, for how many fit into what is left of a limit.
    mean_size: usize,
}

impl KafkaPartitionStream {
    pub(super) fn new(
        partition: TopicPartition,
        slot: Arc<Slot>,
        client: Arc<Client>,
        endpoint: Arc<Endpoint>,
        stops_at_resets: bool,
    ) -> Self {
        Self {
            partition,
            slot,
            endpoint,
            taken: Vec::new(),
            client,
            end_of_log: None,
            fault: None,
            out_of_range: false,
            stops_at_resets,
            next: None,
            mean_size: 0,
        }
    }

    /// Take messages until a limit, the end of the queue, the end of the log, or an error.
    fn fill(&mut self, queue: &PartitionQueue, limits: FetchLimits) {
        let most = limits.messages.max(1);
        let mut bytes = size_of_all(&self.taken);
        while self.taken.len() < most && (bytes < limits.bytes || self.taken.is_empty()) {
            let fitting = (limits.bytes.saturating_sub(bytes) / self.mean_size.max(1)).max(1);
            let step = fitting.min(STEP).min(most - self.taken.len());
            let begin = self.taken.len();
            if queue.take(&mut self.taken, step) == 0 {
                return;
            }
            self.sort_out(begin);
            let fresh = &self.taken[begin..];
            let size = size_of_all(fresh);
            self.mean_size = size.checked_div(fresh.len()).unwrap_or(self.mean_size);
            bytes += size;
            if self.end_of_log.is_some() || self.fault.is_some() || self.out_of_range {
                return;
            }
        }
    }

    /// Keep the records of what was taken, and note what stands in the place of records.
    fn sort_out(&mut self, begin: usize) {
        if self.taken[begin..].iter().any(|message| !message.is_record()) {
            self.note_events(begin);
        }
        if let Some(last) = self.taken.last() {
            self.next = Some(last.offset() + 1);
        }
    }

    /// Take out ends of the log, of which the last counts if nothing follows, and the first error with
    /// everything behind it, which is read again.
    fn note_events(&mut self, begin: usize) {
        let mut records = Vec::with_capacity(self.taken.len());
        let mut rest = std::mem::take(&mut self.taken).into_iter();
        records.extend(rest.by_ref().take(begin));
        for message in rest {
            let Some(fault) = message.fault() else {
                self.end_of_log = None;
                records.push(message);
                continue;
            };
            if fault.code == Code::PartitionEOF {
                self.end_of_log = Some(message.offset());
                continue;
            }
            if fault.kind == FaultKind::OffsetReset {
                self.out_of_range = true;
                if !self.stops_at_resets {
                    self.slot.ask_for_a_new_place();
                }
                break;
            }
            let last = records.last().map(|record| record.offset() + 1);
            self.resume(last.or(self.next), message.offset());
            self.fault = Some(fault);
            break;
        }
        self.taken = records;
    }

    /// Have librdkafka read on behind the last record, or where the error stands if there was none.
    ///
    /// It would go on behind a batch of records that it cannot unpack, and leave them out.
    fn resume(&self, next: Option<Offset>, failed_at: Offset) {
        let offset = next.unwrap_or(failed_at);
        if offset >= 0 {
            self.client.seek(&self.partition, offset);
        }
    }

    /// Give of what was taken as much as the limits allow, or else what stood behind it.
    fn give(&mut self, limits: FetchLimits) -> Option<Result<Fetched, TransportError>> {
        if !self.taken.is_empty() {
            let rest = self.taken.split_off(within(&self.taken, limits));
            let messages = std::mem::replace(&mut self.taken, rest);
            let batch = Batch::new(self.partition.clone(), messages, Arc::clone(&self.client));
            return Some(Ok(Fetched::Records(Arc::new(batch))));
        }
        if let Some(position) = self.end_of_log.take() {
            return Some(Ok(Fetched::Position(position)));
        }
        if let Some(fault) = self.fault.take() {
            return Some(Err(self.endpoint.reading(&self.partition, fault)));
        }
        let partition = || self.partition.clone();
        (self.out_of_range && self.stops_at_resets).then(|| {
            Err(TransportError::OffsetOutOfRange {
                partition: partition(),
            })
        })
    }

    /// Say that the partition is gone, and let go of what had been taken of it.
    fn finish(&mut self) -> Poll<Result<Fetched, TransportError>> {
        self.taken = Vec::new();
        Poll::Ready(Ok(Fetched::Ended))
    }
}

/// Return how many messages are within limits: those up to the one that reaches the byte limit.
fn within(messages: &[Message], limits: FetchLimits) -> usize {
    let mut bytes = 0;
    let reaching = messages.iter().position(|message| {
        bytes += message.size();
        bytes >= limits.bytes
    });
    reaching
        .map_or(messages.len(), |last| last + 1)
        .min(limits.messages.max(1))
}

fn size_of_all(messages: &[Message]) -> usize {
    messages.iter().map(Message::size).sum()
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
        let shared = slot.lock();
        let Some(queue) = shared.queue.as_ref().filter(|_| !shared.ended) else {
            return self.finish();
        };
        if let Some(fault) = &shared.fault {
            return Poll::Ready(Err(self.endpoint.reading(&self.partition, fault.clone())));
        }
        if self.end_of_log.is_none() && self.fault.is_none() && !self.out_of_range {
            self.fill(queue, limits);
        }
        self.give(limits).map_or(Poll::Pending, Poll::Ready)
    }
}
