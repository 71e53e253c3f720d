//! What reports lineage, and what collects it, as the settings say.

use std::sync::Arc;

use super::BuildError;
use crate::handler::register::HandlerDefinition;
use crate::lineage::{
    DynLineageStore, JsonFileStore, LineageService, LoggingStore, Reporter, TopicStore, collector,
};
use crate::outcome::BoxError;
use crate::settings::{
    CollectorStore, DEFAULT_CONNECTION, LineageServerSettings, LineageSettings, LineageStoreKind, Settings,
};
use crate::transport::{Connection, Connections};

/// The parts of an application that have to do with lineage.
pub(super) struct Lineage {
    /// What reports, and the service that writes what is reported.
    pub(super) reporter: Option<(Arc<Reporter>, LineageService)>,
    /// The handler of the lineage topic.
    pub(super) collector: Option<HandlerDefinition>,
}

impl Lineage {
    /// Make what is enabled.
    ///
    /// # Errors
    /// A store cannot be made.
    pub(super) fn new(
        settings: &Settings,
        connections: &Connections,
        own: Vec<Box<dyn DynLineageStore>>,
    ) -> Result<Self, BuildError> {
        let lineage = &settings.lineage;
        let connection = connections
            .get(DEFAULT_CONNECTION)
            .expect("the settings always have it");
        let made = lineage
            .enabled
            .then(|| reporter(settings, connection, own))
            .transpose();
        let collects = lineage.collector.enabled && settings.messaging.enabled;
        Ok(Self {
            reporter: made.map_err(BuildError::Lineage)?,
            collector: collects
                .then(|| collecting(lineage))
                .transpose()
                .map_err(BuildError::Lineage)?,
        })
    }
}

fn reporter(
    settings: &Settings,
    connection: &Connection,
    own: Vec<Box<dyn DynLineageStore>>,
) -> Result<(Arc<Reporter>, LineageService), BoxError> {
    let lineage = &settings.lineage;
    let mut stores = own;
    for kind in &lineage.stores {
        stores.push(match kind {
            LineageStoreKind::Logging => Box::new(LoggingStore),
            LineageStoreKind::Topic => Box::new(TopicStore::new(
                connection.publisher().clone(),
                lineage.collector_topic.as_str(),
            )),
            LineageStoreKind::Http => http(&lineage.server)?,
            LineageStoreKind::Composite => unreachable!("the settings name its stores in its place"),
        });
    }
    Ok(Reporter::new(lineage.clone(), connection.transport(), stores))
}

fn collecting(lineage: &LineageSettings) -> Result<HandlerDefinition, BoxError> {
    let mut stores: Vec<Box<dyn DynLineageStore>> = Vec::new();
    for kind in &lineage.collector.stores {
        stores.push(match kind {
            CollectorStore::Logging => Box::new(LoggingStore),
            CollectorStore::JsonFile => Box::new(JsonFileStore::new(&lineage.collector.path)),
            CollectorStore::Http => http(&lineage.server)?,
        });
    }
    Ok(collector(lineage, stores))
}

#[cfg(feature = "lineage-http")]
fn http(server: &LineageServerSettings) -> Result<Box<dyn DynLineageStore>, BoxError> {
    let url = server.url.as_deref().ok_or("`lineage.store.url` is not set")?;
    let store = crate::lineage::HttpStore::new(url, server.api_key.clone(), server.timeout);
    Ok(Box::new(
        store.map_err(|error| format!("`lineage.store.url`: {error}"))?,
    ))
}

#[cfg(not(feature = "lineage-http"))]
fn http(_server: &LineageServerSettings) -> Result<Box<dyn DynLineageStore>, BoxError> {
    Err("the lineage store `http` is not in this program; add the feature: `cargo add athomic --features lineage-http`".into())
}
