//! The log of one partition: records in offset order, with holes where nobody reads.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::lease::Lease;
use super::wakes::Wakes;
use crate::message::{Offset, OwnedRecord};
use crate::transport::FetchLimits;

/// The log of one partition.
///
/// Invariant: offsets rise strictly, and `start <= offset < end` for each record. Offsets in that
/// range without a record are holes: transaction markers, aborted or compacted records.
#[derive(Debug, Default)]
pub(super) struct PartitionLog {
    /// Shared with the batches that were fetched, so that a read copies no record.
    records: VecDeque<Arc<OwnedRecord>>,
    start: Offset,
    end: Offset,
    /// Where the log was cut off, each time that it was.
    cuts: Vec<Offset>,
    /// Streams that reached the end and wait for more. Drained by each append.
    waiting: Vec<Arc<Lease>>,
}

/// What a read finds at a position.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Records, at least one.
    Records(Vec<Arc<OwnedRecord>>),
    /// Nothing any more; the log ends here.
    End(Offset),
    /// The position lies outside of the log.
    OutOfRange,
}

impl PartitionLog {
    /// Return the offsets from the oldest that is kept to the next to be written.
    pub(super) fn range(&self) -> Range<Offset> {
        self.start..self.end
    }

    /// Return all records that are kept.
    pub(super) fn records(&self) -> impl Iterator<Item = &Arc<OwnedRecord>> {
        self.records.iter()
    }

    /// Write a record at the end and return its offset.
    pub(super) fn append(&mut self, mut record: OwnedRecord, wakes: &mut Wakes) -> Offset {
        record.offset = self.end;
        self.records.push_back(Arc::new(record));
        self.skip(1, wakes)
    }

    /// Move the end on by offsets that no reader sees, and return the first of them.
    pub(super) fn skip(&mut self, offsets: u32, wakes: &mut Wakes) -> Offset {
        let first = self.end;
        self.end += Offset::from(offsets);
        self.wake_readers(wakes);
        first
    }

    /// Keep at most so many records; the oldest go.
    pub(super) fn retain_newest(&mut self, count: usize) {
        if self.records.len() > count {
            self.records.drain(..self.records.len() - count);
            self.start = self.records.front().map_or(self.end, |record| record.offset);
        }
    }

    /// Delete everything below an offset: the log starts there.
    pub(super) fn delete_before(&mut self, offset: Offset) {
        self.start = offset.clamp(self.start, self.end);
        self.records.drain(..self.index_of(self.start));
    }

    /// Lose everything from an offset on: what is written next has offsets that others had.
    pub(super) fn cut(&mut self, offset: Offset, wakes: &mut Wakes) {
        self.end = offset.clamp(self.start, self.end);
        self.records.truncate(self.index_of(self.end));
        self.cuts.push(self.end);
        self.wake_readers(wakes);
    }

    /// Return how often the log was cut.
    pub(super) fn cuts(&self) -> usize {
        self.cuts.len()
    }

    /// Return where the log was cut below a position since it had been cut so often.
    pub(super) fn cut_below(&self, position: Offset, known: usize) -> Option<Offset> {
        let cuts = self.cuts[known..].iter().copied();
        cuts.min().filter(|cut| *cut < position)
    }

    /// Delete single records and leave holes; the log's bounds stay.
    pub(super) fn compact(&mut self, mut keep: impl FnMut(&OwnedRecord) -> bool) {
        self.records.retain(|record| keep(record));
    }

    /// Read from a position, at most as much as the limits say and at least one record if any.
    pub(super) fn read(&self, position: Offset, limits: FetchLimits) -> Read {
        if !(self.start..=self.end).contains(&position) {
            return Read::OutOfRange;
        }
        let mut bytes = 0;
        let records: Vec<_> = self
            .records
            .range(self.index_of(position)..)
            .take(limits.messages.max(1))
            .take_while(|record| {
                let room = bytes < limits.bytes.max(1);
                bytes += size(record);
                room
            })
            .cloned()
            .collect();
        if records.is_empty() {
            Read::End(self.end)
        } else {
            Read::Records(records)
        }
    }

    /// Wake a stream at the next append.
    pub(super) fn wait(&mut self, reader: &Arc<Lease>) {
        self.waiting
            .retain(|other| !other.is_over() && !Arc::ptr_eq(other, reader));
        self.waiting.push(Arc::clone(reader));
    }

    /// Wake all streams that wait at the end.
    pub(super) fn wake_readers(&mut self, wakes: &mut Wakes) {
        for reader in self.waiting.drain(..) {
            reader.wake(wakes);
        }
    }

    fn index_of(&self, offset: Offset) -> usize {
        self.records.partition_point(|record| record.offset < offset)
    }
}

/// Return what a record weighs in limits.
fn size(record: &OwnedRecord) -> usize {
    record.key.as_ref().map_or(0, bytes::Bytes::len) + record.payload.as_ref().map_or(0, bytes::Bytes::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_of(payloads: &[&'static str]) -> PartitionLog {
        let mut log = PartitionLog::default();
        for payload in payloads {
            log.append(OwnedRecord::new(0, *payload), &mut Wakes::default());
        }
        log
    }

    fn check(log: &PartitionLog, position: Offset, messages: usize, bytes: usize, expected: &[Offset]) {
        let Read::Records(records) = log.read(position, FetchLimits { messages, bytes }) else {
            panic!("no records at {position}");
        };
        assert_eq!(
            records.iter().map(|record| record.offset).collect::<Vec<_>>(),
            expected
        );
    }

    const ALL: FetchLimits = FetchLimits {
        messages: usize::MAX,
        bytes: usize::MAX,
    };

    #[test]
    fn reads_stop_at_each_limit() {
        let log = log_of(&["aa", "bb", "cc", "dd"]);
        check(&log, 0, 10, 100, &[0, 1, 2, 3]);
        check(&log, 1, 2, 100, &[1, 2]);
        check(&log, 0, 10, 4, &[0, 1]);
        check(&log, 0, 10, 3, &[0, 1]);
        check(&log, 0, 10, 0, &[0]);
        check(&log, 0, 0, 100, &[0]);
    }

    #[test]
    fn holes_are_stepped_over() {
        let mut log = log_of(&["a", "b", "c"]);
        log.compact(|record| record.offset != 1);
        log.skip(2, &mut Wakes::default());
        check(&log, 1, 10, 100, &[2]);
        assert_eq!(log.read(3, ALL), Read::End(5));
        assert_eq!(log.read(5, ALL), Read::End(5));
    }

    #[test]
    fn retention_raises_the_start() {
        let mut log = log_of(&["a", "b", "c"]);
        log.retain_newest(1);
        assert_eq!(log.range(), 2..3);
        assert_eq!(log.read(1, ALL), Read::OutOfRange);
        assert_eq!(log.read(4, ALL), Read::OutOfRange);
        log.retain_newest(0);
        assert_eq!(log.range(), 3..3);
    }

    #[test]
    fn deleting_before_an_offset_stays_within_the_log() {
        let mut log = log_of(&["a", "b"]);
        log.delete_before(1);
        assert_eq!(log.range(), 1..2);
        log.delete_before(0);
        assert_eq!(log.range(), 1..2);
        log.delete_before(9);
        assert_eq!(log.range(), 2..2);
    }
}
