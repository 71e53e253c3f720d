//! The values of lineage.

use super::Values;
use crate::settings::resolved::{LineageSettings, LineageStoreKind};
use crate::settings::schema::LINEAGE;
use crate::settings::secret::MASK;
use crate::settings::tree::join;

impl Values {
    pub(super) fn lineage(&mut self, lineage: &LineageSettings) {
        let LineageSettings {
            enabled,
            collector_topic,
            granularity,
            interval,
            max_queued_events,
            job_namespace,
            producer_uri,
            stores,
            server,
            collector,
        } = lineage;
        let words: Vec<String> = stores.iter().map(ToString::to_string).collect();
        self.section(LINEAGE)
            .is("enabled", enabled)
            .text("collector_topic", collector_topic)
            .text("granularity", granularity.as_str())
            .seconds("interval_seconds", *interval)
            .is("max_queued_events", max_queued_events);
        self.section(&join(LINEAGE, "producer"))
            .maybe_text("job_namespace", job_namespace.as_deref())
            .text("producer_uri", producer_uri);
        let store = self.section(&join(LINEAGE, "store"));
        match words.as_slice() {
            [one] => store.text("backend", one).put("backends", None),
            _ => store
                .text("backend", LineageStoreKind::Composite.as_str())
                .texts("backends", &words),
        };
        store
            .maybe_text("url", server.url.as_deref())
            .maybe_text("api_key", server.api_key.as_ref().map(|_| MASK))
            .milliseconds("timeout_ms", server.timeout);
        let stores: Vec<String> = collector.stores.iter().map(ToString::to_string).collect();
        self.section(&join(LINEAGE, "collector"))
            .is("enabled", collector.enabled)
            .text("group_id", &collector.group_id)
            .texts("stores", &stores)
            .text("path", collector.path.to_string_lossy());
    }
}
