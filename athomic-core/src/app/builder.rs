//! `AppBuilder`: gathers what an application is made of and checks all of it at once.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::delays;
use super::handle::{AppHandle, Parts};
use super::lineage::Lineage;
use super::{App, BuildError, Description};
use crate::consumer::{ConsumerManager, ConsumerParts};
use crate::context::{HeadersAdapter, HeadersOrchestrator};
use crate::handler::register::HandlerDefinition;
use crate::handler::{Handlers, StateMap};
use crate::lifecycle::{Lifecycle, Service};
use crate::lineage::{DynLineageStore, LineageStore};
use crate::ordering::Resync;
#[cfg(feature = "schema-registry")]
use crate::payload::RegistryCheck;
use crate::payload::{PayloadSteps, Payloads, Step, StepOptions};
use crate::settings::{Loader, SettingValue, Settings};
use crate::store::memory::MemoryStores;
use crate::telemetry::{Exporter, Observed, Telemetry};
use crate::transport::Connections;
use crate::transport::memory::MemoryBroker;

/// Puts an application together.
#[must_use = "ends with `build`"]
pub struct AppBuilder {
    source: SettingsSource,
    states: StateMap,
    discovers: bool,
    registered: Vec<HandlerDefinition>,
    only: Option<Vec<String>>,
    except: Vec<String>,
    broker: MemoryBroker,
    parts: ConsumerParts,
    steps: PayloadSteps,
    lifecycle: Lifecycle,
    adapters: Vec<Arc<dyn HeadersAdapter>>,
    lineage_stores: Vec<Box<dyn DynLineageStore>>,
}

/// Where the settings come from.
enum SettingsSource {
    Loaded(Loader),
    Given(Box<Settings>),
}

impl AppBuilder {
    pub(super) fn new() -> Self {
        Self {
            source: SettingsSource::Loaded(Settings::loader()),
            states: StateMap::default(),
            discovers: true,
            registered: Vec::new(),
            only: None,
            except: Vec::new(),
            broker: MemoryBroker::new(),
            parts: ConsumerParts::default(),
            steps: PayloadSteps::default(),
            lifecycle: Lifecycle::default(),
            adapters: Vec::new(),
            lineage_stores: Vec::new(),
        }
    }

    /// Give handlers a value that they take as `State<S>`.
    pub fn state<S: Send + Sync + 'static>(mut self, state: S) -> Self {
        self.states.insert(state);
        self
    }

    /// Read the settings from this file instead of `settings.toml`.
    pub fn settings_file(self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        self.loader(|loader| loader.file(path))
    }

    /// Set one key by its path, above files and environment, such as
    /// `set("integration.messaging.provider.backend", "kafka")`.
    pub fn set(self, key: impl Into<String>, value: impl Into<SettingValue>) -> Self {
        let (key, value) = (key.into(), value.into());
        self.loader(|loader| loader.set(key, value))
    }

    /// Have a say in how the settings are loaded. Replaces settings given by
    /// [`settings`](Self::settings).
    pub fn loader(mut self, change: impl FnOnce(Loader) -> Loader) -> Self {
        let loader = match self.source {
            SettingsSource::Loaded(loader) => loader,
            SettingsSource::Given(_) => Settings::loader(),
        };
        self.source = SettingsSource::Loaded(change(loader));
        self
    }

    /// Use these settings and read none.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.source = SettingsSource::Given(Box::new(settings));
        self
    }

    /// Add a handler by hand, see [`subscribe`](crate::handler::register::subscribe).
    pub fn register(mut self, handler: HandlerDefinition) -> Self {
        self.registered.push(handler);
        self
    }

    /// Leave out the handlers that carry an attribute, so that only those registered by hand run.
    pub fn without_discovery(mut self) -> Self {
        self.discovers = false;
        self
    }

    /// Run only handlers whose id is one of these or begins with one of these and `::`, such as a
    /// module's path. Calls add up.
    pub fn only<I: Into<String>>(mut self, ids: impl IntoIterator<Item = I>) -> Self {
        self.only
            .get_or_insert_default()
            .extend(ids.into_iter().map(Into::into));
        self
    }

    /// Leave out handlers whose id is one of these or begins with one of these and `::`. Calls add up.
    pub fn except<I: Into<String>>(mut self, ids: impl IntoIterator<Item = I>) -> Self {
        self.except.extend(ids.into_iter().map(Into::into));
        self
    }

    /// Add a service of the application's own, to be started and stopped with the consumers.
    pub fn service(mut self, service: impl Service) -> Self {
        self.lifecycle.register(service);
        self
    }

    /// Have an adapter of the application's own take its part of the context from messages and put it on those
    /// that are published, after the built-in ones.
    pub fn headers_adapter(mut self, adapter: impl HeadersAdapter) -> Self {
        self.adapters.push(Arc::new(adapter));
        self
    }

    /// Share an embedded broker with other applications of this process, for tests.
    pub fn broker(mut self, broker: MemoryBroker) -> Self {
        self.broker = broker;
        self
    }

    /// Share embedded stores with other applications of this process, for tests.
    pub fn stores(mut self, stores: MemoryStores) -> Self {
        self.parts.stores = stores;
        self
    }

    /// Say what the application knows of the aggregates of an ordered handler, see [`Resync`].
    pub fn resync(mut self, handler_id: impl Into<String>, resync: impl Resync) -> Self {
        self.parts.resyncs.insert(handler_id.into(), Arc::new(resync));
        self
    }

    /// Add a step that the settings may name in a payload pipeline, see [`payload`](crate::payload). The function
    /// makes it of its settings, once for each list that names it; `None` is for settings that are wrong, which
    /// it says by [`StepOptions::refuse`].
    pub fn payload_step(
        mut self,
        name: impl Into<String>,
        make: impl Fn(&mut StepOptions<'_>) -> Option<Step> + Send + Sync + 'static,
    ) -> Self {
        self.steps.register(name.into(), make);
        self
    }

    /// Write lineage events to a store of the application's own, besides those of `lineage.store`; if
    /// `lineage.enabled`.
    pub fn lineage_store(mut self, store: impl LineageStore) -> Self {
        self.lineage_stores.push(Box::new(store));
        self
    }

    /// Encrypt and decrypt payloads with keys from here, and not with those of `security.crypto`.
    #[cfg(feature = "crypto")]
    pub fn key_provider(mut self, keys: impl crate::payload::crypto::KeyProvider) -> Self {
        self.steps.keys = Some(Arc::new(keys));
        self
    }

    /// Load and check everything.
    ///
    /// # Errors
    /// All that is wrong, in one report: the settings, or the handlers with them.
    pub fn build(mut self) -> Result<App, BuildError> {
        let settings = self.source.load()?;
        let mut handlers = if self.discovers {
            Handlers::discover()
        } else {
            Handlers::default()
        };
        for handler in self.registered {
            handlers.add(handler);
        }
        filter(&mut handlers, self.only.as_deref(), &self.except)?;
        let tuning = &settings.messaging.handler_tuning;
        handlers.choose_priority_topics(|id| tuning.iter().find(|tuning| tuning.handler_id == id)?.priority);
        if !settings.messaging.enabled {
            handlers.retain(|_| false);
        }
        let telemetry = Telemetry::new(&settings)?;
        let propagation = telemetry.as_ref().map(|telemetry| telemetry.propagation());
        let headers = Arc::new(HeadersOrchestrator::propagating(
            &settings.context,
            self.adapters,
            propagation.unwrap_or_default(),
        )?);
        let payloads = Arc::new(Payloads::new(&settings, &self.steps, telemetry.as_ref())?);
        #[cfg(feature = "schema-registry")]
        if let Some(registry) = &payloads.registry {
            self.lifecycle.register(RegistryCheck(Arc::clone(registry)));
        }
        if let Some(check) = payloads.check() {
            self.lifecycle.register(check);
        }
        let delayed = delays::strategy(&settings, &self.parts.stores)?;
        let connections = Connections::new(
            &settings,
            &self.broker,
            &headers,
            &payloads,
            telemetry.as_ref(),
            delayed.as_ref(),
        )?;
        let connections = Arc::new(connections);
        let lineage = Lineage::new(&settings, &connections, self.lineage_stores)?;
        if let Some(collector) = lineage.collector {
            handlers.add(collector);
        }
        if let Some((reporter, service)) = lineage.reporter {
            self.parts.lineage = Some(reporter);
            self.lifecycle.register(service);
        }
        let republisher = delays::republisher(
            &settings,
            &connections,
            delayed,
            &mut handlers,
            &mut self.lifecycle,
        );
        let states = Arc::new(self.states);
        let manager = ConsumerManager::new(&handlers, &settings, &connections, &states, &self.parts)?;
        let description = Description::new(&settings, manager.descriptions(), states.type_names());
        let mut health = manager.health();
        if let Some((monitor, Some(store))) = &republisher {
            health = health.with_delays(Arc::clone(monitor), store);
        }
        let ordering = manager.ordering();
        let idempotency = manager.idempotency();
        let circuit_breakers = manager.circuit_breakers();
        let consumption = manager.consumption();
        if let Some(telemetry) = &telemetry {
            let observed = Observed {
                idempotency: idempotency.clone(),
                circuits: circuit_breakers.clone(),
                ordering: ordering.clone(),
                consumption: consumption.clone(),
                delays: republisher.as_ref().map(|(monitor, _)| Arc::clone(monitor)),
            };
            telemetry.observe(observed, &mut self.lifecycle);
        }
        let exporter = Exporter::new(&settings.observability, health.clone(), telemetry.clone())?;
        let listening = exporter.as_ref().map(Exporter::listening);
        if let Some(exporter) = exporter {
            self.lifecycle.register(exporter);
        }
        let index = manager.dead_letter_index();
        manager.register_with(&mut self.lifecycle);
        self.lifecycle.stages()?;
        let parts = Parts {
            connections,
            broker: self.broker,
            description,
            health,
            ordering,
            idempotency,
            consumption,
            circuit_breakers,
            index,
            republisher: republisher.map(|(monitor, _)| monitor),
            lineage: self.parts.lineage,
            telemetry,
            exporter: listening,
        };
        Ok(App {
            settings,
            lifecycle: self.lifecycle,
            handle: AppHandle(Arc::new(parts)),
        })
    }
}

impl SettingsSource {
    fn load(self) -> Result<Settings, BuildError> {
        match self {
            Self::Given(settings) => Ok(*settings),
            Self::Loaded(loader) => {
                let loaded = loader.load()?;
                for warning in &loaded.warnings {
                    tracing::warn!("settings: {warning}");
                }
                Ok(loaded.settings)
            }
        }
    }
}

impl fmt::Debug for AppBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppBuilder")
            .field("states", &self.states)
            .field("registered", &self.registered)
            .finish_non_exhaustive()
    }
}

/// Leave only the handlers that are wanted; a filter that fits none is an error.
fn filter(handlers: &mut Handlers, only: Option<&[String]>, except: &[String]) -> Result<(), BuildError> {
    let fits = |id: &str, filter: &String| {
        id.strip_prefix(filter.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let filters = only.unwrap_or_default().iter().chain(except);
    let unused = |filter: &&String| !handlers.iter().any(|handler| fits(&handler.handler_id, filter));
    let unused: Vec<String> = filters.filter(unused).cloned().collect();
    if !unused.is_empty() {
        let known = handlers
            .iter()
            .map(|handler| handler.handler_id.clone())
            .collect();
        return Err(BuildError::Filters { unused, known });
    }
    handlers.retain(|id| {
        only.is_none_or(|only| only.iter().any(|filter| fits(id, filter)))
            && !except.iter().any(|filter| fits(id, filter))
    });
    Ok(())
}
