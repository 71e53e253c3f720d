//! `KafkaAdmin`: looks at topics and makes them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use athomic_core::message::{Partition, PartitionOffset, TopicPartition};
use athomic_core::transport::{Admin, NewTopic, TransportError};

use crate::client::librdkafka::{Code, Fault, admin};
use crate::error::{Endpoint, Task};

/// Looks at Kafka's topics and makes them. Asking about a topic does not create it.
#[derive(Clone)]
pub struct KafkaAdmin {
    options: Arc<BTreeMap<String, String>>,
    endpoint: Endpoint,
}

impl KafkaAdmin {
    pub(crate) fn new(options: BTreeMap<String, String>, endpoint: Endpoint) -> Self {
        Self {
            options: Arc::new(options),
            endpoint,
        }
    }

    /// Run what blocks where blocking is allowed.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&BTreeMap<String, String>, &Endpoint) -> Result<T, TransportError> + Send + 'static,
    ) -> Result<T, TransportError> {
        let (options, endpoint) = (Arc::clone(&self.options), self.endpoint.clone());
        let answer = tokio::task::spawn_blocking(move || question(&options, &endpoint)).await;
        answer.unwrap_or_else(|error| {
            let fault = Fault::new(Code::Fail, error.to_string());
            Err(self.endpoint.error(Task::LookAtTopics, fault))
        })
    }
}

impl Admin for KafkaAdmin {
    async fn partitions(&self, topics: &[String]) -> Result<BTreeMap<String, Partition>, TransportError> {
        let topics = topics.to_vec();
        self.ask(move |options, endpoint| admin::partitions(options, &topics, endpoint))
            .await
    }

    async fn create_topics(&self, topics: &[NewTopic]) -> Result<(), TransportError> {
        admin::create_topics(&self.options, topics, &self.endpoint).await
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
