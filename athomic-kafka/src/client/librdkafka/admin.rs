//! Looking at topics and making them. Everything but creation blocks, and is called on threads that may.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use athomic_core::message::{Partition, PartitionOffset, TopicPartition};
use athomic_core::transport::{NewTopic, TransportError};
use rdkafka::admin::{
    self, AdminClient, AdminOptions, ConfigResource, OwnedResourceSpecifier, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::native::why_refused;
use super::{Code, Fault, FaultKind};
use crate::error::{Endpoint, Task};

/// How long a question may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it is waited for between two looks at what went wrong meanwhile.
const STEP: Duration = Duration::from_millis(200);
/// How long reports are waited for where there may be none.
const MOMENT: Duration = Duration::from_millis(10);
/// For how long no broker may be reached until it is no longer expected that one refuses us.
const SETTLED: Duration = Duration::from_secs(1);

type Options = BTreeMap<String, String>;

/// Return the number of partitions of each of the topics that exists, as one broker knows it: others may
/// have heard more. Blocks.
pub(crate) fn partitions(
    options: &Options,
    topics: &[String],
    endpoint: &Endpoint,
) -> Result<BTreeMap<String, Partition>, TransportError> {
    let client = Asking::new(options, None).map_err(|fault| endpoint.error(Task::LookAtTopics, fault))?;
    let mut found = BTreeMap::new();
    for topic in topics {
        let count = client.partitions(topic);
        let count = count.map_err(|fault| endpoint.error(Task::LookAt(topic), fault))?;
        found.extend(count.map(|count| (topic.clone(), count)));
    }
    Ok(found)
}

/// Make topics; one that exists already is left as it is.
pub(crate) async fn create_topics(
    options: &Options,
    topics: &[NewTopic],
    endpoint: &Endpoint,
) -> Result<(), TransportError> {
    let created = create_all(options, topics).await;
    created.map_err(|fault| endpoint.error(Task::CreateTopics, fault))
}

async fn create_all(options: &Options, topics: &[NewTopic]) -> Result<(), Fault> {
    if topics.is_empty() {
        return Ok(());
    }
    let client: AdminClient<Refusals> = config(options).create_with_context(Refusals::default())?;
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

/// Return the settings of those of the topics that exist and whose settings we may see.
pub(crate) async fn topic_settings(
    options: &Options,
    topics: &[String],
    endpoint: &Endpoint,
) -> Result<BTreeMap<String, BTreeMap<String, String>>, TransportError> {
    let settings = describe_all(options, topics).await;
    settings.map_err(|fault| endpoint.error(Task::LookAtSettings, fault))
}

async fn describe_all(
    options: &Options,
    topics: &[String],
) -> Result<BTreeMap<String, BTreeMap<String, String>>, Fault> {
    let client: AdminClient<Refusals> = config(options).create_with_context(Refusals::default())?;
    let resources: Vec<_> = topics
        .iter()
        .map(|topic| ResourceSpecifier::Topic(topic))
        .collect();
    let asked = AdminOptions::new().request_timeout(Some(PATIENCE));
    let mut settings = BTreeMap::new();
    for answer in client.describe_configs(&resources, &asked).await? {
        match answer {
            Ok(ConfigResource {
                specifier: OwnedResourceSpecifier::Topic(topic),
                entries,
                // What does not exist, or may not be seen, is answered with nothing.
            }) if !entries.is_empty() => {
                let entries = entries.into_iter();
                let values = entries.filter_map(|entry| Some((entry.name, entry.value?)));
                settings.insert(topic, values.collect());
            }
            Ok(_) | Err(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {}
            Err(code) => return Err(Fault::of(code)),
        }
    }
    Ok(settings)
}

/// Return the offsets that a group has committed, for those of the partitions that have one. Blocks.
pub(crate) fn committed(
    options: &Options,
    group_id: &str,
    partitions: &[TopicPartition],
    endpoint: &Endpoint,
) -> Result<Vec<PartitionOffset>, TransportError> {
    let client = Asking::new(options, Some(group_id));
    let committed = client.and_then(|client| client.committed(partitions));
    committed.map_err(|fault| endpoint.error(Task::ReadOffsets(group_id), fault))
}

/// A client that joins no group and creates no topic by asking about it.
struct Asking {
    client: BaseConsumer<Refusals>,
    options: Options,
}

impl Asking {
    fn new(options: &Options, group_id: Option<&str>) -> Result<Self, Fault> {
        let mut config = config(options);
        config
            .set("allow.auto.create.topics", "false")
            .set("enable.auto.commit", "false");
        if let Some(group_id) = group_id {
            config.set("group.id", group_id);
        }
        let client = config.create_with_context(Refusals::default())?;
        let options = options.clone();
        Ok(Self { client, options })
    }

    /// Return how many partitions a topic has, if it exists.
    fn partitions(&self, topic: &str) -> Result<Option<Partition>, Fault> {
        let metadata = self.ask(|client| client.fetch_metadata(Some(topic), STEP))?;
        let Some(described) = metadata.topics().first() else {
            return Ok(None);
        };
        match described.error().map(|code| Fault::of(code.into())) {
            None => Ok(Some(
                Partition::try_from(described.partitions().len()).unwrap_or(Partition::MAX),
            )),
            Some(fault) if fault.kind == FaultKind::UnknownTopic => Ok(None),
            Some(fault) => Err(fault),
        }
    }

    fn committed(&self, partitions: &[TopicPartition]) -> Result<Vec<PartitionOffset>, Fault> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(&partition.topic, partition.partition);
        }
        let list = self.ask(|client| client.committed_offsets(list.clone(), PATIENCE))?;
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

    /// Ask until there is an answer, the time is over, or it is clear that no broker lets us in.
    fn ask<T>(&self, question: impl Fn(&BaseConsumer<Refusals>) -> KafkaResult<T>) -> Result<T, Fault> {
        self.ask_patiently(question).map_err(|fault| {
            if fault.is_distrust() {
                fault.because(why_refused(&self.options, PATIENCE))
            } else {
                fault
            }
        })
    }

    /// librdkafka itself only says that nothing came: it goes on trying.
    fn ask_patiently<T>(
        &self,
        question: impl Fn(&BaseConsumer<Refusals>) -> KafkaResult<T>,
    ) -> Result<T, Fault> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let fault = match question(&self.client) {
                Ok(answer) => return Ok(answer),
                Err(error) => Fault::from(error),
            };
            self.hear(MOMENT);
            if let Some(refusal) = self.client.context().refusal() {
                return Err(refusal);
            }
            if !fault.is_retriable() || Instant::now() >= deadline {
                return Err(self.cause_of(&fault).unwrap_or(fault));
            }
        }
    }

    /// Return what is behind a fault. Why there is no connection may be known later than that there is
    /// none, on a machine with much to do, and that we are refused later than that a connection was lost.
    fn cause_of(&self, fault: &Fault) -> Option<Fault> {
        let patience = match fault.kind {
            FaultKind::Unreachable => PATIENCE,
            _ => Duration::ZERO,
        };
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(cause) = self.client.context().cause(SETTLED) {
                return Some(cause);
            }
            self.hear(STEP);
        }
        self.client.context().cause(Duration::ZERO)
    }

    /// Take note of all that the client reports within a time. A call of `poll` without one takes a single report.
    fn hear(&self, time: Duration) {
        let end = Instant::now() + time;
        while self
            .client
            .poll(end.saturating_duration_since(Instant::now()))
            .is_some()
        {}
    }
}

/// What a client reports besides its answers: whether all brokers refuse us.
#[derive(Default)]
struct Refusals(Mutex<Reported>);

#[derive(Default)]
struct Reported {
    refusal: Option<Fault>,
    /// Why the last connection was lost, or not made, and when the first was.
    lost: Option<(Instant, Fault)>,
    /// Set when the last of the brokers is found to be out of reach, for whatever reason.
    all_down: bool,
}

impl Refusals {
    /// Return a broker's refusal if no other broker takes us either.
    fn refusal(&self) -> Option<Fault> {
        let reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reported.refusal.clone().filter(|_| reported.all_down)
    }

    /// Return why there is no connection, where librdkafka's answer to a question only says that: a refusal, or what
    /// has been reported for so long without one. Without a token there is a refusal although no broker was tried.
    fn cause(&self, settled: Duration) -> Option<Fault> {
        let reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = reported
            .lost
            .as_ref()
            .filter(|(first, _)| first.elapsed() >= settled);
        reported
            .refusal
            .clone()
            .or_else(|| lost.map(|(_, fault)| fault.clone()))
    }
}

impl ClientContext for Refusals {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        super::fault::log_line(level as i32, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else {
            return;
        };
        let fault = Fault::new(code, reason);
        tracing::debug!(%fault, "trouble with Kafka while asking");
        let mut reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match fault.kind {
            FaultKind::Authentication => reported.refusal = Some(fault),
            _ if code == Code::AllBrokersDown => reported.all_down = true,
            FaultKind::Unreachable => {
                let first = reported
                    .lost
                    .as_ref()
                    .map_or_else(Instant::now, |(first, _)| *first);
                reported.lost = Some((first, fault));
            }
            _ => {}
        }
    }
}

impl ConsumerContext for Refusals {}

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
