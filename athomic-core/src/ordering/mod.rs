//! Ordered consumption: strict FIFO of each aggregate, over all partitions and instances. Stage 4 of 9.
//!
//! The order of an aggregate is kept by an [`OrderingStore`](crate::store::ordering::OrderingStore);
//! this is its client.

pub mod frame;
mod merge;
mod options;
mod policy;
pub mod resolve;
mod resync;

pub(crate) use merge::{Conflict, Source, merge};
pub use options::{DurabilityRule, FirstSequenceRule, GapRule, OrderingOptions};
pub use policy::{
    CompleteMode, Durability, FirstSequence, GapAction, OnGap, OnLate, OnPoison, OnRegression,
    OrderingPolicies, StoredPolicies,
};
pub use resync::Resync;

pub use crate::consumer::{
    Action, AggregateView, OrderedScope, OrderingCounts, OrderingDesk, ScopeReport, WaitingMessage,
};
