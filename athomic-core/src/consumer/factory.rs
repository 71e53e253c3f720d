//! `ConsumerFactory`: from a handler's definition and the settings to a consumer that can start.
//!
//! Precedence, for what both can say: `handler_tuning` for the handler, then its attribute, then the
//! connection's settings, whose defaults are filled in already.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

use super::MessageProcessor;
use super::error::InvalidConsumerConfigurationError;
use super::lane::{BatchSettings, LaneSettings};
use super::ordered::{Flows, Losses, OrderedSettings};
use super::priorities;
use super::service::ConsumerService;
use crate::circuit_breaker::{self, CircuitBreaker, CircuitBreakerPolicy};
use crate::dead_letter::{Chain, DeadLetterIndex, DeadLetterIndexService, DeadLetterProcessor, DlqHandler};
use crate::handler::register::{HandlerDefinition, HandlerOptions};
use crate::handler::{HandlerScope, Ordering, Priorities, RetryOptions, StateMap};
use crate::health::{Outage, Pulse};
use crate::idempotency::{Guard, IdempotencyPolicy, resolve as idempotency};
use crate::lineage::{HandlerLineage, HandlerParts, Reporter};
use crate::message::topic_name_fault;
use crate::nearest::nearest;
use crate::ordering::resolve::{HandlerOrdering, resolve};
use crate::ordering::{FirstSequence, Resync};
use crate::payload::HandlerPayloads;
use crate::retry::RetryPolicy;
use crate::settings::{
    Backend, ConnectionSettings, DlqStrategy, HandlerTuning, KvStoreSettings, RetryMode, RetryOrder,
    Settings, StoreBackend,
};
use crate::store::idempotency::DynIdempotencyStore;
use crate::store::key_value::DynKeyValueStore;
use crate::store::memory::MemoryStores;
use crate::store::ordering::DynOrderingStore;
use crate::store::{
    IdempotencyStores, KeySpace, KeyValueSettings, Scope, StoreError, idempotency_backend, key_value_backend,
    ordering_backend,
};
use crate::transport::{
    Connection, Connections, DynConsumer, DynTransport, FetchLimits, FetchOverrides, Subscription,
    TransportError,
};

/// Assembles consumers: one complete, self-contained service for each handler.
#[derive(Debug, Clone)]
pub struct ConsumerFactory<'a> {
    settings: &'a Settings,
    connections: &'a Connections,
    states: &'a Arc<StateMap>,
    parts: &'a ConsumerParts,
    /// The connection that all handlers' idempotency stores share, once the first one has made it.
    marks: OnceLock<IdempotencyStores>,
    /// Where dead letters are noted.
    index: Option<DeadLetterIndex>,
}

/// What consumers need beside the settings.
#[derive(Clone, Default)]
pub struct ConsumerParts {
    /// The embedded stores, by their scopes.
    pub stores: MemoryStores,
    /// What the application knows of its aggregates, by handler.
    pub resyncs: BTreeMap<String, Arc<dyn Resync>>,
    /// Told what handlers read and write, if that is reported.
    pub(crate) lineage: Option<Arc<Reporter>>,
}

impl fmt::Debug for ConsumerParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerParts")
            .field("stores", &self.stores)
            .field("resyncs", &self.resyncs.keys())
            .finish()
    }
}

/// All that a handler's consumer needs.
pub(super) struct ConsumerPlan {
    /// The service's name.
    pub(super) name: String,
    /// The handler, with its place in the source.
    pub(super) handler: String,
    pub(super) transport: Arc<dyn DynTransport>,
    pub(super) subscription: Subscription,
    pub(super) processor: MessageProcessor,
    pub(super) lane: Arc<LaneSettings>,
    pub(super) commit_interval: Duration,
    pub(super) revoke_timeout: Duration,
    pub(super) shutdown_timeout: Duration,
    /// What probes see of the consumer.
    pub(super) pulse: Arc<Pulse>,
}

impl ConsumerPlan {
    /// Take note that the ordering store has lost its state.
    pub(super) fn state_lost(&self) {
        if let Some(ordered) = &self.lane.ordered {
            ordered.losses.notice();
            ordered.counters.state_losses.add(1);
        }
        tracing::error!(
            handler = %self.handler,
            "the ordering store has lost its state: what is not committed is read again"
        );
    }

    /// Join the group.
    pub(super) async fn join(&self) -> Result<Arc<dyn DynConsumer>, TransportError> {
        Ok(self.transport.consumer(self.subscription.clone()).await?.into())
    }
}

impl fmt::Debug for ConsumerPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerPlan")
            .field("subscription", &self.subscription)
            .finish_non_exhaustive()
    }
}

/// How a handler consumes after attribute and settings were put together. Shown by `describe`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct ConsumerDescription {
    /// The handler's id.
    pub handler_id: String,
    /// Where it stands in the source.
    pub location: String,
    /// `single` or `batch`.
    pub strategy: &'static str,
    /// The payload's type.
    pub target_type: String,
    /// The topics.
    pub topics: Vec<String>,
    /// The consumer group.
    pub group_id: String,
    /// The connection.
    pub connection: String,
    /// How many executions at most run at once; nothing means one for each assigned partition.
    pub concurrency: Option<usize>,
    /// Which messages wait for each other.
    pub ordering: &'static str,
    /// How many messages a batch holds at most.
    pub batch_size: Option<usize>,
    /// For how many seconds handled messages are remembered; nothing if they are not.
    pub remember_seconds: Option<u64>,
    /// When it is left alone for a while; nothing if it has no circuit breaker.
    pub circuit_breaker: Option<CircuitBreakerPolicy>,
    /// How payloads are read: the format and the steps behind it.
    pub payload: String,
    /// Whether it is kept from consuming by `handler_tuning`.
    pub paused: bool,
}

/// What attribute and settings say together.
struct Resolved<'a> {
    connection: &'a ConnectionSettings,
    group_id: String,
    concurrency: Option<usize>,
    ordering: Ordering,
    batch: Option<BatchSettings>,
    ordering_of_aggregates: Option<HandlerOrdering<'a>>,
    idempotency: Option<IdempotencyPolicy>,
    circuit_breaker: Option<CircuitBreakerPolicy>,
    retry: RetryOptions,
    paused: bool,
}

/// How many executions run at once where nobody says a number, of handlers whose partitions share them:
/// those of aggregates, and those of several priorities.
const SHARED_CONCURRENCY: usize = 16;

/// Where the settings have the store of idempotency.
pub(super) const MARKS: &str = "resilience.idempotency.kvstore";

type Faults = Vec<InvalidConsumerConfigurationError>;

impl<'a> ConsumerFactory<'a> {
    /// Assemble consumers by these settings, over these connections.
    #[must_use]
    pub fn new(
        settings: &'a Settings,
        connections: &'a Connections,
        states: &'a Arc<StateMap>,
        parts: &'a ConsumerParts,
    ) -> Self {
        Self {
            settings,
            connections,
            states,
            parts,
            marks: OnceLock::new(),
            index: None,
        }
    }

    /// Note dead letters in an index.
    #[must_use]
    pub fn with_index(mut self, index: Option<DeadLetterIndex>) -> Self {
        self.index = index;
        self
    }

    /// Make the index of dead letters; `None` if there is to be none.
    ///
    /// # Errors
    /// Its store is not to be had.
    pub(super) fn index(
        &self,
    ) -> Result<Option<(DeadLetterIndex, DeadLetterIndexService)>, InvalidConsumerConfigurationError> {
        let dlq = &self.settings.messaging.dlq;
        let store = self.settings.kvstores.get(&dlq.index.kvstore);
        let is_wanted = dlq.index.enabled && dlq.enabled && dlq.strategy != DlqStrategy::LoggingOnly;
        let Some(settings) = store.filter(|store| is_wanted && store.enabled) else {
            return Ok(None);
        };
        let mut check = Check {
            handler: "the index of dead letters".to_owned(),
            faults: Vec::new(),
        };
        let space = KeySpace::new(&settings.namespace, &["dead-letters", &self.settings.app.name]);
        match self.letters(settings, space, &mut check) {
            Some(store) => {
                let max_entries = dlq.index.max_entries.get();
                Ok(Some(DeadLetterIndex::new(store, dlq.index.ttl, max_entries)))
            }
            None => {
                let mut fault = check.faults.remove(0);
                (fault.remedy).push_str(", or set `integration.messaging.dlq.index_in_kv = false`");
                Err(fault)
            }
        }
    }

    fn letters(
        &self,
        settings: &KvStoreSettings,
        space: KeySpace,
        check: &mut Check,
    ) -> Option<Arc<dyn DynKeyValueStore>> {
        if settings.backend == StoreBackend::Memory {
            return Some(Arc::new(self.parts.stores.key_value(&space)));
        }
        let name = settings.backend.as_str();
        let Some(backend) = key_value_backend(name) else {
            check.no_backend(&settings.name, name);
            return None;
        };
        let connected = (backend.connect)(&key_value(settings), space);
        check.connected(connected, &format!("database.kvstore.{}", settings.name))
    }

    /// Assemble a handler's consumer; `None` if the settings keep it paused.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn consumer(&self, definition: &HandlerDefinition) -> Result<Option<ConsumerService>, Faults> {
        let resolved = self.resolve(definition)?;
        if resolved.paused {
            return Ok(None);
        }
        let ordered = self.ordered(definition, &resolved)?;
        let guard = self.guard(definition, &resolved)?;
        Ok(Some(ConsumerService::new(
            self.plan(definition, &resolved, ordered, guard),
        )))
    }

    /// Say how a handler consumes.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn describe(&self, definition: &HandlerDefinition) -> Result<ConsumerDescription, Faults> {
        let resolved = self.resolve(definition)?;
        Ok(ConsumerDescription {
            handler_id: definition.handler_id.clone(),
            location: definition.location.to_string(),
            strategy: definition.processor.strategy(),
            target_type: definition.target_type.clone(),
            topics: definition.options.topics.clone(),
            group_id: resolved.group_id,
            connection: resolved.connection.name.clone(),
            concurrency: resolved.concurrency,
            ordering: if definition.processor.is_ordered() {
                "aggregate"
            } else {
                resolved.ordering.as_str()
            },
            batch_size: resolved.batch.map(|batch| batch.size),
            remember_seconds: resolved.idempotency.map(|policy| policy.ttl.as_secs()),
            circuit_breaker: resolved.circuit_breaker,
            payload: (self.connections.get(&resolved.connection.name))
                .map(|connection| self.payloads(definition, connection).describe())
                .unwrap_or_default(),
            paused: resolved.paused,
        })
    }

    /// Return the group that a handler is in, if attribute or settings say one.
    #[must_use]
    pub fn group_of(&self, definition: &HandlerDefinition) -> Option<String> {
        let settings = self.settings.messaging.connections.get(definition.connection());
        let group = definition.options.group_id.as_ref();
        group
            .or(settings?.consumer.group_id.as_ref())
            .filter(|group| !group.is_empty())
            .cloned()
    }

    fn plan(
        &self,
        definition: &HandlerDefinition,
        resolved: &Resolved<'_>,
        ordered: Option<Arc<OrderedSettings>>,
        guard: Option<Arc<Guard>>,
    ) -> ConsumerPlan {
        let consumer = &resolved.connection.consumer;
        let options = &definition.options;
        let connection = self
            .connections
            .get(&resolved.connection.name)
            .expect("made for each in the settings");
        let lineage = self.lineage(definition, resolved);
        let scope = HandlerScope {
            handler_id: definition.handler_id.as_str().into(),
            group_id: resolved.group_id.as_str().into(),
            states: Arc::clone(self.states),
            publisher: connection.publisher().reporting_to(lineage.clone()),
            headers: Arc::clone(connection.publisher().headers()),
            payloads: self.payloads(definition, connection),
            telemetry: connection.publisher().telemetry().map(|telemetry| {
                let handler_id = &definition.handler_id;
                Arc::new(telemetry.handler(handler_id, &resolved.group_id, &options.topics))
            }),
        };
        let breaker = resolved.circuit_breaker.map(|policy| {
            let handler_id = Arc::clone(&scope.handler_id);
            Arc::new(CircuitBreaker::new(handler_id, policy))
        });
        let window = FetchLimits {
            messages: consumer.max_in_flight_messages.get(),
            bytes: consumer.max_in_flight_bytes,
        };
        let failures = self.failures(definition, resolved);
        let fetch_max_bytes = options.fetch_max_bytes.unwrap_or(consumer.fetch_max_bytes);
        let fetch = FetchLimits {
            messages: options
                .fetch_size
                .unwrap_or(consumer.max_poll_records.get())
                .min(window.messages),
            bytes: fetch_max_bytes.min(window.bytes),
        };
        ConsumerPlan {
            name: format!("consumer {}", definition.handler_id),
            handler: definition.to_string(),
            transport: connection.transport(),
            subscription: Subscription {
                topics: options.topics.clone(),
                group_id: resolved.group_id.clone(),
                handler_id: definition.handler_id.clone(),
                fetch: FetchOverrides {
                    max_wait: options.fetch_timeout_ms.map(Duration::from_millis),
                    max_bytes: options.fetch_max_bytes,
                    offset_reset: None,
                },
            },
            processor: definition.processor.clone(),
            lane: Arc::new(LaneSettings {
                scope: Arc::new(scope),
                fetch,
                window,
                handler_timeout: consumer.handler_timeout,
                ordering: resolved.ordering,
                executions: resolved.concurrency.map(|limit| Arc::new(Semaphore::new(limit))),
                priorities: (options.priority == Priorities::Weighted)
                    .then(|| Arc::new(priorities::Priorities::new(&options.topics))),
                batch: resolved.batch,
                ordered: ordered.clone(),
                guard: guard.clone(),
                breaker: breaker.clone(),
                lineage,
                failures: failures.clone(),
                has_read: AtomicBool::new(false),
                news: Notify::new(),
            }),
            commit_interval: consumer.commit_interval,
            revoke_timeout: consumer.revoke_timeout,
            shutdown_timeout: self.settings.lifecycle.shutdown_timeout,
            pulse: Arc::new(Pulse::new(
                definition.to_string(),
                consumer.max_poll_interval,
                consumer.commit_interval,
                ordered,
                guard,
                breaker,
                Arc::clone(failures.trouble()),
            )),
        }
    }

    /// Return how the handler's payloads are read; dead letters are parked as they are.
    fn payloads(&self, definition: &HandlerDefinition, connection: &Connection) -> HandlerPayloads {
        if definition.handler_id == DeadLetterProcessor::HANDLER_ID {
            return HandlerPayloads::default();
        }
        connection.publisher().payloads().of_handler(definition)
    }

    /// Make what reports on a handler, unless it is not to be reported on.
    fn lineage(
        &self,
        definition: &HandlerDefinition,
        resolved: &Resolved<'_>,
    ) -> Option<Arc<HandlerLineage>> {
        let reporter = self.parts.lineage.as_ref()?;
        if definition.options.enable_lineage == Some(false) {
            return None;
        }
        let Settings { app, lineage, .. } = self.settings;
        let servers = &resolved.connection.consumer.bootstrap_servers;
        let namespace = match (self.settings.messaging.backend, servers.first()) {
            (Backend::Kafka, Some(server)) => format!("kafka://{server}"),
            (backend, _) => format!("{backend}://{}", app.name),
        };
        Some(reporter.follow(HandlerParts {
            job_namespace: lineage.job_namespace.as_ref().unwrap_or(&app.name).clone(),
            handler_id: definition.handler_id.clone(),
            group: resolved.group_id.clone(),
            topics: definition.options.topics.clone(),
            namespace,
            is_batch: definition.processor.is_batch(),
        }))
    }

    /// Make what decides on a handler's failures.
    fn failures(&self, definition: &HandlerDefinition, resolved: &Resolved<'_>) -> DlqHandler {
        let settings = &self.settings.messaging.dlq;
        let mut policy = RetryPolicy::new(settings, &resolved.retry);
        let by_key = resolved.concurrency.is_some() && resolved.ordering == Ordering::Key;
        let order = resolved.retry.order.unwrap_or(settings.retry.order);
        if retries_in_place(definition) || (by_key && order == RetryOrder::Hold) {
            policy.mode = RetryMode::InPlace;
        }
        let index = self.index.as_ref();
        let index = index.map(|index| index.of_connection(definition.connection()));
        DlqHandler::new(settings, &definition.handler_id, index).with_policy(policy)
    }

    fn resolve(&self, definition: &HandlerDefinition) -> Result<Resolved<'a>, Faults> {
        let options = &definition.options;
        let tuning = self.tuning(definition);
        let mut check = Check {
            handler: definition.to_string(),
            faults: Vec::new(),
        };
        check.not_built_yet(definition);
        check.topics(options);
        check.numbers(options);
        let said = options.retry;
        let retry = tuning.map_or(said, |tuning| tuning.retry.or(said));
        check.retries(&retry, definition, self.settings.messaging.dlq.retry.max_delay);
        let concurrency = tuning
            .and_then(|tuning| tuning.concurrency)
            .map(NonZeroUsize::get)
            .or(options.concurrency)
            .or((options.priority == Priorities::Weighted).then_some(SHARED_CONCURRENCY));
        let mode = retry.mode.unwrap_or(self.settings.messaging.dlq.retry.mode);
        let connected = self.connections.get(definition.connection());
        if mode == RetryMode::DelayTopic
            && !retries_in_place(definition)
            && connected.is_some_and(|it| !it.publisher().can_delay())
        {
            check.fault(
                "its retries wait in delay topics, and there are none",
                "name some in `integration.messaging.republisher.delay_topics`, or set `integration.messaging.dlq.retry.mode`",
            );
        }
        check.combinations(options, concurrency, definition.processor.is_batch());
        check.priorities(definition);
        if let Err(missing) = definition.processor.check(self.states) {
            check.fault(
                missing.to_string(),
                "the application is built in `App::builder()`",
            );
        }
        let ordering_of_aggregates = resolve(definition, self.settings).unwrap_or_else(|faults| {
            check.faults.extend(faults.into_iter().map(Into::into));
            None
        });
        let idempotency = idempotency::resolve(definition, tuning, self.settings);
        if let Some((problem, remedy)) = idempotency.as_ref().and_then(idempotency::fault) {
            check.fault(problem, remedy);
        }
        let circuit_breaker = check.circuit_breaker(definition, tuning);
        let connection = self.connections.get(definition.connection());
        if let Some((problem, remedy)) =
            connection.and_then(|connection| connection.publisher().payloads().unreadable(definition))
        {
            check.fault(problem, remedy);
        }
        if connection.is_some_and(|connection| self.payloads(definition, connection).is_open()) {
            check.fault(
                "it wants `encrypted` payloads, and the pipeline of its topics has no step `crypto`",
                "add `step = \"crypto\"` to `integration.messaging.payload.pipeline`",
            );
        }
        let connection = self.connection(definition, &mut check);
        let group_id = self.group_of(definition);
        if group_id.is_none() && connection.is_some() {
            check.fault(
                "no consumer group is set",
                "add `group_id = \"...\"` to the attribute or set `integration.messaging.consumer.group_id` in the settings",
            );
        }
        let (Some(connection), Some(group_id), true) = (connection, group_id, check.faults.is_empty()) else {
            return Err(check.faults);
        };
        let batch = definition.processor.is_batch().then(|| BatchSettings {
            size: options.batch_size.unwrap_or(1),
            linger: options
                .max_batch_linger_ms
                .or(options.fetch_max_linger_ms)
                .map_or(connection.consumer.fetch_max_wait, Duration::from_millis),
        });
        let by_default = if batch.is_some() {
            Ordering::Partition
        } else {
            Ordering::default()
        };
        Ok(Resolved {
            connection,
            group_id,
            concurrency: concurrency.or(ordering_of_aggregates.as_ref().map(|_| SHARED_CONCURRENCY)),
            ordering_of_aggregates,
            idempotency,
            circuit_breaker,
            retry,
            ordering: match concurrency {
                Some(_) => options.ordering.unwrap_or(by_default),
                None => Ordering::Partition,
            },
            batch,
            paused: tuning.and_then(|tuning| tuning.paused).unwrap_or(false),
        })
    }

    /// Make what an ordered handler needs; `None` for others.
    fn ordered(
        &self,
        definition: &HandlerDefinition,
        resolved: &Resolved<'_>,
    ) -> Result<Option<Arc<OrderedSettings>>, Faults> {
        let Some(ordering) = &resolved.ordering_of_aggregates else {
            return Ok(None);
        };
        for caveat in &ordering.caveats {
            tracing::warn!(handler = %definition, "{caveat}");
        }
        let resync = self.parts.resyncs.get(&definition.handler_id).cloned();
        let mut check = Check {
            handler: definition.to_string(),
            faults: Vec::new(),
        };
        if resync.is_none() && ordering.policies.first_sequence == FirstSequence::Hook {
            check.fault(
                "`first_sequence = \"hook\"` asks the application, which has no hook",
                format!("call `App::builder().resync(\"{}\", ..)`", definition.handler_id),
            );
        }
        let store = self.store(definition, resolved, ordering, &mut check);
        let (Some(store), true) = (store, check.faults.is_empty()) else {
            return Err(check.faults);
        };
        let concurrency = resolved.concurrency.unwrap_or(SHARED_CONCURRENCY);
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Ok(Some(Arc::new(OrderedSettings {
            store,
            store_key: format!("database.kvstore.{}", ordering.store.name),
            suspects: Arc::new(Semaphore::new(1)),
            shards: cores.min(concurrency).min(usize::from(ordering.policies.buckets)),
            policies: ordering.policies.clone(),
            resync,
            counters: Arc::default(),
            losses: Losses::default(),
            flows: Flows::default(),
            outage: Outage::default(),
            commit_interval: resolved.connection.consumer.commit_interval,
        })))
    }

    /// Make what lets the handler's messages run once; `None` for handlers without idempotency.
    fn guard(
        &self,
        definition: &HandlerDefinition,
        resolved: &Resolved<'_>,
    ) -> Result<Option<Arc<Guard>>, Faults> {
        let Some(policy) = resolved.idempotency else {
            return Ok(None);
        };
        for caveat in idempotency::caveats(&policy, self.settings, &resolved.connection.consumer) {
            tracing::warn!(handler = %definition, "{caveat}");
        }
        let mut check = Check {
            handler: definition.to_string(),
            faults: Vec::new(),
        };
        let store = self.marks(definition, resolved, &mut check).ok_or(check.faults)?;
        let handler_id = definition.handler_id.as_str().into();
        Ok(Some(Arc::new(Guard::new(store, policy, handler_id))))
    }

    /// Make the store that remembers a handler's messages: one of its own in its group.
    fn marks(
        &self,
        definition: &HandlerDefinition,
        resolved: &Resolved<'_>,
        check: &mut Check,
    ) -> Option<Arc<dyn DynIdempotencyStore>> {
        let settings = &self.settings.idempotency.store;
        let names = ["idempotency", &resolved.group_id, &definition.handler_id];
        let space = KeySpace::new(&settings.namespace, &names);
        if settings.backend == StoreBackend::Memory {
            return Some(Arc::new(self.parts.stores.idempotency(&space)));
        }
        let name = settings.backend.as_str();
        let Some(backend) = idempotency_backend(name) else {
            check.no_backend(&settings.name, name);
            return None;
        };
        if let Some(stores) = self.marks.get() {
            return Some(stores.of(&space));
        }
        let connected = (backend.connect)(&key_value(settings));
        let stores = check.connected(connected, MARKS)?;
        Some(self.marks.get_or_init(|| stores).of(&space))
    }

    fn store(
        &self,
        definition: &HandlerDefinition,
        resolved: &Resolved<'_>,
        ordering: &HandlerOrdering<'_>,
        check: &mut Check,
    ) -> Option<Arc<dyn DynOrderingStore>> {
        let topics: Vec<&str> = definition.options.topics.iter().map(String::as_str).collect();
        let settings = ordering.store;
        let scope = Scope::new(
            &settings.namespace,
            &resolved.group_id,
            &topics,
            &definition.handler_id,
            ordering.policies.clone(),
        );
        if settings.backend == StoreBackend::Memory {
            return Some(Arc::new(self.parts.stores.ordering(scope)));
        }
        let name = settings.backend.as_str();
        let Some(backend) = ordering_backend(name) else {
            check.no_backend(&settings.name, name);
            return None;
        };
        let connected = (backend.connect)(&key_value(settings), scope);
        check.connected(connected, &format!("database.kvstore.{}", settings.name))
    }

    fn tuning(&self, definition: &HandlerDefinition) -> Option<&'a HandlerTuning> {
        self.settings
            .messaging
            .handler_tuning
            .iter()
            .find(|tuning| tuning.handler_id == definition.handler_id)
    }

    fn connection(
        &self,
        definition: &HandlerDefinition,
        check: &mut Check,
    ) -> Option<&'a ConnectionSettings> {
        let (connections, name) = (&self.settings.messaging.connections, definition.connection());
        let found = connections.get(name);
        if found.is_none() {
            let known = connections.keys().map(String::as_str);
            let hint = nearest(name, known.clone())
                .map_or_else(String::new, |near| format!("did you mean `{near}`? "));
            let known = known.collect::<Vec<_>>().join("`, `");
            check.fault(
                format!("there is no connection `{name}`"),
                format!("{hint}connections: `{known}`; more are made by `integration.messaging.connections.{name}`"),
            );
        }
        found
    }
}

/// Return what a store on a server is told.
pub(crate) fn key_value(settings: &KvStoreSettings) -> KeyValueSettings {
    KeyValueSettings {
        name: settings.name.clone(),
        namespace: settings.namespace.clone(),
        backend: settings.backend.as_str().to_owned(),
        uri: settings
            .uri
            .clone()
            .expect("the settings have it for stores on servers"),
    }
}

/// Say whether a handler's messages wait for their next attempt in their place, whatever the mode.
fn retries_in_place(definition: &HandlerDefinition) -> bool {
    !matches!(definition.processor.strategy(), "single" | "batch")
}

/// Gathers what is wrong with a handler.
struct Check {
    handler: String,
    faults: Faults,
}

impl Check {
    fn fault(&mut self, problem: impl Into<String>, remedy: impl Into<String>) {
        self.faults.push(InvalidConsumerConfigurationError {
            handler: self.handler.clone(),
            problem: problem.into(),
            remedy: remedy.into(),
        });
    }

    fn no_backend(&mut self, store: &str, name: &str) {
        self.fault(
            format!("the store `{store}` is on `{name}`, which this program does not have"),
            format!("build with `athomic`'s feature `{name}`"),
        );
    }

    fn connected<S>(&mut self, connected: Result<S, StoreError>, section: &str) -> Option<S> {
        let fault = |error| {
            self.fault(
                format!("its store cannot be used: {}", Chain(&error)),
                format!("look at `{section}`"),
            );
        };
        connected.map_err(fault).ok()
    }

    /// Refuse by name what attributes can say and the runtime cannot do yet.
    fn not_built_yet(&mut self, definition: &HandlerDefinition) {
        let options = &definition.options;
        let refused = [(
            options.fetch_size.is_some() && !definition.processor.is_ordered(),
            "`fetch_size` of a handler that is not ordered",
            "set `max_poll_records` in the settings",
        )];
        for (_, name, remedy) in refused.into_iter().filter(|(used, ..)| *used) {
            self.fault(format!("{name} is not built yet"), remedy);
        }
    }

    fn topics(&mut self, options: &HandlerOptions) {
        if options.topics.is_empty() {
            self.fault("no topic is set", "add `topic = \"...\"` to the attribute");
        }
        for (place, topic) in options.topics.iter().enumerate() {
            if let Some(fault) = topic_name_fault(topic) {
                self.fault(format!("topic `{topic}` {fault}"), "change the topic's name");
            }
            if options.topics[..place].contains(topic) {
                self.fault(
                    format!("topic `{topic}` stands twice in the list"),
                    "remove one of the two",
                );
            }
        }
    }

    /// Priorities share the executions of messages that run side by side, and of no others.
    fn priorities(&mut self, definition: &HandlerDefinition) {
        let by_partition = definition.options.ordering == Some(Ordering::Partition);
        let refused = [
            (
                definition.processor.is_ordered(),
                "an ordered consumer",
                "an aggregate has one order, whatever is urgent",
            ),
            (
                definition.processor.is_batch(),
                "a batch handler",
                "a batch holds messages of one partition",
            ),
            (
                by_partition,
                "`ordering = \"partition\"`",
                "a partition's messages wait for each other; use `\"key\"` or `\"none\"`",
            ),
        ];
        let is_weighted = definition.options.priority == Priorities::Weighted;
        for (_, what, why) in refused.iter().filter(|(is_so, ..)| is_weighted && *is_so) {
            self.fault(
                format!("`priority = \"weighted\"` is not for {what}: {why}"),
                "remove it, or write a handler for each of `\"high\"`, `\"normal\"` and `\"low\"`",
            );
        }
    }

    fn numbers(&mut self, options: &HandlerOptions) {
        let zeros = [
            ("concurrency", options.concurrency == Some(0)),
            ("batch_size", options.batch_size == Some(0)),
            ("fetch_timeout_ms", options.fetch_timeout_ms == Some(0)),
            ("fetch_max_bytes", options.fetch_max_bytes == Some(0)),
            ("fetch_size", options.fetch_size == Some(0)),
        ];
        for (name, _) in zeros.into_iter().filter(|(_, is_zero)| *is_zero) {
            self.fault(format!("`{name}` is 0"), "set it to 1 or more, or leave it out");
        }
    }

    fn retries(&mut self, retry: &RetryOptions, definition: &HandlerDefinition, longest: Duration) {
        if retry.max_attempts == Some(0) {
            self.fault("`max_attempts` of `retry` is 0", "set it to 1 for no retry");
        }
        if retry
            .min_delay
            .is_some_and(|delay| delay > retry.max_delay.unwrap_or(longest))
        {
            self.fault(
                "`min_delay` of `retry` is more than `max_delay`",
                "raise `max_delay`",
            );
        }
        let is_ordered = definition.processor.is_ordered();
        if is_ordered && (retry.order.is_some() || retry.mode.is_some_and(|mode| mode != RetryMode::InPlace))
        {
            self.fault(
                "an ordered consumer retries in place",
                "remove `mode` and `order` from `retry`",
            );
        }
        if definition.processor.is_batch() && retry.order.is_some() {
            self.fault(
                "a batch has no order by key that its retries could keep or release",
                "remove `order` from `retry`; `mode = \"in_place\"` keeps the order of the partition",
            );
        }
    }

    /// Return the handler's circuit breaker, if it has one that can be.
    fn circuit_breaker(
        &mut self,
        definition: &HandlerDefinition,
        tuning: Option<&HandlerTuning>,
    ) -> Option<CircuitBreakerPolicy> {
        let attribute = definition.options.circuit_breaker;
        let tuning = tuning.map(|tuning| tuning.circuit_breaker).unwrap_or_default();
        for (problem, remedy) in circuit_breaker::faults(attribute, tuning) {
            self.fault(problem, remedy);
        }
        let policy = circuit_breaker::resolve(attribute, tuning)?;
        if definition.processor.is_ordered() {
            self.fault(
                "a circuit breaker of an ordered consumer is not built",
                "remove `circuit_breaker`; its retries wait in place, and hold up their own aggregate alone",
            );
        }
        Some(policy)
    }

    fn combinations(&mut self, options: &HandlerOptions, concurrency: Option<usize>, is_batch: bool) {
        let lingers = [
            ("max_batch_linger_ms", options.max_batch_linger_ms),
            ("fetch_max_linger_ms", options.fetch_max_linger_ms),
        ];
        if !is_batch {
            for (name, _) in lingers.iter().filter(|(_, linger)| linger.is_some()) {
                self.fault(
                    format!("`{name}` is about batches"),
                    "add `batch_size`, or remove it",
                );
            }
        }
        if lingers.iter().all(|(_, linger)| linger.is_some()) {
            self.fault(
                "`max_batch_linger_ms` and `fetch_max_linger_ms` are two names of the same",
                "keep one of the two",
            );
        }
        match options.ordering {
            Some(Ordering::Key | Ordering::None) if is_batch => {
                self.fault(
                    "a batch holds messages of one partition, in its order",
                    "remove `ordering`",
                );
            }
            Some(ordering @ (Ordering::Key | Ordering::None)) if concurrency.is_none() => self.fault(
                format!(
                    "`ordering = \"{}\"` has no effect without `concurrency`",
                    ordering.as_str()
                ),
                "add `concurrency`, or remove `ordering`",
            ),
            _ => {}
        }
    }
}
