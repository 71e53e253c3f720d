//! Lineage events in the log.

use std::sync::Arc;

use super::{LineageStore, LineageStoreError, line};
use crate::lineage::LineageEvent;

/// Writes each event to the log, as JSON, at level INFO under the target `athomic::lineage`.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoggingStore;

impl LineageStore for LoggingStore {
    fn name(&self) -> &str {
        "logging"
    }

    async fn write(&self, events: &[Arc<LineageEvent>]) -> Result<(), LineageStoreError> {
        for event in events {
            tracing::info!(target: "athomic::lineage", event = line(event), "lineage");
        }
        Ok(())
    }
}
