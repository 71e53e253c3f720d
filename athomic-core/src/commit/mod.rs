//! Which offset is safe to commit. Stage 9 of 9.
//!
//! Each assignment of a partition has an [`OffsetTracker`] of its own, so what was fetched under an
//! earlier assignment can only settle in a tracker that nobody reads any more: a late
//! acknowledgement cannot reach the new one.
//!
//! Invariant: an offset is committed only when it and all lower ones that were fetched are settled.
//!
//! Offsets fall only when the log itself was cut, as by an unclean leader election. What is fetched then
//! are other messages, so the tracker begins anew, and the commit falls with the log: left where it was,
//! it would skip what is written below it from now on.

use std::collections::VecDeque;

use crate::message::Offset;
use crate::mutant::{self, Mutant};

/// A fetched message's place in its tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u64);

impl Slot {
    /// Return the place of the message that was tracked next after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Follows the messages of one assigned partition from fetch to settlement.
///
/// It walks the offsets that were fetched, not the numbers between them, so that compaction and
/// transaction markers, which leave holes, are no obstacle.
///
/// ```
/// use athomic_core::commit::OffsetTracker;
///
/// let mut tracker = OffsetTracker::default();
/// let (seven, nine) = (tracker.track(7), tracker.track(9));
/// tracker.settle(nine);
/// assert_eq!(tracker.committable(), None, "7 is still in flight");
/// tracker.settle(seven);
/// assert_eq!(tracker.committable(), Some(10));
/// ```
#[derive(Debug, Default)]
pub struct OffsetTracker {
    /// Fetched and not yet below the watermark, in offset order, with whether each is settled.
    ///
    /// The front is never settled: settling it drains all settled ones behind it. Bounded by the
    /// partition's in-flight limit, so a stuck message holds back memory as well as the commit.
    in_flight: VecDeque<(Offset, bool)>,
    /// The slot of the front of `in_flight`.
    front: u64,
    /// The first slot of the log as it is now. Lower ones are of messages that were cut off, or of the
    /// same ones before they were fetched again.
    begun: u64,
    /// What the next fetch can bring at the lowest; `None` before the first one.
    position: Option<Offset>,
    /// What the group has from this assignment, or where it began to read.
    committed: Option<Offset>,
}

impl OffsetTracker {
    /// Take note of a fetched message. Offsets rise from call to call; where they fall, the log was cut.
    pub fn track(&mut self, offset: Offset) -> Slot {
        if self.is_below(offset) {
            self.begin_anew();
        }
        self.committed.get_or_insert(offset);
        self.position = Some(offset + 1);
        self.in_flight.push_back((offset, false));
        Slot(self.front + self.in_flight.len() as u64 - 1)
    }

    /// Take note that nothing below `position` is left to fetch.
    pub fn advance(&mut self, position: Offset) {
        self.position = self.position.max(Some(position));
    }

    /// Say whether an offset lies below what was fetched: the log was cut.
    #[must_use]
    pub fn is_below(&self, offset: Offset) -> bool {
        self.position.is_some_and(|position| offset < position)
    }

    fn begin_anew(&mut self) {
        self.front += self.in_flight.len() as u64;
        *self = Self {
            front: self.front,
            begun: self.front,
            ..Self::default()
        };
    }

    /// Settle a message. Each is settled once. Those from before the log was cut hold nothing back.
    pub fn settle(&mut self, slot: Slot) {
        if slot < self.begun() {
            return;
        }
        let place = usize::try_from(slot.0 - self.front).expect("fewer messages in flight than memory");
        debug_assert!(!self.in_flight[place].1, "settled once");
        self.in_flight[place].1 = true;
        while self.in_flight.front().is_some_and(|(_, settled)| *settled) {
            self.in_flight.pop_front();
            self.front += 1;
        }
    }

    /// Return the offset to commit, if it is above what was committed before.
    #[must_use]
    pub fn committable(&self) -> Option<Offset> {
        let watermark = self.watermark()?;
        (self.committed.is_none_or(|committed| watermark > committed)).then_some(watermark)
    }

    /// Return the offset below which all is settled; `None` before the first fetch.
    #[must_use]
    pub fn watermark(&self) -> Option<Offset> {
        self.in_flight
            .front()
            .map(|(offset, _)| *offset)
            .filter(|_| !mutant::is(Mutant::CommitsThePosition))
            .or(self.position)
    }

    /// Return the first slot of the log as it is now.
    #[must_use]
    pub const fn begun(&self) -> Slot {
        Slot(self.begun)
    }

    /// Take note that the group has an offset that was to be committed when the log began with a slot.
    pub fn mark_committed(&mut self, offset: Offset, begun: Slot) {
        if begun == self.begun() {
            self.committed = self.committed.max(Some(offset));
        }
    }

    /// Return how many messages stand between the lowest that is not settled and the last fetched.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// What can happen to a tracker.
    #[derive(Debug, Clone)]
    enum Step {
        /// Fetch a message after a hole of this size.
        Fetch(i64),
        /// Settle one of those in flight, chosen by this number.
        Settle(usize),
        /// The log goes on for so many offsets without a message.
        Advance(i64),
        /// Commit what can be committed.
        Commit,
        /// The log loses so many of its last offsets.
        Cut(i64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..4i64).prop_map(Step::Fetch),
            4 => any::<usize>().prop_map(Step::Settle),
            1 => (0..5i64).prop_map(Step::Advance),
            1 => Just(Step::Commit),
            1 => (1..5i64).prop_map(Step::Cut),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        /// The model is the set of unsettled offsets and the position.
        #[test]
        fn the_watermark_is_the_lowest_unsettled_offset_or_the_position(steps in steps(), start in 0..1000i64) {
            let mut tracker = OffsetTracker::default();
            let mut unsettled: BTreeMap<Offset, Slot> = BTreeMap::new();
            let mut cut_off: Vec<Slot> = Vec::new();
            let (mut position, mut known, mut committed) = (start, false, None);
            let mut cut = None;
            for step in steps {
                match step {
                    Step::Cut(by) => cut = known.then_some(position - by),
                    Step::Fetch(hole) => {
                        if let Some(place) = cut.take() {
                            cut_off.extend(std::mem::take(&mut unsettled).into_values());
                            (position, committed) = (place - hole, None);
                        }
                        let offset = position + hole;
                        unsettled.insert(offset, tracker.track(offset));
                        committed = committed.or(Some(offset));
                        (position, known) = (offset + 1, true);
                    }
                    Step::Settle(choice) if !unsettled.is_empty() => {
                        let offset = *unsettled.keys().nth(choice % unsettled.len()).expect("within");
                        tracker.settle(unsettled.remove(&offset).expect("present"));
                    }
                    Step::Settle(_) => cut_off.drain(..).for_each(|slot| tracker.settle(slot)),
                    Step::Advance(by) => {
                        cut = None;
                        position += by;
                        known = true;
                        tracker.advance(position);
                    }
                    Step::Commit => {
                        if let Some(offset) = tracker.committable() {
                            prop_assert!(committed.is_none_or(|before| offset > before), "commits rise");
                            tracker.mark_committed(offset, tracker.begun());
                            committed = Some(offset);
                        }
                    }
                }
                let watermark = unsettled.keys().next().copied().or(known.then_some(position));
                let expected = watermark.filter(|&mark| committed.is_none_or(|before| mark > before));
                prop_assert_eq!(tracker.committable(), expected);
            }
        }
    }

    #[test]
    fn commit_waits_for_lower_offsets() {
        let mut tracker = OffsetTracker::default();
        let slots: Vec<_> = (10..15).map(|offset| tracker.track(offset)).collect();
        for &slot in slots[1..].iter().rev() {
            tracker.settle(slot);
            assert_eq!(tracker.committable(), None);
        }
        tracker.settle(slots[0]);
        assert_eq!(tracker.committable(), Some(15));
    }

    #[test]
    fn a_trailing_marker_moves_the_commit_to_the_end_of_the_log() {
        let mut tracker = OffsetTracker::default();
        let slot = tracker.track(3);
        tracker.advance(5);
        assert_eq!(tracker.committable(), None);
        tracker.settle(slot);
        assert_eq!(tracker.committable(), Some(5));
    }

    #[test]
    fn what_was_committed_is_not_committed_again() {
        let mut tracker = OffsetTracker::default();
        let slot = tracker.track(0);
        tracker.settle(slot);
        tracker.mark_committed(1, tracker.begun());
        assert_eq!(tracker.committable(), None);
    }

    #[test]
    fn when_the_log_was_cut_the_commit_falls_with_it() {
        let mut tracker = OffsetTracker::default();
        let old: Vec<_> = (0..10).map(|offset| tracker.track(offset)).collect();
        old[..8].iter().for_each(|slot| tracker.settle(*slot));
        let (committed, begun) = (tracker.committable().unwrap(), tracker.begun());

        let new = [tracker.track(5), tracker.track(6)];
        tracker.settle(old[8]);
        tracker.mark_committed(committed, begun);
        assert_eq!(tracker.in_flight(), 2);
        tracker.settle(new[0]);
        assert_eq!(tracker.committable(), Some(6));
    }
}
