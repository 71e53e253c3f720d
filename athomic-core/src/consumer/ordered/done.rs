//! What is done of an aggregate and the store does not know yet.

use std::collections::VecDeque;

use super::item::Item;
use crate::message::Timestamp;
use crate::store::ordering::{Aggregate, Completion, FencingToken};

/// Messages that are done, until the store knows: they follow each other, and were run under one lease.
#[derive(Debug, Default)]
pub(super) struct Done {
    items: VecDeque<Item>,
    /// The lease.
    token: Option<FencingToken>,
    /// The time of the newest record.
    time: i64,
    /// Bytes of all of them.
    bytes: usize,
    /// How many of them the store is being told of, and their bytes.
    told: (usize, usize),
    /// Whether they stand in line to be told.
    pub(super) in_line: bool,
}

impl Done {
    /// Take a message in, and say how many bytes it has.
    pub(super) fn push(&mut self, mut item: Item, token: FencingToken) -> usize {
        debug_assert!(
            self.items
                .back()
                .is_none_or(|last| last.sequence + 1 == item.sequence)
        );
        let time = item.message.timestamp().map_or(0, Timestamp::as_millis);
        self.time = if self.items.is_empty() {
            time
        } else {
            self.time.max(time)
        };
        self.token = Some(token);
        item.places.finish();
        let bytes = item.message.size();
        self.bytes += bytes;
        self.items.push_back(item);
        bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Say whether there is something that the store is not being told of.
    pub(super) fn has_news(&self) -> bool {
        self.told.0 < self.items.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Item> {
        self.items.iter()
    }

    /// Return the place of the first.
    pub(super) fn first(&self) -> Option<u64> {
        self.items.front().map(|item| item.sequence)
    }

    /// Return the place of the last.
    pub(super) fn last(&self) -> Option<u64> {
        self.items.back().map(|item| item.sequence)
    }

    /// Tell all of them at once.
    pub(super) fn tell(&mut self, aggregate: &Aggregate, keep: bool) -> Option<Completion> {
        let (first, last) = (self.items.front()?, self.items.back()?);
        self.told = (self.items.len(), self.bytes);
        Some(Completion {
            aggregate: aggregate.clone(),
            first: first.sequence,
            last: last.sequence,
            token: self.token?,
            digest: last.digest,
            time: self.time,
            keep,
            skip: None,
        })
    }

    /// Settle those that the store was told of, and say how many they were, and their bytes.
    pub(super) fn settle_told(&mut self) -> (u64, usize) {
        let (count, bytes) = std::mem::take(&mut self.told);
        self.items.drain(..count).for_each(|item| item.places.settle());
        self.bytes -= bytes;
        (count as u64, bytes)
    }

    /// Take all of them back, with their bytes: what the store was told does not count, or nobody knows.
    pub(super) fn take(&mut self) -> (VecDeque<Item>, usize) {
        self.told = (0, 0);
        (std::mem::take(&mut self.items), std::mem::take(&mut self.bytes))
    }
}
