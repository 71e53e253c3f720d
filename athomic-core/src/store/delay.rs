//! The contract with a delay store: messages that wait for their time outside the broker.
//!
//! A message is *scheduled* as an entry with a name. When it is due somebody *claims* it, with others and for
//! as long as a lease lasts, publishes it and *removes* it. A lease is *held* for longer while that takes, and
//! given up where nothing came of it. Who dies in between leaves its entries to others when the lease is over.
//!
//! # Contract
//! - An entry is there once: to schedule under a name that waits changes nothing, and tells when that one is due.
//! - An entry is claimed no sooner than when it is due, by the clock of the store, which also counts the delay;
//!   what has been due for the longest comes first.
//! - Under a lease that has not ended nobody else claims an entry.
//! - Only under the token that claimed it last is an entry held or removed: who comes late changes nothing.
//! - Every call but a claim may be repeated with the same arguments when its outcome is unknown. What a claim
//!   took whose answer was lost can be claimed again when its lease is over.
//! - The elements of a call are carried out one by one, in their order, each wholly or not at all; some may fail
//!   while others do not.
//! - Calls may be made at the same time, and be dropped; what was sent may still be carried out.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use super::StoreError;
pub use super::idempotency::LockToken;
pub use super::ordering::Each;
use crate::message::Timestamp;

/// A message that is to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayEntry {
    /// Tells it from all others that wait.
    pub name: String,
    /// How long it is to wait from when the store has it.
    pub delay: Duration,
    /// The message, in a form of the caller's.
    pub frame: Bytes,
}

/// A message whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueEntry {
    /// Its name.
    pub name: String,
    /// When it was due, by the store's clock.
    pub due: Timestamp,
    /// The message, as it was scheduled.
    pub frame: Bytes,
}

/// How much is claimed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimLimits {
    /// How many entries at most.
    pub entries: usize,
    /// How many bytes their frames may have together; the first is taken however large it is.
    pub bytes: usize,
}

/// What came of a claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DelayClaim {
    /// What is due, and nobody else's.
    pub entries: Vec<DueEntry>,
    /// After what time there may be more; zero if there is now, `None` if nothing waits.
    pub next: Option<Duration>,
    /// How many entries there are, with those that are claimed.
    pub waiting: u64,
    /// For how long the first has been due that nobody had claimed; zero if there was none.
    pub overdue: Duration,
}

/// A store of messages that wait. See the [module](self) for the contract.
pub trait DelayStore: Send + Sync + 'static {
    /// Return the store's name for people: its name in the settings, and where it is.
    fn name(&self) -> &str;

    /// Connect, and check that the store can keep what is given to it.
    ///
    /// # Errors
    /// It cannot be reached, or is not fit.
    fn open(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Have entries wait; return when each is due.
    fn schedule(&self, entries: &[DelayEntry]) -> impl Future<Output = Each<Timestamp>> + Send;

    /// Claim what is due under a token that was never used before.
    ///
    /// # Errors
    /// The store gave no answer, or one that cannot be read.
    fn claim(
        &self,
        token: LockToken,
        lease: Duration,
        limits: ClaimLimits,
    ) -> impl Future<Output = Result<DelayClaim, StoreError>> + Send;

    /// Have leases end after `lease` from now, at once if it is zero; return for each whether it was still
    /// this token's.
    fn hold(
        &self,
        token: LockToken,
        names: &[String],
        lease: Duration,
    ) -> impl Future<Output = Each<bool>> + Send;

    /// Remove entries; return for each whether it was still this token's.
    fn remove(&self, token: LockToken, names: &[String]) -> impl Future<Output = Each<bool>> + Send;
}

type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The erased twin of [`DelayStore`]; implemented for each of them.
pub trait DynDelayStore: Send + Sync {
    /// See [`DelayStore::name`].
    fn name(&self) -> &str;
    /// See [`DelayStore::open`].
    fn open(&self) -> Pending<'_, Result<(), StoreError>>;
    /// See [`DelayStore::schedule`].
    fn schedule<'a>(&'a self, entries: &'a [DelayEntry]) -> Pending<'a, Each<Timestamp>>;
    /// See [`DelayStore::claim`].
    fn claim(
        &self,
        token: LockToken,
        lease: Duration,
        limits: ClaimLimits,
    ) -> Pending<'_, Result<DelayClaim, StoreError>>;
    /// See [`DelayStore::hold`].
    fn hold<'a>(&'a self, token: LockToken, names: &'a [String], lease: Duration) -> Pending<'a, Each<bool>>;
    /// See [`DelayStore::remove`].
    fn remove<'a>(&'a self, token: LockToken, names: &'a [String]) -> Pending<'a, Each<bool>>;
}

impl<S: DelayStore> DynDelayStore for S {
    fn name(&self) -> &str {
        DelayStore::name(self)
    }

    fn open(&self) -> Pending<'_, Result<(), StoreError>> {
        Box::pin(DelayStore::open(self))
    }

    fn schedule<'a>(&'a self, entries: &'a [DelayEntry]) -> Pending<'a, Each<Timestamp>> {
        Box::pin(DelayStore::schedule(self, entries))
    }

    fn claim(
        &self,
        token: LockToken,
        lease: Duration,
        limits: ClaimLimits,
    ) -> Pending<'_, Result<DelayClaim, StoreError>> {
        Box::pin(DelayStore::claim(self, token, lease, limits))
    }

    fn hold<'a>(&'a self, token: LockToken, names: &'a [String], lease: Duration) -> Pending<'a, Each<bool>> {
        Box::pin(DelayStore::hold(self, token, names, lease))
    }

    fn remove<'a>(&'a self, token: LockToken, names: &'a [String]) -> Pending<'a, Each<bool>> {
        Box::pin(DelayStore::remove(self, token, names))
    }
}
