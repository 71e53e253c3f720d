//! Kafka keeps the transport contract, with either group protocol and either publisher. Runs on the broker that
//! `ATHOMIC_TEST_KAFKA` names, as `cargo xtask services up` prints it, and is skipped without.

mod support;

use std::env;
use std::time::{Duration, Instant};

use athomic_core::message::{Offset, TopicPartition};
use athomic_core::settings::{GroupProtocol, ProducerClient};
use athomic_core::testing::transport::{Capabilities, ConsumerOptions, TestCluster};
use athomic_kafka::KafkaTransport;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::{ClientConfig, Offset as RawOffset};

/// All that the broker can do; it is shared with other tests, so that nobody may restart it.
const CAPABILITIES: Capabilities = Capabilities {
    restart: false,
    ..Capabilities::ALL
};

struct Cluster(GroupProtocol, ProducerClient);

impl Cluster {
    fn config() -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set(
            "bootstrap.servers",
            env::var("ATHOMIC_TEST_KAFKA").expect("a broker"),
        );
        config
    }

    fn admin() -> AdminClient<DefaultClientContext> {
        Self::config().create().expect("an administrator")
    }
}

impl TestCluster for Cluster {
    type Transport = KafkaTransport;

    async fn transport(&self, options: ConsumerOptions) -> KafkaTransport {
        let transport = support::transport(|settings| {
            settings.consumer.auto_offset_reset = options.offset_reset;
            settings.consumer.group_protocol = self.0;
            settings.producer.client = self.1;
            settings.consumer.fetch_max_wait = Duration::from_millis(50);
            let look = ("topic.metadata.refresh.interval.ms".to_owned(), "500".to_owned());
            settings.consumer.librdkafka.extend([look]);
            let give_up = ("topic.metadata.propagation.max.ms".to_owned(), "1000".to_owned());
            settings.producer.librdkafka.extend([give_up]);
        });
        transport.expect("a broker")
    }

    fn available(&self) -> bool {
        env::var_os("ATHOMIC_TEST_KAFKA").is_some()
    }

    fn deadline(&self) -> Duration {
        support::SOON
    }

    async fn abort_transaction(&self, partition: &TopicPartition, records: u32) {
        let partition = partition.clone();
        let aborted = tokio::task::spawn_blocking(move || abort(&partition, records));
        aborted.await.expect("aborted");
    }

    async fn delete_before(&self, partition: &TopicPartition, offset: Offset) {
        let mut list = TopicPartitionList::new();
        let added =
            list.add_partition_offset(&partition.topic, partition.partition, RawOffset::Offset(offset));
        added.expect("an offset");
        let deleted = Self::admin().delete_records(&list, &AdminOptions::new()).await;
        deleted.expect("deleted");
    }

    async fn add_partitions(&self, topic: &str, partitions: u32) {
        let count = usize::try_from(partitions).expect("few");
        let more = NewPartitions::new(topic, count);
        let added = Self::admin()
            .create_partitions([&more], &AdminOptions::new())
            .await;
        added.expect("an answer").remove(0).expect("added");
    }

    async fn recreate_topic(&self, topic: &str, partitions: u32) {
        let admin = Self::admin();
        let deleted = admin.delete_topics(&[topic], &AdminOptions::new()).await;
        deleted.expect("an answer").remove(0).expect("deleted");
        let count = i32::try_from(partitions).expect("few");
        let new = NewTopic::new(topic, count, TopicReplication::Fixed(1));
        let deadline = Instant::now() + support::SOON;
        // The name is free when the controller has gone over the deletion.
        while let Err((_, code)) = admin
            .create_topics([&new], &AdminOptions::new())
            .await
            .expect("an answer")
            .remove(0)
        {
            assert!(Instant::now() < deadline, "not made anew: {code}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn abort(partition: &TopicPartition, records: u32) {
    let producer: BaseProducer = Cluster::config()
        .set("transactional.id", support::unique("transaction"))
        .create()
        .expect("a producer");
    let end = || {
        let ends = producer
            .client()
            .fetch_watermarks(&partition.topic, partition.partition, support::SOON);
        ends.expect("an answer").1
    };
    let before = end();
    producer.init_transactions(support::SOON).expect("ready");
    producer.begin_transaction().expect("begun");
    for _ in 0..records {
        let record = BaseRecord::<(), str>::to(&partition.topic).partition(partition.partition);
        producer.send(record.payload("unseen")).expect("queued");
    }
    producer.flush(support::SOON).expect("written");
    producer.abort_transaction(support::SOON).expect("aborted");
    // The coordinator answers when it has decided, before the marker is written.
    let deadline = Instant::now() + support::SOON;
    while end() <= before + i64::from(records) {
        assert!(Instant::now() < deadline, "no marker was written");
    }
}

macro_rules! on_a_real_broker {
    ($name:ident, $variant:ident, $client:ident) => {
        mod $name {
            use super::*;

            async fn cluster() -> Cluster {
                Cluster(GroupProtocol::$variant, ProducerClient::$client)
            }

            athomic_core::transport_conformance!(cluster, CAPABILITIES);
        }
    };
}

on_a_real_broker!(classic, Classic, Librdkafka);
on_a_real_broker!(consumer, Consumer, Librdkafka);
#[cfg(feature = "bulk")]
on_a_real_broker!(bulk, Consumer, Rskafka);
