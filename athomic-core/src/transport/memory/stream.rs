//! The messages of one assigned partition, read straight from the log.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use super::alarm::Alarm;
use super::consumer::MemoryConsumer;
use super::faults::{Call, Fault, Operation};
use super::lease::Lease;
use super::log::Read;
use super::member::Grant;
use super::topics::{TopicId, unknown};
use super::{MemberId, MemoryBroker};
use crate::message::{Offset, OwnedBatch, OwnedRecord, TopicPartition};
use crate::settings::OffsetReset;
use crate::transport::{FetchLimits, Fetched, PartitionStream, TransportError};

/// Where a stream reads next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    At(Offset),
    /// At the oldest record that is kept when it is read.
    Oldest,
    /// Nowhere: the group has no commit, and the settings name no place to start from.
    Nowhere,
}

/// The messages of one assignment. Fetches nothing ahead: what is not read stays in the log.
#[derive(Debug)]
pub(super) struct MemoryStream {
    broker: MemoryBroker,
    group: Arc<str>,
    member: MemberId,
    offset_reset: OffsetReset,
    max_bytes: usize,
    partition: TopicPartition,
    topic: TopicId,
    lease: Arc<Lease>,
    place: Place,
    /// How often the log had been cut when it was read last; `None` before the first time.
    cuts: Option<usize>,
    /// The end of the log that the reader was told last, unless it was given messages since.
    told: Option<Offset>,
    /// What will happen to the fetch under way, and when it reaches the broker.
    fault: Option<(Fault, Option<Instant>)>,
    alarm: Alarm,
}

impl MemoryStream {
    pub(super) fn new(consumer: &MemoryConsumer, grant: Grant) -> Self {
        let place = match (grant.committed, consumer.offset_reset) {
            (Some(offset), _) => Place::At(offset),
            (None, OffsetReset::Latest) if !grant.added_later => Place::At(grant.end),
            (None, OffsetReset::Earliest | OffsetReset::Latest) => Place::Oldest,
            (None, OffsetReset::Fail) => Place::Nowhere,
        };
        Self {
            broker: consumer.broker.clone(),
            group: Arc::clone(&consumer.group),
            member: consumer.id,
            offset_reset: consumer.offset_reset,
            max_bytes: consumer.max_fetch_bytes,
            partition: grant.partition,
            topic: grant.topic,
            lease: grant.lease,
            place,
            cuts: None,
            told: None,
            fault: None,
            alarm: Alarm::default(),
        }
    }

    /// Let what was planned for this fetch happen. A fetch that waits is one call, not one a poll.
    fn poll_fault(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let (fault, due) = *self.fault.get_or_insert_with(|| {
            let call = Call::new(Operation::Fetch)
                .by(&self.group, self.member)
                .at(&self.partition.topic, Some(self.partition.partition));
            let fault = self.broker.faults().decide(&call);
            let delay = fault.delay + fault.reply_delay;
            (fault, (!delay.is_zero()).then(|| Instant::now() + delay))
        });
        if let Some(due) = due.filter(|due| *due > Instant::now()) {
            ready!(self.alarm.poll_until(due, cx));
        }
        self.alarm.clear();
        if fault.fails_before() || fault.fails_after() {
            self.fault = None;
            return Poll::Ready(Err(fault.error("fetch")));
        }
        Poll::Ready(Ok(()))
    }

    /// Read the log; pending at its end, once the reader knows that it is there.
    fn poll_log(&mut self, limits: FetchLimits) -> Poll<Result<Fetched, TransportError>> {
        let broker = self.broker.clone();
        let mut state = broker.lock();
        // The end of the lease and a read exclude each other only under the lock.
        if self.lease.is_over() {
            return Poll::Ready(Ok(Fetched::Ended));
        }
        if state.down {
            // A client retries for ever; `Trouble` has told the consumer why nothing comes.
            return Poll::Pending;
        }
        let (topics, _) = state.logs();
        let found = topics
            .get_mut(&self.partition.topic)
            .filter(|topic| topic.id == self.topic)
            .and_then(|topic| topic.log_mut(self.partition.partition));
        let Some(log) = found else {
            return Poll::Ready(Err(unknown(&self.partition.topic)));
        };
        let known = self.cuts.replace(log.cuts()).unwrap_or(log.cuts());
        if let Place::At(position) = self.place
            && let Some(cut) = log.cut_below(position, known)
        {
            // As Kafka's clients do: what follows the cut is not what was read before.
            self.told = None;
            self.place = match self.offset_reset {
                OffsetReset::Earliest | OffsetReset::Latest => Place::At(cut),
                OffsetReset::Fail => Place::Nowhere,
            };
        }
        loop {
            let position = match self.place {
                Place::At(offset) => offset,
                Place::Oldest => log.range().start,
                Place::Nowhere => return Poll::Ready(Err(self.out_of_range())),
            };
            match log.read(position, limits) {
                Read::Records(records) => return Poll::Ready(Ok(self.give(records))),
                Read::End(end) if self.told == Some(end) => {
                    log.wait(&self.lease);
                    return Poll::Pending;
                }
                Read::End(end) => {
                    self.place = Place::At(end);
                    self.told = Some(end);
                    return Poll::Ready(Ok(Fetched::Position(end)));
                }
                Read::OutOfRange => match self.offset_reset {
                    OffsetReset::Earliest => self.place = Place::Oldest,
                    OffsetReset::Latest => self.place = Place::At(log.range().end),
                    OffsetReset::Fail => return Poll::Ready(Err(self.out_of_range())),
                },
            }
        }
    }

    fn give(&mut self, records: Vec<Arc<OwnedRecord>>) -> Fetched {
        let next = records.last().map(|record| record.offset + 1);
        self.told = None;
        self.place = next.map_or(self.place, Place::At);
        // The log holds the records too: a batch costs one reference count a record.
        Fetched::Records(Arc::new(OwnedBatch::new(self.partition.clone(), records)))
    }

    fn out_of_range(&self) -> TransportError {
        TransportError::OffsetOutOfRange {
            partition: self.partition.clone(),
        }
    }
}

impl PartitionStream for MemoryStream {
    fn poll_fetch(
        &mut self,
        cx: &mut Context<'_>,
        limits: FetchLimits,
    ) -> Poll<Result<Fetched, TransportError>> {
        self.lease.waker.register(cx.waker());
        if self.lease.is_silenced() {
            return Poll::Pending;
        }
        if self.lease.is_over() {
            return Poll::Ready(Ok(Fetched::Ended));
        }
        ready!(self.poll_fault(cx))?;
        let limits = FetchLimits {
            bytes: limits.bytes.min(self.max_bytes),
            ..limits
        };
        let fetched = ready!(self.poll_log(limits));
        self.fault = None;
        Poll::Ready(fetched)
    }
}
