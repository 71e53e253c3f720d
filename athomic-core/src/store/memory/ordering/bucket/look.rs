//! What can be seen.

use super::super::Now;
use super::{Bucket, Parked, State};
use crate::store::ordering::{AggregateReport, BucketReport, Frame, ParkedMessage};

/// How many keys a survey shows of a kind.
const SHOWN: usize = 1000;

impl Bucket {
    pub(in super::super) fn probe(&mut self, key: &str, now: Now<'_>) -> Option<u64> {
        self.expire(key, now);
        self.aggregates.get(key)?.next
    }

    pub(in super::super) fn read(&self, key: &str, from: u64, limit: usize) -> Vec<Frame> {
        let room = self.aggregates.get(key).map(|state| state.room.range(from..));
        let frame = |(&sequence, parked): (&u64, &Parked)| Frame {
            sequence,
            bytes: parked.bytes.clone(),
        };
        room.into_iter().flatten().take(limit).map(frame).collect()
    }

    pub(in super::super) fn survey(&self, number: u16, now: Now<'_>) -> BucketReport {
        let rooms = |filter: fn(&State) -> bool| {
            let all = self.aggregates.iter().filter(move |(_, state)| filter(state));
            all.map(|(key, _)| key.to_string()).take(SHOWN).collect()
        };
        let oldest = self.aggregates.values().filter_map(|state| state.gap).min();
        BucketReport {
            bucket: number,
            rooms: self.due.len() as u64,
            messages: self.messages,
            bytes: self.bytes,
            oldest_gap_ms: oldest.map(|since| u64::try_from(now.millis() - since).unwrap_or_default()),
            halted: rooms(|state| state.halted.is_some()),
            waiting: rooms(|state| !state.room.is_empty()),
            sessions: self.sessions.values().filter(|end| **end > now.millis()).count() as u64,
        }
    }

    pub(in super::super) fn inspect(
        &mut self,
        key: &str,
        limit: usize,
        now: Now<'_>,
    ) -> Option<AggregateReport> {
        self.expire(key, now);
        let state = self.aggregates.get(key)?;
        let parked = |(&sequence, parked): (&u64, &Parked)| ParkedMessage {
            sequence,
            bytes: parked.bytes.len() as u64,
            frame: parked.bytes.clone(),
        };
        Some(AggregateReport {
            key: key.to_owned(),
            next: state.next,
            owner: self.owner(state, now).map(|owner| owner.to_string()),
            token: (state.token > 0).then_some(state.token),
            deliveries: state.deliveries(),
            parked: state.room.len() as u64,
            bytes: state.bytes,
            gap_since: state.gap,
            halted: state.halted.clone(),
            condemned: state.condemned.clone(),
            skipped: state.skipped.front().copied(),
            last_error: state.error.clone(),
            room: state.room.iter().take(limit).map(parked).collect(),
        })
    }
}
