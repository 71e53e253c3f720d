//! The index of dead letters: what it lists, what bounds it, and what becomes of letters without it.

use std::time::Duration;

use athomic_core::app::RunningApp;
use athomic_core::dead_letter::{Filter, IndexEntry, IndexFilter};
use athomic_core::handler::register::{HandlerDefinition, Subscribe};
use athomic_core::store::memory::MemoryStores;
use tokio::time::{Instant, sleep};

use crate::support::{Cluster, TOPIC, handler};

const KEEPING: &str = "[integration.messaging.dlq]\nstrategy = \"keep\"\ntopic = \"dlq\"\nmax_attempts = 1\n";

/// A handler that fails for all payloads; those below 10 and the others fail differently.
fn failing(from: Subscribe) -> HandlerDefinition {
    from.handler(|payload: u64| async move {
        match payload {
            0..10 => Err::<(), _>(format!("no {payload} here")),
            _ => Err(format!("{payload} is too much")),
        }
    })
}

async fn start(cluster: &Cluster, more: &str) -> RunningApp {
    let definition = failing(handler().handler_id("billing"));
    cluster.start_with(&format!("{KEEPING}{more}"), definition).await
}

/// List entries a moment later: they are written beside the letters.
async fn list(app: &RunningApp, filter: IndexFilter) -> Vec<IndexEntry> {
    sleep(Duration::from_millis(10)).await;
    let index = app.dead_letter_index().unwrap();
    index.list(&filter, usize::MAX).await.unwrap()
}

fn offsets(entries: &[IndexEntry]) -> Vec<i64> {
    let mut offsets: Vec<_> = entries.iter().map(|entry| entry.summary.offset).collect();
    offsets.sort_unstable();
    offsets
}

#[tokio::test(start_paused = true)]
async fn letters_are_listed_by_handler_stage_and_fingerprint_without_their_topic() {
    let cluster = Cluster::new(1);
    cluster.publish_all(0, ["1", "2", "50", "what"]);
    let app = start(&cluster, "").await;
    cluster.until_committed(0, 4).await;
    let all = list(&app, IndexFilter::default()).await;
    assert_eq!(offsets(&all), [0, 1, 2, 3]);
    let by = |handler: Option<&str>, stage: Option<&str>, fingerprint: Option<&str>| IndexFilter {
        handler: handler.map(str::to_owned),
        stage: stage.map(str::to_owned),
        fingerprint: fingerprint.map(str::to_owned),
    };
    assert_eq!(
        offsets(&list(&app, by(Some("billing"), Some("decode"), None)).await),
        [3]
    );
    let alike = all.iter().find(|entry| entry.summary.offset == 0).unwrap();
    let print = alike.summary.fingerprint.as_str();
    for filter in [
        by(Some("billing"), Some("handler"), Some(print)),
        by(None, None, Some(print)),
    ] {
        assert_eq!(offsets(&list(&app, filter).await), [0, 1]);
    }
    assert_eq!(
        offsets(&list(&app, by(Some("bill"), None, None)).await),
        [0_i64; 0]
    );
    assert_eq!(
        (alike.summary.error.as_deref(), alike.summary.topic.as_str()),
        (Some("no 1 here"), TOPIC)
    );
    assert_eq!((alike.letter_topic.as_str(), alike.letter_offset), ("dlq", 0));
    let few = app
        .dead_letter_index()
        .unwrap()
        .list(&IndexFilter::default(), 3)
        .await;
    assert_eq!(few.unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_entries_of_a_handler_go_when_there_are_too_many() {
    let cluster = Cluster::new(1);
    let app = start(&cluster, "index_max_entries = 20").await;
    for payload in 0..250_i64 {
        cluster.publish(0, None, payload);
        sleep(Duration::from_millis(20)).await;
    }
    cluster.until_committed(0, 250).await;
    let left = offsets(&list(&app, IndexFilter::default()).await);
    assert_eq!(
        left,
        (180..250).collect::<Vec<_>>(),
        "20, and what came since the last look"
    );
    assert_eq!(cluster.control.messages("dlq").unwrap().len(), 250);
}

#[tokio::test(start_paused = true)]
async fn without_an_index_letters_are_written_all_the_same() {
    let cluster = Cluster::new(1);
    cluster.publish_all(0, [1]);
    let app = start(&cluster, "index_in_kv = false").await;
    cluster.until_committed(0, 1).await;
    assert!(app.dead_letter_index().is_none());
    assert_eq!(cluster.control.messages("dlq").unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_index_whose_store_is_away_holds_no_letter_up_and_counts_what_it_lacks() {
    let (cluster, stores) = (Cluster::new(1), MemoryStores::default());
    stores.set_available(false);
    cluster.publish_all(0, [1, 2]);
    let app = cluster.app(KEEPING).stores(stores.clone());
    let app = app.register(failing(handler())).build().unwrap();
    let app = app.start().await.unwrap();
    let began = Instant::now();
    cluster.until_committed(0, 2).await;
    assert!(began.elapsed() < Duration::from_secs(3), "it waited for nothing");
    assert_eq!(cluster.control.messages("dlq").unwrap().len(), 2);
    let index = app.dead_letter_index().unwrap();
    assert!(index.list(&IndexFilter::default(), 10).await.is_err());
    assert_eq!(index.lacking(), 2);
    stores.set_available(true);
    cluster.publish_all(0, [3]);
    cluster.until_committed(0, 3).await;
    assert_eq!(offsets(&list(&app, IndexFilter::default()).await), [2]);
}

#[tokio::test(start_paused = true)]
async fn the_desk_lists_from_the_index_and_without_an_answer_from_the_topic() {
    let (cluster, stores) = (Cluster::new(1), MemoryStores::default());
    cluster.publish_all(0, [1, 50]);
    let app = cluster.app(KEEPING).stores(stores.clone());
    let app = app
        .register(failing(handler().handler_id("billing")))
        .build()
        .unwrap();
    let app = app.start().await.unwrap();
    cluster.until_committed(0, 2).await;
    sleep(Duration::from_millis(10)).await;
    let desk = app.dead_letters();
    let of_billing = Filter {
        handler: Some("billing".to_owned()),
        ..Filter::default()
    };
    let in_the_topic = desk.list("dlq", &of_billing).await.unwrap();
    let mut in_the_topic: Vec<_> = in_the_topic.iter().map(|letter| letter.summary.clone()).collect();
    let sorted = async |filter: &Filter| {
        let mut summaries = desk.summaries("dlq", filter).await.unwrap();
        summaries.sort_by_key(|summary| summary.offset);
        summaries
    };
    in_the_topic.sort_by_key(|summary| summary.offset);
    assert_eq!(sorted(&of_billing).await, in_the_topic);
    let of_another = Filter {
        handler: Some("another".to_owned()),
        ..Filter::default()
    };
    assert_eq!(sorted(&of_another).await, []);
    assert_eq!(
        desk.summaries("letters", &Filter::default())
            .await
            .unwrap_or_default(),
        []
    );
    stores.set_available(false);
    assert_eq!(sorted(&of_billing).await, in_the_topic, "read from the topic");
    // The topic is not read while the index answers: what is no longer there is listed all the same.
    stores.set_available(true);
    cluster.control.delete_topic("dlq").unwrap();
    assert_eq!(sorted(&of_billing).await, in_the_topic);
}

#[tokio::test(start_paused = true)]
async fn what_was_noted_last_is_written_at_a_stop() {
    let (cluster, stores) = (Cluster::new(1), MemoryStores::default());
    let start = || {
        let app = cluster.app(KEEPING).stores(stores.clone());
        app.register(failing(handler())).build().unwrap().start()
    };
    let app = start().await.unwrap();
    cluster.publish_all(0, 0..5);
    cluster.until_committed(0, 5).await;
    app.stop().await;
    let app = start().await.unwrap();
    assert_eq!(offsets(&list(&app, IndexFilter::default()).await).len(), 5);
}
