//! A message in a shard, and where its offset is to be settled.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::lane::PartitionState;
use super::flow::Place;
use crate::message::RawMessage;
use crate::store::ordering::Digest;

/// A message with what belongs to it.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) sequence: u64,
    pub(super) digest: Digest,
    pub(super) message: RawMessage,
    /// Where its offset is to be settled; none if it came from a room.
    pub(super) places: Places,
}

/// Places of one message: one almost always, more if it was produced twice, none if it came from a room.
#[derive(Debug, Default)]
pub(super) struct Places {
    first: Option<Place>,
    #[expect(clippy::box_collection, reason = "messages without any are smaller")]
    others: Option<Box<Vec<Place>>>,
}

impl Places {
    pub(super) fn one(place: Place) -> Self {
        Self {
            first: Some(place),
            others: None,
        }
    }

    pub(super) fn add(&mut self, places: Self) {
        for place in places.into_iter() {
            match self.first {
                None => self.first = Some(place),
                Some(_) => self.others.get_or_insert_default().push(place),
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.first
            .iter()
            .chain(self.others.iter().flat_map(|others| others.iter()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Take note that the message is done; see [`Place::finish`].
    pub(super) fn finish(&mut self) {
        self.iter_mut().for_each(Place::finish);
    }

    /// Take note that the message is done and let it go; where it is to be settled is added to others.
    pub(super) fn let_go(self, others: &mut VecDeque<Place>) {
        others.extend(self.into_iter().map(|mut place| {
            place.let_go();
            place
        }));
    }

    /// Let go of those whose partition is on its way out.
    pub(super) fn drop_stopping(&mut self) {
        if let Some(others) = &mut self.others {
            others.retain(|place| !place.is_stopping());
        }
        if self.first.as_ref().is_some_and(Place::is_stopping) {
            self.first = self.others.as_mut().and_then(|others| others.pop());
        }
    }

    /// Return the assignment that it came from; none if it came from a room.
    pub(super) fn state(&self) -> Option<Arc<PartitionState>> {
        let place = self.first.as_ref()?;
        Some(Arc::clone(&place.flow.state))
    }

    pub(super) fn settle(self) {
        self.into_iter().for_each(Place::settle);
    }

    fn into_iter(self) -> impl Iterator<Item = Place> {
        let others = self.others.map_or_else(Vec::new, |others| *others);
        self.first.into_iter().chain(others)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        let others = self.others.iter_mut().flat_map(|others| others.iter_mut());
        self.first.iter_mut().chain(others)
    }

    /// Let the bytes go; see [`Place::hold`].
    pub(super) fn hold(&mut self) {
        self.iter_mut().for_each(Place::hold);
    }

    /// See [`Place::begin_anew`].
    pub(super) fn begin_anew(&mut self) {
        self.iter_mut().for_each(Place::begin_anew);
    }
}

/// A message that waits in the room and whose offset is held.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) sequence: u64,
    pub(super) digest: Digest,
    pub(super) places: Places,
}
