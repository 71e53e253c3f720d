//! The contract with an idempotency store: who handles a message, and which were handled.
//!
//! A message has a [key](IdempotencyKey). Who wants to handle it *acquires* a lock on the key under a
//! [token](LockToken) of its own, *renews* it while the handler runs, and *confirms* it when the message was
//! handled: from then on the message is a duplicate for everybody, until the mark's time is over. What
//! failed is *released*, so that the next attempt, here or elsewhere, need not wait for the lock to end.
//!
//! # Contract
//! - Under a lock that has not ended nobody else acquires. One that has ended is not there.
//! - What a call does to a key depends on the token alone that it bears: one that is late, and finds another's
//!   lock or mark, changes nothing.
//! - Every call may be repeated with the same arguments when its outcome is unknown: who acquires again under
//!   the same token has the lock.
//! - The elements of a call are carried out one by one, in their order, each wholly or not at all; some
//!   may fail while others do not.
//! - Calls may be made at the same time, and be dropped; what was sent may still be carried out.
//! - A store that forgets (a restart, an eviction) costs repeats of messages and never a message.

mod key;

pub use key::IdempotencyKey;

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::StoreError;
pub use super::ordering::Each;

/// Tells one acquisition from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LockToken(pub u64);

impl LockToken {
    /// Make a token that nobody else has: random for a process, counted in it.
    #[must_use]
    pub fn unique() -> Self {
        /// Spreads counted tokens over all numbers; odd, so that none comes twice.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        static FIRST: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one("lock tokens"));
        static MADE: AtomicU64 = AtomicU64::new(0);
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        Self(FIRST.wrapping_add(made.wrapping_mul(SPREAD)))
    }
}

/// A key, and the token under which it is acquired or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// What is locked.
    pub key: IdempotencyKey,
    /// By whom.
    pub token: LockToken,
}

impl Lock {
    /// Name a lock that has not been acquired yet, under a token of its own.
    #[must_use]
    pub fn new(key: IdempotencyKey) -> Self {
        Self {
            key,
            token: LockToken::unique(),
        }
    }
}

/// What came of an acquisition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquisition {
    /// The lock is held under the token.
    Acquired,
    /// The message was handled.
    Duplicate,
    /// It is locked under another token, and will be for this long unless that lock is renewed.
    Busy(Duration),
}

/// What a lock that is renewed or confirmed was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It was held, or confirmed already.
    Kept,
    /// Nothing was there: it had ended, or the store lost it. It was written anew.
    Restored,
    /// Another has the key, or has confirmed it: nothing was written.
    Lost,
}

/// A store of locks and marks. See the [module](self) for the contract.
pub trait IdempotencyStore: Send + Sync + 'static {
    /// Return the store's name for people: its name in the settings, and where it is.
    fn name(&self) -> &str;

    /// Connect, and check that the store can keep what is given to it.
    ///
    /// # Errors
    /// It cannot be reached, or is not fit.
    fn open(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Acquire locks that end after `timeout` unless they are renewed.
    fn acquire(&self, locks: &[Lock], timeout: Duration) -> impl Future<Output = Each<Acquisition>> + Send;

    /// Let locks end after `timeout` from now.
    fn renew(&self, locks: &[Lock], timeout: Duration) -> impl Future<Output = Each<Hold>> + Send;

    /// Turn locks into marks that last for `ttl`.
    fn confirm(&self, locks: &[Lock], ttl: Duration) -> impl Future<Output = Each<Hold>> + Send;

    /// Give locks up; return for each whether it was held.
    fn release(&self, locks: &[Lock]) -> impl Future<Output = Each<bool>> + Send;
}

type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The erased twin of [`IdempotencyStore`]; implemented for each of them.
pub trait DynIdempotencyStore: Send + Sync {
    /// See [`IdempotencyStore::name`].
    fn name(&self) -> &str;
    /// See [`IdempotencyStore::open`].
    fn open(&self) -> Pending<'_, Result<(), StoreError>>;
    /// See [`IdempotencyStore::acquire`].
    fn acquire<'a>(&'a self, locks: &'a [Lock], timeout: Duration) -> Pending<'a, Each<Acquisition>>;
    /// See [`IdempotencyStore::renew`].
    fn renew<'a>(&'a self, locks: &'a [Lock], timeout: Duration) -> Pending<'a, Each<Hold>>;
    /// See [`IdempotencyStore::confirm`].
    fn confirm<'a>(&'a self, locks: &'a [Lock], ttl: Duration) -> Pending<'a, Each<Hold>>;
    /// See [`IdempotencyStore::release`].
    fn release<'a>(&'a self, locks: &'a [Lock]) -> Pending<'a, Each<bool>>;
}

impl<S: IdempotencyStore> DynIdempotencyStore for S {
    fn name(&self) -> &str {
        IdempotencyStore::name(self)
    }

    fn open(&self) -> Pending<'_, Result<(), StoreError>> {
        Box::pin(IdempotencyStore::open(self))
    }

    fn acquire<'a>(&'a self, locks: &'a [Lock], timeout: Duration) -> Pending<'a, Each<Acquisition>> {
        Box::pin(IdempotencyStore::acquire(self, locks, timeout))
    }

    fn renew<'a>(&'a self, locks: &'a [Lock], timeout: Duration) -> Pending<'a, Each<Hold>> {
        Box::pin(IdempotencyStore::renew(self, locks, timeout))
    }

    fn confirm<'a>(&'a self, locks: &'a [Lock], ttl: Duration) -> Pending<'a, Each<Hold>> {
        Box::pin(IdempotencyStore::confirm(self, locks, ttl))
    }

    fn release<'a>(&'a self, locks: &'a [Lock]) -> Pending<'a, Each<bool>> {
        Box::pin(IdempotencyStore::release(self, locks))
    }
}
