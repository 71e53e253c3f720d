//! The topics of the broker and the logs of their partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::log::PartitionLog;
use super::partitioner::partition_for_key;
use crate::message::{Partition, TopicPartition};
use crate::transport::{OutgoingMessage, TransportError};

/// One topic.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    /// Differs between a topic and another one of the same name made after it was deleted, so that
    /// a stream never reads on in the wrong one.
    pub(super) id: TopicId,
    pub(super) partitions: Vec<PartitionLog>,
    /// How many records a partition keeps.
    pub(super) retention: usize,
    /// How many bytes a record may have: key, payload and headers.
    pub(super) max_message_bytes: usize,
    /// What it was made with, and what was set since.
    pub(super) settings: BTreeMap<String, String>,
    /// Whose turn it is among the partitions, for messages without a key.
    turn: usize,
}

/// Tells topics of the same name apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TopicId(u64);

impl Topic {
    /// Grow to so many partitions; never shrinks.
    pub(super) fn grow(&mut self, partitions: usize) {
        let count = partitions.max(self.partitions.len());
        self.partitions.resize_with(count, PartitionLog::default);
    }

    pub(super) fn count(&self) -> Partition {
        Partition::try_from(self.partitions.len()).unwrap_or(Partition::MAX)
    }

    /// Choose the partition of a message; `None` if it asks for one that there is not.
    pub(super) fn partition_for(&mut self, message: &OutgoingMessage) -> Option<Partition> {
        match (message.partition, &message.key) {
            (Some(asked), _) => (0..self.count()).contains(&asked).then_some(asked),
            (None, Some(key)) => Some(partition_for_key(key, self.count())),
            (None, None) => {
                self.turn = (self.turn + 1) % self.partitions.len();
                Partition::try_from(self.turn).ok()
            }
        }
    }

    pub(super) fn log(&self, partition: Partition) -> Option<&PartitionLog> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }

    pub(super) fn log_mut(&mut self, partition: Partition) -> Option<&mut PartitionLog> {
        self.partitions.get_mut(usize::try_from(partition).ok()?)
    }
}

/// All topics by name.
#[derive(Debug, Default)]
pub(super) struct Topics {
    by_name: BTreeMap<Arc<str>, Topic>,
    made: u64,
}

impl Topics {
    /// Make a topic; `false` if there is one of this name.
    pub(super) fn create(&mut self, name: &str, partitions: usize, retention: usize) -> bool {
        if self.by_name.contains_key(name) {
            return false;
        }
        self.made += 1;
        let mut topic = Topic {
            name: name.into(),
            id: TopicId(self.made),
            partitions: Vec::new(),
            retention,
            max_message_bytes: usize::MAX,
            settings: BTreeMap::new(),
            // The first message without a key goes to partition 0.
            turn: partitions.max(1) - 1,
        };
        topic.grow(partitions.max(1));
        self.by_name.insert(Arc::clone(&topic.name), topic);
        true
    }

    pub(super) fn delete(&mut self, name: &str) -> Option<Topic> {
        self.by_name.remove(name)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.by_name.get_mut(name)
    }

    /// Find a topic to work on.
    pub(super) fn existing(&mut self, name: &str) -> Result<&mut Topic, TransportError> {
        self.by_name.get_mut(name).ok_or_else(|| unknown(name))
    }

    /// Find the log of a partition to work on.
    pub(super) fn existing_log(
        &mut self,
        partition: &TopicPartition,
    ) -> Result<&mut PartitionLog, TransportError> {
        let topic = self.existing(&partition.topic)?;
        topic
            .log_mut(partition.partition)
            .ok_or_else(|| unknown(&partition.topic))
    }

    /// List the partitions of those of the topics that exist.
    pub(super) fn partitions_of<'a>(
        &self,
        topics: impl IntoIterator<Item = &'a Arc<str>>,
    ) -> Vec<TopicPartition> {
        let existing = topics.into_iter().filter_map(|name| self.get(name));
        existing
            .flat_map(|topic| {
                (0..topic.count()).map(|partition| TopicPartition::new(Arc::clone(&topic.name), partition))
            })
            .collect()
    }
}

pub(super) fn unknown(topic: &str) -> TransportError {
    TransportError::UnknownTopic {
        topic: topic.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(partitions: usize) -> Topics {
        let mut topics = Topics::default();
        assert!(topics.create("t", partitions, usize::MAX));
        topics
    }

    #[test]
    fn messages_without_a_key_go_by_turns() {
        let mut topics = topic(3);
        let message = OutgoingMessage::default();
        let places: Vec<_> = (0..4)
            .map(|_| topics.existing("t").unwrap().partition_for(&message))
            .collect();
        assert_eq!(places, [Some(0), Some(1), Some(2), Some(0)]);
    }

    #[test]
    fn a_partition_that_is_not_there_cannot_be_asked_for() {
        let mut topics = topic(2);
        let message = |partition| OutgoingMessage {
            partition: Some(partition),
            ..OutgoingMessage::default()
        };
        let topic = topics.existing("t").unwrap();
        assert_eq!(topic.partition_for(&message(1)), Some(1));
        assert_eq!(topic.partition_for(&message(2)), None);
        assert_eq!(topic.partition_for(&message(-1)), None);
    }

    #[test]
    fn a_topic_made_again_is_another_one() {
        let mut topics = topic(1);
        let first = topics.delete("t").unwrap().id;
        assert!(topics.create("t", 1, 1));
        assert_ne!(topics.get("t").unwrap().id, first);
        assert!(!topics.create("t", 5, 1));
    }
}
