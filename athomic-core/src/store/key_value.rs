//! The contract with a key-value store: small values by name, for indexes and the like.
//!
//! A store serves one [`KeySpace`](super::KeySpace); spaces see nothing of each other. Its keys are kept
//! sorted, so that those with a prefix can be read page by page.
//!
//! # Contract
//! - [`write`](KeyValueStore::write) is carried out wholly or not at all, and after another.
//! - Every call may be repeated with the same arguments when its outcome is unknown. A change that holds
//!   already counts as made.
//! - What has outlived its time is not there, for reading and for comparing.
//! - Calls may be made at the same time, and be dropped; what was sent may still be carried out.
//!
//! Meant for thousands of entries in a space: Redis keeps a space in one slot of a cluster.
//!
//! ```
//! use std::time::Duration;
//! use athomic_core::store::KeySpace;
//! use athomic_core::store::key_value::{Change, KeyValueStore};
//! use athomic_core::store::memory::MemoryKeyValue;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryKeyValue::default();
//! let hour = Duration::from_secs(3600);
//! store.write(&[
//!     Change::set("letter/1", "paid").expires_after(hour),
//!     Change::set("letter/2", "shipped"),
//! ]).await?;
//! // Only if nobody changed it meanwhile.
//! let moved = store.write(&[Change::set("letter/2", "lost").if_is("shipped")]).await?;
//! assert_eq!(moved, [true]);
//! let page = store.scan("letter/", None, 10).await?;
//! assert_eq!(page[1], ("letter/2".to_owned(), "lost".into()));
//! # Ok(())
//! # }
//! ```

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use super::StoreError;

/// A store of values by their keys. See the [module](self) for the contract.
pub trait KeyValueStore: Send + Sync + 'static {
    /// Return the store's name for people: its name in the settings, and where it is.
    fn name(&self) -> &str;

    /// Connect, and check that the store can keep what is given to it.
    ///
    /// # Errors
    /// It cannot be reached, or is not fit.
    fn open(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Return the values of keys, in their order; nothing for those that are not there.
    ///
    /// # Errors
    /// The store gave no answer.
    fn get(&self, keys: &[&str]) -> impl Future<Output = Result<Vec<Option<Bytes>>, StoreError>> + Send;

    /// Make changes, one after the other, in one step. Return for each whether it holds now: `false` says
    /// that its condition did not, and that nothing was changed by it.
    ///
    /// # Errors
    /// The store gave no answer; all of it was done, or nothing.
    fn write(&self, changes: &[Change]) -> impl Future<Output = Result<Vec<bool>, StoreError>> + Send;

    /// Return at most `limit` entries whose keys begin with `prefix` and come after `after`, sorted by the
    /// bytes of their keys. Fewer than `limit` are the last.
    ///
    /// # Errors
    /// The store gave no answer.
    fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(String, Bytes)>, StoreError>> + Send;
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a change does nothing until it is written"]
pub struct Change {
    /// The key.
    pub key: String,
    /// Which value the change is for.
    pub condition: Condition,
    /// What is to be there; nothing deletes.
    pub value: Option<Bytes>,
    /// After what time the value is to go, in whole milliseconds; nothing is never.
    pub ttl: Option<Duration>,
}

/// Which value a change is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Any, or none.
    Always,
    /// None.
    Absent,
    /// This one.
    Is(Bytes),
}

impl Change {
    /// Write a value.
    pub fn set(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            condition: Condition::Always,
            value: Some(value.into()),
            ttl: None,
        }
    }

    /// Delete a value.
    pub fn delete(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            condition: Condition::Always,
            value: None,
            ttl: None,
        }
    }

    /// Let the value go after a time.
    pub fn expires_after(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Only if there is no value. Of several that write different values one wins; those that write the
    /// same do not contradict each other, and all hold.
    pub fn if_absent(mut self) -> Self {
        self.condition = Condition::Absent;
        self
    }

    /// Only if this is the value. The same holds for several.
    pub fn if_is(mut self, value: impl Into<Bytes>) -> Self {
        self.condition = Condition::Is(value.into());
        self
    }

    /// Say what is to be done about a value.
    pub(super) fn on(&self, value: Option<&Bytes>) -> Effect {
        let fits = match &self.condition {
            Condition::Always => true,
            Condition::Absent => value.is_none(),
            Condition::Is(expected) => value == Some(expected),
        };
        match (fits, value == self.value.as_ref()) {
            (true, _) => Effect::Make,
            (false, true) => Effect::Holds,
            (false, false) => Effect::Refuse,
        }
    }
}

/// What is to be done about a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Make,
    Holds,
    Refuse,
}

type Fallible<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The erased twin of [`KeyValueStore`]; implemented for each of them.
pub trait DynKeyValueStore: Send + Sync {
    /// See [`KeyValueStore::name`].
    fn name(&self) -> &str;
    /// See [`KeyValueStore::open`].
    fn open(&self) -> Fallible<'_, ()>;
    /// See [`KeyValueStore::get`].
    fn get<'a>(&'a self, keys: &'a [&'a str]) -> Fallible<'a, Vec<Option<Bytes>>>;
    /// See [`KeyValueStore::write`].
    fn write<'a>(&'a self, changes: &'a [Change]) -> Fallible<'a, Vec<bool>>;
    /// See [`KeyValueStore::scan`].
    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Fallible<'a, Vec<(String, Bytes)>>;
}

impl<S: KeyValueStore> DynKeyValueStore for S {
    fn name(&self) -> &str {
        KeyValueStore::name(self)
    }

    fn open(&self) -> Fallible<'_, ()> {
        Box::pin(KeyValueStore::open(self))
    }

    fn get<'a>(&'a self, keys: &'a [&'a str]) -> Fallible<'a, Vec<Option<Bytes>>> {
        Box::pin(KeyValueStore::get(self, keys))
    }

    fn write<'a>(&'a self, changes: &'a [Change]) -> Fallible<'a, Vec<bool>> {
        Box::pin(KeyValueStore::write(self, changes))
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Fallible<'a, Vec<(String, Bytes)>> {
        Box::pin(KeyValueStore::scan(self, prefix, after, limit))
    }
}
