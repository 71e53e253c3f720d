//! Delayed messages that wait in a store: when they arrive, who publishes them, what becomes of those that cannot.

use std::time::Duration;

use athomic_core::app::RunningApp;
use athomic_core::delay::RepublisherCounts;
use athomic_core::message::{Headers, MESSAGE_ID, RawMessage};
use athomic_core::publisher::{NewMessage, PublishError, PublishingOutcome};
use athomic_core::settings::Settings;
use athomic_core::store::KeySpace;
use athomic_core::store::delay::{DelayEntry, DelayStore as _};
use athomic_core::store::memory::{MemoryDelays, MemoryStores};
use athomic_core::transport::memory::{Fault, FaultRule, Operation};
use bytes::Bytes;
use tokio::time::Instant;

use crate::retries::{failing, runs};
use crate::support::{Cluster, Journal, MS, TOPIC, handler, until};

const SECOND: Duration = Duration::from_secs(1);

const STORE: &str = "
[integration.messaging.dlq]
strategy = 'keep'
topic = 'dlq'
retry.jitter = false
[integration.messaging.republisher]
enabled = true
delay_strategy_backend = 'redis_sorted_set'
";

/// A broker and stores with several applications on them.
struct Stage {
    cluster: Cluster,
    stores: MemoryStores,
}

impl Stage {
    fn new() -> Self {
        Self {
            cluster: Cluster::new(1),
            stores: MemoryStores::default(),
        }
    }

    async fn start(&self, settings: &str) -> RunningApp {
        self.start_by(&self.stores.another_way(), settings).await
    }

    /// Start an application that reaches the stores by a way of its own.
    async fn start_by(&self, way: &MemoryStores, settings: &str) -> RunningApp {
        let app = self.cluster.app(settings).stores(way.clone());
        app.build().unwrap().start().await.unwrap()
    }

    fn arrived(&self) -> Vec<RawMessage> {
        self.cluster.control.messages(TOPIC).unwrap()
    }

    async fn until_arrived(&self, count: usize) -> Vec<RawMessage> {
        until(&format!("{count} messages"), || self.arrived().len() >= count).await;
        self.arrived()
    }

    /// Return what waits.
    fn waiting(&self) -> MemoryDelays {
        let group = athomic_core::settings::DEFAULT_REPUBLISHER_GROUP;
        self.stores.delays(&KeySpace::new("athomic", &["delays", group]))
    }

    async fn until_empty(&self) {
        until("nothing to wait any more", || self.waiting().is_empty()).await;
    }
}

fn text(message: &RawMessage) -> String {
    String::from_utf8(message.payload().unwrap().to_vec()).unwrap()
}

fn counts(app: &RunningApp) -> RepublisherCounts {
    app.republisher().unwrap().counts()
}

async fn later(app: &RunningApp, number: u32, delay: Duration) {
    let publisher = app.publisher();
    let outcome = publisher.publish(TOPIC, &number).delay(delay).await.unwrap();
    assert!(outcome.is_delayed() && outcome.delivery().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stored_message_arrives_when_it_is_due_as_it_was_published() {
    let stage = Stage::new();
    let app = stage.start(STORE).await;
    let headers = Headers::new().with("a", "1").with_null("a").with("b", "");
    let (key, payload) = (Bytes::from_static(b"\0\xff"), Bytes::from_static(b"\xfe\0\xfd"));
    let message = |id: &'static str, payload| {
        let message = NewMessage::raw(TOPIC, payload).key(key.clone());
        let message = message.headers(headers.clone()).partition(0).message_id(id);
        message.delay(42 * SECOND)
    };
    let began = Instant::now();
    let messages = [message("1", Some(payload.clone())), message("2", None)];
    let outcomes = app.publisher().publish_batch(messages).await;
    let PublishingOutcome::Scheduled { due } = outcomes[0].as_ref().unwrap() else {
        panic!("it waits in the store")
    };
    tokio::time::sleep_until(began + 42 * SECOND - 5 * MS).await;
    assert!(stage.arrived().is_empty());
    let messages = stage.until_arrived(2).await;
    assert!(began.elapsed() < 43 * SECOND, "{:?}", began.elapsed());
    for (message, id) in messages.iter().zip(["1", "2"]) {
        assert!(message.timestamp().unwrap() >= *due);
        assert_eq!(message.key(), Some(&*key));
        let mut expected = headers.clone();
        expected.set_first(MESSAGE_ID, id);
        assert_eq!(message.headers(), expected);
    }
    assert_eq!(messages[0].payload(), Some(&*payload));
    assert_eq!(messages[1].payload(), None);
    stage.until_empty().await;
    assert_eq!((counts(&app).republished, counts(&app).given_up), (2, 0));
    app.stop().await;
}

#[tokio::test(start_paused = true)]
async fn each_waits_for_its_own_time_whatever_stands_before_it() {
    let stage = Stage::new();
    let app = stage.start(STORE).await;
    let began = Instant::now();
    for seconds in [3000, 60, 1, 600] {
        later(&app, seconds, seconds * SECOND).await;
    }
    for (count, seconds) in [(1, 1), (2, 60), (3, 600), (4, 3000)] {
        stage.until_arrived(count).await;
        let late = began.elapsed() - seconds * SECOND;
        // A look of the test itself may come later by a hundredth of what it waited.
        assert!(
            late < SECOND + seconds * SECOND / 50,
            "{seconds} s: {late:?} late"
        );
    }
    let order: Vec<_> = stage.arrived().iter().map(text).collect();
    assert_eq!(order, ["1", "60", "600", "3000"]);
    let due: Vec<_> = stage
        .arrived()
        .iter()
        .map(|message| message.timestamp().unwrap().as_millis())
        .collect();
    for (pair, gap) in due.windows(2).zip([59_000, 540_000, 2_400_000]) {
        assert!((pair[1] - pair[0] - gap).abs() < 1_000, "{due:?}");
    }
    app.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_delay_or_a_message_that_is_too_large_is_refused_and_says_what_to_set() {
    let stage = Stage::new();
    let app = stage.start(&format!("{STORE}max_delay_seconds = 60")).await;
    let publisher = app.publisher();
    let refused = publisher.publish(TOPIC, &0).delay(61 * SECOND).await.unwrap_err();
    assert!(matches!(refused, PublishError::DelayTooLong { .. }));
    assert!(refused.to_string().contains("max_delay_seconds"), "{refused}");
    let large = NewMessage::raw(TOPIC, Some(vec![0; 2 << 20].into())).delay(SECOND);
    let refused = publisher.publish_batch([large]).await.remove(0).unwrap_err();
    assert!(
        refused.is_too_large() && refused.is_about_the_message(),
        "{refused}"
    );
    let refused = publisher
        .publish("__internal", &0)
        .delay(SECOND)
        .await
        .unwrap_err();
    assert!(matches!(refused, PublishError::Forbidden(_)));
    assert!(stage.waiting().is_empty());
    app.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_published_twice_under_one_id_waits_once() {
    let stage = Stage::new();
    let app = stage.start(STORE).await;
    let message = |topic: &str| {
        let message = NewMessage::raw(topic, None).message_id("same");
        message.delay(10 * SECOND)
    };
    stage.cluster.control.create_topic("other", 1);
    for topic in [TOPIC, TOPIC, "other"] {
        let sent = app.publisher().publish_batch([message(topic)]).await;
        assert!(sent[0].is_ok());
    }
    assert_eq!(stage.waiting().len(), 2);
    stage.until_empty().await;
    assert_eq!(stage.arrived().len(), 1);
    assert_eq!(stage.cluster.control.messages("other").unwrap().len(), 1);
    app.stop().await;
}

#[tokio::test(start_paused = true)]
async fn several_instances_share_the_work() {
    let stage = Stage::new();
    let here = stage
        .start(&STORE.replace("enabled = true", "enabled = false"))
        .await;
    assert!(here.republisher().is_none());
    let many = (0..4_000).map(|_| NewMessage::raw(TOPIC, Some("x".into())).delay(SECOND));
    assert!(
        here.publisher()
            .publish_batch(many)
            .await
            .iter()
            .all(Result::is_ok)
    );
    // What is published takes its time, so that none of them is done before the others begin.
    let slow = FaultRule::next(Operation::Publish, Fault::delay(SECOND)).topic(TOPIC);
    stage.cluster.control.inject_next(slow.times(4_000));
    let (first, second) = (stage.start(STORE).await, stage.start(STORE).await);
    stage.until_arrived(4_000).await;
    stage.until_empty().await;
    assert_eq!(stage.arrived().len(), 4_000, "each once");
    let (one, other) = (counts(&first).republished, counts(&second).republished);
    assert_eq!(one + other, 4_000);
    assert!(one > 0 && other > 0, "{one} and {other}");
    for app in [here, first, second] {
        app.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_dies_between_publishing_and_removing_leaves_one_copy_more_under_the_same_id() {
    let stage = Stage::new();
    let way = stage.stores.another_way();
    let first = stage.start_by(&way, STORE).await;
    later(&first, 1, 10 * SECOND).await;
    let slow = FaultRule::next(Operation::Publish, Fault::delay(3 * SECOND)).topic(TOPIC);
    stage.cluster.control.inject_next(slow);
    tokio::time::sleep(11 * SECOND).await;
    // From the moment at which it publishes the store hears nothing of it.
    way.set_available(false);
    let second = stage.start(STORE).await;
    stage.until_arrived(1).await;
    let began = Instant::now();
    let messages = stage.until_arrived(2).await;
    assert!(
        (5..20).contains(&began.elapsed().as_secs()),
        "{:?}",
        began.elapsed()
    );
    stage.until_empty().await;
    tokio::time::sleep(600 * SECOND).await;
    assert_eq!(stage.arrived().len(), 2);
    let id = |message: &RawMessage| message.headers().get(MESSAGE_ID).unwrap().to_vec();
    assert_eq!(id(&messages[0]), id(&messages[1]));
    assert_eq!(counts(&second).republished, 1);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_is_waited_for_and_readiness_says_so() {
    let stage = Stage::new();
    let app = stage.start(STORE).await;
    later(&app, 1, SECOND).await;
    stage.cluster.control.stop();
    tokio::time::sleep(300 * SECOND).await;
    assert!(!app.health().check().is_ready());
    assert_eq!(stage.waiting().len(), 1);
    stage.cluster.control.start();
    stage.until_empty().await;
    assert_eq!(stage.arrived().len(), 1);
    assert!(app.health().check().is_ready(), "{}", app.health().check());
    app.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_asked_again_and_readiness_says_so() {
    let stage = Stage::new();
    let way = stage.stores.another_way();
    let app = stage.start_by(&way, STORE).await;
    way.set_available(false);
    tokio::time::sleep(10 * SECOND).await;
    let health = app.health().check();
    assert!(!health.is_ready() && health.is_live());
    assert!(
        health
            .to_string()
            .contains("the store of delayed messages `memory`"),
        "{health}"
    );
    let back = async {
        tokio::time::sleep(10 * SECOND).await;
        way.set_available(true);
    };
    let ((), ()) = tokio::join!(later(&app, 1, SECOND), back);
    stage.until_arrived(1).await;
    assert!(app.health().check().is_ready());
    // Not for ever: who publishes is told.
    way.set_available(false);
    let publisher = app.publisher();
    let failed = publisher.publish(TOPIC, &2).delay(SECOND).await.unwrap_err();
    assert!(matches!(failed, PublishError::Store { .. }) && failed.is_retriable());
    assert!(!failed.is_about_the_message());
    app.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_message_or_may_not_go_where_it_says_is_given_up_and_the_others_go_on() {
    let stage = Stage::new();
    let anything = stage
        .start(&STORE.replace("enabled = true", "enabled = false"))
        .await;
    let app = stage.start(&format!("{STORE}destinations = ['{TOPIC}']")).await;
    let entry = |name: &str| DelayEntry {
        name: name.to_owned(),
        delay: Duration::ZERO,
        frame: Bytes::from_static(b"no message"),
    };
    for scheduled in stage.waiting().schedule(&[entry("a"), entry("b")]).await {
        scheduled.unwrap();
    }
    let elsewhere = anything.publisher();
    elsewhere.publish("elsewhere", &0).delay(SECOND).await.unwrap();
    later(&app, 1, SECOND).await;
    stage.until_arrived(1).await;
    stage.until_empty().await;
    assert_eq!((counts(&app).given_up, counts(&app).republished), (3, 1));
    assert_eq!(letters(&stage), 3);
    anything.stop().await;
    app.stop().await;
}

fn letters(stage: &Stage) -> usize {
    stage
        .cluster
        .control
        .messages("dlq")
        .map_or(0, |letters| letters.len())
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_is_missing_is_tried_as_often_as_the_settings_say_and_its_letter_can_be_replayed()
{
    let stage = Stage::new();
    let app = stage.start(STORE).await;
    let began = Instant::now();
    let publisher = app.publisher();
    publisher.publish("nowhere", &7).delay(10 * SECOND).await.unwrap();
    later(&app, 1, 10 * SECOND).await;
    until("it to be given up", || counts(&app).given_up == 1).await;
    // Attempts after 0, 1 and 2 seconds more.
    assert_eq!(began.elapsed().as_secs(), 13);
    assert_eq!(stage.arrived().len(), 1);
    let letter = stage.cluster.control.messages("dlq").unwrap().remove(0);
    assert_eq!(letter.payload(), Some(&b"7"[..]));
    let origin = letter
        .headers()
        .get(athomic_core::dead_letter::headers::DLQ_ORIGIN)
        .unwrap()
        .to_vec();
    assert!(origin.starts_with(b"nowhere/0/"));
    stage.until_empty().await;
    app.stop().await;
}

#[tokio::test(start_paused = true)]
async fn with_a_key_what_another_has_signed_is_given_up() {
    let stage = Stage::new();
    let app = stage.start(&format!("{STORE}envelope_key = 'ours'")).await;
    let theirs = STORE.replace("enabled = true", "enabled = false\nenvelope_key = 'theirs'");
    let theirs = stage.start(&theirs).await;
    later(&theirs, 1, SECOND).await;
    later(&app, 2, SECOND).await;
    stage.until_empty().await;
    let arrived: Vec<_> = stage.arrived().iter().map(text).collect();
    assert_eq!((arrived, counts(&app).given_up), (vec!["2".to_owned()], 1));
    theirs.stop().await;
    app.stop().await;
}

#[tokio::test(start_paused = true)]
async fn retries_wait_in_the_store() {
    let (stage, journal) = (Stage::new(), Journal::new());
    stage.cluster.publish_all(0, [1, 0]);
    let settings = STORE.replace(
        "retry.jitter = false",
        "retry = { jitter = false, min_delay_seconds = 45, max_delay_seconds = 45 }",
    );
    let app = stage.cluster.app(&settings).stores(stage.stores.another_way());
    let app = app.register(failing(&journal, handler()));
    let app = app.build().unwrap().start().await.unwrap();
    stage.cluster.until_committed(0, 2).await;
    until("it to wait", || stage.waiting().len() == 1).await;
    stage.cluster.until_committed(0, 4).await;
    assert_eq!(runs(&journal), [(0, 1), (1, 1), (2, 2), (3, 3)]);
    let times = journal.times();
    for (later, earlier) in [(2, 0), (3, 2)] {
        let waited = times[later] - times[earlier];
        assert!((45_000..46_000).contains(&waited), "{times:?}");
    }
    assert_eq!(letters(&stage), 1);
    app.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_in_delay_topics_from_before_is_published_too() {
    let stage = Stage::new();
    let topics = "delay_topics = { 60 = 'delay-1m' }\n";
    let before = format!("[integration.messaging.republisher]\nenabled = true\n{topics}");
    let before = stage.start(&before).await;
    let sent = before.publisher().publish(TOPIC, &1).delay(50 * SECOND).await;
    assert!(sent.unwrap().delivery().is_some());
    before.stop().await;
    let app = stage.start(&format!("{STORE}{topics}")).await;
    later(&app, 2, 5 * SECOND).await;
    let messages = stage.until_arrived(2).await;
    let order: Vec<_> = messages.iter().map(text).collect();
    assert_eq!(order, ["2", "1"]);
    app.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_leaves_what_it_could_not_publish_to_others_at_once() {
    let stage = Stage::new();
    let first = stage.start(STORE).await;
    later(&first, 1, SECOND).await;
    stage.cluster.control.stop();
    // By now it waits for some seconds between attempts.
    tokio::time::sleep(30 * SECOND).await;
    stage.cluster.control.start();
    // It waits to publish it again.
    first.stop().await;
    let second = stage.start(STORE).await;
    let began = Instant::now();
    stage.until_arrived(1).await;
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    stage.until_empty().await;
    assert_eq!(stage.arrived().len(), 1);
    second.stop().await;
}

#[test]
fn settings_of_a_store_are_checked() {
    let faults = |text: &str| {
        let none: [(&str, &str); 0] = [];
        let loaded = Settings::loader()
            .text("test.toml", text)
            .environment(none)
            .load();
        loaded.unwrap_err().to_string()
    };
    let check = |text: &str, expected: &str| {
        let found = faults(text);
        assert!(found.contains(expected), "{found}");
    };
    let strategy = "[integration.messaging.republisher]\ndelay_strategy_backend = 'redis_sorted_set'\n";
    check(
        &format!("{strategy}enabled = true"),
        "set `integration.messaging.dlq.strategy = \"keep\"`",
    );
    check(
        &format!("{strategy}kvstore = 'odering'"),
        "did you mean `ordering`?",
    );
    check(
        &format!("{strategy}[integration.messaging]\nprovider.backend = 'kafka'"),
        "set `database.kvstore.ordering.provider.backend = \"redis\"`",
    );
    check(
        &format!("{strategy}[database.kvstore.ordering]\nenabled = false"),
        "`database.kvstore.ordering.enabled` is false",
    );
    check(&format!("{strategy}max_delay_seconds = 0"), "max_delay_seconds");
    for key in ["kvstore = 'other'", "max_delay_seconds = 5"] {
        let text = format!(
            "[database.kvstore.other]\n[integration.messaging.republisher]\ndelay_topics = {{ 1 = 'a' }}\n{key}"
        );
        check(
            &text,
            "has a meaning with `delay_strategy_backend = \"redis_sorted_set\"` alone",
        );
    }
}
