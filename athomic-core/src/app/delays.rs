//! Delayed messages of an application: where they wait, and who publishes them.

use std::sync::Arc;

use super::BuildError;
use crate::consumer::key_value;
use crate::delay::{
    DelayScheduler, DelayStoreService, DelayTopicCheck, DelayedMessageHandler, DueRepublisher,
    RepublisherMonitor, definition,
};
use crate::handler::Handlers;
use crate::lifecycle::Lifecycle;
use crate::publisher::{DelayedPublishStrategy, Delays};
use crate::settings::{DelayBackend, KvStoreSettings, REPUBLISHER_CONNECTION, Settings, StoreBackend};
use crate::store::delay::DynDelayStore;
use crate::store::memory::MemoryStores;
use crate::store::{KeySpace, delay_store_backend};
use crate::transport::Connections;

/// What a republisher has done, and the name of its store if it has one.
type Republisher = (Arc<RepublisherMonitor>, Option<String>);

/// Say how messages with a delay are published; `None` if the settings do not say how.
pub(super) fn strategy(settings: &Settings, stores: &MemoryStores) -> Result<Option<Delays>, BuildError> {
    let republisher = &settings.messaging.republisher;
    if republisher.strategy != DelayBackend::RedisSortedSet {
        return Ok(DelayedPublishStrategy::new(republisher).map(Delays::Topics));
    }
    let store = settings
        .kvstores
        .get(&republisher.kvstore)
        .expect("the settings have it");
    // The group says who shares the work: whoever publishes for it names it too.
    let space = KeySpace::new(&store.namespace, &["delays", &republisher.group_id]);
    let store = connect(store, space, stores)?;
    Ok(Some(Delays::Store(DelayScheduler::new(store, settings))))
}

fn connect(
    settings: &KvStoreSettings,
    space: KeySpace,
    stores: &MemoryStores,
) -> Result<Arc<dyn DynDelayStore>, BuildError> {
    if settings.backend == StoreBackend::Memory {
        return Ok(Arc::new(stores.delays(&space)));
    }
    let backend = settings.backend.as_str();
    let Some(found) = delay_store_backend(backend) else {
        let store = settings.name.clone();
        return Err(BuildError::DelayStoreNotBuiltIn { store, backend });
    };
    (found.connect)(&key_value(settings), space).map_err(BuildError::DelayStore)
}

/// Have delayed messages published, where this program does that, and their store looked at.
pub(super) fn republisher(
    settings: &Settings,
    connections: &Connections,
    delayed: Option<Delays>,
    handlers: &mut Handlers,
    lifecycle: &mut Lifecycle,
) -> Option<Republisher> {
    if !settings.messaging.enabled {
        return None;
    }
    let connection = connections.get(REPUBLISHER_CONNECTION);
    let monitor: Arc<RepublisherMonitor> = Arc::default();
    let mut store = None;
    if let Some(Delays::Store(scheduler)) = delayed {
        store = Some(scheduler.store().name().to_owned());
        let due = connection.map(|connection| {
            let monitor = Arc::clone(&monitor);
            let due = DueRepublisher::new(scheduler.clone(), connection, &settings.messaging, monitor);
            Arc::new(due)
        });
        lifecycle.register(DelayStoreService::new(scheduler, due));
    }
    let connection = connection?;
    // Besides a store: what waits in topics from before.
    if let Some(strategy) = DelayedPublishStrategy::new(&settings.messaging.republisher) {
        lifecycle.register(DelayTopicCheck::new(
            connection.transport(),
            strategy.buckets().clone(),
        ));
        let handler = DelayedMessageHandler::new(strategy, connection, Arc::clone(&monitor));
        handlers.add(definition(&settings.messaging.republisher, &Arc::new(handler)));
    }
    Some((monitor, store))
}
