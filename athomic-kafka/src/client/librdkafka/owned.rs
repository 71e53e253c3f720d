//! What a member owns: its partitions, and the client that fetches them.
//!
//! # Invariants
//! - A partition's stream ends before the partition is fetched no more.
//! - A partition is fetched from where the group stands, or where the settings say; see `starting.rs`.

use std::collections::HashMap;
use std::sync::Arc;

use athomic_core::message::TopicPartition;
use athomic_core::settings::OffsetReset;
use athomic_core::transport::{Assignment, AssignmentEpoch};

use super::commits::Committer;
use super::native::{Begin, Client, Committed, Queue};
use super::partition::{KafkaPartitionStream, Slot};
use super::topics::Topics;
use super::{Code, Fault};
use crate::error::Endpoint;

/// The partitions of a member.
pub(super) struct Owned {
    fetch: Arc<Client>,
    /// Of the member: who reads wakes the polling thread by it.
    queue: Arc<Queue>,
    endpoint: Arc<Endpoint>,
    committer: Arc<Committer>,
    offset_reset: OffsetReset,
    partitions: HashMap<TopicPartition, Held>,
    epoch: u64,
    has_begun: bool,
}

struct Held {
    slot: Arc<Slot>,
    /// Whether it is being fetched.
    begun: bool,
}

impl Owned {
    pub(super) fn new(
        fetch: Arc<Client>,
        queue: Arc<Queue>,
        endpoint: Arc<Endpoint>,
        committer: Arc<Committer>,
        offset_reset: OffsetReset,
    ) -> Self {
        Self {
            fetch,
            queue,
            endpoint,
            committer,
            offset_reset,
            partitions: HashMap::new(),
            epoch: 0,
            has_begun: false,
        }
    }

    /// Say whether a log that cannot be read from where the group is ends the consumer.
    pub(super) fn stops_at_resets(&self) -> bool {
        self.offset_reset == OffsetReset::Fail
    }

    pub(super) fn all(&self) -> Vec<TopicPartition> {
        self.partitions.keys().cloned().collect()
    }

    pub(super) fn of_topic(&self, topic: &str) -> Vec<TopicPartition> {
        let of_topic = self
            .partitions
            .keys()
            .filter(|partition| &*partition.topic == topic);
        of_topic.cloned().collect()
    }

    pub(super) fn slots(&self, partitions: &[TopicPartition]) -> Vec<Arc<Slot>> {
        let held = partitions
            .iter()
            .filter_map(|partition| self.partitions.get(partition));
        held.map(|held| Arc::clone(&held.slot)).collect()
    }

    /// Take partitions, which give nothing until they [`begin`](Self::begin).
    pub(super) fn take(&mut self, partitions: &[TopicPartition]) -> Vec<Assignment> {
        self.epoch += 1;
        let epoch = AssignmentEpoch(self.epoch);
        partitions
            .iter()
            .filter_map(|partition| {
                let slot = Slot::open(&self.fetch, partition, &self.queue)?;
                let stream = self.stream(partition, Arc::clone(&slot));
                self.committer.own(partition.clone(), Arc::clone(&slot));
                self.partitions
                    .insert(partition.clone(), Held { slot, begun: false });
                Some(Assignment {
                    partition: partition.clone(),
                    epoch,
                    stream: Box::new(stream),
                })
            })
            .collect()
    }

    fn stream(&self, partition: &TopicPartition, slot: Arc<Slot>) -> KafkaPartitionStream {
        let (client, endpoint) = (Arc::clone(&self.fetch), Arc::clone(&self.endpoint));
        KafkaPartitionStream::new(partition.clone(), slot, client, endpoint, self.stops_at_resets())
    }

    /// Fetch partitions from where the group stands, or as the settings say where it stands nowhere.
    pub(super) fn begin_at_commits(
        &mut self,
        known: Vec<(TopicPartition, Committed)>,
        topics: &Topics,
    ) -> Result<(), Fault> {
        let mut begun = Vec::with_capacity(known.len());
        for (partition, committed) in known {
            let is_settling = topics.is_settling(&partition.topic);
            let committed = committed.map(|offset| offset.filter(|_| !is_settling));
            match committed.and_then(|offset| self.place(offset, topics.was_added(&partition))) {
                Ok(begin) => begun.push((partition, begin)),
                Err(fault) => self.fail(&partition, &fault),
            }
        }
        self.begin(begun)
    }

    /// Return where to go on in a log that cannot be read from where the group is.
    pub(super) fn reset_place(&self) -> Begin {
        match self.offset_reset {
            OffsetReset::Latest => Begin::Newest,
            OffsetReset::Earliest | OffsetReset::Fail => Begin::Oldest,
        }
    }

    /// Return the partitions whose readers have lost their places since this was asked last.
    pub(super) fn without_a_place(&self) -> Vec<TopicPartition> {
        let lost = self
            .partitions
            .iter()
            .filter(|(_, held)| held.slot.takes_a_new_place());
        lost.map(|(partition, _)| partition.clone()).collect()
    }

    fn place(&self, committed: Option<i64>, was_added: bool) -> Result<Begin, Fault> {
        match (committed, self.offset_reset) {
            (Some(offset), _) => Ok(Begin::At(offset)),
            (None, OffsetReset::Fail) => Err(Fault::of(Code::AutoOffsetReset)),
            (None, _) if was_added => Ok(Begin::Oldest),
            (None, _) => Ok(self.reset_place()),
        }
    }

    /// Fetch partitions that are owned and are not fetched yet.
    pub(super) fn begin(&mut self, mut places: Vec<(TopicPartition, Begin)>) -> Result<(), Fault> {
        places.retain(|(partition, _)| {
            let held = self.partitions.get_mut(partition);
            held.is_some_and(|held| !std::mem::replace(&mut held.begun, true))
        });
        if places.is_empty() {
            return Ok(());
        }
        self.has_begun = true;
        self.fetch.start(&places)
    }

    /// Make new connections with another password.
    pub(super) fn set_credentials(&self, user: &str, password: &str) -> Result<(), Fault> {
        self.fetch.set_credentials(user, password)
    }

    /// Say whether a partition was ever fetched.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Let every read of a partition fail.
    pub(super) fn fail(&self, partition: &TopicPartition, fault: &Fault) {
        if let Some(held) = self.partitions.get(partition) {
            held.slot.fail(fault.clone());
        }
    }

    /// End the streams, then fetch no more, then free what was fetched ahead.
    pub(super) fn stop(&mut self, partitions: &[TopicPartition]) {
        let stopped: Vec<_> = partitions
            .iter()
            .filter_map(|partition| self.partitions.remove_entry(partition))
            .collect();
        self.committer.disown(partitions);
        stopped.iter().for_each(|(_, held)| held.slot.end());
        let begun = stopped.iter().filter(|(_, held)| held.begun);
        let begun: Vec<_> = begun.map(|(partition, _)| partition.clone()).collect();
        if !begun.is_empty()
            && let Err(fault) = self.fetch.stop(&begun)
        {
            tracing::warn!(%fault, "partitions are still being fetched");
        }
        stopped.iter().for_each(|(_, held)| held.slot.free());
    }
}
