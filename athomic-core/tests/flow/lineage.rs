//! Lineage: what handlers report, that it is OpenLineage, and that it costs them nothing.

mod collector;
#[cfg(feature = "lineage-http")]
mod http;
mod schema;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use athomic_core::app::AppBuilder;
use athomic_core::context::{Context, LineageRun, restore_context};
use athomic_core::lineage::{EventType, LineageEvent, LineageStore, LineageStoreError};
use athomic_core::outcome::Outcome;
use athomic_core::publisher::Publisher;
use athomic_core::transport::memory::{Fault, FaultRule, Operation};
use serde_json::Value;

use crate::support::{Cluster, GROUP, TOPIC, handler, until};
use schema::assert_valid;

const ON: &str = "app.name = 'shop'\nlineage.enabled = true\n";

/// Keeps events; can be told to fail.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    events: Vec<LineageEvent>,
    is_down: bool,
    /// The store refuses each such event for good.
    refused: Option<EventType>,
    hangs: bool,
}

impl Kept {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn events(&self) -> Vec<LineageEvent> {
        let events = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .events
            .clone();
        events.iter().for_each(assert_valid);
        events
    }

    fn types(&self) -> Vec<EventType> {
        self.events()
            .iter()
            .filter_map(|event| event.event_type)
            .collect()
    }
}

impl LineageStore for Kept {
    fn name(&self) -> &str {
        "kept"
    }

    async fn write(&self, events: &[Arc<LineageEvent>]) -> Result<(), LineageStoreError> {
        if self.0.lock().unwrap().hangs {
            std::future::pending::<()>().await;
        }
        let mut state = self.0.lock().unwrap();
        if state.is_down {
            return Err(LineageStoreError::retriable(0, "it is down"));
        }
        for (written, event) in events.iter().enumerate() {
            if event.event_type.is_some() && event.event_type == state.refused {
                return Err(LineageStoreError::refused(written, "not this one"));
            }
            state.events.push(event.as_ref().clone());
        }
        Ok(())
    }
}

fn app(cluster: &Cluster, settings: &str, kept: &Kept) -> AppBuilder {
    cluster
        .app(&format!("{ON}{settings}"))
        .lineage_store(kept.clone())
}

/// The number of a statistic of a dataset.
fn statistic(facets: &athomic_core::lineage::Facets, facet: &str, name: &str) -> Option<u64> {
    facets.get(facet)?.get(name)?.as_u64()
}

#[tokio::test(start_paused = true)]
async fn a_run_tells_what_it_reads_and_writes_from_start_to_end() {
    let (cluster, kept) = (Cluster::new(2), Kept::default());
    cluster.control.create_topic("seen", 1);
    cluster.publish_all(0, 0..10);
    cluster.publish_all(1, 0..5);
    let see = handler().handler(async |number: u32, publisher: Publisher| {
        publisher.publish("seen", &number).await.map(drop)
    });
    let running = app(&cluster, "lineage.interval_seconds = 30", &kept)
        .register(see)
        .build()
        .unwrap();
    let running = running.start().await.unwrap();
    cluster.until_committed(0, 10).await;
    cluster.until_committed(1, 5).await;
    assert_eq!(kept.types(), [EventType::Start]);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(kept.types(), [EventType::Start, EventType::Running]);
    running.stop().await;

    let events = kept.events();
    let types: Vec<_> = kept.types();
    assert_eq!(types.first(), Some(&EventType::Start));
    assert_eq!(types.last(), Some(&EventType::Complete));
    let runs: std::collections::BTreeSet<_> = events.iter().map(|event| &event.run.run_id).collect();
    assert_eq!(runs.len(), 1, "one run");
    let last = events.last().unwrap();
    assert_eq!(last.job.namespace, "shop", "the application's name");
    assert!(last.job.name.contains("lineage.rs"), "{}", last.job.name);
    let [input] = last.inputs.as_slice() else {
        panic!("{last:?}")
    };
    assert_eq!(
        (input.namespace.as_str(), input.name.as_str()),
        ("memory://shop", TOPIC)
    );
    assert_eq!(
        statistic(&input.input_facets, "inputStatistics", "rowCount"),
        Some(15)
    );
    assert_eq!(
        statistic(&input.input_facets, "inputStatistics", "size"),
        Some(15)
    );
    let [output] = last.outputs.as_slice() else {
        panic!("{last:?}")
    };
    assert_eq!(output.name, "seen");
    assert_eq!(
        statistic(&output.output_facets, "outputStatistics", "rowCount"),
        Some(15)
    );
    let tags = last.run.facets["tags"]["tags"].to_string();
    assert!(tags.contains(GROUP), "{tags}");
}

#[tokio::test(start_paused = true)]
async fn with_granularity_message_each_execution_is_a_run_with_its_own_outputs() {
    let (cluster, kept) = (Cluster::new(1), Kept::default());
    cluster.control.create_topic("odd", 1);
    cluster.publish_all(0, 0..4);
    let see = handler().handler(async |number: u32, publisher: Publisher| match number {
        1 => publisher
            .publish("odd", &number)
            .await
            .map_or_else(Outcome::retry, |_| Outcome::Ack),
        2 => Outcome::dead_letter("two is refused"),
        3 => panic!("three panics"),
        _ => Outcome::Ack,
    });
    let settings = "lineage.granularity = 'message'\nlineage.producer.job_namespace = 'billing'";
    let running = app(&cluster, settings, &kept).register(see).build().unwrap();
    let running = running.start().await.unwrap();
    cluster.until_committed(0, 4).await;
    running.stop().await;

    let events = kept.events();
    let parent = &events[0].run.run_id;
    let ends: Vec<_> = events
        .iter()
        .filter(|event| event.job.name.ends_with(".message") && event.event_type != Some(EventType::Start))
        .collect();
    assert_eq!(ends.len(), 6, "the panic was tried three times");
    for (offset, end) in ends.iter().take(4).enumerate() {
        assert_eq!(end.job.namespace, "billing");
        assert_eq!(
            end.run.facets["parent"]["run"]["runId"],
            Value::from(parent.as_str())
        );
        let tags = end.run.facets["tags"]["tags"].to_string();
        assert!(
            tags.contains(&format!(
                r#""messaging.kafka.offset","source":"ATHOMIC","value":"{offset}""#
            )),
            "{tags}"
        );
    }
    let ended = |offset: usize| ends[offset].event_type.unwrap();
    assert_eq!([ended(0), ended(1), ended(2), ended(3)], {
        use EventType::{Complete, Fail};
        [Complete, Complete, Fail, Fail]
    });
    assert_eq!(ends[0].outputs.len() + ends[2].outputs.len(), 0);
    assert_eq!(ends[1].outputs[0].name, "odd");
    assert_eq!(ends[2].run.facets["errorMessage"]["message"], "two is refused");
    assert_eq!(
        ends[3].run.facets["errorMessage"]["message"],
        "panicked: three panics"
    );
}

#[tokio::test(start_paused = true)]
async fn with_granularity_batch_only_batches_are_runs() {
    let (cluster, kept) = (Cluster::new(1), Kept::default());
    cluster.publish_all(0, 0..4);
    let together = handler()
        .handler_id("together")
        .batch_handler(10, async |numbers: Vec<u32>| {
            let odd = |number| {
                if number % 2 == 1 {
                    Outcome::ignore("odd")
                } else {
                    Outcome::Ack
                }
            };
            numbers.into_iter().map(odd).collect::<Vec<_>>()
        });
    let alone = handler()
        .group_id("alone")
        .handler_id("alone")
        .handler(async |_: u32| {});
    let running = app(&cluster, "lineage.granularity = 'batch'", &kept);
    let running = running.register(together).register(alone).build().unwrap();
    let running = running.start().await.unwrap();
    cluster.until_committed(0, 4).await;
    running.stop().await;
    let events = kept.events();
    let jobs: std::collections::BTreeSet<_> = events.iter().map(|event| event.job.name.as_str()).collect();
    assert_eq!(
        jobs.into_iter().collect::<Vec<_>>(),
        ["alone", "together", "together.batch"]
    );
    let failed: Vec<_> = events
        .iter()
        .filter(|event| event.event_type == Some(EventType::Fail))
        .collect();
    let message = &failed[0].run.facets["errorMessage"]["message"];
    assert_eq!(message, "2 of 4 messages failed, first: odd");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_ends_with_an_error_has_failed() {
    let (cluster, kept) = (Cluster::new(1), Kept::default());
    let settings = "integration.messaging.consumer.auto_offset_reset = 'fail'";
    let running = app(&cluster, settings, &kept)
        .register(handler().handler(async |_: u32| {}))
        .build()
        .unwrap();
    let mut running = running.start().await.unwrap();
    let failure = running.failed().await;
    until("the failure is reported", || {
        kept.types().contains(&EventType::Fail)
    })
    .await;
    running.stop().await;
    let events = kept.events();
    assert_eq!(kept.types(), [EventType::Start, EventType::Fail]);
    let told = events[1].run.facets["errorMessage"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(failure.to_string().contains("consumer"), "{failure}");
    assert!(told.contains("offset"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_handler_without_lineage_and_a_program_without_it_report_nothing() {
    let (cluster, kept) = (Cluster::new(1), Kept::default());
    cluster.publish_all(0, 0..3);
    let quiet = handler().options(|options| options.enable_lineage = Some(false));
    let running = app(&cluster, "lineage.granularity = 'message'", &kept);
    let running = running
        .register(quiet.handler(async |_: u32| {}))
        .build()
        .unwrap();
    let running = running.start().await.unwrap();
    cluster.until_committed(0, 3).await;
    running.stop().await;
    assert_eq!(kept.types(), []);

    let off = cluster.app("lineage.enabled = false").lineage_store(kept.clone());
    let off = off
        .register(handler().handler(async |_: u32| {}))
        .build()
        .unwrap();
    let running = off.start().await.unwrap();
    running.stop().await;
    assert_eq!(kept.types(), []);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_holds_up_no_handler_and_costs_events_beyond_the_queue() {
    let (cluster, kept) = (Cluster::new(1), Kept::default());
    kept.change(|state| state.hangs = true);
    cluster.publish_all(0, 0..500);
    let settings = "lineage.granularity = 'message'\nlineage.max_queued_events = 50";
    let running = app(&cluster, settings, &kept)
        .register(handler().handler(async |_: u32| {}))
        .build()
        .unwrap();
    let running = running.start().await.unwrap();
    cluster.until_committed(0, 500).await;
    let counts = running.lineage();
    // The log has all of them, the store none: what it was given and its queue is all that may wait.
    assert!(counts.dropped >= 1001 - 50 - 100, "{counts:?}");
    let stop = tokio::time::Instant::now();
    running.stop().await;
    assert!(
        stop.elapsed() < Duration::from_secs(10),
        "a stop waits a little for lineage, and not for ever"
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_for_a_while_gets_all_and_one_that_refuses_loses_only_that() {
    let (cluster, kept) = (Cluster::new(1), Kept::default());
    kept.change(|state| {
        state.is_down = true;
        state.refused = Some(EventType::Running);
    });
    let settings = "lineage.interval_seconds = 10";
    let running = app(&cluster, settings, &kept)
        .register(handler().handler(async |_: u32| {}))
        .build()
        .unwrap();
    let running = running.start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(kept.types(), []);
    kept.change(|state| state.is_down = false);
    until("it is written", || kept.types() == [EventType::Start]).await;
    until("the others are refused", || running.lineage().dropped >= 2).await;
    running.stop().await;
    assert_eq!(kept.types(), [EventType::Start, EventType::Complete]);
}

#[tokio::test(start_paused = true)]
async fn an_execution_names_the_run_that_its_message_comes_of() {
    let (cluster, kept) = (Cluster::new(1), Kept::default());
    let running = app(&cluster, "lineage.granularity = 'message'", &kept)
        .register(handler().handler(async |_: u32| {}))
        .build()
        .unwrap();
    let running = running.start().await.unwrap();
    let import = LineageRun::new("0190163d-8694-739b-aea5-966c26f8ad90", "warehouse", "import");
    let publisher = running.publisher();
    let context = Context::new().with_lineage(import.clone());
    restore_context(context, publisher.publish(TOPIC, &1).into_future())
        .await
        .unwrap();
    publisher.publish(TOPIC, &2).await.unwrap();
    cluster.until_committed(0, 2).await;
    running.stop().await;
    let events = kept.events();
    let of_executions = |event: &&LineageEvent| event.job.name.ends_with(".message");
    let parents: Vec<_> = events
        .iter()
        .filter(of_executions)
        .map(|event| &event.run.facets["parent"])
        .collect();
    let [started, completed, other, _] = &parents[..] else {
        panic!("{parents:#?}")
    };
    for parent in [started, completed] {
        assert_eq!(parent["run"]["runId"], Value::from(events[0].run.run_id.as_str()));
        assert_eq!(parent["root"]["run"]["runId"], Value::from(import.run.as_str()));
        assert_eq!(parent["root"]["job"]["namespace"], "warehouse");
        assert_eq!(parent["root"]["job"]["name"], "import");
    }
    assert_eq!(other.get("root"), None, "it does not say of which run it comes");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_cut_off_while_it_stops_is_aborted() {
    let (cluster, kept) = (Cluster::new(1), Kept::default());
    let running = app(&cluster, "lifecycle.shutdown_timeout_seconds = 5", &kept)
        .register(handler().handler(async |_: u32| {}))
        .build()
        .unwrap();
    let running = running.start().await.unwrap();
    until("the run begins", || kept.types() == [EventType::Start]).await;
    let hangs = Fault::delay(Duration::from_secs(3600));
    cluster
        .control
        .inject_next(FaultRule::next(Operation::Leave, hangs).group(GROUP));
    running.stop().await;
    assert_eq!(kept.types(), [EventType::Start, EventType::Abort]);
    let events = kept.events();
    assert_eq!(events[0].run.run_id, events[1].run.run_id);
}
