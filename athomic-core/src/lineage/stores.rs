//! Where lineage events are written.

mod file;
#[cfg(feature = "lineage-http")]
mod http;
mod logging;
mod topic;

pub use file::JsonFileStore;
#[cfg(feature = "lineage-http")]
pub use http::HttpStore;
pub use logging::LoggingStore;
pub use topic::TopicStore;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::event::LineageEvent;
use crate::dead_letter::Chain;
use crate::outcome::BoxError;
use crate::retry::Backoff;

/// Something that keeps lineage events, or passes them on.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use athomic_core::app::App;
/// use athomic_core::handler::register::subscribe;
/// use athomic_core::lineage::{EventType, LineageEvent, LineageStore, LineageStoreError};
///
/// struct Kept(Arc<Mutex<Vec<EventType>>>);
///
/// impl LineageStore for Kept {
///     fn name(&self) -> &str {
///         "kept"
///     }
///
///     async fn write(&self, events: &[Arc<LineageEvent>]) -> Result<(), LineageStoreError> {
///         self.0.lock().unwrap().extend(events.iter().filter_map(|event| event.event_type));
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let kept = Arc::default();
/// let app = App::builder()
///     .register(subscribe("orders.v1").group_id("shop").handler(async |order: u32| println!("{order}")))
///     .set("lineage.enabled", true)
///     .lineage_store(Kept(Arc::clone(&kept)))
///     .build()?;
/// app.start().await?.stop().await;
/// assert_eq!(*kept.lock().unwrap(), [EventType::Start, EventType::Complete]);
/// # Ok(())
/// # }
/// ```
pub trait LineageStore: Send + Sync + 'static {
    /// Return the name under which the log knows the store.
    fn name(&self) -> &str;

    /// Write events, in their order. It may be dropped before its end and called anew with the same
    /// events: an event may be written twice.
    ///
    /// # Errors
    /// Not all could be written; the error says how many, and whether to try again.
    fn write(
        &self,
        events: &[Arc<LineageEvent>],
    ) -> impl Future<Output = Result<(), LineageStoreError>> + Send;
}

/// Not all events could be written.
#[derive(Debug, thiserror::Error)]
#[error("lineage events were not written")]
#[non_exhaustive]
pub struct LineageStoreError {
    /// How many were, the first ones.
    pub written: usize,
    /// Whether to try again with the others.
    pub is_retriable: bool,
    /// Why.
    #[source]
    pub source: BoxError,
}

impl LineageStoreError {
    /// Say that events after the first `written` were not written for now.
    pub fn retriable(written: usize, source: impl Into<BoxError>) -> Self {
        Self {
            written,
            is_retriable: true,
            source: source.into(),
        }
    }

    /// Say that the event after the first `written` is refused for good.
    pub fn refused(written: usize, source: impl Into<BoxError>) -> Self {
        Self {
            written,
            is_retriable: false,
            source: source.into(),
        }
    }
}

/// The erased twin of [`LineageStore`].
pub(crate) trait DynLineageStore: Send + Sync {
    fn name(&self) -> &str;
    fn write<'a>(
        &'a self,
        events: &'a [Arc<LineageEvent>],
    ) -> Pin<Box<dyn Future<Output = Result<(), LineageStoreError>> + Send + 'a>>;
}

impl<S: LineageStore> DynLineageStore for S {
    fn name(&self) -> &str {
        LineageStore::name(self)
    }

    fn write<'a>(
        &'a self,
        events: &'a [Arc<LineageEvent>],
    ) -> Pin<Box<dyn Future<Output = Result<(), LineageStoreError>> + Send + 'a>> {
        Box::pin(LineageStore::write(self, events))
    }
}

/// How many events a store is given at once.
pub(super) const AT_ONCE: usize = 100;

const WRITE_AGAIN: Backoff = Backoff {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(30),
    factor: 2.0,
    jitter: true,
};

/// Write events, however often it takes. What is written is taken away, so that it is not written again
/// when this is dropped and called anew.
///
/// # Errors
/// The store refuses the first of those that are left.
pub(super) async fn write_all(
    store: &dyn DynLineageStore,
    events: &mut Vec<Arc<LineageEvent>>,
    mut on_written: impl FnMut(usize),
) -> Result<(), LineageStoreError> {
    let mut failures = 0;
    while !events.is_empty() {
        let batch = &events[..events.len().min(AT_ONCE)];
        let result = store.write(batch).await;
        let written = result
            .as_ref()
            .map_or_else(|error| error.written, |()| batch.len());
        events.drain(..written);
        on_written(written);
        let Err(error) = result else {
            failures = 0;
            continue;
        };
        if !error.is_retriable {
            return Err(error);
        }
        failures += 1;
        tracing::debug!(store = store.name(), error = %Chain(&error), failures, "lineage events wait");
        tokio::time::sleep(WRITE_AGAIN.delay(failures)).await;
    }
    Ok(())
}

/// Return an event as one line of JSON.
fn line(event: &LineageEvent) -> String {
    // Texts, numbers and maps with texts as keys always serialize.
    serde_json::to_string(event).unwrap_or_default()
}
