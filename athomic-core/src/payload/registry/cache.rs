//! What the registry said, for a while: schemas, of which none ever changes, and that there is none.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use super::{Found, RegistryError, SchemaId};

/// How long it counts that a schema is not there: it may be registered later, or at a server that lags behind.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);

/// How long it counts that nobody answered: the messages that came with the first need not all wait for a time-out.
const UNAVAILABLE_FOR: Duration = Duration::from_secs(1);

/// Answers by the ids of schemas, so many at most; the one that was used longest ago makes room.
#[derive(Debug)]
pub(super) struct Cache {
    kept: RwLock<HashMap<SchemaId, Kept>>,
    size: NonZeroUsize,
    /// Counts what was put in. Reading notes it with an answer, and writes nothing while nothing is put in.
    turn: AtomicU64,
}

#[derive(Debug)]
struct Kept {
    found: Found,
    /// When it is forgotten; never, for a schema.
    until: Option<Instant>,
    /// The turn in which it was used last.
    used: AtomicU64,
}

impl Cache {
    pub(super) fn new(size: NonZeroUsize) -> Self {
        Self {
            kept: RwLock::default(),
            size,
            turn: AtomicU64::new(0),
        }
    }

    /// Return what is known of a schema.
    pub(super) fn get(&self, id: SchemaId) -> Option<Found> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get(&id)?;
        if kept.until.is_some_and(|until| until <= Instant::now()) {
            return None;
        }
        let turn = self.turn.load(Ordering::Relaxed);
        if kept.used.load(Ordering::Relaxed) != turn {
            kept.used.store(turn, Ordering::Relaxed);
        }
        Some(kept.found.clone())
    }

    /// Keep an answer.
    pub(super) fn put(&self, id: SchemaId, found: Found) {
        let until = match &found {
            Ok(_) => None,
            Err(RegistryError::Unavailable { .. }) => Some(Instant::now() + UNAVAILABLE_FOR),
            Err(_) => Some(Instant::now() + UNKNOWN_FOR),
        };
        let used = AtomicU64::new(self.turn.fetch_add(1, Ordering::Relaxed));
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= self.size.get() && !kept.contains_key(&id) {
            let unused = kept
                .iter()
                .min_by_key(|(_, kept)| kept.used.load(Ordering::Relaxed));
            let unused = unused.map(|(id, _)| *id);
            unused.and_then(|id| kept.remove(&id));
        }
        kept.insert(id, Kept { found, until, used });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::WriterSchema;
    use super::*;

    fn schema(id: u32) -> (SchemaId, Found) {
        let id = SchemaId::Number(id);
        (id, Ok(Arc::new(WriterSchema::named(id))))
    }

    #[test]
    fn the_schema_that_was_used_longest_ago_makes_room() {
        let cache = Cache::new(NonZeroUsize::new(2).unwrap());
        let ids = [1, 2, 3].map(|number| {
            let (id, found) = schema(number);
            if number == 3 {
                assert!(cache.get(SchemaId::Number(1)).is_some());
            }
            cache.put(id, found);
            id
        });
        let kept = ids.map(|id| cache.get(id).is_some());
        assert_eq!(kept, [true, false, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_there_is_asked_for_again_after_a_while() {
        let cache = Cache::new(NonZeroUsize::MIN);
        let id = SchemaId::Number(7);
        let unknown = RegistryError::Unknown {
            wanted: String::new(),
        };
        let (wanted, reason) = (String::new(), String::new());
        let unavailable = RegistryError::Unavailable { wanted, reason };
        for (error, kept_for) in [(unknown, UNKNOWN_FOR), (unavailable, UNAVAILABLE_FOR)] {
            cache.put(id, Err(error.clone()));
            tokio::time::advance(kept_for - Duration::from_millis(1)).await;
            assert_eq!(cache.get(id).and_then(Result::err), Some(error));
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(cache.get(id).is_none());
        }
    }
}
