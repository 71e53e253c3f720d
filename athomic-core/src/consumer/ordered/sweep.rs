//! When a shard looks for aggregates that nobody looks after: those of processes that died.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use crate::store::ordering::SWEEP;

/// Looks at the buckets of a shard, each about once per [`SWEEP`].
#[derive(Debug)]
pub(super) struct Sweeper {
    buckets: Vec<u16>,
    /// Which buckets have messages that wait, as the session keeper sees it.
    waiting: Arc<Vec<AtomicBool>>,
    /// When to look next.
    pub(super) next: Instant,
}

impl Sweeper {
    pub(super) fn new(buckets: Vec<u16>, waiting: Arc<Vec<AtomicBool>>) -> Self {
        Self {
            buckets,
            waiting,
            next: Instant::now() + SWEEP,
        }
    }

    /// Begin a round, and return the buckets where messages wait.
    pub(super) fn round(&mut self, now: Instant) -> Vec<u16> {
        // Instances that started together drift apart.
        self.next = now + crate::retry::jittered(SWEEP);
        let waits = |bucket: &&u16| self.waiting[usize::from(**bucket)].load(Ordering::Relaxed);
        self.buckets.iter().filter(waits).copied().collect()
    }
}
