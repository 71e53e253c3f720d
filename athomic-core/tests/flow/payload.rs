//! Payload pipelines: what is written, what comes back, and what becomes of what cannot be read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use athomic_core::app::{AppBuilder, RunningApp};
use athomic_core::dead_letter::{Filter, ReplayOptions};
use athomic_core::handler::Meta;
use athomic_core::handler::register::{ordered, subscribe};
use athomic_core::message::{Headers, RawMessage};
use athomic_core::payload::{
    AsyncPayloadStep, CONTENT_TYPE, Format, PIPELINE, PayloadContext, PayloadStep, Step, StepError,
};
use athomic_core::publisher::{NewMessage, PublishError};
use athomic_core::transport::OutgoingMessage;
use serde_json::{Value, json};

use crate::support::{Cluster, GROUP, TOPIC, handler, until};

/// A step that writes bytes upside down behind a mark, and so shows that it ran.
#[derive(Debug)]
struct Reversed;

impl PayloadStep for Reversed {
    fn label(&self) -> Cow<'_, str> {
        "reversed".into()
    }

    fn encode(&self, mut payload: Vec<u8>, _: &PayloadContext<'_>) -> Result<Vec<u8>, StepError> {
        payload.push(b'~');
        payload.reverse();
        Ok(payload)
    }

    fn decode<'p>(
        &self,
        payload: Cow<'p, [u8]>,
        context: &PayloadContext<'_>,
    ) -> Result<Cow<'p, [u8]>, StepError> {
        assert_ne!(context.topic, "dlq", "dead letters are not opened");
        match payload.strip_prefix(b"~") {
            Some(rest) => Ok(rest.iter().rev().copied().collect()),
            None => Err(StepError::malformed("it is not upside down")),
        }
    }
}

/// A step that keeps payloads elsewhere, where they may not be reached.
#[derive(Debug, Clone, Default)]
struct Vault {
    kept: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    is_down: Arc<AtomicBool>,
}

impl Vault {
    fn check(&self) -> Result<(), StepError> {
        if self.is_down.load(Relaxed) {
            return Err(StepError::unavailable("the vault is closed"));
        }
        Ok(())
    }
}

impl AsyncPayloadStep for Vault {
    fn label(&self) -> Cow<'_, str> {
        "vault".into()
    }

    fn is_mine(&self, payload: &[u8]) -> bool {
        payload.starts_with(b"vault:")
    }

    async fn encode(&self, payload: Vec<u8>, _: &PayloadContext<'_>) -> Result<Vec<u8>, StepError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.check()?;
        let mut kept = self.kept.lock().unwrap();
        let name = format!("vault:{}", kept.len());
        kept.insert(name.clone(), payload);
        Ok(name.into_bytes())
    }

    async fn decode(&self, payload: &[u8], _: &PayloadContext<'_>) -> Result<Vec<u8>, StepError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.check()?;
        let kept = self.kept.lock().unwrap();
        let name = String::from_utf8_lossy(payload);
        let found = kept.get(&*name).cloned();
        found.ok_or_else(|| StepError::malformed("the vault has no such thing"))
    }
}

const UPSIDE_DOWN: &str =
    "[integration.messaging.payload]\npipeline = [{ step = 'serializer' }, { step = 'reversed' }]\n";
const VAULTED: &str = "[integration.messaging.payload]\npipeline = [{ step = 'serializer' }, { step = 'reversed' }, { step = 'vault' }]\n";
const KEEPING: &str =
    "[integration.messaging.dlq]\nstrategy = 'keep'\ntopic = 'dlq'\nparking_lot_topic = 'parked'\n";

/// Begin an application whose settings may name the steps of these tests.
fn app(cluster: &Cluster, settings: &str, vault: &Vault) -> AppBuilder {
    let vault = vault.clone();
    let app = cluster.app(settings);
    app.payload_step("reversed", |_| Some(Step::immediate(Reversed)))
        .payload_step("vault", move |_| Some(Step::waiting(vault.clone())))
}

async fn start(app: AppBuilder) -> RunningApp {
    app.build()
        .expect("it is valid")
        .start()
        .await
        .expect("it starts")
}

/// What handlers took, and at which attempt.
#[derive(Debug, Clone, Default)]
struct Taken(Arc<Mutex<Vec<(Value, u32)>>>);

impl Taken {
    fn put(&self, value: Value, attempt: u32) {
        self.0.lock().unwrap().push((value, attempt));
    }

    fn all(&self) -> Vec<(Value, u32)> {
        self.0.lock().unwrap().clone()
    }

    async fn until(&self, count: usize) -> Vec<Value> {
        until("messages to be handled", || self.all().len() >= count).await;
        self.all().into_iter().map(|(value, _)| value).collect()
    }

    fn taker(&self) -> impl Fn(Value, Meta) -> std::future::Ready<()> + Clone + Send + Sync + use<> {
        let taken = self.clone();
        move |value, meta| {
            taken.put(value, meta.attempt());
            std::future::ready(())
        }
    }
}

fn text(message: &RawMessage) -> &str {
    std::str::from_utf8(message.payload().unwrap()).unwrap()
}

fn write(cluster: &Cluster, topic: &str, payload: &[u8], headers: Headers) {
    let message = OutgoingMessage {
        topic: topic.into(),
        partition: Some(0),
        payload: Some(payload.to_vec().into()),
        headers,
        ..Default::default()
    };
    cluster.control.publish(message).unwrap();
}

#[tokio::test(start_paused = true)]
async fn encoding_runs_down_the_list_and_decoding_up() {
    let (cluster, vault, taken) = (Cluster::new(1), Vault::default(), Taken::default());
    let app = start(app(&cluster, VAULTED, &vault).register(handler().handler(taken.taker()))).await;
    app.publisher().publish(TOPIC, &json!([1, 2])).await.unwrap();
    assert_eq!(taken.until(1).await, [json!([1, 2])]);
    let messages = cluster.control.messages(TOPIC).unwrap();
    assert_eq!(text(&messages[0]), "vault:0");
    assert_eq!(vault.kept.lock().unwrap()["vault:0"], b"~]2,1[");
    let headers = messages[0].headers();
    assert_eq!(headers.get(CONTENT_TYPE), Some(b"application/json".as_slice()));
    assert_eq!(headers.get(PIPELINE), Some(b"json,reversed,vault".as_slice()));
}

#[tokio::test(start_paused = true)]
async fn tombstones_and_raw_messages_go_through_no_step() {
    let (cluster, taken) = (Cluster::new(1), Taken::default());
    let app = app(&cluster, UPSIDE_DOWN, &Vault::default()).register(handler().handler(taken.taker()));
    let app = start(app).await;
    let messages = [
        NewMessage::raw(TOPIC, None),
        NewMessage::raw(TOPIC, Some("~]7[".into())),
        app.publisher().message(TOPIC, &8),
    ];
    for message in messages {
        app.publisher().publish_batch([message]).await.remove(0).unwrap();
    }
    assert_eq!(taken.until(3).await, [Value::Null, json!([7]), json!(8)]);
    let written = cluster.control.messages(TOPIC).unwrap();
    assert_eq!([text(&written[1]), text(&written[2])], ["~]7[", "~8"]);
    assert_eq!(
        written[1].headers().get(CONTENT_TYPE),
        None,
        "nobody knows what it is"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_step_refuses_is_given_up_at_once_and_its_letter_is_as_it_came() {
    let (cluster, taken) = (Cluster::new(1), Taken::default());
    let settings = format!("{UPSIDE_DOWN}{KEEPING}");
    let app = app(&cluster, &settings, &Vault::default()).register(handler().handler(taken.taker()));
    write(&cluster, TOPIC, b"[1]", Headers::new());
    let _app = start(app).await;
    cluster.until_committed(0, 1).await;
    let letters = cluster.control.messages("dlq").unwrap();
    assert_eq!(text(&letters[0]), "[1]");
    let headers = letters[0].headers();
    let header = |name: &str| String::from_utf8_lossy(headers.get(name).unwrap()).into_owned();
    assert_eq!(header("athomic-dlq-stage"), "decode");
    assert_eq!(header("__dlq.errors.delivery.count"), "1");
    assert!(header("athomic-dlq-error-chain").contains("step `reversed`: it is not upside down"));
    assert_eq!(taken.all(), []);
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_for_a_while_is_tried_again() {
    let vault = Vault::default();
    for batches in [false, true] {
        let (cluster, taken) = (Cluster::new(1), Taken::default());
        let from = handler();
        let definition = if batches {
            let taken = taken.clone();
            from.batch_handler(10, move |values: Vec<Value>| {
                values.into_iter().for_each(|value| taken.put(value, 0));
                async {}
            })
        } else {
            from.handler(taken.taker())
        };
        let app = start(app(&cluster, VAULTED, &vault).register(definition)).await;
        app.publisher().publish(TOPIC, &1).await.unwrap();
        taken.until(1).await;
        vault.is_down.store(true, Relaxed);
        let written = cluster.control.messages(TOPIC).unwrap();
        write(&cluster, TOPIC, written[0].payload().unwrap(), Headers::new());
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(taken.all().len(), 1, "nothing can be read");
        vault.is_down.store(false, Relaxed);
        assert_eq!(taken.until(2).await, [json!(1), json!(1)]);
        if !batches {
            assert_eq!(taken.all()[1].1, 2, "the second attempt");
        }
        cluster.until_committed(0, 2).await;
        app.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_ordered_consumer_waits_for_what_tells_its_order() {
    let (cluster, vault, taken) = (Cluster::new(1), Vault::default(), Taken::default());
    let definition = ordered(TOPIC)
        .group_id(GROUP)
        .key(|event: &Value| event["of"].as_str().unwrap_or_default().to_owned())
        .sequence(|event: &Value| event["seq"].as_u64().unwrap_or_default())
        .handler(taken.taker());
    let app = start(app(&cluster, VAULTED, &vault).register(definition)).await;
    for seq in [2, 1, 3] {
        app.publisher()
            .publish(TOPIC, &json!({ "of": "a", "seq": seq }))
            .await
            .unwrap();
    }
    let order = |values: Vec<Value>| {
        values
            .iter()
            .map(|value| value["seq"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(order(taken.until(3).await), [1, 2, 3]);
    vault.is_down.store(true, Relaxed);
    let next = json!({ "of": "a", "seq": 4 });
    vault
        .kept
        .lock()
        .unwrap()
        .insert("vault:9".to_owned(), format!("{next}~").bytes().rev().collect());
    write(&cluster, TOPIC, b"vault:9", Headers::new());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(taken.all().len(), 3, "nobody knows what it is");
    vault.is_down.store(false, Relaxed);
    assert_eq!(order(taken.until(4).await), [1, 2, 3, 4]);
    cluster.until_committed(0, 4).await;
    write(&cluster, TOPIC, b"vault:none", Headers::new());
    cluster.until_committed(0, 5).await;
    assert_eq!(taken.all().len(), 4, "it is given up");
}

#[tokio::test(start_paused = true)]
async fn an_ordered_consumer_stops_while_it_waits_for_a_step() {
    let (cluster, vault, taken) = (Cluster::new(1), Vault::default(), Taken::default());
    vault.is_down.store(true, Relaxed);
    let definition = ordered(TOPIC)
        .group_id(GROUP)
        .key(|_: &Value| "a".to_owned())
        .sequence(|_: &Value| 1_u64)
        .handler(taken.taker());
    let settings = format!("{VAULTED}[integration.messaging.dlq]\nmax_attempts = 1000000\n");
    let app = start(app(&cluster, &settings, &vault).register(definition)).await;
    write(&cluster, TOPIC, b"vault:0", Headers::new());
    tokio::time::sleep(Duration::from_secs(600)).await;
    app.stop().await;
    assert_eq!(cluster.committed(0).unwrap_or(0), 0, "it comes again");
}

#[tokio::test(start_paused = true)]
async fn retries_and_replays_carry_the_bytes_as_they_are() {
    let (cluster, vault, taken) = (Cluster::new(1), Vault::default(), Taken::default());
    let settings = format!(
        "{VAULTED}{KEEPING}max_attempts = 2\n[integration.messaging.dlq.retry]\nmode = 'republish'\njitter = false\n"
    );
    let mended = Arc::new(AtomicBool::new(false));
    let (seen, works) = (taken.clone(), Arc::clone(&mended));
    let definition = handler().handler(move |value: Value, meta: Meta| {
        seen.put(value, meta.attempt());
        let works = works.load(Relaxed);
        async move { if works { Ok(()) } else { Err("not yet") } }
    });
    let app = start(app(&cluster, &settings, &vault).register(definition)).await;
    app.publisher().publish(TOPIC, &json!("x")).await.unwrap();
    until("a dead letter", || {
        cluster.control.messages("dlq").is_ok_and(|all| all.len() == 1)
    })
    .await;
    mended.store(true, Relaxed);
    app.dead_letters()
        .replay("dlq", &Filter::default(), &ReplayOptions::default())
        .await
        .unwrap();
    assert_eq!(taken.until(3).await, vec![json!("x"); 3]);
    let copies = cluster.control.messages(TOPIC).unwrap();
    assert_eq!(copies.len(), 3, "the message, its retry, its replay");
    assert!(copies.iter().all(|copy| text(copy) == "vault:0"));
    assert_eq!(vault.kept.lock().unwrap().len(), 1, "nothing was encoded anew");
}

#[tokio::test(start_paused = true)]
async fn topics_handlers_and_attributes_have_pipelines_of_their_own() {
    let (cluster, taken) = (Cluster::new(1), Taken::default());
    cluster.control.create_topic("other", 1);
    let settings = format!(
        "{UPSIDE_DOWN}topics.other.pipeline = [{{ step = 'serializer' }}]\n\
         [[integration.messaging.handler_tuning]]\nhandler_id = 'tuned'\n\
         payload.pipeline = [{{ step = 'serializer', settings = {{ backend = 'raw' }} }}]\n"
    );
    let tuned = Taken::default();
    let (by_tuning, by_codec) = (tuned.clone(), tuned.clone());
    let app = app(&cluster, &settings, &Vault::default())
        .register(handler().topic("other").handler(taken.taker()))
        .register(
            subscribe(TOPIC)
                .group_id("h")
                .handler_id("tuned")
                .handler(move |bytes: String| {
                    by_tuning.put(json!(["tuned", bytes]), 1);
                    async {}
                }),
        )
        .register(
            subscribe(TOPIC)
                .group_id("i")
                .codec(Format::Raw)
                .handler(move |bytes: String| {
                    by_codec.put(json!(["codec", bytes]), 1);
                    async {}
                }),
        );
    let app = app.build().unwrap();
    let described = format!("{:?}", app.describe());
    assert!(
        described.contains("payload: \"raw\"") && described.contains("payload: \"json | json,reversed\"")
    );
    let app = app.start().await.unwrap();
    for topic in [TOPIC, "other"] {
        app.publisher().publish(topic, &json!([topic])).await.unwrap();
    }
    taken.until(2).await;
    tuned.until(2).await;
    assert_eq!(
        text(&cluster.control.messages("other").unwrap()[0]),
        "[\"other\"]"
    );
    let mut values: Vec<_> = taken
        .all()
        .into_iter()
        .map(|(value, _)| value.to_string())
        .collect();
    values.sort_unstable();
    assert_eq!(values, ["[\"other\"]", "[\"t\"]"]);
    let mut values: Vec<_> = tuned
        .all()
        .into_iter()
        .map(|(value, _)| value.to_string())
        .collect();
    values.sort_unstable();
    assert_eq!(values, [r#"["codec","[\"t\"]"]"#, r#"["tuned","~]\"t\"["]"#]);
}

#[tokio::test(start_paused = true)]
async fn a_record_names_its_format_where_that_is_accepted() {
    let accepting = "[integration.messaging.payload]\n\
                     pipeline = [{ step = 'serializer', settings = { accept = 'raw' } }]\n";
    let raw = || Headers::new().with(CONTENT_TYPE, "application/octet-stream");
    for (settings, expected) in [(accepting, json!("7")), ("", json!(7))] {
        let (cluster, taken) = (Cluster::new(1), Taken::default());
        let seen = taken.clone();
        let definition = handler().handler(move |value: TextOrNumber| {
            seen.put(value.0, 1);
            async {}
        });
        let _app = start(app(&cluster, settings, &Vault::default()).register(definition)).await;
        write(&cluster, TOPIC, b"7", raw());
        assert_eq!(taken.until(1).await, [expected], "{settings}");
    }
}

/// Shows by which format it was read: JSON gives a number, `raw` bytes.
struct TextOrNumber(Value);

impl<'de> serde::Deserialize<'de> for TextOrNumber {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = TextOrNumber;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes or a number")
            }

            fn visit_u64<E>(self, number: u64) -> Result<TextOrNumber, E> {
                Ok(TextOrNumber(json!(number)))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<TextOrNumber, E> {
                Ok(TextOrNumber(json!(String::from_utf8_lossy(bytes))))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[tokio::test(start_paused = true)]
async fn publishing_tells_what_a_step_refuses() {
    let (cluster, vault) = (Cluster::new(1), Vault::default());
    let app = start(app(&cluster, VAULTED, &vault)).await;
    vault.is_down.store(true, Relaxed);
    let error = app.publisher().publish(TOPIC, &1).await.unwrap_err();
    assert!(
        matches!(error, PublishError::Payload { .. }) && error.is_retriable(),
        "{error:?}"
    );
    assert_eq!(cluster.control.messages(TOPIC).unwrap().len(), 0);
}

/// Build with a list of steps and return what is wrong with it.
fn faults(steps: &str) -> Vec<String> {
    let settings = format!("integration.messaging.payload.pipeline = [{steps}]");
    let built = app(&Cluster::new(1), &settings, &Vault::default()).build();
    let report = built
        .map(|_| String::new())
        .unwrap_or_else(|error| error.to_string());
    report.lines().map(str::to_owned).collect()
}

#[test]
fn lists_that_cannot_work_are_refused_with_what_to_do() {
    let check = |steps: &str, expected: &[&str]| {
        let found = faults(steps);
        assert_eq!(found.len(), expected.len(), "{steps}: {found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                found.contains("test.toml:1:") && found.contains(expected),
                "{steps}: {found}"
            );
        }
    };
    check("{ step = 'serializer' }, { step = 'reversed' }", &[]);
    check("", &["the list is empty; leave it out for plain JSON"]);
    check("{ step = 'reversed' }", &["the first step is `serializer`"]);
    check(
        "{ step = 'serializer' }, { step = 'serialiser' }",
        &["no step is called `serialiser`; did you mean `serializer`?"],
    );
    check(
        "{ step = 'serializer' }, { step = 'reversd' }",
        &["did you mean `reversed`?"],
    );
    check(
        "{ step = 'serializer' }, { step = 'reversed' }, { step = 'reversed' }",
        &["`reversed` is in the list twice"],
    );
    check(
        "{ step = 'serializer', settings.backend = 'jsom' }",
        &["`jsom` is not one of `json`, `msgpack`, `cbor`, `raw`; did you mean `json`?"],
    );
    check(
        "{ step = 'serializer', settings.bakend = 'json' }",
        &["unknown key; did you mean `backend`?"],
    );
    check(
        "{ step = 'serializer' }, { step = 'reversed', settings.x = 1 }",
        &["pipeline.1.settings.x`: unknown key"],
    );
    check(
        "{ step = 'serializer' }, { step = 'compression', settings = { backend = 'zip' } }",
        &["`zip` is not one of `zstd`, `lz4`, `gzip`, `snappy`"],
    );
}
