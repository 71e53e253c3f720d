//! What is done of an aggregate and the store does not know yet.
//!
//! Where the next message may start before the store knows of the last, much may be done and not told. Of
//! these messages nothing is kept but their range and where their offsets are to be settled.

use std::collections::VecDeque;

use super::flow::{Place, settle_all};
use super::item::Item;
use crate::message::Timestamp;
use crate::store::ordering::{Aggregate, Completion, Digest, FencingToken};

/// Messages that are done, until the store knows: they follow each other, and were run under one lease.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Those whose messages were let go.
    gone: Option<Gone>,
    /// Where these are to be settled, in their order.
    places: VecDeque<Place>,
    /// The last one, if its message is still here, so that it can run again.
    kept: Option<Item>,
    /// The lease.
    token: Option<FencingToken>,
    /// The time of the newest record.
    time: i64,
    /// Of which the store is being told.
    told: Option<Told>,
    /// Whether they stand in line to be told.
    pub(super) in_line: bool,
}

/// A range of messages, and the digest of the last one.
#[derive(Debug, Clone, Copy)]
struct Gone {
    first: u64,
    last: u64,
    digest: Digest,
}

/// Up to which message, and how many of the places are settled with these.
#[derive(Debug, Clone, Copy)]
struct Told {
    last: u64,
    places: usize,
}

impl Done {
    /// Take a message in and let it go.
    pub(super) fn push(&mut self, item: Item, token: FencingToken) {
        self.take_note(&item, token);
        self.gone = Some(Gone {
            first: self.gone.map_or(item.sequence, |gone| gone.first),
            last: item.sequence,
            digest: item.digest,
        });
        item.places.let_go(&mut self.places);
    }

    /// Take the last message in for now; it may have to run again.
    pub(super) fn push_kept(&mut self, mut item: Item, token: FencingToken) {
        self.take_note(&item, token);
        item.places.finish();
        self.kept = Some(item);
    }

    fn take_note(&mut self, item: &Item, token: FencingToken) {
        debug_assert!(self.kept.is_none());
        debug_assert!(self.last().is_none_or(|last| last + 1 == item.sequence));
        let time = item.message.timestamp().map_or(0, Timestamp::as_millis);
        self.time = if self.is_empty() {
            time
        } else {
            self.time.max(time)
        };
        self.token = Some(token);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.gone.is_none() && self.kept.is_none()
    }

    /// Return how many there are.
    pub(super) fn len(&self) -> u64 {
        let range = self.first().zip(self.last());
        range.map_or(0, |(first, last)| last - first + 1)
    }

    /// Say whether there is something that the store is not being told of.
    pub(super) fn has_news(&self) -> bool {
        self.last() > self.told.map(|told| told.last)
    }

    /// Look at where they are to be settled.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        let kept = self.kept.iter().flat_map(|item| item.places.iter());
        self.places.iter().chain(kept)
    }

    /// Return the sequence of the first.
    pub(super) fn first(&self) -> Option<u64> {
        let kept = || Some(self.kept.as_ref()?.sequence);
        self.gone.map(|gone| gone.first).or_else(kept)
    }

    /// Return the sequence of the last.
    pub(super) fn last(&self) -> Option<u64> {
        let kept = self.kept.as_ref().map(|item| item.sequence);
        kept.or(self.gone.map(|gone| gone.last))
    }

    /// Tell all of them at once.
    pub(super) fn tell(&mut self, aggregate: &Aggregate, keep: bool) -> Option<Completion> {
        let (first, last) = (self.first()?, self.last()?);
        self.told = Some(Told {
            last,
            places: self.places.len(),
        });
        let kept = self.kept.as_ref().map(|item| item.digest);
        Some(Completion {
            aggregate: aggregate.clone(),
            first,
            last,
            token: self.token?,
            digest: kept.or(self.gone.map(|gone| gone.digest))?,
            time: self.time,
            keep,
            skip: None,
        })
    }

    /// Settle those that the store was told of, and say how many they were.
    pub(super) fn settle_told(&mut self) -> u64 {
        let before = self.len();
        let Some(told) = self.told.take() else { return 0 };
        settle_all(self.places.drain(..told.places));
        if let Some(item) = self.kept.take_if(|item| item.sequence <= told.last) {
            item.places.settle();
        }
        self.gone = self.gone.filter(|gone| gone.last > told.last).map(|gone| Gone {
            first: told.last + 1,
            ..gone
        });
        before - self.len()
    }

    /// Take back the message that is still here. Of the others the store is told anew.
    pub(super) fn take_kept(&mut self) -> Option<Item> {
        self.told = None;
        self.kept.take()
    }

    /// Forget those that do not count and that were let go; say where they would have been settled.
    pub(super) fn take_gone(&mut self) -> VecDeque<Place> {
        (self.told, self.gone) = (None, None);
        std::mem::take(&mut self.places)
    }
}
