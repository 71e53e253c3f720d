//! Lineage on real Kafka: from the handlers of one application through the topic into the file of another.

use std::collections::BTreeMap;
use std::path::PathBuf;

use athomic::app::{AppBuilder, RunningApp};
use athomic::handler::register::subscribe;
use athomic::lineage::{EventType, LineageEvent};
use athomic::publisher::Publisher;
use athomic_rig::{Rig, until, whole_lines};

const EVENTS: u64 = 500;

/// Begin an application whose lineage topic is named after the rig's.
fn app(rig: &Rig, lineage: &str) -> AppBuilder {
    let settings = format!(
        "integration.messaging.topics.auto_create = 'always'\n\
         [lineage]\ncollector_topic = '{}.lineage'\n{lineage}",
        rig.topic
    );
    rig.app(&settings)
}

async fn start(app: AppBuilder) -> RunningApp {
    let app = app.build().expect("it is valid");
    app.start().await.expect("it starts")
}

/// Read what the collector has written so far.
fn events(file: &PathBuf) -> Vec<LineageEvent> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines = whole_lines(&text).map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("each line is an event")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_reads_and_writes_reaches_the_collectors_file() {
    let Some(rig) = Rig::on_shared_broker(env!("CARGO_TARGET_TMPDIR"), "lineage", 3).await else {
        return;
    };
    let file = PathBuf::from(rig.folder()).join("lineage.jsonl");
    let collector = format!(
        "collector = {{ enabled = true, stores = ['json_file'], group_id = '{}.lineage', path = '{}' }}",
        rig.group,
        file.display()
    );
    let collector = start(app(&rig, &collector)).await;
    let target = format!("{}.copies", rig.topic);
    let copy = subscribe(&*rig.topic)
        .group_id(&*rig.group)
        .handler_id("copy")
        .handler({
            let target = target.clone();
            move |number: u64, publisher: Publisher| {
                let target = target.clone();
                async move { publisher.publish(target, &number).await.map(drop) }
            }
        });
    let watch = subscribe(&*target)
        .group_id(format!("{}.watch", rig.group))
        .handler_id("watch")
        .handler(async |_: u64| {});
    let reporting = "enabled = true\nstore.backend = 'topic'\ninterval_seconds = 0.5";
    let reporting = start(app(&rig, reporting).register(copy).register(watch)).await;
    let numbers: String = (0..EVENTS).map(|number| format!("{number}:{number}\n")).collect();
    rig.produce(numbers).await;

    let written = || {
        let events = events(&file);
        let copies = events.iter().filter(|event| event.job.name == "copy");
        let outputs = copies.flat_map(|event| &event.outputs);
        outputs
            .filter_map(|output| output.output_facets["outputStatistics"]["rowCount"].as_u64())
            .max()
    };
    until("all copies are told", async || written() == Some(EVENTS)).await;
    reporting.stop().await;
    let completed = || -> BTreeMap<String, LineageEvent> {
        let ends = events(&file).into_iter();
        let ends = ends.filter(|event| event.event_type == Some(EventType::Complete));
        ends.map(|event| (event.job.name.clone(), event)).collect()
    };
    until("both runs are over", async || completed().len() == 2).await;
    collector.stop().await;

    let place = format!("kafka://{}", rig.bootstrap);
    let ends = completed();
    let (copied, watched) = (&ends["copy"], &ends["watch"]);
    assert_eq!(copied.inputs[0].namespace, place);
    assert_eq!(copied.inputs[0].name, rig.topic);
    assert_eq!(copied.outputs[0].name, target);
    // The graph hangs together: what one writes is what the other reads.
    let written = (&copied.outputs[0].namespace, &copied.outputs[0].name);
    assert_eq!(written, (&watched.inputs[0].namespace, &watched.inputs[0].name));
    assert!(events(&file).iter().all(|event| event.job.namespace == "athomic"));
}
