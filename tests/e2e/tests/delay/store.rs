//! Delayed messages that wait in Redis: never early, as they were, once or, after a kill, twice under one id.

use std::time::Duration;

use athomic::app::AppBuilder;
use athomic_rig::{Proxy, Redis, Replies, Rig, until};

use crate::support::{Arrivals, connect, lateness, publish, start};

/// How many messages are due when the republisher is killed.
const MESSAGES: usize = 20_000;

/// Kafka, a Redis of the test's own, and where delayed messages go.
struct Stage {
    rig: Rig,
    redis: Redis,
    topic: String,
    arrivals: Arrivals,
}

impl Stage {
    async fn new(name: &str) -> Option<Self> {
        let folder = env!("CARGO_TARGET_TMPDIR");
        let rig = Rig::on_shared_broker(folder, name, 2).await?;
        let redis = Redis::start(rig.folder(), true).await?;
        Some(Self {
            topic: format!("{}.later", rig.topic),
            arrivals: Arrivals::default(),
            rig,
            redis,
        })
    }

    /// Begin an application whose delayed messages wait in Redis.
    fn app(&self, uri: &str, republishes: bool) -> AppBuilder {
        self.rig.app(&format!(
            "[integration.messaging]\ntopics = {{ auto_create = 'always', default_partitions = 2 }}\n\
             dlq = {{ strategy = 'keep', topic = '{0}.dlq' }}\n\
             [integration.messaging.republisher]\nenabled = {republishes}\nkvstore = 'delays'\n\
             delay_strategy_backend = 'redis_sorted_set'\nconsumer.group_id = '{0}.delay'\n\
             [database.kvstore.delays.provider]\nbackend = 'redis'\nuri = '{uri}'\n",
            self.topic
        ))
    }

    /// Begin one that takes note of what arrives, and publishes.
    fn observer(&self) -> AppBuilder {
        let app = self.app(&self.redis.uri(), false);
        self.arrivals.gather_from(&self.topic, &self.rig, app)
    }

    /// Wait until Redis has nothing of it any more.
    async fn until_empty(&self) {
        until("no entry to be left", async || {
            self.redis.ask(&["KEYS", "ath:*"]).await.texts().is_empty()
        })
        .await;
    }

    /// Start a process that republishes.
    fn worker(&self, name: &'static str) -> athomic_rig::Worker {
        let republisher = "ATHOMIC_INTEGRATION__MESSAGING__REPUBLISHER__";
        let settings = [
            (format!("{republisher}ENABLED"), "true".to_owned()),
            (format!("{republisher}KVSTORE"), "delays".to_owned()),
            (
                format!("{republisher}DELAY_STRATEGY_BACKEND"),
                "redis_sorted_set".to_owned(),
            ),
            (
                format!("{republisher}CONSUMER__GROUP_ID"),
                format!("{}.delay", self.topic),
            ),
            (
                "ATHOMIC_DATABASE__KVSTORE__DELAYS__PROVIDER__BACKEND".to_owned(),
                "redis".to_owned(),
            ),
            (
                "ATHOMIC_DATABASE__KVSTORE__DELAYS__PROVIDER__URI".to_owned(),
                self.redis.uri(),
            ),
            (
                "ATHOMIC_INTEGRATION__MESSAGING__DLQ__STRATEGY".to_owned(),
                "keep".to_owned(),
            ),
            (
                "ATHOMIC_INTEGRATION__MESSAGING__DLQ__TOPIC".to_owned(),
                format!("{}.dlq", self.topic),
            ),
            (
                "ATHOMIC_INTEGRATION__MESSAGING__TOPICS__AUTO_CREATE".to_owned(),
                "always".to_owned(),
            ),
        ];
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let program = env!("CARGO_BIN_EXE_worker");
        self.rig.worker(program, name, "classic", &settings)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_wait_in_redis_are_on_time_and_in_the_order_of_their_times() {
    let Some(stage) = Stage::new("delay.store").await else {
        return;
    };
    let observer = start(stage.observer()).await;
    connect(&observer, &stage.rig).await;
    let app = start(stage.app(&stage.redis.uri(), true)).await;
    let delays: Vec<Duration> = (0..500)
        .map(|number| Duration::from_millis(1_000 + 20 * (number * 131 % 500)))
        .collect();
    let due = publish(&observer, &stage.topic, &delays).await;
    stage.arrivals.until(500).await;
    assert!(stage.arrivals.copies().values().all(|copies| *copies == 1));
    let (_, high) = lateness("in Redis", &stage.arrivals, &due);
    assert!(high < 10_000, "late by {high} ms");
    let counts = app.republisher().expect("it is enabled").counts();
    assert_eq!((counts.republished, counts.given_up), (500, 0));
    app.stop().await;
    observer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_republisher_that_is_killed_loses_nothing_and_repeats_what_it_had_claimed_at_most_once() {
    let Some(stage) = Stage::new("delay.store.kill").await else {
        return;
    };
    let observer = start(stage.observer()).await;
    connect(&observer, &stage.rig).await;
    for _ in 0..10 {
        publish_some(&stage, &observer).await;
    }
    let mut first = stage.worker("first");
    until("the first to publish", async || !stage.arrivals.all().is_empty()).await;
    first.kill().await;
    let mut second = stage.worker("second");
    until("all to have arrived", async || {
        stage.arrivals.copies().len() == MESSAGES
    })
    .await;
    stage.until_empty().await;
    second.terminate().await;
    let copies = stage.arrivals.copies();
    assert!(copies.values().all(|copies| *copies <= 2));
    let repeated = copies.values().filter(|copies| **copies == 2).count();
    println!("{repeated} of {MESSAGES} messages came twice");
    observer.stop().await;
}

/// Publish a tenth of the messages, due after two seconds.
async fn publish_some(stage: &Stage, app: &athomic::app::RunningApp) {
    let messages = (0..MESSAGES / 10).map(|_| {
        let message = athomic::publisher::NewMessage::json(&*stage.topic, "x");
        message.delay(Duration::from_secs(2))
    });
    for result in app.publisher().publish_batch(messages).await {
        result.expect("Redis has it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_whose_answer_was_lost_is_made_again_and_is_one_entry() {
    let Some(stage) = Stage::new("delay.store.lost").await else {
        return;
    };
    let proxy = Proxy::start(stage.redis.port()).await;
    let app = stage.app(&proxy.uri(), true);
    let app = start(stage.arrivals.gather_from(&stage.topic, &stage.rig, app)).await;
    connect(&app, &stage.rig).await;
    proxy.replies(Replies::Lost);
    let back = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        proxy.replies(Replies::Pass);
    };
    let delays = [Duration::from_secs(1); 20];
    let ((), due) = tokio::join!(back, publish(&app, &stage.topic, &delays));
    stage.arrivals.until(20).await;
    stage.until_empty().await;
    // What was claimed while answers were lost was published once, by who claimed it next.
    assert!(stage.arrivals.copies().values().all(|copies| *copies == 1));
    assert_eq!(stage.arrivals.copies().len(), due.len());
    app.stop().await;
}
