//! A topic with its dead letters, applications that fail on purpose, and what they were given.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use athomic::app::{AppBuilder, RunningApp};
use athomic::handler::register::subscribe;
use athomic::handler::{MessageContext, Meta};
use athomic::message::{Headers, RawMessage, TopicPartition};
use athomic::outcome::HandlerError;
use athomic::payload::{DecodeError, Payload};
use athomic::publisher::NewMessage;
use athomic::transport::{Admin as _, NewTopic};
use athomic_rig::{Rig, until, within};

pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Make a topic of two partitions on the shared broker.
pub(crate) async fn rig(name: &str) -> Option<Rig> {
    Rig::on_shared_broker(env!("CARGO_TARGET_TMPDIR"), name, 2).await
}

pub(crate) fn letters_of(rig: &Rig) -> String {
    format!("{}.dlq", rig.topic)
}

pub(crate) fn parking_lot_of(rig: &Rig) -> String {
    format!("{}.parked", rig.topic)
}

/// Make the rig's dead-letter topic, with some of Kafka's settings, and its parking lot.
pub(crate) async fn make_letters(rig: &Rig, config: &[(&str, &str)]) -> String {
    make(rig, &letters_of(rig), config).await;
    make(rig, &parking_lot_of(rig), &[]).await;
    letters_of(rig)
}

/// Make a topic with one partition and some of Kafka's settings.
pub(crate) async fn make(rig: &Rig, topic: &str, config: &[(&str, &str)]) {
    let config = config
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let topic = NewTopic {
        config: config.collect(),
        ..NewTopic::new(topic, 1)
    };
    rig.make(&[topic]).await;
}

/// Begin an application that keeps dead letters; the settings given stand below `integration.messaging.dlq`.
pub(crate) fn app(rig: &Rig, dlq: &str) -> AppBuilder {
    let settings = format!(
        "[integration.messaging]\nconsumer.commit_interval_ms = 200\n\
         [integration.messaging.dlq]\nstrategy = 'keep'\ntopic = '{}'\n\
         parking_lot_topic = '{}'\n{dlq}",
        letters_of(rig),
        parking_lot_of(rig),
    );
    rig.app(&settings)
}

pub(crate) async fn start(app: AppBuilder) -> RunningApp {
    app.build()
        .expect("it is valid")
        .start()
        .await
        .expect("it starts")
}

/// A message as it came.
pub(crate) struct Whole(pub(crate) RawMessage);

impl Payload for Whole {
    type Target = Self;

    fn decode(context: &MessageContext<'_>) -> Result<Self, DecodeError> {
        Ok(Self(context.message().clone()))
    }
}

/// What a handler was given: when, at which attempt, and the message.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<(Instant, u32, RawMessage)>>>);

impl Seen {
    fn note(&self, meta: &Meta, message: RawMessage) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((Instant::now(), meta.attempt(), message));
    }

    pub(crate) fn all(&self) -> Vec<(Instant, u32, RawMessage)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Return the partition, the offset and the attempt of each run.
    pub(crate) fn runs(&self) -> Vec<(i32, i64, u32)> {
        let run = |(_, attempt, message): &(Instant, u32, RawMessage)| {
            (message.partition(), message.offset(), *attempt)
        };
        self.all().iter().map(run).collect()
    }

    pub(crate) async fn until(&self, count: usize) {
        until(&format!("{count} runs"), async || self.all().len() >= count).await;
    }

    /// Handle a topic in a group; what `fails` says yes to fails with `error`.
    pub(crate) fn handle(
        &self,
        app: AppBuilder,
        (topic, group): (&str, &str),
        error: &str,
        fails: impl Fn(&RawMessage) -> bool + Send + Sync + 'static,
    ) -> AppBuilder {
        let (seen, error) = (self.clone(), error.to_owned());
        let handler = subscribe(topic).group_id(group).handler_id(group);
        app.register(handler.handler(move |Whole(message): Whole, meta: Meta| {
            let result = if fails(&message) {
                Err(HandlerError::retry(error.clone()))
            } else {
                Ok(())
            };
            seen.note(&meta, message);
            async { result }
        }))
    }
}

/// Read all that stands in a topic.
pub(crate) async fn read(rig: &Rig, topic: &str, count: usize) -> Vec<RawMessage> {
    let seen = Seen::default();
    let group = format!("{topic}.reader");
    let app = app(rig, "enabled = false");
    let app = start(seen.handle(app, (topic, &group), "", |_| false)).await;
    seen.until(count).await;
    // What stands there beyond what was expected is read with it, or a moment later.
    tokio::time::sleep(Duration::from_millis(500)).await;
    app.stop().await;
    seen.all().into_iter().map(|(.., message)| message).collect()
}

pub(crate) fn text<'a>(message: &'a RawMessage, name: &str) -> Option<&'a str> {
    message
        .header(name)
        .map(|value| std::str::from_utf8(value).expect("text"))
}

pub(crate) async fn publish(app: &RunningApp, rig: &Rig, payload: impl Into<Vec<u8>>, headers: Headers) {
    let payload = payload.into();
    let message = NewMessage::raw(&*rig.topic, Some(payload.into()));
    let message = message.key("k").partition(0).headers(headers);
    let sent = app.publisher().publish_batch([message]).await.pop();
    sent.expect("one result").expect("acknowledged");
}

pub(crate) async fn committed(rig: &Rig, group: &str) -> i64 {
    let first = [TopicPartition::new(&*rig.topic, 0)];
    let offsets = rig.admin().committed(group, &first).await.expect("it is known");
    offsets.first().map_or(0, |offset| offset.offset)
}

pub(crate) async fn until_committed(rig: &Rig, group: &str, offset: i64) -> Duration {
    within(SOON, &format!("{group} commits {offset}"), async || {
        committed(rig, group).await == offset
    })
    .await
}
