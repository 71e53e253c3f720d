//! Payloads whose type chooses their format, through a whole application: Protobuf messages and types with an Avro
//! schema, batches, tombstones, and what is refused.

use std::sync::{Arc, Mutex};

use athomic_core::handler::Message;
use athomic_core::handler::register::{HandlerDefinition, subscribe};
use athomic_core::message::Headers;
use athomic_core::payload::{Avro, AvroSchema, CONTENT_TYPE, Format, Nullable, Proto};
use athomic_core::publisher::NewMessage;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::support::{Cluster, GROUP, TOPIC, handler, until};

#[derive(Clone, PartialEq, prost::Message)]
struct Paid {
    #[prost(string, tag = "1")]
    order: String,
    #[prost(uint64, tag = "2")]
    cents: u64,
}

fn paid(order: &str) -> Paid {
    Paid {
        order: order.to_owned(),
        cents: 150,
    }
}

/// The orders that handlers were told of.
#[derive(Debug, Clone, Default)]
struct Orders(Arc<Mutex<Vec<String>>>);

impl Orders {
    fn put(&self, order: &str) {
        self.0.lock().unwrap().push(order.to_owned());
    }

    async fn until(&self, expected: &[&str]) {
        until("orders to be handled", || {
            self.0.lock().unwrap().len() >= expected.len()
        })
        .await;
        assert_eq!(*self.0.lock().unwrap(), expected);
    }

    fn taker(&self) -> impl Fn(Message<Proto<Paid>>) -> std::future::Ready<()> + Send + Sync + use<> {
        let orders = self.clone();
        move |paid| {
            orders.put(&paid.order);
            std::future::ready(())
        }
    }
}

const KEEPING: &str = "[integration.messaging.dlq]\nstrategy = 'keep'\ntopic = 'dlq'\n";

#[tokio::test(start_paused = true)]
async fn the_type_chooses_the_format_without_a_word_in_the_settings() {
    let (cluster, orders) = (Cluster::new(1), Orders::default());
    let app = cluster.start(handler().handler(orders.taker())).await;
    app.publisher().publish(TOPIC, &Proto(paid("a"))).await.unwrap();
    let message = app.publisher().message(TOPIC, &Proto(paid("b"))).key("k");
    app.publisher().publish_batch([message]).await.remove(0).unwrap();
    orders.until(&["a", "b"]).await;
    let written = cluster.control.messages(TOPIC).unwrap();
    assert_eq!(
        written[0].payload().unwrap(),
        [b"\x0a\x01a\x10\x96\x01".as_slice()].concat()
    );
    assert_eq!(
        written[0].header(CONTENT_TYPE),
        Some(b"application/protobuf".as_slice())
    );
}

/// A refund as it is written today, and read whoever wrote it.
#[derive(Serialize, Deserialize)]
struct Refund {
    order: String,
    reason: String,
}

impl AvroSchema for Refund {
    const SCHEMA: &'static str = r#"{"type": "record", "name": "Refund", "fields": [
        {"name": "order", "type": "string"},
        {"name": "reason", "type": "string", "default": "none"}
    ]}"#;
    const WRITTEN_BY: &'static [&'static str] = &[OlderRefund::SCHEMA];
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "Refund")]
struct OlderRefund {
    order: String,
}

impl AvroSchema for OlderRefund {
    const SCHEMA: &'static str =
        r#"{"type": "record", "name": "Refund", "fields": [{"name": "order", "type": "string"}]}"#;
}

#[tokio::test(start_paused = true)]
async fn avro_is_read_whichever_of_the_types_schemas_wrote_it() {
    let (cluster, orders) = (Cluster::new(1), Orders::default());
    let taken = orders.clone();
    let definition = handler().handler(move |Avro(refund): Avro<Refund>| {
        taken.put(&format!("{} for {}", refund.order, refund.reason));
        async {}
    });
    let app = cluster.start_with(KEEPING, definition).await;
    let order = || "a".to_owned();
    let publisher = app.publisher();
    publisher
        .publish(TOPIC, &Avro(OlderRefund { order: order() }))
        .await
        .unwrap();
    let reason = "rust".to_owned();
    publisher
        .publish(
            TOPIC,
            &Avro(Refund {
                order: order(),
                reason,
            }),
        )
        .await
        .unwrap();
    orders.until(&["a for none", "a for rust"]).await;
    publisher.publish(TOPIC, &Proto(paid("b"))).await.unwrap();
    cluster.until_committed(0, 3).await;
    let letters = cluster.control.messages("dlq").unwrap();
    let chain = String::from_utf8_lossy(letters[0].header("athomic-dlq-error-chain").unwrap());
    assert!(
        chain.contains("it does not begin as Avro's single objects do"),
        "{chain}"
    );
    assert_eq!(
        cluster.control.messages(TOPIC).unwrap()[0].header(CONTENT_TYPE),
        Some(b"avro/binary".as_slice())
    );
}

/// A type whose schema is none.
#[derive(Serialize, Deserialize)]
struct Broken;

impl AvroSchema for Broken {
    const SCHEMA: &'static str = "{}";
}

#[tokio::test(start_paused = true)]
async fn batches_and_tombstones() {
    let (cluster, orders) = (Cluster::new(1), Orders::default());
    let batches = orders.clone();
    let definition = handler().batch_handler(2, move |paid: Vec<Nullable<Proto<Paid>>>| {
        for Nullable(paid) in paid {
            batches.put(paid.as_ref().map_or("none", |paid| &paid.order));
        }
        async {}
    });
    let app = cluster.start(definition).await;
    let messages = [
        app.publisher().message(TOPIC, &Proto(paid("a"))),
        NewMessage::raw(TOPIC, None),
    ];
    for published in app.publisher().publish_batch(messages).await {
        published.unwrap();
    }
    orders.until(&["a", "none"]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_such_message_is_a_dead_letter_at_once() {
    let (cluster, orders) = (Cluster::new(1), Orders::default());
    let app = cluster
        .start_with(KEEPING, handler().handler(orders.taker()))
        .await;
    // A length that lies, and a tombstone that nobody asked for.
    for payload in [Some("\x0a\x7fa".into()), None] {
        let message = NewMessage::raw(TOPIC, payload).headers(Headers::new());
        app.publisher().publish_batch([message]).await.remove(0).unwrap();
    }
    cluster.until_committed(0, 2).await;
    let letters = cluster.control.messages("dlq").unwrap();
    let chain = |place: usize| {
        let header = letters[place].header("athomic-dlq-error-chain").unwrap();
        String::from_utf8_lossy(header).into_owned()
    };
    assert!(chain(0).contains("in the format `protobuf`"), "{}", chain(0));
    assert!(chain(1).contains("the payload is null"), "{}", chain(1));
    assert!(chain(1).contains("take `Nullable<"), "{}", chain(1));
    assert_eq!(
        letters[0].header("__dlq.errors.delivery.count"),
        Some(b"1".as_slice())
    );
    orders.until(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn values_of_serde_are_not_published_where_protobuf_is_written() {
    let settings = "integration.messaging.payload.topics.t.pipeline = \
        [{ step = 'serializer', settings = { backend = 'protobuf' } }]";
    let (cluster, orders) = (Cluster::new(1), Orders::default());
    let app = cluster
        .start_with(settings, handler().handler(orders.taker()))
        .await;
    let error = app.publisher().publish(TOPIC, &1).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("put it into a `Proto`"), "{error}: {cause}");
    let message = NewMessage::new(TOPIC, Format::Json, &Proto(paid("a")));
    assert!(app.publisher().publish_batch([message]).await.remove(0).is_err());
    app.publisher().publish(TOPIC, &Proto(paid("b"))).await.unwrap();
    orders.until(&["b"]).await;
}

/// Check that an application is refused with this text.
fn check(settings: &str, definition: HandlerDefinition, expected: &str) {
    let built = Cluster::new(1).app(settings).register(definition).build();
    let error = built.expect_err("it is refused").to_string();
    assert!(error.contains(expected), "{error}");
    assert!(error.contains("flow/typed_payloads.rs:"), "{error}");
}

#[test]
fn types_and_formats_that_do_not_fit_stop_the_start() {
    let of_serde = || handler().handler(|_: Value| async {});
    let of_protobuf = || subscribe(TOPIC).group_id(GROUP);
    let pipeline = "[{ step = 'serializer', settings = { backend = 'protobuf' } }]";
    check(
        &format!("integration.messaging.payload.pipeline = {pipeline}"),
        of_serde(),
        "which has no form in the format `protobuf` that it would read; take a `Proto`",
    );
    check(
        "",
        handler()
            .codec(Format::Protobuf)
            .handler(|_: Message<Value>| async {}),
        "which has no form in the format `protobuf`",
    );
    check(
        "",
        of_protobuf()
            .codec(Format::Json)
            .handler(|_: Proto<Paid>| async {}),
        "which is read in `protobuf`, and is told to read `json`; take out `codec`",
    );
    check(
        "",
        handler().handler(|_: Nullable<Avro<Broken>>| async {}),
        "`SCHEMA` is no Avro schema",
    );
    check(
        "",
        handler()
            .codec(Format::Avro)
            .handler(|_: Message<Proto<Paid>>| async {}),
        "which is read in `protobuf`, and is told to read `avro`",
    );
    // A topic that is JSON for others is no hindrance, and neither is its own format said twice.
    let json = "integration.messaging.payload.pipeline = [{ step = 'serializer' }]";
    let definition = of_protobuf()
        .codec(Format::Protobuf)
        .handler(|_: Proto<Paid>| async {});
    Cluster::new(1).app(json).register(definition).build().unwrap();
    let accept = "integration.messaging.payload.pipeline = \
        [{ step = 'serializer', settings = { accept = 'json, protobuf' } }]";
    let built = Cluster::new(1).app(accept).build().unwrap_err().to_string();
    assert!(
        built.contains("`protobuf` is read by types of its own"),
        "{built}"
    );
}
