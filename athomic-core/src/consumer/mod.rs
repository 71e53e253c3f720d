//! Consuming: from registrations and settings to running lanes.
//!
//! [`ConsumerManager`] finds the handlers, [`ConsumerFactory`] assembles a [`ConsumerService`] for
//! each, the lifecycle starts them. A service owns a group membership (`service.rs`); each assigned
//! partition is a lane (`lane.rs`) that runs its messages by a strategy (`strategies/`) through the
//! handler's processor (`processor.rs`); what is settled is committed (`committer.rs`).

mod commit_timer;
mod committer;
mod error;
mod factory;
mod lane;
mod manager;
mod ordered;
mod priorities;
mod processor;
mod readings;
mod service;
mod strategies;
mod vitals;

pub use error::{ConsumeError, InvalidConsumerConfigurationError, MessagingConnectionError};
pub(crate) use factory::key_value;
pub use factory::{ConsumerDescription, ConsumerFactory, ConsumerParts};
pub(crate) use lane::{LaneContext, LaneSource, PartitionState, Settlement};
pub use manager::{ConsumerManager, MissingTopics, TopicsOutOfReach, TopicsRefused};
pub(crate) use ordered::OrderedSettings;
pub use ordered::{
    Action, AggregateView, OrderedScope, OrderingCounts, OrderingDesk, ScopeReport, WaitingMessage,
};
pub use processor::MessageProcessor;
pub use readings::{ConsumerReading, ConsumptionMonitor, PartitionReading};
pub use service::ConsumerService;
