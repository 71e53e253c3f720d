//! `lineage` and the tables in it.

use std::time::Duration;

use super::*;

#[test]
fn what_is_written_is_meant() {
    let text = "[lineage]\nenabled = true\ncollector_topic = 'l'\ngranularity = 'batch'\ninterval_seconds = 1.5\n\
                max_queued_events = 7\n\
                [lineage.producer]\njob_namespace = 'n'\nproducer_uri = 'https://example.org/n'\n\
                [lineage.store]\nbackend = 'composite'\nbackends = ['http', 'topic', 'http']\n\
                url = 'http://marquez:5000'\napi_key = 'canary'\ntimeout_ms = 9\n\
                [lineage.collector]\nenabled = true\ngroup_id = 'c'\nstores = ['json_file', 'http']\npath = 'p.jsonl'";
    let settings = loaded(loader(text)).settings;
    let lineage = &settings.lineage;
    assert!(lineage.enabled && lineage.collector.enabled);
    assert_eq!(lineage.collector_topic, "l");
    assert_eq!(lineage.granularity, LineageGranularity::Batch);
    assert_eq!(lineage.interval, Duration::from_millis(1500));
    assert_eq!(lineage.max_queued_events.get(), 7);
    assert_eq!(lineage.job_namespace.as_deref(), Some("n"));
    assert_eq!(lineage.producer_uri, "https://example.org/n");
    assert_eq!(lineage.stores, [LineageStoreKind::Http, LineageStoreKind::Topic]);
    assert_eq!(lineage.server.url.as_deref(), Some("http://marquez:5000"));
    assert_eq!(lineage.server.timeout, Duration::from_millis(9));
    assert_eq!(lineage.collector.group_id, "c");
    assert_eq!(
        lineage.collector.stores,
        [CollectorStore::JsonFile, CollectorStore::Http]
    );
    assert_eq!(lineage.collector.path, PathBuf::from("p.jsonl"));
    assert_eq!(
        lineage.server.api_key.as_ref().map(Secret::expose),
        Some("canary")
    );
    let shown = format!("{settings:?} {:?}", settings.values());
    assert!(!shown.contains("canary"), "no secret is shown");
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    check_faults(
        "[lineage]\nenabled = true\nstore.backend = 'http'",
        &["settings.toml:3:17: `lineage.store.backend`: \
             the store `http` needs `lineage.store.url`, such as \"http://localhost:5000\""],
    );
    check_faults(
        "[lineage]\nproducer.producer_uri = 'us'\nstore.backend = 'composite'\ncollector.stores = []",
        &[
            "settings.toml:2:25: `lineage.producer.producer_uri`: must be a URI, such as \"https://example.org/orders\"",
            "settings.toml:3:17: `lineage.store.backend`: `composite` needs `backends`, such as [\"logging\", \"topic\"]",
            "settings.toml:4:20: `lineage.collector.stores`: names at least one of \"logging\", \"json_file\", \"http\"",
        ],
    );
    check_faults(
        "[lineage]\nstore.backend = 'logging'\nstore.backends = ['topic']\ncollector.stores = ['file']",
        &[
            "settings.toml:2:17: `lineage.store.backend`: \
             `backends` are the stores of `backend = \"composite\"`; set that, or remove it",
            "settings.toml:4:20: `lineage.collector.stores`: `file` is not one of `logging`, `json_file`, `http`",
        ],
    );
}

#[test]
fn what_is_switched_off_needs_no_secret() {
    let text = "[lineage.store]\nbackend = 'http'\napi_key = { env = 'NOT_SET' }";
    assert!(!loaded(loader(text)).settings.lineage.enabled);
}
