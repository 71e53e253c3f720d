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

/// Wait for the dead letter, mend what is broken, and replay it.
async fn replay_when_mended(cluster: &Cluster, app: &RunningApp, mended: &AtomicBool) {
    until("a dead letter", || {
        cluster.control.messages("dlq").is_ok_and(|all| all.len() == 1)
    })
    .await;
    mended.store(true, Relaxed);
    app.dead_letters()
        .replay("dlq", &Filter::default(), &ReplayOptions::default())
        .await
        .unwrap();
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
    replay_when_mended(&cluster, &app, &mended).await;
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
        &["`jsom` is not one of `json`, `msgpack`, `cbor`, `avro`, `protobuf`, `raw`; did you mean `json`?"],
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

/// A key, in the settings and nowhere else.
#[cfg(feature = "crypto")]
const KEY: &str = "c0ffee0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d";

#[cfg(feature = "crypto")]
fn encrypting(more: &str) -> String {
    format!(
        "[integration.messaging.payload]\n\
         pipeline = [{{ step = 'serializer' }}, {{ step = 'crypto', settings = {{ {more} }} }}]\n\
         [security.crypto]\nactive_key = 'k1'\nkeys = [{{ id = 'k1', secret = '{KEY}' }}]\n"
    )
}

#[cfg(feature = "crypto")]
#[tokio::test(start_paused = true)]
async fn encrypted_messages_open_also_when_they_were_delayed_retried_and_replayed() {
    let (cluster, taken) = (Cluster::new(1), Taken::default());
    let settings = format!(
        "{}{KEEPING}max_attempts = 2\n[integration.messaging.republisher]\nenabled = true\n\
         delay_topics = {{ 1 = 'wait' }}\n",
        encrypting("")
    );
    let mended = Arc::new(AtomicBool::new(false));
    let (seen, works) = (taken.clone(), Arc::clone(&mended));
    let definition = handler().handler(move |value: Value, meta: Meta| {
        seen.put(value, meta.attempt());
        let works = works.load(Relaxed);
        async move { if works { Ok(()) } else { Err("not yet") } }
    });
    let app = app(&cluster, &settings, &Vault::default())
        .register(definition)
        .build()
        .unwrap();
    assert!(
        !format!("{:?} {app:?}", app.describe()).contains("c0ffee"),
        "keys are never shown"
    );
    let app = app.start().await.unwrap();
    let publisher = app.publisher();
    publisher
        .publish(TOPIC, &json!("secret"))
        .key("k")
        .delay(Duration::from_secs(1))
        .await
        .unwrap();
    replay_when_mended(&cluster, &app, &mended).await;
    assert_eq!(taken.until(3).await, vec![json!("secret"); 3]);
    for topic in [TOPIC, "wait", "dlq"] {
        for message in cluster.control.messages(topic).unwrap() {
            let payload = message.payload().unwrap();
            assert!(payload.starts_with(b"\xa7ath"), "{topic}");
            assert!(!payload.windows(6).any(|window| window == b"secret"), "{topic}");
        }
    }
    let messages = cluster.control.messages(TOPIC).unwrap();
    assert_eq!(
        messages[0].header(PIPELINE),
        Some(b"json,xchacha20poly1305:k1".as_slice())
    );
}

#[cfg(feature = "crypto")]
#[tokio::test(start_paused = true)]
async fn a_key_that_is_not_there_yet_is_waited_for_and_forged_messages_are_not() {
    use athomic_core::payload::crypto::{Key, KeyError, KeyProvider, KeyRing};

    /// Keys that arrive late.
    #[derive(Debug, Clone)]
    struct Late(Arc<Mutex<KeyRing>>);

    impl KeyProvider for Late {
        fn active(&self) -> Result<Arc<Key>, KeyError> {
            self.0.lock().unwrap().active()
        }

        fn by_id(&self, id: &str) -> Result<Arc<Key>, KeyError> {
            self.0.lock().unwrap().by_id(id)
        }
    }

    let (cluster, taken) = (Cluster::new(1), Taken::default());
    let settings = format!("{}{KEEPING}", encrypting(""));
    let writer = start(app(&cluster, &settings, &Vault::default())).await;
    let keys = Late(Arc::new(Mutex::new(KeyRing::new(Key::new("other", [1; 32])))));
    let reader = app(&cluster, &settings, &Vault::default())
        .key_provider(keys.clone())
        .register(handler().handler(taken.taker()));
    let _reader = start(reader).await;
    writer.publisher().publish(TOPIC, &1).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(taken.all(), []);
    let known = (0..32).map(|place| u8::from_str_radix(&KEY[2 * place..][..2], 16).unwrap());
    let known: Vec<u8> = known.collect();
    let known = Key::new("k1", known.try_into().unwrap());
    *keys.0.lock().unwrap() = KeyRing::new(Key::new("other", [1; 32])).with(known);
    assert_eq!(taken.until(1).await, [json!(1)]);
    let mut forged = cluster.control.messages(TOPIC).unwrap()[0]
        .payload()
        .unwrap()
        .to_vec();
    *forged.last_mut().unwrap() ^= 1;
    write(&cluster, TOPIC, &forged, Headers::new());
    write(&cluster, TOPIC, b"1", Headers::new());
    cluster.until_committed(0, 3).await;
    let letters = cluster.control.messages("dlq").unwrap();
    assert_eq!(letters.len(), 2);
    for letter in letters {
        assert_eq!(
            letter.header("__dlq.errors.delivery.count"),
            Some(b"1".as_slice())
        );
    }
    assert_eq!(taken.all().len(), 1);
}

#[cfg(feature = "crypto")]
#[tokio::test(start_paused = true)]
async fn a_handler_of_encrypted_payloads_refuses_what_its_topic_accepts() {
    let (cluster, taken, strict) = (Cluster::new(1), Taken::default(), Taken::default());
    let settings = encrypting("accept_plaintext = true");
    let app = app(&cluster, &settings, &Vault::default())
        .register(handler().handler(taken.taker()))
        .register(
            subscribe(TOPIC)
                .group_id("strict")
                .encrypted()
                .handler(strict.taker()),
        );
    let app = start(app).await;
    write(&cluster, TOPIC, b"1", Headers::new());
    app.publisher().publish(TOPIC, &2).await.unwrap();
    assert_eq!(taken.until(2).await, [json!(1), json!(2)]);
    assert_eq!(strict.until(1).await, [json!(2)]);
    let open = self::app(&cluster, UPSIDE_DOWN, &Vault::default());
    let open = open.register(handler().encrypted().handler(strict.taker()));
    let error = open.build().unwrap_err().to_string();
    assert!(
        error.contains("no step `crypto`") && error.contains("flow/payload.rs:"),
        "{error}"
    );
}

#[cfg(feature = "crypto")]
#[test]
fn keys_that_cannot_be_used_are_refused_without_a_word_of_them() {
    let check = |crypto: &str, expected: &str| {
        let settings = format!(
            "integration.messaging.payload.pipeline = [{{ step = 'serializer' }}, {{ step = 'crypto' }}]\n\
             [security.crypto]\n{crypto}"
        );
        let built = app(&Cluster::new(1), &settings, &Vault::default()).build();
        let error = built.unwrap_err().to_string();
        assert!(
            error.contains(expected) && !error.contains("c0ffee"),
            "{crypto}: {error}"
        );
    };
    check(
        "",
        "`security.crypto.active_key`: the step `crypto` encrypts with the key that this names",
    );
    check(
        "active_key = 'b'\nkeys = [{ id = 'a', secret = 'KEY' }]"
            .replace("KEY", KEY)
            .as_str(),
        "one of `security.crypto.keys`: `a`",
    );
    check(
        "active_key = 'a'\nkeys = [{ id = 'a', secret = 'c0ffee' }]",
        "it has 3 bytes and should have 32",
    );
    check(
        "active_key = 'a'\nkeys = [{ id = 'a', secret = 'c0ffeex' }]",
        "it is not hexadecimal",
    );
    check(
        "active_key = 'a'\nkeys = [{ id = 'a', secret = 'c0ffee', wrapped_by = 'm' }]",
        "`wrapped_by` names `m`, which is none",
    );
}

#[cfg(feature = "crypto")]
#[tokio::test(start_paused = true)]
async fn a_wrapped_key_is_unwrapped_by_its_master() {
    let master = [7; 32];
    let wrapped = athomic_core::payload::crypto::wrap_key(&master, &[9; 32]).unwrap();
    let (cluster, taken) = (Cluster::new(1), Taken::default());
    let settings = format!(
        "integration.messaging.payload.pipeline = [{{ step = 'serializer' }}, {{ step = 'crypto', settings.algorithm = 'aes256gcm' }}]\n\
         [security.crypto]\nactive_key = 'data'\n\
         keys = [{{ id = 'master', secret = '{}' }}, {{ id = 'data', secret = '{wrapped}', wrapped_by = 'master' }}]",
        "07".repeat(32)
    );
    let app = app(&cluster, &settings, &Vault::default()).register(handler().handler(taken.taker()));
    let app = start(app).await;
    app.publisher().publish(TOPIC, &1).await.unwrap();
    assert_eq!(taken.until(1).await, [json!(1)]);
    let messages = cluster.control.messages(TOPIC).unwrap();
    assert_eq!(
        messages[0].header(PIPELINE),
        Some(b"json,aes256gcm:data".as_slice())
    );
}

#[cfg(feature = "claim-check")]
#[tokio::test]
async fn large_payloads_stand_beside_the_log() {
    let folder = std::env::temp_dir().join(format!("athomic-claims-{}", std::process::id()));
    let (cluster, taken) = (Cluster::new(1), Taken::default());
    let settings = format!(
        "[integration.messaging.payload]\npipeline = [{{ step = 'serializer' }}, \
         {{ step = 'claim_check', settings = {{ threshold_bytes = 100, prefix = 'a/b' }} }}]\n\
         [storage.provider]\nbackend = 'local'\nbase_path = '{}'\n",
        folder.display()
    );
    let vault = Vault::default();
    let reader = start(app(&cluster, &settings, &vault).register(handler().handler(taken.taker()))).await;
    let writer = start(app(&cluster, &settings, &vault)).await;
    let large = json!("x".repeat(1000));
    for value in [&json!(1), &large] {
        writer.publisher().publish(TOPIC, value).await.unwrap();
    }
    assert_eq!(taken.until(2).await, [json!(1), large]);
    let messages = cluster.control.messages(TOPIC).unwrap();
    assert_eq!(messages[0].payload(), Some(b"1".as_slice()));
    assert_eq!(messages[1].payload().map(<[u8]>::len), Some(61));
    assert_eq!(std::fs::read_dir(folder.join("a/b")).unwrap().count(), 1);
    reader.stop().await;
    writer.stop().await;
    std::fs::remove_dir_all(folder).unwrap();
}

#[cfg(feature = "claim-check")]
#[test]
fn a_claim_check_that_cannot_work_is_refused() {
    let list = |steps: &str| faults(&format!("{{ step = 'serializer' }}, {steps}"));
    let found = list("{ step = 'claim_check' }, { step = 'reversed' }");
    assert!(
        found[0].contains("`claim_check` is the last step") && found[0].contains("`reversed`"),
        "{found:?}"
    );
    let found = list("{ step = 'claim_check', settings = { prefix = '../x', threshold_byte = 1 } }");
    assert!(
        found
            .iter()
            .any(|fault| fault.contains("it is no path of objects")),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .any(|fault| fault.contains("did you mean `threshold_bytes`?")),
        "{found:?}"
    );
    let local = "integration.messaging.payload.pipeline = [{ step = 'serializer' }, { step = 'claim_check' }]\n\
                 storage.provider.backend = 'local'";
    let built = app(&Cluster::new(1), local, &Vault::default()).build();
    assert!(built.unwrap_err().to_string().contains("needs `base_path`"));
}

#[cfg(feature = "claim-check-s3")]
#[tokio::test]
async fn a_store_that_cannot_be_used_ends_the_start_and_names_its_settings() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let settings = format!(
        "integration.messaging.payload.pipeline = [{{ step = 'serializer' }}, {{ step = 'claim_check' }}]\n\
         [storage.provider]\nbackend = 's3'\nbucket = 'claims'\nendpoint = 'http://{address}'\nallow_http = true\n\
         access_key_id = 'AKIA'\nsecret = 'canary'\n"
    );
    let app = app(&Cluster::new(1), &settings, &Vault::default())
        .build()
        .unwrap();
    let error = format!("{:?}", app.start().await.unwrap_err());
    for part in ["claim_check", "the bucket `claims`", "`storage.provider.bucket`"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!error.contains("canary"), "{error}");
}
