//! Looks into waiting rooms at an interval, so that reading metrics asks no store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::dead_letter::Chain;
use crate::lifecycle::{Service, ServiceError, ServiceHandle};
use crate::ordering::{OrderingDesk, ScopeReport};

/// What the last look into each handler's waiting rooms found; nothing where the store did not answer.
#[derive(Debug, Default)]
pub(super) struct Rooms(Mutex<BTreeMap<String, ScopeReport>>);

impl Rooms {
    pub(super) fn reports(&self) -> Vec<ScopeReport> {
        self.lock().values().cloned().collect()
    }

    /// Ask the stores of all ordered handlers.
    async fn look(&self, desk: &OrderingDesk) {
        for handler in desk.handlers() {
            let Some(scope) = desk.handler(handler) else {
                continue;
            };
            match scope.report().await {
                Ok(report) => {
                    self.lock().insert(handler.to_owned(), report);
                }
                Err(error) => {
                    tracing::debug!(handler, error = %Chain(&error), "cannot look into the waiting rooms");
                    // Better no value than one of long ago.
                    self.lock().remove(handler);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, ScopeReport>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The service that looks.
pub(super) struct RoomsWatch {
    pub(super) desk: OrderingDesk,
    pub(super) rooms: Arc<Rooms>,
    pub(super) interval: Duration,
}

impl Service for RoomsWatch {
    fn name(&self) -> &str {
        "waiting rooms' metrics"
    }

    /// After the consumers, which open the stores.
    fn priority(&self) -> i32 {
        100
    }

    async fn start(&self, handle: ServiceHandle) -> Result<(), ServiceError> {
        let (desk, rooms, interval) = (self.desk.clone(), Arc::clone(&self.rooms), self.interval);
        let stopping = handle.clone();
        handle.spawn(async move {
            let watch = async {
                loop {
                    rooms.look(&desk).await;
                    tokio::time::sleep(interval).await;
                }
            };
            tokio::select! {
                () = stopping.stopping() => Ok(()),
                () = watch => Ok(()),
            }
        });
        Ok(())
    }
}
