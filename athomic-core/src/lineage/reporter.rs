//! From handlers to stores: a bounded queue for each store, and the service that empties them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::event::LineageEvent;
use super::handler::{HandlerLineage, HandlerParts};
use super::stores::{AT_ONCE, DynLineageStore, write_all};
use crate::dead_letter::Chain;
use crate::lifecycle::{Service, ServiceError, ServiceHandle};
use crate::message::Timestamp;
use crate::settings::LineageSettings;
use crate::transport::DynTransport;

/// How long what is left at a stop may take to be written.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// How many events came to what end, since the start, counted for each store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LineageCounts {
    /// A store has them.
    pub written: u64,
    /// There was no room for them in a queue, or a store refused them.
    pub dropped: u64,
}

/// Takes events from handlers; never waits.
pub(crate) struct Reporter {
    settings: LineageSettings,
    transport: Arc<dyn DynTransport>,
    queues: Vec<mpsc::Sender<Arc<LineageEvent>>>,
    counts: Arc<Counts>,
    handlers: Mutex<Vec<Arc<HandlerLineage>>>,
}

#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    fn drop_some(&self, store: &str, count: usize, why: &dyn fmt::Display) {
        let before = self.dropped.fetch_add(count as u64, Relaxed);
        // Told at the first and then at each thousandth: a store that is down would fill the log.
        if before == 0 || before / 1000 != (before + count as u64) / 1000 {
            tracing::warn!(store, dropped = before + count as u64, why = %why, "lineage events are dropped");
        }
    }
}

impl Reporter {
    /// Make a reporter and the service that writes what it is told.
    pub(crate) fn new(
        settings: LineageSettings,
        transport: Arc<dyn DynTransport>,
        stores: Vec<Box<dyn DynLineageStore>>,
    ) -> (Arc<Self>, LineageService) {
        let counts = Arc::new(Counts::default());
        let queue = |store| {
            let (queue, events) = mpsc::channel(settings.max_queued_events.get());
            let writer = Writer {
                store,
                events,
                counts: Arc::clone(&counts),
            };
            (queue, writer)
        };
        let (queues, writers) = stores.into_iter().map(queue).unzip();
        let reporter = Arc::new(Self {
            settings,
            transport,
            queues,
            counts,
            handlers: Mutex::default(),
        });
        let service = LineageService {
            reporter: Arc::clone(&reporter),
            writers: Mutex::new(writers),
        };
        (reporter, service)
    }

    /// Follow a handler.
    pub(crate) fn follow(self: &Arc<Self>, parts: HandlerParts) -> Arc<HandlerLineage> {
        let handler = Arc::new(HandlerLineage::new(self, parts));
        let mut handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        handlers.push(Arc::clone(&handler));
        handler
    }

    /// Return how many events came to what end.
    pub(crate) fn counts(&self) -> LineageCounts {
        LineageCounts {
            written: self.counts.written.load(Relaxed),
            dropped: self.counts.dropped.load(Relaxed),
        }
    }

    pub(super) fn settings(&self) -> &LineageSettings {
        &self.settings
    }

    pub(super) fn now(&self) -> Timestamp {
        self.transport.now()
    }

    /// Hand an event to each store's queue that has room.
    pub(super) fn report(&self, event: LineageEvent) {
        let event = Arc::new(event);
        for queue in &self.queues {
            if queue.try_send(Arc::clone(&event)).is_err() {
                self.counts
                    .drop_some("any", 1, &"the queue is full (lineage.max_queued_events)");
            }
        }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter")
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

/// Writes what handlers report, and has them report at an interval. Stops after the consumers.
#[derive(Debug)]
pub(crate) struct LineageService {
    reporter: Arc<Reporter>,
    /// Empty once they run.
    writers: Mutex<Vec<Writer>>,
}

impl Service for LineageService {
    fn name(&self) -> &str {
        "lineage"
    }

    fn priority(&self) -> i32 {
        -50
    }

    async fn start(&self, handle: ServiceHandle) -> Result<(), ServiceError> {
        let writers = std::mem::take(&mut *self.writers.lock().unwrap_or_else(PoisonError::into_inner));
        for writer in writers {
            handle.spawn(writer.run(handle.clone()));
        }
        handle.spawn(tell_at_intervals(Arc::clone(&self.reporter), handle.clone()));
        Ok(())
    }
}

async fn tell_at_intervals(reporter: Arc<Reporter>, handle: ServiceHandle) -> Result<(), ServiceError> {
    let interval = reporter.settings.interval;
    let mut ticks = tokio::time::interval_at(Instant::now() + interval, interval);
    loop {
        tokio::select! {
            biased;
            () = handle.stopping() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let handlers = reporter
            .handlers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        handlers.iter().for_each(|handler| handler.go_on());
    }
}

/// Empties the queue of one store.
struct Writer {
    store: Box<dyn DynLineageStore>,
    events: mpsc::Receiver<Arc<LineageEvent>>,
    counts: Arc<Counts>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.store.name())
    }
}

impl Writer {
    async fn run(mut self, handle: ServiceHandle) -> Result<(), ServiceError> {
        let mut left = Vec::with_capacity(AT_ONCE);
        tokio::select! {
            biased;
            () = self.write_until_stopped(&mut left, &handle) => {}
            () = handle.overdue(LAST_WRITE) => {
                let count = left.len() + self.events.len();
                self.counts.drop_some(self.store.name(), count, &"the application stops");
            }
        }
        Ok(())
    }

    /// Write what comes, and at a stop what is left.
    async fn write_until_stopped(&mut self, events: &mut Vec<Arc<LineageEvent>>, handle: &ServiceHandle) {
        loop {
            tokio::select! {
                biased;
                _some @ 1.. = self.events.recv_many(events, AT_ONCE) => self.write(events).await,
                () = handle.stopping() => break,
            }
        }
        while let Ok(event) = self.events.try_recv() {
            events.push(event);
        }
        self.write(events).await;
    }

    /// Write events, however often it takes; those that are refused are dropped.
    async fn write(&self, events: &mut Vec<Arc<LineageEvent>>) {
        let count = |written| {
            self.counts.written.fetch_add(written as u64, Relaxed);
        };
        while let Err(refused) = write_all(self.store.as_ref(), events, count).await {
            self.counts.drop_some(self.store.name(), 1, &Chain(&refused));
            events.remove(0);
        }
    }
}
