//! The collector: from the lineage topic to stores.

use athomic_core::lineage::{EventType, LINEAGE_COLLECTOR, LineageEvent};

use super::schema::assert_valid;
use crate::support::{Cluster, handler, until};

const EVENTS: &str = "platform.lineage.events";

/// A file of this test run, removed at the end.
struct File(std::path::PathBuf);

impl File {
    fn new(name: &str) -> Self {
        let file = Self(std::env::temp_dir().join(format!("athomic-{name}-{}.jsonl", std::process::id())));
        let _not_there = std::fs::remove_file(&file.0);
        file
    }

    fn events(&self) -> Vec<LineageEvent> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _not_there = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn events_go_through_their_topic_into_a_file_and_the_collector_tells_nothing_of_itself() {
    let cluster = Cluster::new(1);
    cluster.control.create_topic(EVENTS, 3);
    cluster.publish_all(0, 0..3);
    let file = File::new("collected");
    let settings = format!(
        "[lineage]\nenabled = true\ngranularity = 'message'\nstore.backend = 'composite'\n\
         store.backends = ['logging', 'topic']\n\
         [lineage.collector]\nenabled = true\nstores = ['json_file', 'logging']\npath = '{}'",
        file.0.display()
    );
    let running = cluster
        .start_with(
            &settings,
            handler().handler_id("observed").handler(async |_: u32| {}),
        )
        .await;
    until("all is collected", || file.events().len() == 7).await;
    running.stop().await;
    // The consumers stop together, so the end of the run waits in the topic for the next collector.
    let running = cluster
        .app(&settings.replacen("true", "false", 1))
        .build()
        .unwrap()
        .start()
        .await
        .unwrap();
    until("the end is collected", || file.events().len() == 8).await;
    running.stop().await;
    let events = file.events();
    events.iter().for_each(assert_valid);
    let count = |event| {
        events
            .iter()
            .filter(|found| found.event_type == Some(event))
            .count()
    };
    assert_eq!((count(EventType::Start), count(EventType::Complete)), (4, 4));
    assert!(events.iter().all(|event| event.job.name.starts_with("observed")));
    assert!(
        !events
            .iter()
            .any(|event| event.job.name.starts_with(LINEAGE_COLLECTOR))
    );
}

#[tokio::test]
async fn what_is_no_run_event_goes_to_the_dead_letters_and_the_rest_is_collected() {
    let cluster = Cluster::new(1);
    cluster.control.create_topic(EVENTS, 1);
    cluster.control.create_topic("platform.dead_letters", 1);
    let file = File::new("foreign");
    let settings = format!(
        "[lineage.collector]\nenabled = true\nstores = ['json_file']\npath = '{}'",
        file.0.display()
    );
    let running = cluster.app(&settings).build().unwrap().start().await.unwrap();
    let publisher = running.publisher();
    publisher
        .publish(EVENTS, &serde_json::json!({ "hello": 1 }))
        .await
        .unwrap();
    let foreign = serde_json::json!({
        "eventTime": "2026-11-02T10:00:00.000Z", "eventType": "OTHER", "producer": "p:p", "schemaURL": "s:s",
        "run": { "runId": "01934bb1-7e0c-7cc1-9d57-000000000001", "facets": { "theirs": { "a": 1 } } },
        "job": { "namespace": "n", "name": "j" }, "addition": [1, 2],
    });
    publisher.publish(EVENTS, &foreign).await.unwrap();
    until("the event is collected", || file.events().len() == 1).await;
    running.stop().await;
    let collected = serde_json::to_value(&file.events()[0]).unwrap();
    assert_eq!(
        collected["addition"], foreign["addition"],
        "nothing of it is lost"
    );
    assert_eq!(
        collected["run"]["facets"]["theirs"],
        foreign["run"]["facets"]["theirs"]
    );
}
