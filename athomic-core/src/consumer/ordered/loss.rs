//! What is known of a loss of the store's state, and what it means for aggregates.
//!
//! A loss is written down in the store, so that instances that start later know of it. From then on what the
//! store does not know of an aggregate may have been lost. Where it goes on is asked in this order:
//! 1. the application, if it said how ([`Resync`](crate::ordering::Resync)): before anything of the aggregate is
//!    run for the first time, or when messages of it wait. It is asked when no lease from before the loss can be
//!    alive: until then a message that it takes for done may run once more, beside the one after it;
//! 2. the instances that were alive at the loss: each writes back what it remembers, and the highest counts;
//! 3. the messages that come again, where the lowest may begin (`first_sequence = "first_seen"`): the lowest
//!    that came, when all partitions of this process are read up to the loss;
//! 4. otherwise nobody: the aggregate is halted, loudly, when no lower message came for [`SETTLE`].

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::OrderedSettings;
use crate::store::StoreError;
use crate::store::ordering::{Loss, Opened, Past};

/// How long it is waited for a lower message of an aggregate of which nobody knows where it stands: its first
/// one may be on its way.
pub(super) const SETTLE: Duration = Duration::from_secs(10);

/// What this process knows of losses.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// Whether the store was opened by this process.
    opened: AtomicBool,
    /// A loss was noticed here, and is not written down in the store yet.
    noticed: AtomicBool,
    /// When the store lost state last, in milliseconds by its clock; 0 is never.
    last: AtomicI64,
    /// When that was by the clock of this process, or a little later; `None` also if it is too long ago to be told.
    moment: Mutex<Option<Instant>>,
}

impl Losses {
    /// Take note of a loss, to be written down when the store is opened next.
    pub(crate) fn notice(&self) {
        self.noticed.store(true, Relaxed);
    }

    /// Return when state was lost last.
    pub(super) fn last(&self) -> Option<i64> {
        Some(self.last.load(Relaxed)).filter(|last| *last != 0)
    }

    /// Return when the last lease from before the loss is over, if sessions live so long; `None` if there is
    /// none by now.
    pub(super) fn leases_end(&self, session_ttl: Duration) -> Option<Instant> {
        let end = (*self.moment())? + session_ttl;
        Some(end).filter(|end| *end > Instant::now())
    }

    /// Take note of when state was lost; says whether that is new.
    fn hear(&self, lost: Loss) -> bool {
        let mut moment = self.moment();
        if self.last.swap(lost.at, Relaxed) >= lost.at {
            return false;
        }
        *moment = Instant::now().checked_sub(lost.ago);
        true
    }

    fn moment(&self) -> MutexGuard<'_, Option<Instant>> {
        self.moment.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OrderedSettings {
    /// Open the store with what is known of the past besides what this process has seen of it.
    ///
    /// # Errors
    /// See [`OrderingStore::open`](crate::store::ordering::OrderingStore::open).
    pub(crate) async fn open(&self, past: Past) -> Result<Opened, StoreError> {
        let losses = &self.losses;
        let noticed = losses.noticed.load(Relaxed);
        let past = if noticed {
            Past::Lost
        } else if losses.opened.load(Relaxed) {
            Past::Some
        } else {
            past
        };
        let opened = self.store.open(past).await?;
        let Opened::There {
            lost,
            noticed: is_new,
        } = opened
        else {
            return Ok(opened);
        };
        losses.opened.store(true, Relaxed);
        if noticed {
            losses.noticed.store(false, Relaxed);
        } else if is_new {
            self.counters.state_losses.add(1);
        }
        if let Some(lost) = lost
            && losses.hear(lost)
        {
            self.report(lost.at, is_new).await;
        }
        Ok(opened)
    }

    /// Tell of a loss, and leave a word for operators if it was noticed here.
    async fn report(&self, lost: i64, is_new: bool) {
        let store = self.store.name();
        let remedy = if self.resync.is_some() {
            "the application is asked where aggregates stand"
        } else {
            "where aggregates stand that it does not know is not certain: give the handler a `resync`, or look for halted ones"
        };
        if !is_new {
            tracing::warn!(
                store,
                lost,
                "the ordering store lost state before this process began; {remedy}"
            );
            return;
        }
        tracing::error!(store, lost, "the ordering store has lost state; {remedy}");
        let event = format!("the store has lost state: {remedy}");
        if let Err(error) = self.store.record(&event).await {
            tracing::warn!(store, error = %crate::dead_letter::Chain(&error), "could not write down that state was lost");
        }
    }
}
