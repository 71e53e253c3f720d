//! Lineage: which job read which topics and wrote which, as [OpenLineage](https://openlineage.io) run events
//! (specification 2-0-2).
//!
//! A handler is a *job*, and each time that its consumer runs is a *run* of it: `START` when it has joined
//! its group, `RUNNING` with counts at an interval, `COMPLETE` or `FAIL` when it ends, `ABORT` when it is cut
//! off. With a finer [`Granularity`] each execution is a run of its own besides, whose parent is that one. The
//! topics are *datasets*: inputs are those that the handler subscribes to, outputs those that it publishes
//! to by the [`Publisher`](crate::publisher::Publisher) that it takes as an argument.
//!
//! # Invariants
//! - Nothing here makes a handler wait or fail: events go into a bounded queue, and what does not fit is
//!   counted and dropped.
//! - A handler with `enable_lineage = false` reports nothing, and the [collector](LINEAGE_COLLECTOR) is one.

mod collector;
mod event;
mod handler;
mod reporter;
mod stores;

pub use collector::LINEAGE_COLLECTOR;
pub(crate) use collector::definition as collector;
pub use event::{Dataset, EventType, Facets, Job, LineageEvent, Run};
pub(crate) use handler::{Finished, HandlerLineage, HandlerParts};
pub use reporter::LineageCounts;
pub(crate) use reporter::{LineageService, Reporter};
pub(crate) use stores::DynLineageStore;
#[cfg(feature = "lineage-http")]
pub use stores::HttpStore;
pub use stores::{JsonFileStore, LineageStore, LineageStoreError, LoggingStore, TopicStore};

#[doc(inline)]
pub use crate::settings::LineageGranularity as Granularity;
