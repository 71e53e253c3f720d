//! Dead letters listed and replayed.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use athomic_core::app::RunningApp;
use athomic_core::dead_letter::headers as names;
use athomic_core::dead_letter::{Filter, ReplayError, ReplayOptions};
use athomic_core::handler::Meta;
use athomic_core::handler::register::{HandlerDefinition, Subscribe, subscribe};
use athomic_core::message::Headers;
use athomic_core::transport::OutgoingMessage;
use athomic_core::transport::memory::{Fault, FaultRule, Operation};
use tokio::time::Instant;

use crate::support::{Cluster, Journal, TOPIC, handler, until};

const DLQ: &str = "dlq";

/// Settings under which a message is tried once, and others that a replay must not be led astray by.
fn settings(more: &str) -> String {
    format!(
        "[integration.messaging.consumer]\nauto_offset_reset = \"latest\"\n\
         [integration.messaging.dlq]\nstrategy = \"keep\"\ntopic = \"dlq\"\nparking_lot_topic = \"parked\"\n\
         max_attempts = 1\n{more}"
    )
}

/// A handler that fails for all payloads but 0 until it is repaired; each execution is in the journal.
fn breakable(journal: &Journal, repaired: &Arc<AtomicBool>, from: Subscribe) -> HandlerDefinition {
    let (journal, repaired) = (journal.clone(), Arc::clone(repaired));
    from.handler(move |payload: u64, meta: Meta| {
        let run = journal.begin(0, &meta);
        journal.end(run);
        let fails = payload != 0 && !repaired.load(Relaxed);
        async move {
            if fails {
                Err(format!("no {payload} here"))
            } else {
                Ok(())
            }
        }
    })
}

struct Stage {
    cluster: Cluster,
    journal: Journal,
    repaired: Arc<AtomicBool>,
    app: RunningApp,
}

impl Stage {
    /// Run two groups, one of which fails, over some messages of one key each.
    async fn new(more: &str, payloads: &[u64]) -> Self {
        let (cluster, journal) = (Cluster::new(2), Journal::new());
        let repaired = Arc::new(AtomicBool::new(false));
        let works = subscribe(TOPIC)
            .group_id("works")
            .handler_id("works")
            .handler(|_: u64| async {});
        let fails = breakable(&journal, &repaired, handler().handler_id("fails"));
        let app = cluster.app(&settings(more)).register(works).register(fails);
        let app = app.build().unwrap().start().await.unwrap();
        until("it is ready", || app.health().check().is_ready()).await;
        for (place, payload) in payloads.iter().enumerate() {
            cluster.publish(i32::from(place % 2 == 1), Some("k"), payload);
        }
        journal.until_ended(payloads.len()).await;
        Self {
            cluster,
            journal,
            repaired,
            app,
        }
    }

    fn count(&self, topic: &str) -> usize {
        self.cluster.control.messages(topic).map_or(0, |all| all.len())
    }
}

fn all() -> (Filter, ReplayOptions) {
    (Filter::default(), ReplayOptions::default())
}

#[tokio::test(start_paused = true)]
async fn what_is_replayed_runs_in_the_group_that_failed_alone_from_its_first_attempt() {
    let stage = Stage::new("", &[1, 2, 3]).await;
    until("there are letters", || stage.count(DLQ) == 3).await;
    stage.repaired.store(true, Relaxed);
    let (filter, options) = all();
    let report = stage
        .app
        .dead_letters()
        .replay(DLQ, &filter, &options)
        .await
        .unwrap();
    assert_eq!((report.matched, report.replayed, report.duplicates), (3, 3, 0));
    stage.journal.until_ended(6).await;
    let again: Vec<_> = stage.journal.runs()[3..]
        .iter()
        .map(|run| (run.partition, run.offset, run.attempt))
        .collect();
    assert_eq!(
        again,
        [(0, 2, 1), (0, 3, 1), (1, 1, 1)],
        "in their partitions, in their order"
    );
    let record = &stage.cluster.control.messages(TOPIC).unwrap()[2];
    let names: Vec<_> = record.headers().into_iter().map(|header| header.name).collect();
    assert_eq!(
        names,
        [
            names::RETRY_GROUP,
            names::REDRIVE_OF,
            names::REDRIVE_COUNT,
            names::REDRIVE_BY
        ]
    );
    assert_eq!(stage.count(DLQ), 3, "letters stay");
}

#[tokio::test(start_paused = true)]
async fn letters_are_listed_and_chosen_by_what_is_known_of_them() {
    let stage = Stage::new("", &[1, 22, 0, 3]).await;
    until("there are letters", || stage.count(DLQ) == 3).await;
    let desk = stage.app.dead_letters();
    let letters = desk.list(DLQ, &Filter::default()).await.unwrap();
    let told = &letters[0].summary;
    assert_eq!(
        (told.topic.as_str(), told.group.as_str(), told.handler.as_str()),
        (TOPIC, "g", "fails")
    );
    assert_eq!(
        (told.stage.as_str(), told.error.as_deref()),
        ("handler", Some("no 1 here"))
    );
    let count = async |filter: Filter| desk.list(DLQ, &filter).await.unwrap().len();
    let named = |text: &str| Some(text.to_owned());
    assert_eq!(
        count(Filter {
            handler: named("works"),
            ..Filter::default()
        })
        .await,
        0
    );
    assert_eq!(
        count(Filter {
            error_contains: named("22"),
            ..Filter::default()
        })
        .await,
        1
    );
    assert_eq!(
        count(Filter {
            fingerprint: named(&told.fingerprint),
            ..Filter::default()
        })
        .await,
        3
    );
    assert_eq!(
        count(Filter {
            id: named(&told.id),
            ..Filter::default()
        })
        .await,
        1
    );
    assert_eq!(
        count(Filter {
            until: Some(told.failed_at),
            ..Filter::default()
        })
        .await,
        0
    );
    assert_eq!(
        count(Filter {
            from: Some(told.failed_at),
            ..Filter::default()
        })
        .await,
        3
    );
}

#[tokio::test(start_paused = true)]
async fn letters_are_read_to_the_end_of_their_log_and_nobody_waits_there() {
    let stage = Stage::new("", &[1, 2, 3]).await;
    until("there are letters", || stage.count(DLQ) == 3).await;
    // What comes late is no end.
    let slow = FaultRule::next(Operation::Fetch, Fault::delay(Duration::from_secs(8)));
    stage.cluster.control.inject_next(slow.topic(DLQ));
    let began = Instant::now();
    let letters = stage.app.dead_letters().list(DLQ, &Filter::default()).await;
    assert_eq!(letters.unwrap().len(), 3);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_publishes_nothing_and_a_limit_and_a_rate_are_kept() {
    let stage = Stage::new("", &[1, 1, 1, 1]).await;
    until("there are letters", || stage.count(DLQ) == 4).await;
    let (filter, mut options) = all();
    options.dry_run = true;
    let desk = stage.app.dead_letters();
    let report = desk.replay(DLQ, &filter, &options).await.unwrap();
    assert_eq!((report.matched, report.replayed, stage.count(TOPIC)), (4, 0, 4));
    stage.repaired.store(true, Relaxed);
    let options = ReplayOptions {
        limit: Some(3),
        per_second: NonZeroU32::new(1),
        ..ReplayOptions::default()
    };
    let began = Instant::now();
    let report = desk.replay(DLQ, &filter, &options).await.unwrap();
    assert_eq!((report.replayed, stage.count(TOPIC)), (3, 7));
    assert!(began.elapsed() >= Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_stands_twice_in_its_topic_is_replayed_once() {
    let cluster = Cluster::new(1);
    let lost = FaultRule::next(Operation::Publish, Fault::fail_after_applying()).topic(DLQ);
    cluster.control.inject_next(lost);
    let (journal, repaired) = (Journal::new(), Arc::new(AtomicBool::new(false)));
    let app = cluster
        .app(&settings(""))
        .register(breakable(&journal, &repaired, handler()));
    let app = app.build().unwrap().start().await.unwrap();
    until("it is ready", || app.health().check().is_ready()).await;
    cluster.publish_all(0, [1]);
    cluster.until_committed(0, 1).await;
    repaired.store(true, Relaxed);
    let (filter, options) = all();
    let report = app.dead_letters().replay(DLQ, &filter, &options).await.unwrap();
    assert_eq!((report.matched, report.replayed, report.duplicates), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_fails_again_during_a_replay_is_not_replayed_in_it_and_is_parked_in_the_end() {
    let stage = Stage::new("max_replays = 2", &[1]).await;
    until("there is a letter", || stage.count(DLQ) == 1).await;
    let desk = stage.app.dead_letters();
    let (filter, options) = all();
    let report = desk.replay(DLQ, &filter, &options).await.unwrap();
    assert_eq!(report.replayed, 1);
    until("it failed again", || stage.count(DLQ) == 2).await;
    let letters = desk.list(DLQ, &filter).await.unwrap();
    assert_eq!(
        letters
            .iter()
            .map(|letter| letter.summary.replays)
            .collect::<Vec<_>>(),
        [0, 1]
    );
    assert_eq!(letters[1].replay_of.as_ref(), Some(&letters[0].summary.id));
    let last = Filter {
        id: Some(letters[1].summary.id.clone()),
        ..Filter::default()
    };
    desk.replay(DLQ, &last, &options).await.unwrap();
    until("it is parked", || stage.count("parked") == 1).await;
    assert_eq!(stage.count(DLQ), 2);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_does_not_exist_is_named() {
    let stage = Stage::new("", &[0]).await;
    let missing = stage
        .app
        .dead_letters()
        .list("no-such-topic", &Filter::default())
        .await;
    assert!(matches!(missing, Err(ReplayError::Read { topic, .. }) if topic == "no-such-topic"));
}

#[tokio::test(start_paused = true)]
async fn an_envelope_is_replayed_as_the_message_in_it() {
    let stage = Stage::new("format = \"envelope\"", &[0]).await;
    let headers = Headers::new()
        .with("tenant", "acme")
        .with_null("checked")
        .with("raw", vec![0xff, 0]);
    let message = OutgoingMessage {
        topic: TOPIC.into(),
        partition: Some(1),
        key: Some(vec![0xfe].into()),
        payload: Some("7".into()),
        headers: headers.clone(),
    };
    stage.cluster.control.publish(message).unwrap();
    // Failing again puts one document in another's place, not into it.
    for replays in 1..=2 {
        until("there is a letter", || stage.count(DLQ) == replays).await;
        let desk = stage.app.dead_letters();
        let (filter, options) = all();
        let letters = desk.list(DLQ, &filter).await.unwrap();
        let letter = letters.last().unwrap();
        assert_eq!(letter.payload(), Some(b"7".as_slice()));
        assert_eq!(usize::try_from(letter.summary.replays).unwrap(), replays - 1);
        let filter = Filter {
            id: Some(letter.summary.id.clone()),
            ..filter
        };
        desk.replay(DLQ, &filter, &options).await.unwrap();
    }
    stage.journal.until_ended(4).await;
    let records = stage.cluster.control.messages(TOPIC).unwrap();
    let again = records.last().unwrap();
    assert_eq!(
        (again.key(), again.payload()),
        (Some([0xfe].as_slice()), Some(b"7".as_slice()))
    );
    let own: Headers = again.headers().into_iter().take(3).collect();
    assert_eq!(own, headers);
    assert_eq!(again.headers().len(), 3 + 4, "what is added does not grow");
}

#[tokio::test(start_paused = true)]
async fn an_envelope_that_cannot_be_read_is_told_and_not_replayed() {
    let stage = Stage::new("format = \"envelope\"", &[1]).await;
    until("there is a letter", || stage.count(DLQ) == 1).await;
    let letter = &stage.cluster.control.messages(DLQ).unwrap()[0];
    let broken = OutgoingMessage {
        topic: DLQ.into(),
        partition: Some(0),
        key: None,
        payload: Some("{\"version\": 2}".into()),
        headers: letter
            .headers()
            .into_iter()
            .filter(|header| header.name != names::DLQ_ID)
            .collect::<Headers>()
            .with(names::DLQ_ID, "broken"),
    };
    stage.cluster.control.publish(broken).unwrap();
    let (filter, options) = all();
    let report = stage
        .app
        .dead_letters()
        .replay(DLQ, &filter, &options)
        .await
        .unwrap();
    assert_eq!((report.matched, report.replayed, report.incomplete), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_dead_letters_of_any_connection_are_to_be_had_by_its_name() {
    let stage = Stage::new("[integration.messaging.connections.analytics]", &[1]).await;
    until("there is a letter", || stage.count(DLQ) == 1).await;
    let desk = stage.app.dead_letters_for("analytics").unwrap();
    let letters = desk.list(DLQ, &Filter::default()).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert!(stage.app.dead_letters_for("analytic").is_none());
}
