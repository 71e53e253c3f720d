//! Looking at topics and making them. Everything but creation blocks, and is called on threads that may.

use std::collections::BTreeMap;
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use athomic_core::message::{Partition, PartitionOffset, TopicPartition};
use athomic_core::transport::NewTopic;
use rdkafka::admin::{self, AdminClient, AdminOptions, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{Code, Fault, FaultKind};

/// How long a question may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a new topic may take to be known to all brokers.
const SPREADING: Duration = Duration::from_secs(2);
/// How long to wait before brokers are asked about it again.
const PAUSE: Duration = Duration::from_millis(100);

type Options = BTreeMap<String, String>;

/// Return the number of partitions of each of the topics that exists. Blocks.
///
/// A broker may lag behind the one that made a topic, so what is unknown is asked for again for a while.
pub(crate) fn partitions(options: &Options, topics: &[String]) -> Result<BTreeMap<String, Partition>, Fault> {
    let client = asking_client(options, None)?;
    let mut found = BTreeMap::new();
    let deadline = Instant::now() + SPREADING;
    loop {
        for topic in topics {
            if !found.contains_key(topic)
                && let Some(count) = partition_count(&client, topic)?
            {
                found.insert(topic.clone(), count);
            }
        }
        if found.len() == topics.len() || Instant::now() >= deadline {
            return Ok(found);
        }
        park_timeout(PAUSE); // nobody unparks this thread; if somebody did, it would ask early
    }
}

fn partition_count(client: &BaseConsumer, topic: &str) -> Result<Option<Partition>, Fault> {
    let metadata = client.fetch_metadata(Some(topic), PATIENCE)?;
    let Some(described) = metadata.topics().first() else {
        return Ok(None);
    };
    match described.error().map(|code| Fault::of(code.into())) {
        None => {
            let count = Partition::try_from(described.partitions().len()).unwrap_or(Partition::MAX);
            Ok(Some(count))
        }
        Some(fault) if fault.kind == FaultKind::UnknownTopic => Ok(None),
        Some(fault) => Err(Fault::new(fault.code, format!("topic `{topic}`: {fault}"))),
    }
}

/// Make topics; one that exists already is left as it is.
pub(crate) async fn create_topics(options: &Options, topics: &[NewTopic]) -> Result<(), Fault> {
    if topics.is_empty() {
        return Ok(());
    }
    let client: AdminClient<DefaultClientContext> = config(options).create()?;
    let new: Vec<_> = topics.iter().map(described).collect();
    let asked = AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE));
    let answers = client.create_topics(&new, &asked).await?;
    answers.into_iter().try_for_each(|answer| match answer {
        Ok(_) | Err((_, Code::TopicAlreadyExists)) => Ok(()),
        Err((topic, code)) => Err(Fault::new(code, format!("topic `{topic}`: {code}"))),
    })
}

/// Return the offsets that a group has committed, for those of the partitions that have one. Blocks.
pub(crate) fn committed(
    options: &Options,
    group_id: &str,
    partitions: &[TopicPartition],
) -> Result<Vec<PartitionOffset>, Fault> {
    let client = asking_client(options, Some(group_id))?;
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    let list = client.committed_offsets(list, PATIENCE)?;
    let mut committed = Vec::with_capacity(partitions.len());
    for element in list.elements() {
        element.error()?;
        if let Offset::Offset(offset) = element.offset() {
            let partition = TopicPartition::new(element.topic(), element.partition());
            committed.push(PartitionOffset { partition, offset });
        }
    }
    Ok(committed)
}

/// Make a client that joins no group and creates no topic by asking about it.
fn asking_client(options: &Options, group_id: Option<&str>) -> Result<BaseConsumer, Fault> {
    let mut config = config(options);
    config
        .set("allow.auto.create.topics", "false")
        .set("enable.auto.commit", "false");
    if let Some(group_id) = group_id {
        config.set("group.id", group_id);
    }
    Ok(config.create()?)
}

fn config(options: &Options) -> ClientConfig {
    let mut config: ClientConfig = options
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    config.set_log_level(RDKafkaLogLevel::Error);
    config
}

fn described(topic: &NewTopic) -> admin::NewTopic<'_> {
    let partitions = i32::try_from(topic.partitions).unwrap_or(i32::MAX);
    let replication = TopicReplication::Fixed(i32::from(topic.replication));
    let new = admin::NewTopic::new(&topic.name, partitions, replication);
    topic
        .config
        .iter()
        .fold(new, |new, (name, value)| new.set(name, value))
}
