//! `KafkaConsumer`: a member of a consumer group.

use std::fmt;
use std::sync::Arc;

use athomic_core::message::{Offset, PartitionOffset, TopicPartition};
use athomic_core::transport::{ClientCondition, Consumer, ConsumerEvent, Subscription, TransportError};
use tokio::sync::{Mutex, mpsc};

use crate::client::librdkafka::member::{Happening, Member};
use crate::client::librdkafka::{CommitError, Watch};
use crate::error::{Endpoint, Task};
use crate::settings::ConsumerOptions;

/// A member of a consumer group on Kafka.
///
/// A thread of its own, `athomic-poll-<handler>`, serves rebalances and errors; messages go from
/// librdkafka's partition queues straight to whoever reads the partition's stream, in librdkafka's
/// memory. Dropping it leaves the group in the background.
///
/// It has two sets of connections: one as a member of the group, one that fetches. So the partitions
/// that stay are read on while others drain.
pub struct KafkaConsumer {
    member: Member,
    happenings: Mutex<mpsc::UnboundedReceiver<Happening>>,
    endpoint: Arc<Endpoint>,
    group: String,
}

impl KafkaConsumer {
    pub(crate) fn join(
        options: &ConsumerOptions,
        subscription: &Subscription,
        endpoint: Endpoint,
        watch: Arc<Watch>,
    ) -> Result<Self, TransportError> {
        let endpoint = Arc::new(endpoint);
        let group = subscription.group_id.clone();
        let (member, happenings) = Member::join(options, subscription, Arc::clone(&endpoint), watch)
            .map_err(|fault| endpoint.error(Task::Join(&group), fault))?;
        Ok(Self {
            member,
            happenings: Mutex::new(happenings),
            endpoint,
            group,
        })
    }
}

impl Consumer for KafkaConsumer {
    // Cancel safety: the receiver's own `recv` is.
    async fn next_event(&self) -> Result<ConsumerEvent, TransportError> {
        self.happenings
            .lock()
            .await
            .recv()
            .await
            .unwrap_or(Err(TransportError::Closed))
    }

    async fn commit(&self, offsets: &[PartitionOffset]) -> Result<(), TransportError> {
        if offsets.is_empty() {
            return Ok(());
        }
        self.member.commit(offsets).await.map_err(|error| match error {
            CommitError::Closed => TransportError::Closed,
            CommitError::Refused(fault) => self.endpoint.error(Task::Commit(&self.group), fault),
        })
    }

    fn condition(&self) -> ClientCondition {
        self.member.condition()
    }

    fn log_end(&self, partition: &TopicPartition) -> Option<Offset> {
        self.member.log_end(partition)
    }

    fn prepare_to_close(&self) {
        self.member.prepare_to_leave();
    }

    async fn close(&self) -> Result<(), TransportError> {
        let left = self.member.leave().await;
        left.map_err(|fault| self.endpoint.error(Task::Leave(&self.group), fault))
    }
}

impl fmt::Debug for KafkaConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConsumer")
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}
