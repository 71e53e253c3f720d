//! Payloads on real Kafka: one process writes through every step and another one reads, also from the dead letters; and
//! handlers read what programs write that are not ours.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use athomic::app::{App, AppBuilder, RunningApp};
use athomic::dead_letter::{Filter, ReplayOptions};
use athomic::handler::register::subscribe;
use athomic::handler::{MessageContext, Meta};
use athomic::message::RawMessage;
use athomic::outcome::HandlerError;
use athomic::payload::{CONTENT_TYPE, DecodeError, PIPELINE, Payload};
use athomic::transport::NewTopic;
use athomic_rig::{Rig, until};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const SETTINGS: &str = "PAYLOADS_SETTINGS";
const TOPIC: &str = "PAYLOADS_TOPIC";
const EVERY_STEP: &str = "msgpack,zstd,xchacha20poly1305:k1,claim_check";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    secret: String,
}

/// Orders small and large, so that one stands in the record and the other in the store.
fn orders() -> [Order; 2] {
    // What no compression makes smaller than the threshold.
    let mut number = 7_u64;
    let mut letter = || {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'a' + u8::try_from((number >> 33) & 15).expect("it is below 16"))
    };
    let secret: String = (0..40_000).map(|_| letter()).collect();
    ["the only one".repeat(10), secret].map(|secret| Order {
        id: secret.len() as u64,
        secret,
    })
}

fn settings(rig: &Rig) -> String {
    format!(
        "[integration.messaging]\nprovider.backend = 'kafka'\nconsumer.bootstrap_servers = ['{servers}']\n\
         [integration.messaging.dlq]\nstrategy = 'keep'\ntopic = '{topic}.dlq'\nparking_lot_topic = '{topic}.parked'\n\
         [integration.messaging.payload]\npipeline = [\n\
         {{ step = 'serializer', settings = {{ backend = 'msgpack' }} }},\n\
         {{ step = 'compression', settings = {{ backend = 'zstd', min_bytes = 16 }} }},\n\
         {{ step = 'crypto' }},\n\
         {{ step = 'claim_check', settings = {{ threshold_bytes = 10000 }} }}]\n\
         [security.crypto]\nactive_key = 'k1'\nkeys = [{{ id = 'k1', secret = '{key}' }}]\n\
         [storage.provider]\nbackend = 'local'\nbase_path = '{folder}/claims'\n",
        servers = rig.bootstrap,
        topic = rig.topic,
        key = "7e".repeat(32),
        folder = rig.folder(),
    )
}

/// Begin an application with these settings and none from elsewhere.
fn app(settings: String) -> AppBuilder {
    App::builder().without_discovery().loader(move |loader| {
        let none: [(&str, &str); 0] = [];
        loader.text("test.toml", settings).environment(none)
    })
}

async fn start(app: AppBuilder) -> RunningApp {
    let app = app.build().expect("it is valid");
    app.start().await.expect("it starts")
}

/// The other process, which writes and ends.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the process that a test starts"]
async fn writer() {
    let of = |name| std::env::var(name).expect("the test sets it");
    let app = start(app(of(SETTINGS))).await;
    let publisher = app.publisher();
    for order in orders() {
        let published = publisher.publish(of(TOPIC), &order);
        published.key(order.id.to_string()).await.expect("acknowledged");
    }
    app.stop().await;
}

/// Run the other process to its end.
async fn write(rig: &Rig, settings: &str) {
    let mut process = Command::new(std::env::current_exe().expect("this program has a path"));
    process.args(["--exact", "writer", "--ignored", "--nocapture"]);
    process.env(SETTINGS, settings).env(TOPIC, &rig.topic);
    let ended = process.kill_on_drop(true).status();
    let ended = tokio::time::timeout(Duration::from_secs(90), ended).await;
    let status = ended.expect("it ends in time").expect("it can be started");
    assert!(status.success(), "{status}");
}

/// A message as it stands in its topic.
struct Whole(RawMessage);

impl Payload for Whole {
    type Target = Self;

    fn decode(context: &MessageContext<'_>) -> Result<Self, DecodeError> {
        Ok(Self(context.message().clone()))
    }
}

/// What handlers were given, for the test to look at.
struct Given<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Given<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Given<T> {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn put(&self, value: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(value);
    }

    fn all(&self) -> Vec<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn until(&self, what: &str, count: usize) -> Vec<T> {
        until(what, async || self.all().len() >= count).await;
        self.all()
    }
}

/// Read a topic as it stands, without a step.
async fn look_into(rig: &Rig, topic: &str, count: usize) -> Vec<RawMessage> {
    let given = Given::new();
    let taker = given.clone();
    let group = format!("{}.look.{topic}", rig.group);
    let definition = subscribe(topic)
        .group_id(group)
        .handler(move |Whole(message): Whole| {
            taker.put(message);
            async {}
        });
    let app = start(rig.app("").register(definition)).await;
    let messages = given.until(&format!("{topic} has {count} messages"), count).await;
    app.stop().await;
    messages
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_wrote_through_every_step_opens_in_another_and_after_its_replay() {
    let Some(rig) = Rig::on_shared_broker(env!("CARGO_TARGET_TMPDIR"), "payloads", 1).await else {
        return;
    };
    let letters = format!("{}.dlq", rig.topic);
    let topics = [letters.clone(), format!("{}.parked", rig.topic)].map(|topic| NewTopic::new(topic, 1));
    rig.make(&topics).await;
    let settings = settings(&rig);
    write(&rig, &settings).await;

    let (given, mended) = (Given::new(), Arc::new(AtomicBool::new(false)));
    let (taker, works) = (given.clone(), Arc::clone(&mended));
    let definition = subscribe(&*rig.topic)
        .group_id(&*rig.group)
        .handler(move |order: Order, meta: Meta| {
            taker.put((order, meta.attempt()));
            let works = works.load(Relaxed);
            async move {
                if works {
                    return Ok(());
                }
                Err(HandlerError::dead_letter("not yet"))
            }
        });
    let reader = start(app(settings).register(definition)).await;
    let read = given.until("both are read", 2).await;
    assert_eq!(
        read.into_iter().map(|(order, _)| order).collect::<Vec<_>>(),
        orders()
    );

    // Both stand as they were written, sealed, in the topic and in the dead letters.
    let written = look_into(&rig, &rig.topic, 2).await;
    let kept = look_into(&rig, &letters, 2).await;
    for (written, kept) in written.iter().zip(&kept) {
        assert_eq!(written.payload(), kept.payload());
        let payload = kept.payload().expect("it has one");
        assert!(
            !has(payload, b"the only one") && payload.len() < 1000,
            "{payload:?}"
        );
        assert_eq!(kept.header(PIPELINE), Some(EVERY_STEP.as_bytes()));
        assert_eq!(
            kept.header(CONTENT_TYPE),
            Some(b"application/vnd.msgpack".as_slice())
        );
    }
    let claims = std::fs::read_dir(format!("{}/claims/claims", rig.folder())).expect("a folder");
    assert_eq!(claims.count(), 1, "the large one stands in the store");

    mended.store(true, Relaxed);
    let (all, options) = (Filter::default(), ReplayOptions::default());
    let replayed = reader.dead_letters().replay(&letters, &all, &options).await;
    replayed.expect("it can be replayed");
    let read = given.until("both are read again", 4).await;
    let again: Vec<_> = read[2..].iter().map(|(order, _)| order.clone()).collect();
    assert_eq!(again, orders());
    reader.stop().await;
}

/// Batches of each codec that Kafka has, of plain JSON, by a producer that knows nothing of us.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_json_of_kcat_is_read_however_its_batches_are_compressed() {
    const CODECS: [&str; 5] = ["none", "gzip", "lz4", "zstd", "snappy"];
    const EACH: u64 = 200;

    #[derive(Deserialize)]
    struct Paid {
        codec: String,
        id: u64,
    }

    let Some(rig) = Rig::on_shared_broker(env!("CARGO_TARGET_TMPDIR"), "foreign-payloads", 1).await else {
        return;
    };
    for codec in CODECS {
        let lines: String = (0..EACH)
            .map(|id| format!("{{\"codec\": \"{codec}\", \"id\": {id}}}\n"))
            .collect();
        let mut kcat = Command::new("kcat");
        kcat.args([
            "-P",
            "-b",
            &rig.bootstrap,
            "-t",
            &rig.topic,
            "-X",
            "linger.ms=500",
        ]);
        kcat.args(["-z", codec]).stdin(Stdio::piped()).kill_on_drop(true);
        let mut kcat = kcat.spawn().expect("kcat is installed");
        let mut stdin = kcat.stdin.take().expect("it is piped");
        stdin.write_all(lines.as_bytes()).await.expect("it reads");
        drop(stdin);
        let status = kcat.wait().await.expect("its status");
        assert!(status.success(), "{codec}: {status}");
    }
    let given = Given::new();
    let taker = given.clone();
    let definition = subscribe(&*rig.topic)
        .group_id(&*rig.group)
        .handler(move |paid: Paid| {
            taker.put((paid.codec, paid.id));
            async {}
        });
    let app = start(rig.app("").register(definition)).await;
    let all = CODECS.len() * usize::try_from(EACH).expect("it is small");
    let read = given.until("all are read", all).await;
    let expected = CODECS.map(|codec| (0..EACH).map(move |id| (codec.to_owned(), id)));
    let expected: BTreeSet<_> = expected.into_iter().flatten().collect();
    assert_eq!(read.into_iter().collect::<BTreeSet<_>>(), expected);
    app.stop().await;
}
