//! Looking at topics and making them.

use std::collections::BTreeMap;

use super::MemoryBroker;
use super::broker::{State, Stopped, pause, unreachable};
use super::faults::{Call, Operation, injected};
use crate::message::{Partition, PartitionOffset, TopicPartition};
use crate::transport::{Admin, NewTopic, TransportError};

/// The topic setting for how many records a partition keeps; the oldest go. Kafka has none like it,
/// so other brokers refuse it.
pub const RETENTION_RECORDS: &str = "athomic.retention.records";

/// An administrator of the embedded broker.
#[derive(Debug)]
pub struct MemoryAdmin {
    broker: MemoryBroker,
}

impl MemoryAdmin {
    pub(super) fn new(broker: MemoryBroker) -> Self {
        Self { broker }
    }

    async fn call<R>(
        &self,
        action: &str,
        apply: impl FnOnce(&mut State) -> Result<R, TransportError>,
    ) -> Result<R, TransportError> {
        let fault = self.broker.faults().decide(&Call::new(Operation::Admin));
        pause(fault.delay).await;
        if fault.fails_before() {
            return Err(fault.error(action));
        }
        let result = {
            let mut state = self.broker.lock();
            if state.down {
                return Err(unreachable(Stopped));
            }
            apply(&mut state)?
        };
        pause(fault.reply_delay).await;
        if fault.fails_after() {
            return Err(injected(action));
        }
        Ok(result)
    }
}

impl Admin for MemoryAdmin {
    async fn partitions(&self, topics: &[String]) -> Result<BTreeMap<String, Partition>, TransportError> {
        let count = |state: &mut State| {
            let known = topics.iter().filter_map(|name| state.topics.get(name));
            Ok(known
                .map(|topic| (topic.name.to_string(), topic.count()))
                .collect())
        };
        self.call("look at topics", count).await
    }

    async fn create_topics(&self, topics: &[NewTopic]) -> Result<(), TransportError> {
        let create = |state: &mut State| {
            for topic in topics {
                let retention = retention(topic)?;
                let partitions = usize::try_from(topic.partitions).unwrap_or(usize::MAX);
                let is_new = state.topics.get(&topic.name).is_none();
                state.create_topic(&topic.name, partitions, retention);
                if let (true, Some(made)) = (is_new, state.topics.get_mut(&topic.name)) {
                    made.settings = topic.config.clone();
                }
            }
            Ok(())
        };
        self.call("create topics", create).await
    }

    async fn topic_settings(
        &self,
        topics: &[String],
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>, TransportError> {
        let look = |state: &mut State| {
            let known = topics.iter().filter_map(|name| state.topics.get(name));
            Ok(known
                .map(|topic| (topic.name.to_string(), topic.settings.clone()))
                .collect())
        };
        self.call("look at topic settings", look).await
    }

    async fn committed(
        &self,
        group_id: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<PartitionOffset>, TransportError> {
        let look = |state: &mut State| {
            let Some(group) = state.peek(group_id) else {
                return Ok(Vec::new());
            };
            let commit = |partition: &TopicPartition| {
                let offset = *group.committed.get(partition)?;
                Some(PartitionOffset {
                    partition: partition.clone(),
                    offset,
                })
            };
            Ok(partitions.iter().filter_map(commit).collect())
        };
        self.call("look at committed offsets", look).await
    }
}

/// Read the one topic setting that this broker knows. Kafka's own are kept, to be looked at, and
/// have no effect.
fn retention(topic: &NewTopic) -> Result<Option<usize>, TransportError> {
    let parse = |text: &String| {
        text.parse().map_err(|error| TransportError::Other {
            action: format!("create topic `{}`: read `{RETENTION_RECORDS}`", topic.name),
            retriable: false,
            source: Box::new(error),
        })
    };
    topic.config.get(RETENTION_RECORDS).map(parse).transpose()
}
