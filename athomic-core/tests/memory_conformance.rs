//! The embedded broker keeps the transport contract, under a paused clock.

use std::time::Duration;

use athomic_core::message::{Offset, TopicPartition};
use athomic_core::testing::transport::{Capabilities, ConsumerOptions, TestCluster};
use athomic_core::transport::memory::{MemoryBroker, MemoryConsumerConfig, MemoryTransport};

struct Cluster(MemoryBroker);

impl TestCluster for Cluster {
    type Transport = MemoryTransport;

    async fn transport(&self, options: ConsumerOptions) -> MemoryTransport {
        self.0.transport(MemoryConsumerConfig {
            offset_reset: options.offset_reset,
            ..MemoryConsumerConfig::default()
        })
    }

    fn quiet(&self) -> Duration {
        Duration::from_millis(10)
    }

    async fn restart(&self) {
        self.0.control().restart();
    }

    async fn abort_transaction(&self, partition: &TopicPartition, records: u32) {
        let written = self.0.control().write_unseen(partition, records);
        written.expect("the partition exists");
    }

    async fn delete_before(&self, partition: &TopicPartition, offset: Offset) {
        let deleted = self.0.control().delete_before(partition, offset);
        deleted.expect("the partition exists");
    }

    async fn add_partitions(&self, topic: &str, partitions: u32) {
        let added = self.0.control().add_partitions(topic, partitions);
        added.expect("the topic exists");
    }

    async fn recreate_topic(&self, topic: &str, partitions: u32) {
        let control = self.0.control();
        control.delete_topic(topic).expect("the topic exists");
        control.create_topic(topic, partitions);
    }
}

async fn cluster() -> Cluster {
    // Every deadline and every quiet time of the suite then costs nothing.
    tokio::time::pause();
    Cluster(MemoryBroker::new())
}

athomic_core::transport_conformance!(cluster, Capabilities::ALL);
