//! Delayed messages: where they wait, when they arrive, what becomes of those that cannot.

use std::time::Duration;

use athomic_core::app::RunningApp;
use athomic_core::delay::{ENVELOPE, RepublisherCounts, SIGNATURE};
use athomic_core::message::{Header, Headers, MESSAGE_ID, RawMessage};
use athomic_core::publisher::{NewMessage, PublishError, PublishingOutcome};
use athomic_core::settings::Settings;
use athomic_core::transport::OutgoingMessage;
use athomic_core::transport::memory::{Fault, FaultRule, Operation};
use bytes::Bytes;
use tokio::time::Instant;

use crate::support::{Cluster, NO_JITTER, TOPIC, settings_of, until};

const SECOND: Duration = Duration::from_secs(1);

const PLAIN: &str = "
[integration.messaging.republisher]
enabled = true
delay_topics = { 60 = 'delay-1m', 300 = 'delay-5m' }
[integration.messaging.topics]
default_partitions = 1
";

fn cascade() -> String {
    PLAIN.replace(
        "enabled = true",
        "enabled = true\ndelay_strategy_backend = 'kafka_cascade_delay_strategy'\nmax_hops = 20",
    )
}

fn plain() -> String {
    format!("{PLAIN}{NO_JITTER}")
}

async fn start(cluster: &Cluster, settings: &str) -> RunningApp {
    cluster.app(settings).build().unwrap().start().await.unwrap()
}

fn counts(app: &RunningApp) -> RepublisherCounts {
    app.republisher().unwrap().counts()
}

fn arrived(cluster: &Cluster, topic: &str) -> Vec<RawMessage> {
    cluster.control.messages(topic).unwrap()
}

async fn until_arrived(cluster: &Cluster, topic: &str, count: usize) -> Vec<RawMessage> {
    until(&format!("{count} messages in {topic}"), || {
        arrived(cluster, topic).len() >= count
    })
    .await;
    arrived(cluster, topic)
}

fn text(message: &RawMessage) -> String {
    String::from_utf8(message.payload().unwrap().to_vec()).unwrap()
}

/// Write a record into a delay topic without a publisher.
fn forge(cluster: &Cluster, envelope: Option<&str>) {
    let headers = envelope.map_or_else(Headers::new, |json| {
        Headers::new().with(ENVELOPE, json.to_owned())
    });
    let record = OutgoingMessage {
        topic: "delay-1m".into(),
        payload: Some("forged".into()),
        headers,
        ..Default::default()
    };
    cluster.control.publish(record).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_delayed_message_arrives_when_it_is_due_as_it_was_published() {
    let cluster = Cluster::new(3);
    let app = start(&cluster, PLAIN).await;
    let headers: Headers = [
        ("a", Some("1")),
        ("a", None),
        ("a", Some("")),
        ("b", Some("\u{ff}")),
    ]
    .map(|(name, value)| Header {
        name: name.into(),
        value: value.map(Bytes::from),
    })
    .into_iter()
    .collect();
    let (key, payload) = (Bytes::from_static(b"\0\xff"), Bytes::from_static(b"\xfe\0\xfd"));
    let message = |payload| {
        NewMessage::raw(TOPIC, payload)
            .key(key.clone())
            .headers(headers.clone())
            .partition(2)
            .message_id("id")
            .delay(42 * SECOND)
    };
    let began = Instant::now();
    let outcomes = app
        .publisher()
        .publish_batch([message(Some(payload.clone())), message(None)])
        .await;
    let PublishingOutcome::Delayed { bucket, due, .. } = outcomes[0].as_ref().unwrap() else {
        panic!("it has a delay")
    };
    assert_eq!((&*bucket.topic, bucket.delay), ("delay-1m", 60 * SECOND));

    tokio::time::sleep_until(began + 42 * SECOND - Duration::from_millis(5)).await;
    assert!(arrived(&cluster, TOPIC).is_empty());
    let messages = until_arrived(&cluster, TOPIC, 2).await;
    assert!(began.elapsed() < 43 * SECOND, "{:?}", began.elapsed());
    assert_eq!(messages[0].payload(), Some(&*payload));
    assert_eq!(messages[1].payload(), None);
    let mut expected = headers;
    expected.set_first(MESSAGE_ID, "id");
    for message in &messages {
        assert!(message.timestamp().unwrap() >= *due);
        assert_eq!((message.partition(), message.key()), (2, Some(&*key)));
        assert_eq!(message.headers(), expected);
    }
    assert_eq!(counts(&app).republished, 2);
}

#[tokio::test(start_paused = true)]
async fn a_message_waits_in_the_smallest_bucket_that_is_long_enough() {
    let cluster = Cluster::new(1);
    let publisher = start(&cluster, PLAIN).await.publisher();
    for (seconds, bucket) in [
        (1, "delay-1m"),
        (60, "delay-1m"),
        (61, "delay-5m"),
        (300, "delay-5m"),
    ] {
        let outcome = publisher
            .publish(TOPIC, &0)
            .delay(seconds * SECOND)
            .await
            .unwrap();
        let delivery = outcome.delivery().unwrap();
        assert_eq!(&*delivery.partition.topic, bucket, "{seconds} s");
        assert!(outcome.is_delayed());
    }
    let error = publisher
        .publish(TOPIC, &0)
        .delay(301 * SECOND)
        .await
        .unwrap_err();
    assert!(matches!(error, PublishError::DelayTooLong { .. }) && !error.is_retriable());
    let message = error.to_string();
    for part in [
        "301s",
        "60s: delay-1m, 300s: delay-5m",
        "kafka_cascade_delay_strategy",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_smaller_delay_behind_a_larger_one_is_late_by_at_most_the_bucket() {
    let cluster = Cluster::new(1);
    let app = start(&cluster, PLAIN).await;
    let began = Instant::now();
    for seconds in [60, 10, 59] {
        let publisher = app.publisher();
        publisher
            .publish(TOPIC, &seconds)
            .delay(seconds * SECOND)
            .await
            .unwrap();
    }
    let messages = until_arrived(&cluster, TOPIC, 3).await;
    assert!(
        (60..62).contains(&began.elapsed().as_secs()),
        "{:?}",
        began.elapsed()
    );
    let order: Vec<_> = messages.iter().map(text).collect();
    assert_eq!(order, ["60", "10", "59"]);
}

#[tokio::test(start_paused = true)]
async fn delay_topics_and_partitions_do_not_wait_for_each_other() {
    let cluster = Cluster::new(1);
    let app = start(
        &cluster,
        &PLAIN.replace("default_partitions = 1", "default_partitions = 2"),
    )
    .await;
    let began = Instant::now();
    let publisher = app.publisher();
    publisher.publish(TOPIC, &250).delay(250 * SECOND).await.unwrap();
    publisher.publish(TOPIC, &50).delay(50 * SECOND).await.unwrap();
    // Without a key they go to the partitions by turns.
    publisher.publish(TOPIC, &5).delay(5 * SECOND).await.unwrap();
    for (count, second) in [(1, 5), (2, 50), (3, 250)] {
        until_arrived(&cluster, TOPIC, count).await;
        assert_eq!(began.elapsed().as_secs(), second, "message {count}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_priority_and_a_delay_go_together() {
    let cluster = Cluster::new(1);
    cluster.control.create_topic("t.high", 1);
    let app = start(&cluster, PLAIN).await;
    let urgent = app.publisher();
    let urgent = urgent
        .publish(TOPIC, &1)
        .priority(athomic_core::handler::Priority::High)
        .delay(SECOND);
    urgent.await.unwrap();
    until_arrived(&cluster, "t.high", 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_what_is_held_and_nothing_of_it_is_lost_or_repeated() {
    let cluster = Cluster::new(1);
    let app = start(&cluster, PLAIN).await;
    for seconds in [1, 200] {
        let publisher = app.publisher();
        publisher
            .publish(TOPIC, &seconds)
            .delay(seconds * SECOND)
            .await
            .unwrap();
    }
    until_arrived(&cluster, TOPIC, 1).await;
    let stopping = Instant::now();
    app.stop().await;
    assert!(stopping.elapsed() < SECOND, "{:?}", stopping.elapsed());
    let _next = start(&cluster, PLAIN).await;
    until_arrived(&cluster, TOPIC, 2).await;
    tokio::time::sleep(600 * SECOND).await;
    let order: Vec<_> = arrived(&cluster, TOPIC).iter().map(text).collect();
    assert_eq!(order, ["1", "200"]);
}

#[tokio::test(start_paused = true)]
async fn a_partition_whose_message_is_held_is_given_back_at_once_and_the_wait_goes_on_elsewhere() {
    let cluster = Cluster::new(1);
    let first = start(&cluster, PLAIN).await;
    let began = Instant::now();
    let sent = first.publisher().publish(TOPIC, &1).delay(250 * SECOND).await;
    sent.unwrap();
    tokio::time::sleep(100 * SECOND).await;
    let _second = start(&cluster, PLAIN).await;
    let group = "athomic-republisher";
    until("both to have a partition", || {
        let members = cluster.control.members(group);
        members.len() == 2 && members.iter().all(|member| member.partitions.len() == 1)
    })
    .await;
    assert!(began.elapsed() < 105 * SECOND, "{:?}", began.elapsed());
    cluster.control.rebalance(group);
    until_arrived(&cluster, TOPIC, 1).await;
    assert!(
        (250..255).contains(&began.elapsed().as_secs()),
        "{:?}",
        began.elapsed()
    );
    tokio::time::sleep(600 * SECOND).await;
    assert_eq!(arrived(&cluster, TOPIC).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_is_waited_for_however_long() {
    let cluster = Cluster::new(1);
    let app = start(&cluster, PLAIN).await;
    app.publisher()
        .publish(TOPIC, &1)
        .delay(10 * SECOND)
        .await
        .unwrap();
    let refused = FaultRule::next(Operation::Publish, Fault::fail()).topic(TOPIC);
    cluster.control.inject_next(refused.times(20));
    let messages = until_arrived(&cluster, TOPIC, 1).await;
    assert_eq!(messages.len(), 1);
    assert_eq!((counts(&app).republished, counts(&app).given_up), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_published_again_under_the_same_id() {
    let cluster = Cluster::new(1);
    let app = start(&cluster, PLAIN).await;
    app.publisher()
        .publish(TOPIC, &1)
        .delay(10 * SECOND)
        .await
        .unwrap();
    let lost = FaultRule::next(Operation::Publish, Fault::fail_after_applying()).topic(TOPIC);
    cluster.control.inject_next(lost);
    until("it to be settled", || counts(&app).republished == 1).await;
    let messages = arrived(&cluster, TOPIC);
    assert_eq!(messages.len(), 2);
    assert_eq!(
        messages[0].headers().get(MESSAGE_ID),
        messages[1].headers().get(MESSAGE_ID)
    );
}

#[tokio::test(start_paused = true)]
async fn who_dies_between_publishing_and_committing_leaves_one_copy_more_under_the_same_id() {
    let cluster = Cluster::new(1);
    let settings = PLAIN.replace(
        "[integration.messaging.topics]",
        "consumer.commit_interval_ms = 30000\n[integration.messaging.topics]",
    );
    let first = start(&cluster, &settings).await;
    first
        .publisher()
        .publish(TOPIC, &1)
        .delay(10 * SECOND)
        .await
        .unwrap();
    until_arrived(&cluster, TOPIC, 1).await;
    // It never speaks again: for the group it is dead.
    for member in cluster.control.members("athomic-republisher") {
        cluster.control.silence("athomic-republisher", member.id);
    }
    let _heir = start(&cluster, &settings).await;
    let messages = until_arrived(&cluster, TOPIC, 2).await;
    tokio::time::sleep(600 * SECOND).await;
    assert_eq!(arrived(&cluster, TOPIC).len(), 2);
    assert_eq!(
        messages[0].headers().get(MESSAGE_ID).unwrap(),
        messages[1].headers().get(MESSAGE_ID).unwrap()
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_malformed_or_forbidden_is_given_up_and_the_bucket_goes_on() {
    let cluster = Cluster::new(1);
    cluster.control.create_topic("mail.v1", 1);
    let settings = PLAIN.replace("enabled = true", "enabled = true\ndestinations = ['t', 'mail.*']");
    let app = start(&cluster, &settings).await;
    let to = |destination: &str| format!(r#"{{"version":1,"destination":"{destination}","due":0,"sent":0}}"#);
    forge(&cluster, None);
    for envelope in ["", "{}", "[1]", r#"{"version":9}"#, &"x".repeat(5000)] {
        forge(&cluster, Some(envelope));
    }
    for destination in ["delay-5m", "__consumer_offsets", "other", "a b"] {
        forge(&cluster, Some(&to(destination)));
    }
    forge(&cluster, Some(&to("mail.v1")));
    until_arrived(&cluster, "mail.v1", 1).await;
    until("all to be settled", || counts(&app).given_up == 10).await;
    assert_eq!(counts(&app).republished, 1);
    assert!(arrived(&cluster, "delay-5m").is_empty());

    let refused = app
        .publisher()
        .publish("other", &0)
        .delay(SECOND)
        .await
        .unwrap_err();
    assert!(matches!(refused, PublishError::Forbidden(_)));
    assert!(!refused.is_retriable());
}

#[tokio::test(start_paused = true)]
async fn a_time_that_lies_far_off_waits_for_no_longer_than_the_bucket() {
    let cluster = Cluster::new(1);
    let _app = start(&cluster, PLAIN).await;
    let began = Instant::now();
    let (due, sent) = (i64::MAX, i64::MIN);
    forge(
        &cluster,
        Some(&format!(
            r#"{{"version":1,"destination":"t","due":{due},"sent":{sent}}}"#
        )),
    );
    until_arrived(&cluster, TOPIC, 1).await;
    assert_eq!(began.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_is_missing_is_tried_as_often_as_the_settings_say_and_holds_up_nothing_else() {
    let cluster = Cluster::new(1);
    let app = start(&cluster, &plain()).await;
    let began = Instant::now();
    let publisher = app.publisher();
    let many = (0..50).map(|_| NewMessage::raw("nowhere", None).delay(10 * SECOND));
    assert!(publisher.publish_batch(many).await.iter().all(Result::is_ok));
    publisher.publish(TOPIC, &1).delay(10 * SECOND).await.unwrap();
    until("all to be settled", || counts(&app).given_up == 50).await;
    // Attempts after 0, 1 and 2 seconds more, all together.
    assert_eq!(began.elapsed().as_secs(), 13);
    assert_eq!(arrived(&cluster, TOPIC).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_program_without_a_republisher_publishes_for_one_elsewhere() {
    let cluster = Cluster::new(1);
    let elsewhere = start(&cluster, PLAIN).await;
    let here = start(&cluster, &PLAIN.replace("enabled = true", "enabled = false")).await;
    assert!(here.republisher().is_none());
    here.publisher().publish(TOPIC, &1).delay(SECOND).await.unwrap();
    until_arrived(&cluster, TOPIC, 1).await;
    assert_eq!(counts(&elsewhere).republished, 1);
}

#[tokio::test(start_paused = true)]
async fn missing_delay_topics_are_made_fit_and_unfit_ones_are_refused() {
    use athomic_core::transport::{Admin, Transport};
    let cluster = Cluster::new(1);
    start(&cluster, PLAIN).await.stop().await;
    let admin = cluster
        .broker
        .transport(Default::default())
        .admin()
        .await
        .unwrap();
    let made = admin.topic_settings(&["delay-5m".to_owned()]).await.unwrap();
    let made = &made["delay-5m"];
    assert_eq!(made["cleanup.policy"], "delete");
    assert_eq!(made["message.timestamp.type"], "LogAppendTime");
    assert_eq!(made["retention.ms"], (300_000 + 7 * 86_400_000).to_string());

    cluster
        .control
        .set_topic("delay-5m", "retention.ms", "300000")
        .unwrap();
    cluster
        .control
        .set_topic("delay-1m", "cleanup.policy", "compact")
        .unwrap();
    let app = cluster.app(PLAIN).build().unwrap();
    let refused = app.start().await.err().unwrap();
    let mut message = String::new();
    let mut cause: Option<&dyn std::error::Error> = Some(&refused);
    while let Some(error) = cause {
        message += &error.to_string();
        cause = error.source();
    }
    for part in [
        "`delay-5m` deletes messages after 300s",
        "retention.ms=",
        "`delay-1m` is compacted",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_republisher_is_described_as_what_it_is() {
    let cluster = Cluster::new(1);
    let app = cluster.app(PLAIN).build().unwrap();
    let described = app.describe().to_string();
    for part in [
        "athomic::republisher",
        "delay-1m, delay-5m in group athomic-republisher",
        "delayed over connection republisher",
    ] {
        assert!(described.contains(part), "{described}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cascade_takes_any_delay_to_within_the_smallest_bucket() {
    let cluster = Cluster::new(1);
    let app = start(&cluster, &cascade()).await;
    let began = Instant::now();
    let publisher = app.publisher();
    for seconds in [0, 7, 61, 300, 725] {
        publisher
            .publish(TOPIC, &seconds)
            .key(seconds.to_string())
            .delay(seconds * SECOND)
            .await
            .unwrap();
    }
    let mut hops = 0;
    for (count, (seconds, more)) in [(0, 0), (7, 0), (61, 1), (300, 0), (725, 4)]
        .into_iter()
        .enumerate()
    {
        let messages = until_arrived(&cluster, TOPIC, count + 1).await;
        assert_eq!(text(&messages[count]), seconds.to_string());
        assert_eq!(
            messages[count].headers().len(),
            2,
            "the message's id and content type alone"
        );
        let late = began.elapsed().as_secs() - seconds;
        assert!(late < 60, "{seconds} s was late by {late} s");
        hops += more;
    }
    assert!(counts(&app).passed_on >= hops, "{:?}", counts(&app));
}

#[tokio::test(start_paused = true)]
async fn a_cascade_has_a_limit_and_says_so() {
    let cluster = Cluster::new(1);
    let app = start(&cluster, &cascade()).await;
    let publisher = app.publisher();
    let longest = publisher.publish(TOPIC, &0).delay(20 * 300 * SECOND).await;
    assert!(longest.is_ok());
    let error = publisher
        .publish(TOPIC, &0)
        .delay(20 * 300 * SECOND + SECOND)
        .await
        .unwrap_err();
    let message = error.to_string();
    for part in ["21 hops", "`max_hops` = 20", "60s: delay-1m, 300s: delay-5m"] {
        assert!(message.contains(part), "{message}");
    }
    // One that comes from elsewhere and claims the far future goes no further either.
    forge(
        &cluster,
        Some(&format!(
            r#"{{"version":1,"destination":"t","due":{},"sent":0}}"#,
            i64::MAX
        )),
    );
    tokio::time::sleep(21 * 300 * SECOND).await;
    assert_eq!(counts(&app).given_up, 1);
    assert!(counts(&app).passed_on <= 60);
    until_arrived(&cluster, TOPIC, 1).await;
}

#[test]
fn settings_of_a_republisher_are_checked() {
    let faults = |text: &str| {
        let none: [(&str, &str); 0] = [];
        let loaded = Settings::loader()
            .text("test.toml", text)
            .environment(none)
            .load();
        loaded.unwrap_err().to_string()
    };
    let check = |text: &str, expected: &str| {
        let text = format!("[integration.messaging.republisher]\n{text}");
        let found = faults(&text);
        assert!(found.contains(expected), "{found}");
    };
    check("enabled = true", "it needs topics to consume; add `delay_topics");
    check("delay_topics = { 0 = 'a' }", "`0` is no delay");
    check("delay_topics = { soon = 'a' }", "`soon` is no delay");
    check("delay_topics = { 1 = 'a b' }", "illegal character");
    check(
        "delay_topics = { 1 = 'a', 2 = 'a' }",
        "topic `a` stands for another delay already",
    );
    check("destinations = []", "an empty list allows nothing");
    check(
        "destinations = ['a b*']",
        "`a b*` is neither a topic nor the beginning of one",
    );
    check(
        "enabled = true\ndelay_topics = { 1 = 'a' }\nconsumer.auto_offset_reset = 'latest'",
        "a new group would skip the messages that wait",
    );
    check("max_hops = 0", "must be between 1 and");
}

#[tokio::test(start_paused = true)]
async fn a_new_group_skips_nothing_that_waits_whatever_handlers_do() {
    let cluster = Cluster::new(1);
    let settings = format!("[integration.messaging.consumer]\nauto_offset_reset = 'latest'\n{PLAIN}");
    let publishing = start(&cluster, &settings.replace("enabled = true", "enabled = false")).await;
    cluster.control.create_topic("delay-1m", 1);
    publishing
        .publisher()
        .publish(TOPIC, &1)
        .delay(SECOND)
        .await
        .unwrap();
    let _app = start(&cluster, &settings).await;
    until_arrived(&cluster, TOPIC, 1).await;
}

#[test]
fn the_republisher_has_a_connection_of_its_own_that_inherits() {
    let settings = settings_of(
        "[integration.messaging.consumer]\nbootstrap_servers = ['a:1']\nfetch_max_wait_ms = 7\ngroup_id = 'orders'\n\
         [integration.messaging.security]\nprotocol = 'ssl'\n\
         [integration.messaging.republisher]\nenabled = true\ndelay_topics = { 60 = 'd' }\n\
         consumer = { bootstrap_servers = ['a:1'], group_id = 'nala-global-republisher-group' }\n\
         producer = { linger_ms = 3 }",
    );
    let republisher = &settings.messaging.republisher;
    assert_eq!(republisher.group_id, "nala-global-republisher-group");
    assert_eq!(republisher.delay_topics[&(60 * SECOND)], "d");
    let connection = &settings.messaging.connections["republisher"];
    assert_eq!(connection.consumer.bootstrap_servers, ["a:1"]);
    assert_eq!(connection.consumer.fetch_max_wait, Duration::from_millis(7));
    assert_eq!(connection.producer.linger, Duration::from_millis(3));
    // The same servers once more are no foreign ones.
    assert_eq!(
        connection.security,
        settings.messaging.connections["default"].security
    );
    let foreign = settings_of(
        "[integration.messaging.security]\nprotocol = 'ssl'\n\
         [integration.messaging.republisher]\nenabled = true\ndelay_topics = { 60 = 'd' }\n\
         consumer = { bootstrap_servers = ['b:1'] }",
    );
    let connections = &foreign.messaging.connections;
    assert_ne!(
        connections["republisher"].security,
        connections["default"].security
    );
}

async fn publish_later(app: &RunningApp, number: u32, delay: Duration) {
    let sent = app.publisher().publish(TOPIC, &number).delay(delay).await;
    sent.unwrap();
}

fn signed(key: &str) -> String {
    cascade().replace("max_hops = 20", &format!("max_hops = 20\n{key}"))
}

#[tokio::test(start_paused = true)]
async fn with_a_key_what_is_unsigned_forged_or_moved_is_given_up_and_what_is_signed_arrives() {
    let cluster = Cluster::new(1);
    let app = start(&cluster, &signed("envelope_key = 'ours'")).await;
    let elsewhere = signed("envelope_key = 'theirs'").replace("enabled = true", "enabled = false");
    let theirs = start(&cluster, &elsewhere).await;
    forge(
        &cluster,
        Some(r#"{"version":1,"destination":"t","due":0,"sent":0}"#),
    );
    publish_later(&theirs, 1, 60 * SECOND).await;
    // Over two buckets, each of which signs anew.
    publish_later(&app, 2, 360 * SECOND).await;
    publish_later(&app, 3, 60 * SECOND).await;
    // The envelope and the signature of the last, on another payload.
    let ours = cluster.control.messages("delay-1m").unwrap().pop().unwrap();
    let moved = OutgoingMessage {
        topic: "delay-1m".into(),
        payload: Some("moved".into()),
        headers: ours.headers(),
        ..Default::default()
    };
    assert!(ours.headers().get(SIGNATURE).is_some());
    cluster.control.publish(moved).unwrap();
    let messages = until_arrived(&cluster, TOPIC, 2).await;
    until("all to be settled", || counts(&app).given_up == 3).await;
    assert_eq!([text(&messages[0]), text(&messages[1])], ["3", "2"]);
    for message in messages {
        assert!(message.headers().get(SIGNATURE).is_none() && message.headers().get(ENVELOPE).is_none());
    }
    assert_eq!(counts(&app).republished, 2);
}

#[tokio::test(start_paused = true)]
async fn what_the_key_of_before_has_signed_still_arrives() {
    let cluster = Cluster::new(1);
    let elsewhere = signed("envelope_key = 'old'").replace("enabled = true", "enabled = false");
    let before = start(&cluster, &elsewhere).await;
    let keys = "envelope_key = 'new'\nenvelope_previous_key = 'old'";
    let app = start(&cluster, &signed(keys)).await;
    publish_later(&before, 1, 60 * SECOND).await;
    publish_later(&app, 2, 60 * SECOND).await;
    until_arrived(&cluster, TOPIC, 2).await;
    assert_eq!(counts(&app).given_up, 0);
}
