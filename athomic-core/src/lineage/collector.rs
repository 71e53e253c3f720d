//! The collector: a consumer of the lineage topic that writes what it gets to stores.

use std::sync::Arc;

use super::event::LineageEvent;
use super::stores::{DynLineageStore, write_all};
use crate::handler::register::{HandlerDefinition, subscribe};
use crate::outcome::Outcome;
use crate::settings::LineageSettings;

/// The collector's handler id, for `handler_tuning` and `App::builder().except(..)`.
pub const LINEAGE_COLLECTOR: &str = "athomic::lineage_collector";

/// How many events it takes at once.
const AT_ONCE: usize = 100;

/// Define the handler of the lineage topic. It reports nothing about itself, or it would never end.
pub(crate) fn definition(
    settings: &LineageSettings,
    stores: Vec<Box<dyn DynLineageStore>>,
) -> HandlerDefinition {
    let stores: Arc<[_]> = stores.into();
    subscribe(settings.collector_topic.as_str())
        .handler_id(LINEAGE_COLLECTOR)
        .group_id(settings.collector.group_id.as_str())
        .options(|options| options.enable_lineage = Some(false))
        .batch_handler(AT_ONCE, move |events| collect(Arc::clone(&stores), events))
}

/// Write events to all stores. A store that is down is waited for: nothing is committed meanwhile. What one
/// refuses for good is given up, though others may have it.
async fn collect(stores: Arc<[Box<dyn DynLineageStore>]>, events: Vec<LineageEvent>) -> Vec<Outcome> {
    let events: Vec<_> = events.into_iter().map(Arc::new).collect();
    let mut outcomes: Vec<_> = events.iter().map(|_| Outcome::Ack).collect();
    for store in stores.iter() {
        let mut left = events.clone();
        while let Err(refused) = write_all(store.as_ref(), &mut left, |_written| {}).await {
            let place = events.len() - left.len();
            outcomes[place] = Outcome::dead_letter(refused);
            left.remove(0);
        }
    }
    outcomes
}
