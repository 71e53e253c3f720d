//! Dead letters: written before anything is settled, found again, never lost and never in a circle.

use std::time::Duration;

use athomic_core::app::RunningApp;
use athomic_core::dead_letter::headers as names;
use athomic_core::handler::register::{Subscribe, subscribe};
use athomic_core::health::Finding;
use athomic_core::message::{Headers, RawMessage, TopicPartition};
use athomic_core::outcome::{BoxError, HandlerError};
use athomic_core::transport::OutgoingMessage;
use athomic_core::transport::memory::{Fault, FaultPlan, FaultRule, Operation};
use tokio::time::sleep;

use crate::support::{Cluster, GROUP, Journal, TOPIC, handler, until};

const SECOND: Duration = Duration::from_secs(1);
const LETTERS: &str = "dlq.t";
const PARKED: &str = "parked";

/// Settings that keep dead letters.
fn keeping(more: &str) -> String {
    format!(
        "[integration.messaging.dlq]\nstrategy = \"keep\"\ntopic = \"dlq.{{topic}}\"\n\
         parking_lot_topic = \"parked\"\nmax_attempts = 1\n{more}"
    )
}

/// A handler that fails for all payloads but 0.
fn failing(from: Subscribe) -> athomic_core::handler::register::HandlerDefinition {
    from.handler(|payload: u64| async move {
        match payload {
            0 => Ok(()),
            _ => Err(HandlerError::retry(format!("no {payload} here"))),
        }
    })
}

async fn start(cluster: &Cluster, more: &str) -> RunningApp {
    cluster.start_with(&keeping(more), failing(handler())).await
}

/// No dead letter can be written.
fn refusing_letters() -> FaultRule {
    FaultRule::next(Operation::Publish, Fault::fail())
        .times(usize::MAX)
        .topic(LETTERS)
}

fn letters(cluster: &Cluster, topic: &str) -> Vec<RawMessage> {
    cluster.control.messages(topic).unwrap_or_default()
}

fn header(message: &RawMessage, name: &str) -> Option<String> {
    let headers = message.headers();
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value).into_owned())
}

fn publish(cluster: &Cluster, topic: &str, payload: &str, headers: Headers) {
    let message = OutgoingMessage {
        topic: topic.into(),
        partition: Some(0),
        key: Some("k".into()),
        payload: Some(payload.to_owned().into()),
        headers,
    };
    cluster.control.publish(message).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_the_message_as_it_came_with_what_failed() {
    let cluster = Cluster::new(3);
    let message = OutgoingMessage {
        topic: TOPIC.into(),
        partition: Some(2),
        key: Some("order-7".into()),
        payload: Some("[1, 2".into()),
        headers: Headers::new()
            .with("tenant", "acme")
            .with_null("checked")
            .with("tenant", "b"),
    };
    cluster.control.publish(message).unwrap();
    let _app = start(&cluster, "").await;
    cluster.until_committed(2, 1).await;
    let all = letters(&cluster, LETTERS);
    let [letter] = all.as_slice() else {
        panic!("one letter: {all:?}")
    };
    assert_eq!(letter.partition(), 2, "the partition of the message");
    assert_eq!(letter.key(), Some(b"order-7".as_slice()));
    assert_eq!(letter.payload(), Some(b"[1, 2".as_slice()));
    let kept: Vec<_> = letter
        .headers()
        .into_iter()
        .take(3)
        .map(|it| (it.name, it.value))
        .collect();
    let expected = [
        ("tenant", Some("acme".into())),
        ("checked", None),
        ("tenant", Some("b".into())),
    ];
    assert_eq!(kept, expected.map(|(name, value)| (name.into(), value)));
    let told = |name| header(letter, name).unwrap_or_default();
    assert_eq!(
        [names::ERRORS_TOPIC, names::ERRORS_PARTITION, names::ERRORS_OFFSET].map(told),
        [TOPIC, "2", "0"]
    );
    assert_eq!(
        [names::ERRORS_GROUP, names::ERRORS_DELIVERY_COUNT].map(told),
        [GROUP, "1"]
    );
    assert_eq!(told(names::DLQ_STAGE), "decode");
    assert!(
        told(names::DLQ_ERROR_CHAIN).contains("invalid type"),
        "{}",
        told(names::DLQ_ERROR_CHAIN)
    );
    assert!(told(names::DLQ_HANDLER).contains("dead_letters.rs"));
    assert_eq!(told(names::DLQ_ID).len(), 36);
}

#[tokio::test(start_paused = true)]
async fn an_offset_moves_only_after_the_dead_letter_is_acknowledged() {
    let cluster = Cluster::new(1);
    cluster.publish_all(0, [1, 0]);
    let app = start(&cluster, "").await;
    // The letter may be there already; so the second one is looked at.
    cluster.until_committed(0, 2).await;
    cluster.control.inject(FaultPlan::new().with(refusing_letters()));
    cluster.publish_all(0, [2, 0]);
    let probe = app.health();
    until("readiness says it", || {
        let health = probe.check();
        let findings = health.consumers.iter().flat_map(|consumer| &consumer.findings);
        let failing = |finding: &Finding| matches!(finding, Finding::DeadLettersFail { waiting: 1, .. });
        !health.is_ready() && findings.into_iter().any(failing)
    })
    .await;
    sleep(600 * SECOND).await;
    assert_eq!(cluster.committed(0), Some(2));
    cluster.control.inject(FaultPlan::new());
    cluster.until_committed(0, 4).await;
    until("it is ready again", || probe.check().is_ready()).await;
    assert_eq!(letters(&cluster, LETTERS).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_is_written_twice_has_one_id() {
    let cluster = Cluster::new(1);
    let lost = FaultRule::next(Operation::Publish, Fault::fail_after_applying()).topic(LETTERS);
    cluster.control.inject_next(lost);
    cluster.publish_all(0, [1, 2]);
    let _app = start(&cluster, "").await;
    cluster.until_committed(0, 2).await;
    let ids: Vec<_> = letters(&cluster, LETTERS)
        .iter()
        .map(|it| header(it, names::DLQ_ID))
        .collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[1], ids[2]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_letters_that_cannot_be_written() {
    let cluster = Cluster::new(1);
    cluster.control.inject_next(refusing_letters());
    cluster.publish_all(0, [0, 1]);
    let app = start(&cluster, "").await;
    cluster.until_committed(0, 1).await;
    let probe = app.health();
    until("it fails", || !probe.check().is_ready()).await;
    let began = tokio::time::Instant::now();
    app.stop().await;
    assert!(began.elapsed() < 5 * SECOND, "{:?}", began.elapsed());
    assert_eq!(cluster.committed(0), Some(1), "it comes again");
}

#[tokio::test(start_paused = true)]
async fn letters_of_messages_side_by_side_hold_back_only_themselves() {
    let cluster = Cluster::new(1);
    cluster.control.inject_next(refusing_letters());
    cluster.publish(0, Some("a"), 1);
    for _ in 0..5 {
        cluster.publish(0, Some("b"), 0);
    }
    let journal = Journal::new();
    let notes = journal.clone();
    let on_message = move |payload: u64, meta: athomic_core::handler::Meta| {
        let run = notes.begin(0, &meta);
        notes.end(run);
        async move {
            if payload == 0 {
                Ok(())
            } else {
                Err(HandlerError::dead_letter("bad"))
            }
        }
    };
    let _app = cluster
        .start_with(&keeping(""), handler().concurrency(4).handler(on_message))
        .await;
    journal.until_ended(6).await;
    sleep(60 * SECOND).await;
    assert_eq!(cluster.committed(0).unwrap_or(0), 0);
    cluster.control.inject(FaultPlan::new());
    cluster.until_committed(0, 6).await;
    assert_eq!(journal.offsets().len(), 6, "nothing ran again");
}

#[tokio::test(start_paused = true)]
async fn each_message_of_a_batch_has_its_own_letter() {
    let cluster = Cluster::new(1);
    cluster.publish_all(0, [0, 1, 2, 0]);
    let on_batch = |batch: Vec<u64>| async move {
        let one = |payload: u64| if payload == 0 { Ok(()) } else { Err("bad") };
        batch.into_iter().map(one).collect::<Vec<_>>()
    };
    let _app = cluster
        .start_with(&keeping(""), handler().batch_handler(4, on_batch))
        .await;
    cluster.until_committed(0, 4).await;
    let all = letters(&cluster, LETTERS);
    let offsets: Vec<_> = all
        .iter()
        .map(|it| header(it, names::ERRORS_OFFSET).unwrap())
        .collect();
    assert_eq!(offsets, ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn a_letter_too_large_loses_its_texts_then_its_payload_and_never_its_coordinates() {
    let cluster = Cluster::new(1);
    cluster.control.create_topic(LETTERS, 1);
    cluster.control.set_max_message_bytes(LETTERS, 2000).unwrap();
    let long = |length: usize| format!("\"{}\"", "x".repeat(length));
    cluster.publish(0, None, long(10));
    cluster.publish(0, None, long(2000));
    let fails = |_: String| async { Err::<(), _>("much ".repeat(400)) };
    let _app = cluster.start_with(&keeping(""), handler().handler(fails)).await;
    cluster.until_committed(0, 2).await;
    let all = letters(&cluster, LETTERS);
    assert_eq!(all[0].payload(), Some(long(10).as_bytes()));
    assert_eq!(header(&all[0], names::DLQ_ERROR_CHAIN), None);
    assert_eq!(all[1].payload(), None);
    assert_eq!(header(&all[1], names::DLQ_VALUE).as_deref(), Some("omitted"));
    assert_eq!(header(&all[1], names::ERRORS_OFFSET).as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn texts_are_cut_and_left_out_as_the_settings_say() {
    for (more, expected) in [
        ("error_max_bytes = 9", Some("no 123...")),
        ("error_redact = true", None),
    ] {
        let cluster = Cluster::new(1);
        cluster.publish_all(0, [12345]);
        let _app = start(&cluster, more).await;
        cluster.until_committed(0, 1).await;
        let letter = &letters(&cluster, LETTERS)[0];
        assert_eq!(header(letter, names::DLQ_ERROR_CHAIN).as_deref(), expected);
        assert_eq!(header(letter, names::ERRORS_MESSAGE).as_deref(), expected);
        assert_eq!(header(letter, names::DLQ_STAGE).as_deref(), Some("handler"));
    }
}

#[tokio::test(start_paused = true)]
async fn failures_that_differ_in_numbers_have_one_fingerprint() {
    let cluster = Cluster::new(1);
    cluster.publish_all(0, ["1", "22", "\"x\""]);
    let _app = start(&cluster, "").await;
    cluster.until_committed(0, 3).await;
    let prints: Vec<_> = letters(&cluster, LETTERS)
        .iter()
        .map(|it| header(it, names::DLQ_FINGERPRINT))
        .collect();
    assert!(
        prints[0].is_some() && prints[0] == prints[1] && prints[1] != prints[2],
        "{prints:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn springs_headers_are_written_on_request_in_its_own_forms() {
    let cluster = Cluster::new(1);
    cluster.publish_all(0, [0, 1]);
    let _app = start(&cluster, "header_sets = [\"spring\"]").await;
    cluster.until_committed(0, 2).await;
    let letter = &letters(&cluster, LETTERS)[0];
    let headers = letter.headers();
    assert_eq!(headers.get("kafka_dlt-original-topic"), Some(TOPIC.as_bytes()));
    assert_eq!(
        headers.get("kafka_dlt-original-partition"),
        Some([0; 4].as_slice())
    );
    assert_eq!(
        headers.get("kafka_dlt-original-offset"),
        Some([0, 0, 0, 0, 0, 0, 0, 1].as_slice())
    );
    assert_eq!(headers.get(names::ERRORS_TOPIC), None);
}

/// An error with a cause.
#[derive(Debug, thiserror::Error)]
#[error("no card")]
struct NoCard(#[source] std::io::Error);

#[tokio::test(start_paused = true)]
async fn headers_of_kafka_connect_and_smallrye_are_written_on_request() {
    let cluster = Cluster::new(1);
    cluster.publish_all(0, ["0", "x"]);
    let fails = |_: u64| async { Err::<(), _>(NoCard(std::io::Error::other("closed"))) };
    let settings = keeping("header_sets = [\"connect\", \"smallrye\"]");
    let _app = cluster.start_with(&settings, handler().handler(fails)).await;
    cluster.until_committed(0, 2).await;
    let all = letters(&cluster, LETTERS);
    for (name, expected) in [
        ("__connect.errors.topic", TOPIC),
        ("__connect.errors.partition", "0"),
        ("__connect.errors.offset", "0"),
        ("__connect.errors.connector.name", GROUP),
        ("__connect.errors.stage", "TASK_PUT"),
        ("__connect.errors.exception.class.name", "NoCard"),
        ("__connect.errors.exception.message", "no card"),
        ("__connect.errors.exception.stacktrace", "no card: closed"),
        ("dead-letter-topic", TOPIC),
        ("dead-letter-partition", "0"),
        ("dead-letter-offset", "0"),
        ("dead-letter-reason", "no card"),
        ("dead-letter-cause", "closed"),
        ("dead-letter-exception-class-name", "NoCard"),
    ] {
        assert_eq!(header(&all[0], name).as_deref(), Some(expected), "{name}");
    }
    let stage = header(&all[1], "__connect.errors.stage");
    assert_eq!(stage.as_deref(), Some("VALUE_CONVERTER"));
    assert_eq!(header(&all[0], names::ERRORS_TOPIC), None);
}

#[tokio::test(start_paused = true)]
async fn an_envelope_has_the_message_and_its_failure_in_one_document() {
    let cluster = Cluster::new(1);
    publish(&cluster, TOPIC, "5", Headers::new().with("tenant", "acme"));
    let _app = start(&cluster, "format = \"envelope\"").await;
    cluster.until_committed(0, 1).await;
    let letter = &letters(&cluster, LETTERS)[0];
    let document: serde_json::Value = serde_json::from_slice(letter.payload().unwrap()).unwrap();
    let message = &document["message"];
    assert_eq!(document["version"], 1);
    assert_eq!(
        [
            &message["topic"],
            &message["key"]["text"],
            &message["payload"]["text"]
        ],
        [TOPIC, "k", "5"]
    );
    assert_eq!(message["headers"][0]["name"], "tenant");
    let failure = &document["failure"];
    assert_eq!(failure["error"], "no 5 here");
    assert_eq!(failure["attempts"], 1);
    assert_eq!(failure["id"].as_str(), header(letter, names::DLQ_ID).as_deref());
    assert_eq!(
        header(letter, "tenant"),
        None,
        "the message's own headers are in it"
    );
    assert_eq!(letter.key(), Some(b"k".as_slice()), "the key keeps its partition");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_fails_again_is_parked_as_it_is_and_stays_there() {
    let cluster = Cluster::new(1);
    cluster.control.create_topic(LETTERS, 1);
    cluster.publish_all(0, [1]);
    let again = failing(subscribe(LETTERS).group_id("repair").handler_id("repair"));
    let parked = failing(subscribe(PARKED).group_id("last").handler_id("last"));
    let app = cluster
        .app(&keeping(""))
        .register(failing(handler()))
        .register(again)
        .register(parked);
    let _app = app.build().unwrap().start().await.unwrap();
    let last = TopicPartition::new(PARKED, 0);
    until("the last one has given up", || {
        cluster
            .control
            .committed("last")
            .iter()
            .any(|it| it.partition == last && it.offset == 1)
    })
    .await;
    let (kept, parked) = (letters(&cluster, LETTERS), letters(&cluster, PARKED));
    assert_eq!((kept.len(), parked.len()), (1, 1));
    assert_eq!(kept[0].headers(), parked[0].headers());
    assert_eq!(kept[0].payload(), parked[0].payload());
}

#[tokio::test(start_paused = true)]
async fn the_processor_moves_dead_letters_on_to_the_parking_lot() {
    let cluster = Cluster::new(2);
    cluster.publish_all(1, [1, 2]);
    let settings = keeping("").replace("keep", "republish_to_parking_lot");
    let _app = cluster.start_with(&settings, failing(handler())).await;
    until("both are parked", || letters(&cluster, PARKED).len() == 2).await;
    assert!(
        cluster.control.messages("dlq.dlq.t").is_err(),
        "nobody wants letters about letters"
    );
    let parked = letters(&cluster, PARKED);
    let places: Vec<_> = parked
        .iter()
        .map(|it| (it.partition(), header(it, names::ERRORS_OFFSET).unwrap()))
        .collect();
    assert_eq!(places, [(1, "0".to_owned()), (1, "1".to_owned())]);
    assert_eq!(header(&parked[0], names::DLQ_STAGE).as_deref(), Some("handler"));
    let moved = TopicPartition::new(LETTERS, 1);
    until("the processor has committed", || {
        let committed = cluster.control.committed("athomic-dead-letter-processor");
        committed.iter().any(|it| it.partition == moved && it.offset == 2)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_replayed_too_often_is_parked() {
    let cluster = Cluster::new(1);
    let replayed = |times: &str| Headers::new().with(names::REDRIVE_COUNT, times.to_owned());
    for times in ["2", "3", "no number"] {
        publish(&cluster, TOPIC, "1", replayed(times));
    }
    let _app = start(&cluster, "").await;
    cluster.until_committed(0, 3).await;
    let offsets = |topic: &str| -> Vec<_> {
        letters(&cluster, topic)
            .iter()
            .filter_map(|it| header(it, names::ERRORS_OFFSET))
            .collect()
    };
    assert_eq!(
        (offsets(LETTERS), offsets(PARKED)),
        (vec!["0".into(), "2".into()], vec!["1".into()])
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_can_be_ignored() {
    let cluster = Cluster::new(1);
    cluster.publish_all(0, [1]);
    let ignores = |_: u64| async { Err::<(), _>(HandlerError::ignore("never mind")) };
    let _app = cluster
        .start_with(
            &keeping("max_attempts = 5").replace("max_attempts = 1\n", ""),
            handler().handler(ignores),
        )
        .await;
    cluster.until_committed(0, 1).await;
    assert_eq!(letters(&cluster, LETTERS).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn only_the_chosen_stages_are_tried_again() {
    let cluster = Cluster::new(1);
    cluster.publish_all(0, [0, 1]);
    let journal = Journal::new();
    let notes = journal.clone();
    let on_message = move |payload: u64, meta: athomic_core::handler::Meta| {
        let run = notes.begin(0, &meta);
        notes.end(run);
        async move {
            assert!(payload != 0, "panics");
            Err::<(), BoxError>("fails".into())
        }
    };
    let settings =
        "[integration.messaging.dlq.retry]\nretry_on = [\"handler\"]\nbackoff = \"fixed\"\njitter = false";
    let _app = cluster.start_with(settings, handler().handler(on_message)).await;
    cluster.until_committed(0, 2).await;
    assert_eq!(journal.offsets(), [0, 1, 1, 1]);
    let times = journal.times();
    assert_eq!((times[2] - times[1], times[3] - times[2]), (1000, 1000));
}

#[tokio::test(start_paused = true)]
async fn letters_go_to_another_partition_where_the_topic_has_fewer() {
    let cluster = Cluster::new(3);
    cluster.control.create_topic(LETTERS, 2);
    cluster.publish_all(2, [1]);
    cluster.publish_all(1, [1]);
    let _app = start(&cluster, "").await;
    cluster.until_committed(2, 1).await;
    cluster.until_committed(1, 1).await;
    let all = letters(&cluster, LETTERS);
    let of = |partition: &str| {
        all.iter()
            .find(|it| header(it, names::ERRORS_PARTITION).as_deref() == Some(partition))
    };
    assert_eq!(of("1").unwrap().partition(), 1);
    assert!(of("2").unwrap().partition() < 2);
}

#[tokio::test(start_paused = true)]
async fn an_ordered_message_is_settled_only_after_its_dead_letter_is_acknowledged() {
    let stage = crate::ordered::stage::Stage::new(1);
    let control = stage.cluster.control.clone();
    control.inject_next(refusing_letters());
    stage.event(0, "a", 1);
    stage.publish(0, "no event");
    // Its sequence is taken by another payload.
    stage.publish(0, r#"{"of":"a","seq":1,"fails":7}"#);
    stage.publish(0, r#"{"of":"b","seq":1,"fails":100}"#);
    stage.event(0, "b", 2);
    let app = stage.start_with(0, &keeping(""), |_| {}).await;
    stage.until_order("a", &[1]).await;
    sleep(600 * SECOND).await;
    assert_eq!(stage.order("b").len(), 0, "what follows the poison waits");
    assert!(stage.cluster.committed(0).unwrap_or(0) <= 1);
    assert!(!app.health().check().is_ready());
    control.inject(FaultPlan::new());
    stage.until_order("b", &[2]).await;
    stage.until_all_committed().await;
    let stages: Vec<_> = letters(&stage.cluster, LETTERS)
        .iter()
        .map(|it| header(it, names::DLQ_STAGE).unwrap())
        .collect();
    for stage in ["decode", "handler", "ordering"] {
        assert!(
            stages.iter().any(|it| it == stage),
            "{stage} is not in {stages:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_asks_for_dead_letter_topics_of_delay_topics() {
    let cluster = Cluster::new(1);
    let more = "[integration.messaging.republisher]\nenabled = true\ndelay_topics = { 1 = 'delay-1s' }";
    for strategy in ["keep", "republish_to_parking_lot"] {
        let settings = keeping(more).replace("keep", strategy);
        let settings = settings.replace("\"parked\"", "\"parked.{topic}\"");
        let app = cluster.start_with(&settings, failing(handler())).await;
        publish(
            &cluster,
            "delay-1s",
            "1",
            Headers::new().with("athomic-delay", "malformed"),
        );
        let is_parked = || !letters(&cluster, "parked.delayed").is_empty();
        until("what cannot be republished is parked", is_parked).await;
        app.stop().await;
        for topic in ["dlq.delay-1s", "parked.delay-1s"] {
            assert!(cluster.control.messages(topic).is_err(), "{topic}");
        }
        assert!(
            cluster.control.messages(LETTERS).is_ok(),
            "other topics have theirs"
        );
    }
}
