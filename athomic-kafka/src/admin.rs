//! `KafkaAdmin`: looks at topics and makes them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use athomic_core::message::{Partition, PartitionOffset, TopicPartition};
use athomic_core::transport::{Admin, NewTopic, TransportError};
use tokio::sync::oneshot;

use crate::client::librdkafka::{Code, Fault, admin};
use crate::error::{Endpoint, Task};

/// Looks at Kafka's topics and makes them. Asking about a topic does not create it.
#[derive(Clone)]
pub struct KafkaAdmin {
    options: Arc<BTreeMap<String, String>>,
    endpoint: Endpoint,
    seen: Arc<SeenTopics>,
}

/// How many partitions topics had when they were last looked at over this connection.
///
/// An application looks at its topics before it consumes them, so that a consumer knows here, without
/// asking once more, over how many partitions it has to share out what it may fetch ahead.
#[derive(Debug, Default)]
pub(crate) struct SeenTopics(Mutex<BTreeMap<String, Partition>>);

/// How many partitions a topic is taken to have that nobody has looked at.
const NOT_SEEN: usize = 16;

impl SeenTopics {
    fn remember(&self, topics: impl IntoIterator<Item = (String, Partition)>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.extend(topics);
    }

    /// Return how many partitions topics have together.
    pub(crate) fn partitions(&self, topics: &[String]) -> usize {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |topic| {
            seen.get(topic)
                .map_or(NOT_SEEN, |count| usize::try_from(*count).unwrap_or(0))
        };
        topics.iter().map(of).sum()
    }
}

impl KafkaAdmin {
    pub(crate) fn new(options: BTreeMap<String, String>, endpoint: Endpoint, seen: Arc<SeenTopics>) -> Self {
        Self {
            options: Arc::new(options),
            endpoint,
            seen,
        }
    }

    /// Run what blocks on a thread of its own. Not on one of the runtime's: that would wait for it when it
    /// ends, and so would the process.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&BTreeMap<String, String>, &Endpoint) -> Result<T, TransportError> + Send + 'static,
    ) -> Result<T, TransportError> {
        let (options, endpoint) = (Arc::clone(&self.options), self.endpoint.clone());
        let (answered, answer) = oneshot::channel();
        let thread = std::thread::Builder::new().name("athomic-admin".to_owned());
        let asked = thread.spawn(move || {
            let _nobody_waits = answered.send(question(&options, &endpoint));
        });
        let failed = |fault| Err(self.endpoint.error(Task::LookAtTopics, fault));
        match asked {
            Ok(_runs_by_itself) => answer
                .await
                .unwrap_or_else(|_panicked| failed(Fault::of(Code::Fail))),
            Err(error) => failed(Fault::new(Code::Fail, error.to_string())),
        }
    }
}

impl Admin for KafkaAdmin {
    async fn partitions(&self, topics: &[String]) -> Result<BTreeMap<String, Partition>, TransportError> {
        let topics = topics.to_vec();
        let found = self
            .ask(move |options, endpoint| admin::partitions(options, &topics, endpoint))
            .await?;
        self.seen.remember(found.clone());
        Ok(found)
    }

    async fn create_topics(&self, topics: &[NewTopic]) -> Result<(), TransportError> {
        admin::create_topics(&self.options, topics, &self.endpoint).await?;
        let counts = topics.iter().map(|topic| {
            let count = Partition::try_from(topic.partitions).unwrap_or(Partition::MAX);
            (topic.name.clone(), count)
        });
        self.seen.remember(counts);
        Ok(())
    }

    async fn topic_settings(
        &self,
        topics: &[String],
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>, TransportError> {
        admin::topic_settings(&self.options, topics, &self.endpoint).await
    }

    async fn committed(
        &self,
        group_id: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<PartitionOffset>, TransportError> {
        let (group_id, partitions) = (group_id.to_owned(), partitions.to_vec());
        self.ask(move |options, endpoint| admin::committed(options, &group_id, &partitions, endpoint))
            .await
    }
}

impl fmt::Debug for KafkaAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaAdmin")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{NOT_SEEN, SeenTopics};

    #[test]
    fn partitions_of_topics_that_were_seen_are_added_up() {
        let seen = SeenTopics::default();
        seen.remember([("orders".to_owned(), 4), ("payments".to_owned(), 64)]);
        seen.remember([("orders".to_owned(), 6)]);
        let topics = ["orders".to_owned(), "payments".to_owned()];
        assert_eq!(seen.partitions(&topics), 70);
        assert_eq!(seen.partitions(&["others".to_owned()]), NOT_SEEN);
    }
}
