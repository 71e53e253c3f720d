//! What was written about delayed messages, checked.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ordering::Stores;
use super::{Resolver, value_or};
use crate::message::check_topic_name;
use crate::settings::error::Problem;
use crate::settings::raw::{Field, RawConnection, RawRepublisher, Written};
use crate::settings::resolved::{
    Backend, DelayBackend, DlqSettings, DlqStrategy, OffsetReset, RepublisherSettings, StoreBackend,
};

impl Resolver<'_> {
    /// Give the section its meaning; its connection is resolved with the others.
    pub(super) fn republisher(
        &mut self,
        raw: &RawRepublisher,
        servers: &RawConnection,
        stores: &Stores,
    ) -> RepublisherSettings {
        let default = RepublisherSettings::default();
        let settings = RepublisherSettings {
            enabled: value_or(&raw.enabled, default.enabled),
            strategy: self.choice(&raw.delay_strategy_backend, default.strategy),
            delay_topics: self.delay_topics(&raw.delay_topics),
            destinations: self.destinations(&raw.destinations),
            max_hops: self.count(&raw.max_hops, default.max_hops),
            kvstore: self.kvstore_name(&raw.kvstore, stores).unwrap_or(default.kvstore),
            max_delay: self.some_seconds(&raw.max_delay_seconds, default.max_delay),
            envelope_key: self.secret(&raw.envelope_key),
            envelope_previous_key: self.secret(&raw.envelope_previous_key),
            group_id: self.text(&servers.consumer.group_id).unwrap_or(default.group_id),
        };
        if let (Some(written), true, true) =
            (&raw.enabled, settings.enabled, settings.delay_topics.is_empty())
            && raw.delay_topics.is_none()
            && settings.strategy != DelayBackend::RedisSortedSet
        {
            let reason =
                "it needs topics to consume; add `delay_topics = { 60 = \"platform.internal.delay-1m.v1\" }`";
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
        if let (Some(written), None) = (&raw.envelope_previous_key, &raw.envelope_key) {
            let reason = "there is a key of before and none of now; set `envelope_key`";
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
        settings
    }

    /// Refuse a store that would lose what waits, and keys that have a meaning with a store alone.
    pub(super) fn check_delay_store(
        &mut self,
        raw: &RawRepublisher,
        settings: &RepublisherSettings,
        backend: Backend,
        dlq: &DlqSettings,
        stores: &Stores,
    ) {
        if settings.strategy != DelayBackend::RedisSortedSet {
            let reason = "has a meaning with `delay_strategy_backend = \"redis_sorted_set\"` alone; set that, or remove it";
            let default = RepublisherSettings::default();
            if let Some(written) = raw
                .kvstore
                .as_ref()
                .filter(|_| settings.kvstore != default.kvstore)
            {
                self.faults.push(written.fault(Problem::invalid(reason)));
            }
            let longest = raw.max_delay_seconds.as_ref();
            if let Some(written) = longest.filter(|_| settings.max_delay != default.max_delay) {
                self.faults.push(written.fault(Problem::invalid(reason)));
            }
            return;
        }
        let Some(written) = &raw.delay_strategy_backend else {
            return;
        };
        if settings.enabled && dlq.enabled && dlq.strategy == DlqStrategy::LoggingOnly {
            let reason = "what is given up is taken out of the store and is nowhere else; set \
                          `integration.messaging.dlq.strategy = \"keep\"`";
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
        let store = stores.get(&settings.kvstore);
        if let Some(store) = store.filter(|store| !store.enabled) {
            let reason = format!("`database.kvstore.{}.enabled` is false", store.name);
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
        let embedded = store.filter(|store| store.backend == StoreBackend::Memory);
        if let (Backend::Kafka, Some(store)) = (backend, embedded) {
            let reason = format!(
                "the embedded store loses what waits with the process; set \
                 `database.kvstore.{}.provider.backend = \"redis\"`",
                store.name
            );
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
    }

    /// Say where the republisher begins that has no commit: whatever handlers do, nothing that waits is
    /// skipped.
    pub(super) fn republisher_begins(&mut self, field: &Field<String>) -> OffsetReset {
        let reset = self.choice(field, OffsetReset::Earliest);
        if let (OffsetReset::Latest, Some(written)) = (reset, field) {
            let reason = "a new group would skip the messages that wait; use `earliest`, or leave it out";
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
        reset
    }

    fn delay_topics(
        &mut self,
        field: &Field<BTreeMap<String, Written<String>>>,
    ) -> BTreeMap<Duration, String> {
        let mut topics: BTreeMap<Duration, String> = BTreeMap::new();
        for (name, written) in field.iter().flat_map(|written| &written.value) {
            let seconds = name.parse().ok().filter(|seconds: &u32| *seconds > 0);
            let topic = &written.value;
            let fault = if seconds.is_none() {
                Some(format!(
                    "`{name}` is no delay: write whole seconds, from 1 to {}",
                    u32::MAX
                ))
            } else if let Err(error) = check_topic_name(topic) {
                Some(error.to_string())
            } else if topics.values().any(|other| other == topic) {
                Some(format!("topic `{topic}` stands for another delay already"))
            } else {
                None
            };
            match (fault, seconds) {
                (None, Some(seconds)) => {
                    topics.insert(Duration::from_secs(seconds.into()), topic.clone());
                }
                (fault, _) => {
                    let reason = fault.unwrap_or_default();
                    self.faults.push(written.fault(Problem::invalid(reason)));
                }
            }
        }
        topics
    }

    fn destinations(&mut self, field: &Field<Vec<String>>) -> Vec<String> {
        let Some(written) = field else { return Vec::new() };
        let odd = |destination: &&String| {
            let name = destination.strip_suffix('*').unwrap_or(destination);
            !name.is_empty() && check_topic_name(name).is_err() || destination.is_empty()
        };
        if written.value.is_empty() {
            let reason = "an empty list allows nothing; leave it out to allow all, or name topics";
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
        if let Some(destination) = written.value.iter().find(odd) {
            let reason = format!("`{destination}` is neither a topic nor the beginning of one with `*`");
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
        written.value.clone()
    }
}
