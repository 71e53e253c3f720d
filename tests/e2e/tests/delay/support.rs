//! What the tests of delayed messages share: what was published, and what has arrived.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use athomic::app::{AppBuilder, RunningApp};
use athomic::handler::register::subscribe;
use athomic::message::{MESSAGE_ID, RawMessage, Timestamp};
use athomic::publisher::NewMessage;
use athomic::transport::NewTopic;
use athomic_rig::{Rig, until};

/// What has arrived at a topic: when, by the broker's clock, and under which id.
#[derive(Clone, Default)]
pub(crate) struct Arrivals(Arc<Mutex<Vec<(Timestamp, String)>>>);

impl Arrivals {
    pub(crate) fn all(&self) -> Vec<(Timestamp, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Consume the rig's topic in an application.
    pub(crate) fn gather(&self, rig: &Rig, app: AppBuilder) -> AppBuilder {
        self.gather_from(&rig.topic, rig, app)
    }

    /// Consume a topic in an application.
    pub(crate) fn gather_from(&self, topic: &str, rig: &Rig, app: AppBuilder) -> AppBuilder {
        let arrivals = self.clone();
        let handler = subscribe(topic)
            .group_id(format!("{}.arrivals", rig.group))
            .handler(move |_: String, message: RawMessage| {
                let headers = message.headers();
                let id = headers.get(MESSAGE_ID).map(String::from_utf8_lossy);
                let id = id.unwrap_or_default().into_owned();
                let time = message.timestamp().expect("Kafka keeps times");
                let mut arrived = arrivals.0.lock().unwrap_or_else(PoisonError::into_inner);
                arrived.push((time, id));
                async {}
            });
        app.register(handler)
    }

    pub(crate) async fn until(&self, count: usize) {
        until(&format!("{count} messages"), async || self.all().len() >= count).await;
    }

    /// Count how often each id has arrived.
    pub(crate) fn copies(&self) -> BTreeMap<String, usize> {
        let mut copies = BTreeMap::new();
        for (_, id) in self.all() {
            *copies.entry(id).or_default() += 1;
        }
        copies
    }
}

pub(crate) async fn start(app: AppBuilder) -> RunningApp {
    app.build()
        .expect("it is valid")
        .start()
        .await
        .expect("it starts")
}

/// Let the publisher connect, which is no part of what is measured.
pub(crate) async fn connect(app: &RunningApp, rig: &Rig) {
    let topic = format!("{}.others", rig.topic);
    rig.make(&[NewTopic::new(&*topic, 1)]).await;
    app.publisher().publish(topic, &0).await.expect("acknowledged");
}

/// Publish messages with delays; return when each is due, by id.
pub(crate) async fn publish(app: &RunningApp, topic: &str, delays: &[Duration]) -> BTreeMap<String, i64> {
    let now = millis();
    let (mut due, mut messages) = (BTreeMap::new(), Vec::new());
    for (number, delay) in delays.iter().enumerate() {
        let id = format!("message-{number}");
        let message = NewMessage::json(topic, "x");
        messages.push(message.key(id.clone()).message_id(id.clone()).delay(*delay));
        due.insert(id, now + i64::try_from(delay.as_millis()).expect("short"));
    }
    for result in app.publisher().publish_batch(messages).await {
        assert!(result.expect("acknowledged").is_delayed());
    }
    due
}

pub(crate) fn millis() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_millis()).expect("before the year 292 million")
}

/// Print and return the median and the 99th percentile.
pub(crate) fn lateness(name: &str, arrivals: &Arrivals, due: &BTreeMap<String, i64>) -> (i64, i64) {
    let mut late: Vec<i64> = arrivals
        .all()
        .iter()
        .map(|(time, id)| time.as_millis() - due[id])
        .collect();
    late.sort_unstable();
    assert!(late[0] >= 0, "{name}: one arrived {} ms early", -late[0]);
    let (median, high) = (late[late.len() / 2], late[late.len() * 99 / 100]);
    println!(
        "{name}: {} messages, late by {median} ms (median), {high} ms (99th percentile)",
        late.len()
    );
    (median, high)
}
