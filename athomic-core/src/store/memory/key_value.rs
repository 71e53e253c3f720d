//! `MemoryKeyValue`: a key-value store in memory, and the specification of the others.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Link, StoreClock};
use crate::store::StoreError;
use crate::store::key_value::{Change, Effect, KeyValueStore};

/// A key-value store in memory. Clones are the same store.
#[derive(Debug, Clone, Default)]
pub struct MemoryKeyValue {
    clock: StoreClock,
    link: Link,
    entries: Arc<Mutex<Entries>>,
}

type Entries = BTreeMap<String, Entry>;

#[derive(Debug)]
struct Entry {
    value: Bytes,
    /// When it goes, in milliseconds; nothing is never.
    until: Option<i64>,
}

impl Entry {
    fn value_at(&self, now: i64) -> Option<&Bytes> {
        self.until.is_none_or(|until| now < until).then_some(&self.value)
    }
}

impl MemoryKeyValue {
    /// Make an empty store that goes by a clock.
    #[must_use]
    pub fn with_clock(clock: StoreClock) -> Self {
        Self {
            clock,
            link: Link::default(),
            entries: Arc::default(),
        }
    }

    /// Reach the same data by a way.
    pub(super) fn by(self, link: Link) -> Self {
        Self { link, ..self }
    }

    fn entries(&self) -> Result<MutexGuard<'_, Entries>, StoreError> {
        self.link.check()?;
        Ok(self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn make(entries: &mut Entries, now: i64, change: &Change) -> bool {
    let current = entries.get(&change.key).and_then(|entry| entry.value_at(now));
    match (change.on(current), &change.value) {
        (Effect::Refuse, _) => return false,
        (Effect::Holds, _) => {}
        (Effect::Make, None) => drop(entries.remove(&change.key)),
        (Effect::Make, Some(value)) => {
            let until = change.ttl.map(|ttl| now.saturating_add(super::millis(ttl)));
            let value = value.clone();
            entries.insert(change.key.clone(), Entry { value, until });
        }
    }
    true
}

impl KeyValueStore for MemoryKeyValue {
    fn name(&self) -> &str {
        "memory"
    }

    async fn open(&self) -> Result<(), StoreError> {
        self.link.check()
    }

    async fn get(&self, keys: &[&str]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let (entries, now) = (self.entries()?, self.clock.millis());
        let value = |key: &&str| entries.get(*key)?.value_at(now).cloned();
        Ok(keys.iter().map(value).collect())
    }

    async fn write(&self, changes: &[Change]) -> Result<Vec<bool>, StoreError> {
        let (mut entries, now) = (self.entries()?, self.clock.millis());
        entries.retain(|_, entry| entry.value_at(now).is_some());
        Ok(changes
            .iter()
            .map(|change| make(&mut entries, now, change))
            .collect())
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        let (entries, now) = (self.entries()?, self.clock.millis());
        let begin = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        Ok(entries
            .range::<str, _>((begin, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter_map(|(key, entry)| Some((key.clone(), entry.value_at(now)?.clone())))
            .take(limit)
            .collect())
    }
}
