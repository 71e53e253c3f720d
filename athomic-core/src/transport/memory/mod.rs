//! The embedded broker: topics, groups and offsets in this process, with no server.
//!
//! It is what an application runs on until its settings name another broker, and what tests and
//! simulations run on for good. It behaves as Kafka does where a consumer can tell: keys go to the
//! partitions that Kafka's clients choose, groups rebalance step by step and wait for what is in
//! flight, commits are refused from who no longer owns a partition, logs have holes and ends.
//! The conformance suite that holds for Kafka holds here too. Nothing outlives the process.
//!
//! [`MemoryBroker`] is the cluster; [`MemoryBroker::transport`] connects to it;
//! [`MemoryBroker::control`] looks at it from above, cuts members off, stops it and plans faults.
//!
//! How it is built: `log.rs` and `topics.rs` hold the records. `group.rs` is the coordinator, a state
//! machine that is told the time, with `member.rs` for one member and `assignor.rs` for who should
//! own what. `broker.rs` puts both behind one lock. `consumer.rs`, `stream.rs`, `publisher.rs` and
//! `admin.rs` are the clients, which ask `faults.rs` before each call. There is no background task:
//! whoever calls moves the state on, wakers collected on the way (`wakes.rs`) are woken after the
//! lock is released, and deadlines are kept by those who wait for events (`alarm.rs`).
//!
//! What differs from Kafka: no transactions (but their traces in the log, by
//! [`BrokerControl::write_unseen`]), no replication, no security, retention by count only; and a
//! fetch never waits for more data, so `fetch.max.wait.ms` means nothing here.
//!
//! ```
//! use athomic_core::message::TopicPartition;
//! use athomic_core::transport::memory::{MemoryBroker, MemoryConsumerConfig};
//! use athomic_core::transport::{OutgoingMessage, Publisher, Transport};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let broker = MemoryBroker::new();
//! broker.control().create_topic("orders", 3);
//! let transport = broker.transport(MemoryConsumerConfig::default());
//!
//! let message = OutgoingMessage {
//!     topic: "orders".into(),
//!     payload: Some("{}".into()),
//!     ..OutgoingMessage::default()
//! };
//! let results = transport.publisher().await?.publish(vec![message]).await;
//! assert_eq!(results[0].as_ref().map(|delivery| delivery.offset).ok(), Some(0));
//! assert_eq!(broker.control().offsets(&TopicPartition::new("orders", 0))?, 0..1);
//! # Ok::<_, athomic_core::transport::TransportError>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod admin;
mod alarm;
mod assignor;
mod broker;
mod consumer;
mod control;
mod faults;
mod group;
mod lease;
mod log;
mod member;
mod partitioner;
mod publisher;
mod stream;
mod topics;
mod wakes;

pub use admin::{MemoryAdmin, RETENTION_RECORDS};
pub use broker::MemoryBroker;
pub use consumer::MemoryConsumer;
pub use control::{AppliedCommit, BrokerControl, MemberInfo};
pub use faults::{Call, Fault, FaultPlan, FaultRule, InjectedFault, Operation};
pub use partitioner::partition_for_key;
pub use publisher::MemoryPublisher;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use broker::{State, Stopped, pause, unreachable};
use faults::injected;
use member::{Member, PendingEvent};

use crate::message::Timestamp;
use crate::settings::{ConsumerSettings, OffsetReset};
use crate::transport::{Subscription, Transport, TransportError};

/// Numbers the members of a broker's groups, in the order in which they joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member {}", self.0)
    }
}

/// What consumers on the embedded broker may have set for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryConsumerConfig {
    /// Where to begin without a commit.
    pub offset_reset: OffsetReset,
    /// How long a member may be silent before its partitions go to others.
    pub session_timeout: Duration,
    /// How long a member may take to give partitions back before it is thrown out.
    pub rebalance_timeout: Duration,
}

impl Default for MemoryConsumerConfig {
    fn default() -> Self {
        Self::from(&ConsumerSettings::default())
    }
}

impl From<&ConsumerSettings> for MemoryConsumerConfig {
    fn from(settings: &ConsumerSettings) -> Self {
        Self {
            offset_reset: settings.auto_offset_reset,
            session_timeout: settings.session_timeout,
            // As in Kafka: a member that is still busy by then has left.
            rebalance_timeout: settings.max_poll_interval,
        }
    }
}

/// A connection to a [`MemoryBroker`]. Clones are the same connection.
#[derive(Debug, Clone)]
pub struct MemoryTransport {
    broker: MemoryBroker,
    config: MemoryConsumerConfig,
}

impl MemoryTransport {
    fn new(broker: MemoryBroker, config: MemoryConsumerConfig) -> Self {
        Self { broker, config }
    }

    /// Return the broker that this is a connection to.
    #[must_use]
    pub const fn broker(&self) -> &MemoryBroker {
        &self.broker
    }

    fn join(&self, subscription: &Subscription) -> Result<MemoryConsumer, TransportError> {
        let mut state = self.broker.lock();
        if state.down {
            return Err(unreachable(Stopped));
        }
        let topics = subscription
            .topics
            .iter()
            .map(|topic| Arc::from(topic.as_str()))
            .collect();
        let mut member = Member::new(subscription.handler_id.clone(), topics, &self.config);
        member.events.extend(missing_topics(&state, subscription));
        state.members += 1;
        let id = MemberId(state.members);
        state.group(&subscription.group_id, |group, world| {
            group.join(id, member, world.topics)
        });
        Ok(MemoryConsumer {
            broker: self.broker.clone(),
            group: subscription.group_id.as_str().into(),
            id,
            offset_reset: subscription
                .fetch
                .offset_reset
                .unwrap_or(self.config.offset_reset),
            max_fetch_bytes: subscription.fetch.max_bytes.unwrap_or(usize::MAX),
            closed: AtomicBool::new(false),
        })
    }
}

/// Make trouble for each topic that there is not. It is read as soon as it is made.
fn missing_topics(state: &State, subscription: &Subscription) -> Vec<PendingEvent> {
    let missing = subscription
        .topics
        .iter()
        .filter(|topic| state.topics.get(topic).is_none());
    missing
        .map(|topic| PendingEvent::Trouble(topics::unknown(topic)))
        .collect()
}

impl Transport for MemoryTransport {
    type Consumer = MemoryConsumer;
    type Publisher = MemoryPublisher;
    type Admin = MemoryAdmin;

    fn system(&self) -> &'static str {
        "athomic_memory"
    }

    fn now(&self) -> Timestamp {
        self.broker.now()
    }

    async fn consumer(&self, subscription: Subscription) -> Result<MemoryConsumer, TransportError> {
        let mut call = Call::new(Operation::Join);
        call.group = Some(&subscription.group_id);
        let fault = self.broker.faults().decide(&call);
        pause(fault.delay).await;
        if fault.fails_before() {
            return Err(fault.error("join the group"));
        }
        let consumer = self.join(&subscription)?;
        pause(fault.reply_delay).await;
        if fault.fails_after() {
            // Dropped here: the group has a member that nobody is, until its session times out.
            return Err(injected("join the group"));
        }
        Ok(consumer)
    }

    async fn publisher(&self) -> Result<MemoryPublisher, TransportError> {
        Ok(MemoryPublisher::new(self.broker.clone()))
    }

    async fn admin(&self) -> Result<MemoryAdmin, TransportError> {
        Ok(MemoryAdmin::new(self.broker.clone()))
    }
}
