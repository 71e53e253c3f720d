//! Delayed messages: where they wait, and who publishes them when they are due.
//!
//! A message that is published with a delay goes to a *delay topic*, a bucket of which everything is due
//! after about the same time. It is written there as it is: key, payload and headers are the bytes that
//! the destination will have, and one header more, the [`Envelope`], says where it goes and when. The
//! *republisher*, a consumer like any other but for its lanes, holds each message until it is due,
//! publishes it to its destination without that header, and commits.
//!
//! With `redis_sorted_set` they wait in a [store](crate::store::delay) instead, each until its own time: the same
//! record in a frame, with the same envelope (`scheduler.rs`), claimed when it is due and published (`due.rs`).
//!
//! # Invariants
//! - Nothing is published before it is due by the clock of the broker, or of the store.
//! - A delay message is settled, or removed from the store, only when its destination, its next bucket or the dead
//!   letters have it.
//! - What waits holds nothing but its place: a lane that waits does not read, the group is served meanwhile,
//!   and a stop or a revocation ends the wait at once.
//! - Nothing that a record says about itself is believed beyond its bounds: see [`Envelope`]; with
//!   `republisher.envelope_key` nothing at all, unless it is signed (`seal.rs`).

mod buckets;
mod destinations;
mod due;
mod envelope;
mod monitor;
mod republisher;
mod scheduler;
mod seal;
mod topics;

pub use buckets::{Bucket, Buckets};
pub use destinations::{Destinations, ForbiddenDestination};
pub(crate) use due::{DelayStoreService, DueRepublisher, letters};
pub use envelope::{ENVELOPE, Envelope, MalformedEnvelope, SIGNATURE};
pub use monitor::{RepublisherCounts, RepublisherMonitor};
pub(crate) use republisher::definition;
pub use republisher::{DelayedMessageHandler, REPUBLISHER, RepublishError};
pub use scheduler::DELAY_STORE;
pub(crate) use scheduler::DelayScheduler;
pub(crate) use seal::Sealing;
pub use topics::UnfitDelayTopics;
pub(crate) use topics::{DelayTopicCheck, settings_for};
