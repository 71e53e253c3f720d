//! From what was written to what it means: the one step that fills in defaults, inherits and compares.
//!
//! Every fault is collected; where one is found, the default stands in, so that the rest is checked too.

mod circuit_breaker;
mod context;
mod dead_letters;
mod idempotency;
mod lineage;
mod observability;
mod ordering;
mod payload;
mod republisher;
mod schema_registry;
mod security;
mod values;

use std::collections::BTreeMap;

use super::environment::Environment;
use super::error::{Fault, Origin, Problem};
use super::raw::{
    Field, RawConnection, RawConsumer, RawMessaging, RawProducer, RawSettings, RawTopics, RawTuned,
};
use super::resolved::{
    AppSettings, Backend, ConnectionSettings, ConsumerSettings, DEFAULT_CONNECTION, DelayBackend,
    GroupProtocol, HandlerTuning, KvStoreSettings, LifecycleSettings, MessagingSettings, ProducerSettings,
    REPUBLISHER_CONNECTION, RetryMode, Settings, TopicsSettings,
};
use super::schema::{CONNECTIONS, TUNING};
use super::tree::join;

/// Give everything that was written its meaning; `strict` is with a profile.
///
/// # Errors
///
/// Every fault.
pub(super) fn resolve(
    raw: &RawSettings,
    environment: &Environment,
    strict: bool,
) -> Result<Settings, Vec<Fault>> {
    let mut resolver = Resolver {
        environment,
        strict,
        fetch_secrets: false,
        faults: Vec::new(),
    };
    let settings = resolver.settings(raw);
    if resolver.faults.is_empty() {
        Ok(settings)
    } else {
        Err(resolver.faults)
    }
}

struct Resolver<'e> {
    environment: &'e Environment,
    /// Whether a profile is active, so that what only serves while developing is refused.
    strict: bool,
    /// Whether secrets are fetched: not for the embedded broker and stores, so that a developer needs none.
    fetch_secrets: bool,
    faults: Vec<Fault>,
}

impl Resolver<'_> {
    fn settings(&mut self, raw: &RawSettings) -> Settings {
        let (app, lifecycle) = (AppSettings::default(), LifecycleSettings::default());
        let kvstores = self.kvstores(&raw.kvstores);
        let idempotency = self.idempotency(&raw.idempotency);
        let messaging = self.messaging(&raw.messaging, &kvstores);
        let crypto = self.crypto(&raw.crypto, &messaging);
        let storage = self.storage(&raw.storage, &messaging);
        Settings {
            app: AppSettings {
                name: self.text(&raw.app.name).unwrap_or(app.name),
                version: self.text(&raw.app.version).unwrap_or(app.version),
            },
            messaging,
            kvstores,
            idempotency,
            context: self.context(&raw.context),
            lineage: self.lineage(&raw.lineage),
            schema_registry: self.schema_registry(&raw.schema_registry),
            crypto,
            storage,
            observability: self.observability(&raw.observability, &raw.metrics),
            lifecycle: LifecycleSettings {
                startup_timeout: self
                    .some_seconds(&raw.lifecycle.startup_timeout_seconds, lifecycle.startup_timeout),
                shutdown_timeout: self.some_seconds(
                    &raw.lifecycle.shutdown_timeout_seconds,
                    lifecycle.shutdown_timeout,
                ),
            },
            ..Settings::default()
        }
    }

    fn messaging(
        &mut self,
        raw: &RawMessaging,
        kvstores: &BTreeMap<String, KvStoreSettings>,
    ) -> MessagingSettings {
        let backend = self.choice(&raw.provider.backend, Backend::Memory);
        self.fetch_secrets = backend == Backend::Kafka;
        let republisher = self.republisher(&raw.republisher, &raw.republishing, kvstores);
        let mut dlq = self.dlq(&raw.dlq, &raw.retry, kvstores);
        let delays =
            !republisher.delay_topics.is_empty() || republisher.strategy == DelayBackend::RedisSortedSet;
        if raw.retry.mode.is_none() && republisher.enabled && delays {
            dlq.retry.mode = RetryMode::DelayTopic;
        }
        self.check_delay_store(&raw.republisher, &republisher, backend, &dlq, kvstores);
        MessagingSettings {
            enabled: value_or(&raw.switch.enabled, true),
            backend,
            connections: self.connections(raw),
            republisher,
            topics: self.topics(&raw.topics),
            dlq,
            payload: self.payload(&raw.payload),
            ordering: self.ordering(&raw.ordering, kvstores),
            handler_tuning: self.handler_tuning(&raw.handler_tuning, kvstores),
        }
    }

    fn connections(&mut self, raw: &RawMessaging) -> BTreeMap<String, ConnectionSettings> {
        let parent = self.connection(
            DEFAULT_CONNECTION,
            &raw.connection,
            &ConnectionSettings::default(),
        );
        let mut connections = BTreeMap::new();
        for (name, raw) in &raw.connections {
            if name == DEFAULT_CONNECTION {
                let reason = "the default connection is `integration.messaging.consumer`, `producer` and `security`; set it there";
                self.refuse_connection(name, raw, reason);
            } else if name == REPUBLISHER_CONNECTION {
                let reason = "the republisher's connection is `integration.messaging.republisher.consumer`, `producer` and `security`; set it there";
                self.refuse_connection(name, raw, reason);
            } else {
                connections.insert(name.clone(), self.connection(name, raw, &parent));
            }
        }
        if value_or(&raw.republisher.enabled, false) {
            let republishing = self.connection(REPUBLISHER_CONNECTION, &raw.republishing, &parent);
            connections.insert(republishing.name.clone(), republishing);
        }
        connections.insert(parent.name.clone(), parent);
        connections
    }

    fn refuse_connection(&mut self, name: &str, raw: &RawConnection, reason: &'static str) {
        let origin = raw.origin.as_ref().unwrap_or(&Origin::BuiltIn);
        self.faults.push(Fault::new(
            join(CONNECTIONS, name),
            origin,
            Problem::invalid(reason),
        ));
    }

    /// Resolve a connection that inherits from `parent`, which for the default one holds the defaults.
    fn connection(
        &mut self,
        name: &str,
        raw: &RawConnection,
        parent: &ConnectionSettings,
    ) -> ConnectionSettings {
        let servers = self.servers(&raw.consumer.bootstrap_servers);
        let own = self.servers(&raw.producer.bootstrap_servers);
        let (consuming, publishing) = (
            servers.as_ref().or(own.as_ref()),
            own.as_ref().or(servers.as_ref()),
        );
        let mut consumer = self.consumer(&raw.consumer, &parent.consumer);
        if name == REPUBLISHER_CONNECTION {
            consumer.auto_offset_reset = self.republisher_begins(&raw.consumer.auto_offset_reset);
        }
        let mut producer = self.producer(&raw.producer, &parent.producer);
        // Invariant: credentials follow the servers. A connection to servers of its own inherits none.
        let other_cluster = match name {
            DEFAULT_CONNECTION => false,
            // The reference's example names the servers once more.
            REPUBLISHER_CONNECTION => {
                consuming.is_some_and(|servers| *servers != parent.consumer.bootstrap_servers)
            }
            _ => consuming.is_some(),
        };
        if let Some(servers) = consuming {
            consumer.bootstrap_servers.clone_from(servers);
        }
        if let Some(servers) = publishing {
            producer.bootstrap_servers.clone_from(servers);
        }
        let security = if raw.security.is_empty() && !other_cluster {
            parent.security.clone()
        } else {
            self.security(&raw.security, &raw.security_path)
        };
        ConnectionSettings {
            name: name.to_owned(),
            consumer,
            producer,
            security,
        }
    }

    fn consumer(&mut self, raw: &RawConsumer, parent: &ConsumerSettings) -> ConsumerSettings {
        let consumer = ConsumerSettings {
            bootstrap_servers: parent.bootstrap_servers.clone(),
            group_id: self.text(&raw.group_id).or_else(|| parent.group_id.clone()),
            auto_offset_reset: self.choice(&raw.auto_offset_reset, parent.auto_offset_reset),
            commit_interval: self.some_milliseconds(&raw.commit_interval_ms, parent.commit_interval),
            session_timeout: self.some_milliseconds(&raw.session_timeout_ms, parent.session_timeout),
            max_poll_records: self.count(&raw.max_poll_records, parent.max_poll_records),
            fetch_max_bytes: self.count(&raw.fetch_max_bytes, parent.fetch_max_bytes),
            fetch_max_wait: self.milliseconds(&raw.fetch_max_wait_ms, parent.fetch_max_wait),
            isolation_level: self.choice(&raw.isolation_level, parent.isolation_level),
            group_protocol: self.choice(&raw.group_protocol, parent.group_protocol),
            group_instance_id: self
                .text(&raw.group_instance_id)
                .or_else(|| parent.group_instance_id.clone()),
            client_id: self.text(&raw.client_id).or_else(|| parent.client_id.clone()),
            max_poll_interval: self.some_milliseconds(&raw.max_poll_interval_ms, parent.max_poll_interval),
            revoke_timeout: self.milliseconds(&raw.revoke_timeout_ms, parent.revoke_timeout),
            handler_timeout: self.timeout(&raw.handler_timeout_ms, parent.handler_timeout),
            max_in_flight_messages: self.count(&raw.max_in_flight_messages, parent.max_in_flight_messages),
            max_in_flight_bytes: self.count(&raw.max_in_flight_bytes, parent.max_in_flight_bytes),
            queued_max_kbytes: self.count(&raw.queued_max_kbytes, parent.queued_max_kbytes),
            librdkafka: self.options(&raw.librdkafka, &parent.librdkafka),
        };
        self.compare_consumer(raw, &consumer);
        consumer
    }

    fn compare_consumer(&mut self, raw: &RawConsumer, consumer: &ConsumerSettings) {
        let broker_decides = consumer.group_protocol == GroupProtocol::Consumer;
        if let (true, Some(written)) = (broker_decides, &raw.session_timeout_ms)
            && raw.group_protocol.is_some()
        {
            let reason = "with `group_protocol = \"consumer\"` the broker decides \
                          (`group.consumer.session.timeout.ms`); remove it";
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
        let poll = consumer.max_poll_interval;
        let revoke = (&raw.revoke_timeout_ms, &raw.max_poll_interval_ms);
        if consumer.revoke_timeout >= poll
            && let Some(written) = revoke.0.as_ref().or(revoke.1.as_ref())
        {
            self.faults.push(written.fault(Problem::invalid(format!(
                "`revoke_timeout_ms` ({}) must be less than `max_poll_interval_ms` ({}), or draining costs the membership",
                consumer.revoke_timeout.as_millis(),
                poll.as_millis(),
            ))));
        }
        let session = (&raw.session_timeout_ms, &raw.max_poll_interval_ms);
        if !broker_decides
            && consumer.session_timeout > poll
            && let Some(written) = session.0.as_ref().or(session.1.as_ref())
        {
            self.faults.push(written.fault(Problem::invalid(format!(
                "`session_timeout_ms` ({}) must not be more than `max_poll_interval_ms` ({})",
                consumer.session_timeout.as_millis(),
                poll.as_millis(),
            ))));
        }
    }

    fn producer(&mut self, raw: &RawProducer, parent: &ProducerSettings) -> ProducerSettings {
        let producer = ProducerSettings {
            bootstrap_servers: parent.bootstrap_servers.clone(),
            client: self.choice(&raw.client, parent.client),
            linger: self.milliseconds(&raw.linger_ms, parent.linger),
            batch_max_bytes: self.count(&raw.batch_max_bytes, parent.batch_max_bytes),
            wire_compression: self.choice(&raw.wire_compression, parent.wire_compression),
            delivery_timeout: self.some_milliseconds(&raw.delivery_timeout_ms, parent.delivery_timeout),
            librdkafka: self.options(&raw.librdkafka, &parent.librdkafka),
        };
        if producer.linger > producer.delivery_timeout
            && let Some(written) = raw.delivery_timeout_ms.as_ref().or(raw.linger_ms.as_ref())
        {
            self.faults.push(written.fault(Problem::invalid(format!(
                "`delivery_timeout_ms` ({}) must not be less than `linger_ms` ({})",
                producer.delivery_timeout.as_millis(),
                producer.linger.as_millis(),
            ))));
        }
        producer
    }

    fn topics(&mut self, raw: &RawTopics) -> TopicsSettings {
        let default = TopicsSettings::default();
        TopicsSettings {
            auto_create: self.choice(&raw.auto_create, default.auto_create),
            default_partitions: self.count(&raw.default_partitions, default.default_partitions),
            default_replication: self.count(&raw.default_replication, default.default_replication),
        }
    }

    fn handler_tuning(
        &mut self,
        raw: &[RawTuned],
        kvstores: &BTreeMap<String, KvStoreSettings>,
    ) -> Vec<HandlerTuning> {
        let mut tuned: Vec<HandlerTuning> = Vec::new();
        for (index, tuned_by) in raw.iter().enumerate() {
            let RawTuned {
                origin,
                tuning: raw,
                ordering,
                idempotency,
                pipeline,
                retry,
                circuit_breaker,
            } = tuned_by;
            let handler_id = self.text(&raw.handler_id);
            let tuning = HandlerTuning {
                handler_id: handler_id.unwrap_or_default(),
                concurrency: self.optional_count(&raw.concurrency),
                priority: self.optional_choice(&raw.priority),
                paused: raw.paused.as_ref().map(|written| written.value),
                ordering: self.ordering_tuning(ordering, kvstores),
                idempotency: self.idempotency_tuning(idempotency),
                pipeline: pipeline.as_ref().map(|pipeline| self.pipeline(pipeline)),
                retry: self.retry_tuning(retry),
                circuit_breaker: self.circuit_breaker(circuit_breaker),
                origin: origin.clone(),
            };
            match &raw.handler_id {
                None => {
                    let problem = Problem::missing("an entry names the handler that it tunes");
                    self.faults.push(Fault::new(
                        format!("{TUNING}.{index}.handler_id"),
                        origin,
                        problem,
                    ));
                }
                Some(written) => {
                    if let Some(first) = tuned.iter().find(|first| first.handler_id == written.value) {
                        let reason = format!("`{}` is tuned already at {}", written.value, first.origin);
                        self.faults.push(written.fault(Problem::invalid(reason)));
                    }
                }
            }
            tuned.push(tuning);
        }
        tuned
    }
}

fn value_or<T: Copy>(field: &Field<T>, default: T) -> T {
    field.as_ref().map_or(default, |written| written.value)
}
