//! `ConsumerManager`: finds the handlers, has their consumers assembled, gives them to the lifecycle.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::error::{InvalidConsumerConfigurationError, MessagingConnectionError};
use super::factory::{ConsumerDescription, ConsumerFactory, ConsumerParts};
use super::ordered::OrderingDesk;
use super::readings::ConsumptionMonitor;
use super::service::ConsumerService;
use crate::circuit_breaker::CircuitMonitor;
use crate::dead_letter::{Chain, DeadLetterIndex, DeadLetterIndexService, DeadLetterProcessor, Routes};
use crate::delay;
use crate::handler::register::HandlerDefinition;
use crate::handler::{Handlers, StateMap};
use crate::health::{HealthProbe, Pulse};
use crate::idempotency::IdempotencyMonitor;
use crate::lifecycle::{Lifecycle, Service, ServiceError, ServiceHandle};
use crate::nearest::nearest;
use crate::retry::Backoff;
use crate::settings::{AutoCreate, Backend, DlqStrategy, REPUBLISHER_CONNECTION, Settings, TopicsSettings};
use crate::transport::{Connections, DynTransport, NewTopic, TransportError};

/// The entry point of consuming: all handlers of a process and their consumers.
#[derive(Debug)]
pub struct ConsumerManager {
    descriptions: Vec<ConsumerDescription>,
    consumers: Vec<ConsumerService>,
    topics: TopicCheck,
    index: Option<(DeadLetterIndex, DeadLetterIndexService)>,
}

/// The name of the service that looks whether the topics are there.
const TOPIC_CHECK: &str = "topics";

impl ConsumerManager {
    /// Assemble a consumer for each handler.
    ///
    /// # Errors
    /// All that is wrong with the handlers, in one list.
    pub fn new(
        handlers: &Handlers,
        settings: &Settings,
        connections: &Connections,
        states: &Arc<StateMap>,
        parts: &ConsumerParts,
    ) -> Result<Self, Vec<InvalidConsumerConfigurationError>> {
        let factory = ConsumerFactory::new(settings, connections, states, parts);
        let mut faults = conflicts(handlers, &factory);
        let index = factory.index().unwrap_or_else(|fault| {
            faults.push(fault);
            None
        });
        let factory = factory.with_index(index.as_ref().map(|(index, _)| index.clone()));
        faults.extend(unknown_tunings(handlers, settings));
        let (mut descriptions, mut consumers) = (Vec::new(), Vec::<ConsumerService>::new());
        let mut pulses = Pulses::new();
        let processors = dead_letter_processors(handlers, settings, &factory);
        for definition in handlers.iter().chain(&processors) {
            match factory
                .describe(definition)
                .and_then(|description| Ok((description, factory.consumer(definition)?)))
            {
                Ok((description, consumer)) => {
                    let of_connection = pulses.entry(description.connection.clone()).or_default();
                    of_connection.extend(consumer.as_ref().map(ConsumerService::pulse));
                    descriptions.push(description);
                    consumers.extend(consumer);
                }
                Err(found) => faults.extend(found),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let topics = TopicCheck::new(&descriptions, settings, connections, pulses);
        Ok(Self {
            descriptions,
            consumers,
            topics,
            index,
        })
    }

    /// Return the index of dead letters, if there is one.
    #[must_use]
    pub fn dead_letter_index(&self) -> Option<DeadLetterIndex> {
        self.index.as_ref().map(|(index, _)| index.clone())
    }

    /// Return how each handler consumes.
    #[must_use]
    pub fn descriptions(&self) -> &[ConsumerDescription] {
        &self.descriptions
    }

    /// Return what shows how the consumers do.
    #[must_use]
    pub fn health(&self) -> HealthProbe {
        HealthProbe::new(self.consumers.iter().map(ConsumerService::pulse).collect())
    }

    /// Return the ordered handlers, to look at and to steer.
    #[must_use]
    pub fn ordering(&self) -> OrderingDesk {
        OrderingDesk::new(self.consumers.iter().map(ConsumerService::lane))
    }

    /// Return what is counted about the handlers that handle each message once.
    #[must_use]
    pub fn idempotency(&self) -> IdempotencyMonitor {
        let mut monitor = IdempotencyMonitor::default();
        for lane in self.consumers.iter().map(ConsumerService::lane) {
            if let Some(guard) = &lane.guard {
                monitor.add(lane.scope.handler_id.to_string(), Arc::clone(guard));
            }
        }
        monitor
    }

    /// Return what shows what the consumers have at the moment.
    #[must_use]
    pub fn consumption(&self) -> ConsumptionMonitor {
        ConsumptionMonitor::new(self.consumers.iter())
    }

    /// Return the circuit breakers of the handlers that have one.
    #[must_use]
    pub fn circuit_breakers(&self) -> CircuitMonitor {
        let mut monitor = CircuitMonitor::default();
        for lane in self.consumers.iter().map(ConsumerService::lane) {
            if let Some(breaker) = &lane.breaker {
                monitor.add(lane.scope.handler_id.to_string(), Arc::clone(breaker));
            }
        }
        monitor
    }

    /// Hand the consumers to the lifecycle, behind the check of their topics.
    pub fn register_with(self, lifecycle: &mut Lifecycle) {
        lifecycle.register(self.topics);
        if let Some((_, service)) = self.index {
            lifecycle.register(service);
        }
        for consumer in self.consumers {
            lifecycle.register(consumer);
        }
    }
}

/// Describe the consumers of the dead-letter topics, if the strategy wants any: one for each connection.
fn dead_letter_processors(
    handlers: &Handlers,
    settings: &Settings,
    factory: &ConsumerFactory<'_>,
) -> Vec<HandlerDefinition> {
    let dlq = &settings.messaging.dlq;
    let mut topics: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    if dlq.enabled && dlq.strategy == DlqStrategy::RepublishToParkingLot {
        for definition in handlers {
            let group = factory.group_of(definition).unwrap_or_default();
            let routes = Routes::of(&definition.handler_id, dlq);
            let letters = routes.letters(&definition.options.topics, &group);
            let of_connection = topics.entry(definition.connection()).or_default();
            of_connection.extend(letters);
        }
    }
    topics
        .into_iter()
        .filter(|(_, topics)| !topics.is_empty())
        .map(|(connection, topics)| DeadLetterProcessor::definition(topics, connection))
        .collect()
}

fn conflicts(handlers: &Handlers, factory: &ConsumerFactory<'_>) -> Vec<InvalidConsumerConfigurationError> {
    let shared = handlers.shared_topics(|definition| factory.group_of(definition));
    handlers
        .duplicate_ids()
        .into_iter()
        .chain(shared)
        .map(Into::into)
        .collect()
}

/// Find entries of `handler_tuning` that no handler answers to.
fn unknown_tunings(handlers: &Handlers, settings: &Settings) -> Vec<InvalidConsumerConfigurationError> {
    let known: Vec<&str> = handlers
        .iter()
        .map(|definition| definition.handler_id.as_str())
        .collect();
    let unknown = settings
        .messaging
        .handler_tuning
        .iter()
        .filter(|tuning| !known.contains(&tuning.handler_id.as_str()));
    let fault = |tuning: &crate::settings::HandlerTuning| {
        let id = &tuning.handler_id;
        let hint = nearest(id, known.iter().copied())
            .map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        InvalidConsumerConfigurationError {
            handler: id.clone(),
            problem: format!(
                "`integration.messaging.handler_tuning` ({}) names no handler of this process",
                tuning.origin
            ),
            remedy: format!("{hint}handlers: `{}`", known.join("`, `")),
        }
    };
    unknown.map(fault).collect()
}

/// Looks before the first poll whether all topics are there, and makes missing ones where the
/// settings say so.
struct TopicCheck {
    wanted: Vec<Wanted>,
    settings: TopicsSettings,
    create: bool,
    /// The delay topics and how long messages wait in each, for those that are made.
    delay_topics: BTreeMap<String, Duration>,
    /// How long an unreachable broker is asked again.
    patience: Duration,
}

/// What is consumed over one connection.
struct Wanted {
    transport: Arc<dyn DynTransport>,
    /// The topics, each with a handler that wants it.
    topics: BTreeMap<String, String>,
    /// The consumers, which wait for this check.
    pulses: Vec<Arc<Pulse>>,
}

/// What probes see of the consumers, by connection.
type Pulses = BTreeMap<String, Vec<Arc<Pulse>>>;

impl std::fmt::Debug for TopicCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.wanted.iter().map(|wanted| &wanted.topics))
            .finish()
    }
}

/// Topics that handlers consume do not exist.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}; create them, or set `integration.messaging.topics.auto_create = \"always\"`",
    missing.iter().map(|(topic, handler)| format!("topic `{topic}` of handler `{handler}` does not exist")).collect::<Vec<_>>().join("; ")
)]
pub struct MissingTopics {
    /// Each missing topic with a handler that wants it.
    pub missing: Vec<(String, String)>,
}

/// The broker does not let handlers at their topics.
#[derive(Debug, thiserror::Error)]
#[error("{}", refused.iter().map(|(handler, error)| format!("handler `{handler}`: {}", Chain(error))).collect::<Vec<_>>().join("; "))]
pub struct TopicsRefused {
    /// What was refused, each with a handler that wants it; at least one.
    pub refused: Vec<(String, TransportError)>,
}

/// There is no connection to look at the topics of handlers with.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot reach {}", listed("handler", handlers), if handlers.len() == 1 { "its topics" } else { "their topics" })]
pub struct TopicsOutOfReach {
    /// The handlers whose topics are on the connection.
    pub handlers: Vec<String>,
    /// Why.
    #[source]
    pub source: MessagingConnectionError,
}

fn listed(noun: &str, names: &[String]) -> String {
    let plural = if names.len() == 1 { "" } else { "s" };
    format!("{noun}{plural} `{}`", names.join("`, `"))
}

/// How long the check waits before it asks an unreachable broker again.
const ASK_AGAIN: Backoff = Backoff {
    first: Duration::from_millis(250),
    longest: Duration::from_secs(5),
    factor: 2.0,
    jitter: true,
};

/// How long a new topic may take to be known to all brokers, one of which may just have been restarted.
const SPREADING: Duration = Duration::from_secs(2);

impl TopicCheck {
    fn new(
        descriptions: &[ConsumerDescription],
        settings: &Settings,
        connections: &Connections,
        mut pulses: Pulses,
    ) -> Self {
        let mut wanted: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
        for letters in delay::letters(settings) {
            let topics = wanted.entry(REPUBLISHER_CONNECTION).or_default();
            topics.insert(letters, delay::REPUBLISHER.to_owned());
        }
        for description in descriptions.iter().filter(|description| !description.paused) {
            let topics = wanted.entry(&description.connection).or_default();
            let dlq = &settings.messaging.dlq;
            let routes = Routes::of(&description.handler_id, dlq);
            let letters = routes.all(dlq, &description.topics, &description.group_id);
            for topic in description.topics.iter().cloned().chain(letters) {
                topics
                    .entry(topic)
                    .or_insert_with(|| description.handler_id.clone());
            }
        }
        let transport = |name: &str| {
            connections
                .get(name)
                .expect("made for each in the settings")
                .transport()
        };
        let topics = &settings.messaging.topics;
        Self {
            wanted: wanted
                .into_iter()
                .map(|(name, topics)| Wanted {
                    transport: transport(name),
                    topics,
                    pulses: pulses.remove(name).unwrap_or_default(),
                })
                .collect(),
            settings: topics.clone(),
            delay_topics: {
                let delay_topics = settings.messaging.republisher.delay_topics.iter();
                delay_topics
                    .map(|(delay, topic)| (topic.clone(), *delay))
                    .collect()
            },
            patience: settings.lifecycle.startup_timeout.mul_f64(0.9),
            create: match topics.auto_create {
                AutoCreate::Always => true,
                AutoCreate::Dev => settings.messaging.backend == Backend::Memory,
                AutoCreate::Never => false,
            },
        }
    }

    /// Check the topics of a connection; ask again while no broker can be reached.
    async fn look(
        &self,
        wanted: &Wanted,
        deadline: Instant,
    ) -> Result<Vec<(String, String)>, TransportError> {
        let mut error = TransportError::Other {
            action: "look at topics in time".into(),
            retriable: true,
            source: "no answer from the broker".into(),
        };
        for failures in 1.. {
            match tokio::time::timeout_at(deadline, self.check_patiently(wanted)).await {
                Ok(Err(passing)) if passing.is_retriable() => error = passing,
                Ok(result) => return result,
                Err(_elapsed) => break,
            }
            let again = Instant::now() + ASK_AGAIN.delay(failures);
            if again >= deadline {
                break;
            }
            wanted.pulses.iter().for_each(|pulse| pulse.cannot_join(&error));
            tracing::warn!(error = %Chain(&error), "cannot look at the topics, asking again");
            tokio::time::sleep_until(again).await;
        }
        Err(error)
    }

    /// Check; ask again for a topic that is missing, until it has had the time to become known.
    async fn check_patiently(&self, wanted: &Wanted) -> Result<Vec<(String, String)>, TransportError> {
        let began = Instant::now();
        loop {
            let missing = self.check(wanted).await?;
            if missing.is_empty() || began.elapsed() >= SPREADING {
                return Ok(missing);
            }
            tokio::time::sleep(ASK_AGAIN.first).await;
        }
    }

    async fn check(&self, wanted: &Wanted) -> Result<Vec<(String, String)>, TransportError> {
        let admin = wanted.transport.admin().await?;
        let names: Vec<String> = wanted.topics.keys().cloned().collect();
        let present: BTreeSet<String> = admin.partitions(&names).await?.into_keys().collect();
        let missing: Vec<&String> = names.iter().filter(|name| !present.contains(*name)).collect();
        if self.create && !missing.is_empty() {
            tracing::info!(topics = ?missing, "creating topics");
            let topics: Vec<_> = missing.into_iter().map(|name| self.new_topic(name)).collect();
            admin.create_topics(&topics).await?;
            return Ok(Vec::new());
        }
        Ok(missing
            .into_iter()
            .map(|name| (name.clone(), wanted.topics[name].clone()))
            .collect())
    }

    fn new_topic(&self, name: &str) -> NewTopic {
        NewTopic {
            replication: self.settings.default_replication.get(),
            config: self
                .delay_topics
                .get(name)
                .map_or_else(BTreeMap::new, |delay| delay::settings_for(*delay)),
            ..NewTopic::new(name, self.settings.default_partitions.get())
        }
    }
}

impl Service for TopicCheck {
    fn name(&self) -> &str {
        TOPIC_CHECK
    }

    fn priority(&self) -> i32 {
        -100
    }

    /// Asks again while the broker cannot be reached, and gives up with the cause before the start-up time
    /// is over.
    async fn start(&self, _handle: ServiceHandle) -> Result<(), ServiceError> {
        let mut missing = Vec::new();
        let deadline = Instant::now() + self.patience;
        for wanted in &self.wanted {
            match self.look(wanted, deadline).await {
                Ok(some) => missing.extend(some),
                Err(error) => return Err(refused(wanted, error).await),
            }
        }
        if missing.is_empty() {
            Ok(())
        } else {
            Err(MissingTopics { missing }.into())
        }
    }
}

/// Say which handlers an error is about.
async fn refused(wanted: &Wanted, error: TransportError) -> ServiceError {
    let handlers: BTreeSet<&String> = wanted.topics.values().collect();
    let handlers: Vec<String> = handlers.into_iter().cloned().collect();
    match MessagingConnectionError::try_from(error) {
        Ok(source) => TopicsOutOfReach { handlers, source }.into(),
        Err(error) if error.is_refusal() => {
            let mut refused = refused_one_by_one(wanted).await;
            if refused.is_empty() {
                refused.push((handlers.join("`, `"), error));
            }
            TopicsRefused { refused }.into()
        }
        Err(error) => error.into(),
    }
}

/// Find all topics that the broker does not let us at, since it names one at a time.
async fn refused_one_by_one(wanted: &Wanted) -> Vec<(String, TransportError)> {
    let Ok(admin) = wanted.transport.admin().await else {
        return Vec::new();
    };
    let mut refused = Vec::new();
    for (topic, handler) in &wanted.topics {
        match admin.partitions(std::slice::from_ref(topic)).await {
            Err(error) if error.is_refusal() => refused.push((handler.clone(), error)),
            _ => {}
        }
    }
    refused
}
