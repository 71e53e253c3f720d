//! `KafkaAdmin`: looks at topics and makes them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

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
}

impl KafkaAdmin {
    pub(crate) fn new(options: BTreeMap<String, String>, endpoint: Endpoint) -> Self {
        Self {
            options: Arc::new(options),
            endpoint,
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
