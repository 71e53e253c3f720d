//! Who does what in a cluster: leaders, copies in sync, coordinators.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::metadata::{Metadata, MetadataPartition};

use super::Cluster;
use crate::wait::until;

/// As in `test-broker.properties`.
const OFFSETS_PARTITIONS: i32 = 8;
const OFFSETS: &str = "__consumer_offsets";

impl Cluster {
    /// Return the id of the node that leads a partition; `None` while nobody does, or where the topic
    /// is not known yet.
    pub async fn leader(&self, topic: &str, partition: i32) -> Option<u32> {
        let leader = self.look_at(topic, partition, MetadataPartition::leader).await?;
        u32::try_from(leader).ok()
    }

    /// Return the ids of the nodes that have a copy of a partition; `None` where the topic is not known yet.
    pub async fn copies(&self, topic: &str, partition: i32) -> Option<Vec<u32>> {
        let ids = |it: &MetadataPartition| it.replicas().iter().map(|id| id.cast_unsigned()).collect();
        self.look_at(topic, partition, ids).await
    }

    /// Return the ids of the nodes whose copy of a partition is in sync.
    pub async fn in_sync(&self, topic: &str, partition: i32) -> Option<Vec<u32>> {
        let ids = |it: &MetadataPartition| it.isr().iter().map(|id| id.cast_unsigned()).collect();
        self.look_at(topic, partition, ids).await
    }

    async fn look_at<T>(
        &self,
        topic: &str,
        partition: i32,
        look: impl Fn(&MetadataPartition) -> T,
    ) -> Option<T> {
        let metadata = self.metadata(Some(topic.to_owned())).await?;
        let topic = metadata.topics().iter().find(|it| it.name() == topic)?;
        topic
            .partitions()
            .iter()
            .find(|it| it.id() == partition)
            .map(look)
    }

    /// Return the id of the node that coordinates a group; `None` while nobody does, or before the
    /// first group of the cluster.
    pub async fn coordinator(&self, group: &str) -> Option<u32> {
        self.leader(OFFSETS, coordinating_partition(group)).await
    }

    /// Wait until all nodes are known, each partition is led, and each of its copies is in sync.
    ///
    /// Before the next node is killed: with two of three copies gone, a partition takes no records.
    ///
    /// # Panics
    /// When that takes longer than two minutes.
    pub async fn wait_until_in_sync(&self) {
        until("all copies are in sync", async || self.is_in_sync().await).await;
    }

    async fn is_in_sync(&self) -> bool {
        let Some(metadata) = self.metadata(None).await else {
            return false;
        };
        let complete = |it: &MetadataPartition| it.leader() >= 0 && it.isr().len() == it.replicas().len();
        metadata.brokers().len() == self.nodes.len()
            && metadata
                .topics()
                .iter()
                .flat_map(|topic| topic.partitions())
                .all(complete)
    }

    async fn metadata(&self, topic: Option<String>) -> Option<Metadata> {
        let bootstrap = self.bootstrap();
        let asked = tokio::task::spawn_blocking(move || {
            let client: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", bootstrap)
                .create()
                .expect("a client");
            client
                .fetch_metadata(topic.as_deref(), Duration::from_secs(5))
                .ok()
        });
        asked.await.expect("no panic")
    }
}

/// Find the partition of the offsets topic that a group belongs to, as the broker does.
fn coordinating_partition(group: &str) -> i32 {
    let hash = group.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    (hash & i32::MAX) % OFFSETS_PARTITIONS
}

#[cfg(test)]
mod tests {
    use super::coordinating_partition;

    #[test]
    fn groups_are_hashed_as_java_hashes_strings() {
        // "orders".hashCode() is -1008770331, "a".hashCode() is 97.
        assert_eq!(coordinating_partition("a"), 97 % 8);
        assert_eq!(coordinating_partition("orders"), (-1_008_770_331 & i32::MAX) % 8);
    }
}
