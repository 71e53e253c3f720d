//! Resolve lineage: `lineage` and the tables in it.

use std::borrow::Cow;

use super::{Resolver, value_or};
use crate::settings::error::Problem;
use crate::settings::raw::RawLineage;
use crate::settings::resolved::{
    CollectorStore, LineageCollectorSettings, LineageServerSettings, LineageSettings, LineageStoreKind,
};

impl Resolver<'_> {
    pub(super) fn lineage(&mut self, raw: &RawLineage) -> LineageSettings {
        let default = LineageSettings::default();
        let stores = self.lineage_stores(raw, &default);
        let collector = self.lineage_collector(raw, default.collector);
        let enabled = value_or(&raw.keys.enabled, default.enabled);
        let is_posted = (enabled && stores.contains(&LineageStoreKind::Http))
            || (collector.enabled && collector.stores.contains(&CollectorStore::Http));
        self.fetch_secrets = is_posted;
        let url = self.text(&raw.store.url);
        if is_posted && url.is_none() {
            let asks = raw.store.backend.as_ref().or(raw.store.url.as_ref());
            let reason = "the store `http` needs `lineage.store.url`, such as \"http://localhost:5000\"";
            self.faults
                .extend(asks.map(|written| written.fault(Problem::invalid(reason))));
            let asks = raw.collector.stores.as_ref().filter(|_| asks.is_none());
            self.faults
                .extend(asks.map(|written| written.fault(Problem::invalid(reason))));
        }
        let producer_uri = self
            .text(&raw.producer.producer_uri)
            .unwrap_or(default.producer_uri);
        if let Some(written) = &raw.producer.producer_uri
            && !producer_uri.contains(':')
        {
            let reason = "must be a URI, such as \"https://example.org/orders\"";
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
        LineageSettings {
            enabled,
            collector_topic: self
                .text(&raw.keys.collector_topic)
                .unwrap_or(default.collector_topic),
            granularity: self.choice(&raw.keys.granularity, default.granularity),
            interval: self.some_seconds(&raw.keys.interval_seconds, default.interval),
            max_queued_events: self.count(&raw.keys.max_queued_events, default.max_queued_events),
            job_namespace: self.text(&raw.producer.job_namespace),
            producer_uri,
            stores,
            server: LineageServerSettings {
                url,
                api_key: self.secret(&raw.store.api_key),
                timeout: self.some_milliseconds(&raw.store.timeout_ms, default.server.timeout),
            },
            collector,
        }
    }

    fn lineage_stores(&mut self, raw: &RawLineage, default: &LineageSettings) -> Vec<LineageStoreKind> {
        let Some(backend) = self.optional_choice(&raw.store.backend) else {
            return default.stores.clone();
        };
        let backends = raw
            .store
            .backends
            .as_ref()
            .map(|_| self.choices(&raw.store.backends, Vec::new()));
        let fault: Cow<'static, str> = match (backend, &backends) {
            (LineageStoreKind::Composite, None) => {
                "`composite` needs `backends`, such as [\"logging\", \"topic\"]".into()
            }
            (LineageStoreKind::Composite, Some(backends))
                if backends.is_empty() || backends.contains(&LineageStoreKind::Composite) =>
            {
                "`backends` names at least one of \"logging\", \"topic\", \"http\"".into()
            }
            (LineageStoreKind::Composite, Some(backends)) => return without_repeats(backends),
            (_, Some(_)) => {
                "`backends` are the stores of `backend = \"composite\"`; set that, or remove it".into()
            }
            (one, None) => return vec![one],
        };
        if let Some(written) = &raw.store.backend {
            self.faults
                .push(written.fault(Problem::Invalid { reason: fault }));
        }
        default.stores.clone()
    }

    fn lineage_collector(
        &mut self,
        raw: &RawLineage,
        default: LineageCollectorSettings,
    ) -> LineageCollectorSettings {
        let raw = &raw.collector;
        let stores = self.choices(&raw.stores, default.stores);
        if let Some(written) = raw.stores.as_ref().filter(|written| written.value.is_empty()) {
            let reason = "names at least one of \"logging\", \"json_file\", \"http\"";
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
        LineageCollectorSettings {
            enabled: value_or(&raw.enabled, default.enabled),
            group_id: self.text(&raw.group_id).unwrap_or(default.group_id),
            stores: without_repeats(&stores),
            path: self.text(&raw.path).map_or(default.path, Into::into),
        }
    }
}

fn without_repeats<T: Copy + PartialEq>(list: &[T]) -> Vec<T> {
    let mut some = Vec::new();
    for item in list {
        if !some.contains(item) {
            some.push(*item);
        }
    }
    some
}
