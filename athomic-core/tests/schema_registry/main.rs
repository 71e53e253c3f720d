//! Payloads that name their schemas by the ids of a schema registry, through a whole application, against a server
//! that answers as Confluent's does. The clock is not paused: the sockets are real.
#![expect(clippy::unwrap_used, reason = "the lint spares tests, but not what they call")]

mod server;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use athomic_core::app::{App, AppBuilder, RunningApp};
use athomic_core::handler::register::{Subscribe, subscribe};
use athomic_core::message::Partition;
use athomic_core::payload::{Avro, AvroSchema, Payload};
use athomic_core::publisher::NewMessage;
use athomic_core::settings::Settings;
use athomic_core::transport::memory::{BrokerControl, MemoryBroker};
use serde::{Deserialize, Serialize};

use self::server::{Server, Trouble};

const TOPIC: &str = "t";

/// What a shop was paid, as this program reads it.
#[derive(Debug, Serialize, Deserialize)]
struct Paid {
    order: String,
    cents: i64,
    currency: String,
}

impl AvroSchema for Paid {
    const SCHEMA: &'static str = r#"{"type": "record", "name": "Paid", "namespace": "shop", "fields": [
        {"name": "order", "aliases": ["number"], "type": "string"},
        {"name": "cents", "type": "long"},
        {"name": "currency", "type": "string", "default": "EUR"}
    ]}"#;
}

/// An older one: its `int` is promoted, `number` is an alias, and `currency` has its default.
const OLDER: &str = r#"{"type": "record", "name": "Paid", "namespace": "shop", "fields": [
    {"name": "cents", "type": "int"}, {"name": "number", "type": "string"}]}"#;

/// The amount is a text, which no rule makes a number.
const OTHER: &str = r#"{"type": "record", "name": "Paid", "namespace": "shop", "fields": [
    {"name": "order", "type": "string"}, {"name": "cents", "type": "string"}]}"#;

/// What a serializer writes before a payload.
fn prefix(id: u32) -> Vec<u8> {
    [&[0], id.to_be_bytes().as_slice()].concat()
}

/// Text as Avro writes it, up to 63 bytes.
fn text(text: &str) -> Vec<u8> {
    [&[u8::try_from(2 * text.len()).unwrap()], text.as_bytes()].concat()
}

/// 150 as an `int` or a `long` of Avro.
const CENTS: [u8; 2] = [0xac, 0x02];

fn paid(order: &str) -> Vec<u8> {
    [text(order), CENTS.to_vec(), text("USD")].concat()
}

fn paid_once(order: &str) -> Vec<u8> {
    [CENTS.to_vec(), text(order)].concat()
}

fn registered(id: u32, payload: Vec<u8>) -> NewMessage {
    NewMessage::raw(TOPIC, Some([prefix(id), payload].concat().into()))
}

/// Settings with a registry, which try again soon and keep dead letters.
fn settings(urls: &[&str], more: &str) -> String {
    format!(
        "[schema_registry]\nurls = {urls:?}\n{more}\n\
         [integration.messaging.dlq]\nstrategy = 'keep'\ntopic = 'dlq'\nmax_attempts = 2\n\
         [integration.messaging.dlq.retry]\nmin_delay_seconds = 0.05\nmax_delay_seconds = 0.1\n"
    )
}

/// Begin an application, and a topic of so many partitions.
fn app(settings: &str, partitions: u32) -> (AppBuilder, BrokerControl) {
    let broker = MemoryBroker::new();
    let control = broker.control();
    control.create_topic(TOPIC, partitions);
    let loaded = load(settings).expect("the settings are valid");
    (
        App::builder().without_discovery().broker(broker).settings(loaded),
        control,
    )
}

/// Read settings from a text and from nothing else.
fn load(text: &str) -> Result<Settings, String> {
    let none: [(&str, &str); 0] = [];
    let loader = Settings::loader().text("test.toml", text).environment(none);
    loader
        .load()
        .map(|loaded| loaded.settings)
        .map_err(|error| error.to_string())
}

fn handler() -> Subscribe {
    subscribe(TOPIC).group_id("g")
}

/// An application that notes what it was told, by its registry.
struct Shop {
    app: RunningApp,
    control: BrokerControl,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Shop {
    /// Open one that reads payments.
    async fn open(settings: &str) -> Self {
        let told = |Avro(paid): Avro<Paid>| format!("{} {} {}", paid.order, paid.cents, paid.currency);
        Self::taking(settings, 1, told).await
    }

    async fn taking<P: Payload + Sync>(settings: &str, partitions: u32, told: fn(P) -> String) -> Self {
        let (app, control) = app(settings, partitions);
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&seen);
        let handler = handler().handler(move |payload: P| {
            noted.lock().unwrap().push(told(payload));
            async {}
        });
        let app = app.register(handler).build().unwrap().start().await.unwrap();
        Self { app, control, seen }
    }

    async fn publish(&self, messages: impl IntoIterator<Item = NewMessage>) {
        for published in self.app.publisher().publish_batch(messages).await {
            published.unwrap();
        }
    }

    fn committed(&self, partition: Partition) -> Option<i64> {
        let committed = self.control.committed("g");
        let mut committed = committed
            .iter()
            .filter(|commit| commit.partition.partition == partition);
        committed.next().map(|commit| commit.offset)
    }

    /// Wait until so many messages are done with, and return what the handler was told.
    async fn after(&self, messages: i64) -> Vec<String> {
        until("messages are committed", || self.committed(0) == Some(messages)).await;
        self.seen.lock().unwrap().clone()
    }

    /// Return the causes of the dead letters.
    fn letters(&self) -> Vec<String> {
        let letters = self.control.messages("dlq").unwrap_or_default();
        let cause = |header: &[u8]| String::from_utf8_lossy(header).into_owned();
        letters
            .iter()
            .map(|letter| cause(letter.header("athomic-dlq-error-chain").unwrap()))
            .collect()
    }
}

/// Wait for a condition, in real time.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "waited in vain for {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_payload_is_read_by_the_schema_that_it_names() {
    let server = Server::start().await;
    server.add_avro(7, "t-value", Paid::SCHEMA);
    server.add_avro(70_000, "t-value", OLDER);
    let shop = Shop::open(&settings(&[&format!("{}/", server.url)], "")).await;
    shop.publish([
        registered(7, paid("a")),
        registered(70_000, paid_once("b")),
        registered(7, paid("c")),
    ])
    .await;
    assert_eq!(shop.after(3).await, ["a 150 USD", "b 150 EUR", "c 150 USD"]);
    for id in ["7", "70000"] {
        assert_eq!(server.asked(&format!("/schemas/ids/{id}")), 1, "it is kept");
    }
}

#[tokio::test]
async fn a_schema_may_be_named_in_a_header_and_refer_to_others() {
    const GUID: &str = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6";
    let server = Server::start().await;
    let order = r#"{"type": "record", "name": "Order", "namespace": "shop", "fields": [
        {"name": "id", "type": "string"}]}"#;
    server.add_avro(1, "a/order", order);
    let schema = r#"{"type": "record", "name": "Paid", "namespace": "shop", "fields": [
        {"name": "of", "type": "Order"}, {"name": "order", "type": "string"}, {"name": "cents", "type": "long"}]}"#;
    let references = serde_json::json!([{"name": "shop.Order", "subject": "a/order", "version": 1}]);
    let body = serde_json::json!({"schemaType": "AVRO", "schema": schema, "references": references});
    server.add(2, "t-value", body);
    server.name(GUID, 2);
    let shop = Shop::open(&settings(&[&server.url], "")).await;
    let payload = [text("o"), text("a"), CENTS.to_vec()].concat();
    let guid = [vec![1], uuid(GUID).to_vec()].concat();
    let message = NewMessage::raw(TOPIC, Some(payload.clone().into())).header("__value_schema_id", guid);
    shop.publish([message, registered(2, payload)]).await;
    assert_eq!(shop.after(2).await, ["a 150 EUR", "a 150 EUR"]);
    assert_eq!(
        server.asked("/subjects/a%2Forder/versions/1"),
        2,
        "once for each name"
    );
}

/// Read a GUID as bytes.
fn uuid(text: &str) -> [u8; 16] {
    u128::from_str_radix(&text.replace('-', ""), 16)
        .unwrap()
        .to_be_bytes()
}

#[tokio::test]
async fn what_no_schema_reads_is_a_dead_letter_that_says_why() {
    let server = Server::start().await;
    server.add_avro(3, "t-value", OTHER);
    server.add(
        4,
        "t-value",
        serde_json::json!({"schemaType": "PROTOBUF", "schema": "syntax = \"proto3\";"}),
    );
    server.add_avro(5, "t-value", "{}");
    let missing = serde_json::json!([{"name": "x", "subject": "gone", "version": 1}]);
    server.add(
        6,
        "t-value",
        serde_json::json!({"schema": "\"shop.Gone\"", "references": missing}),
    );
    server.add_avro(7, "t-value", Paid::SCHEMA);
    let shop = Shop::open(&settings(&[&server.url], "")).await;
    let odd = NewMessage::raw(TOPIC, Some(paid("x").into())).header("__value_schema_id", "7");
    shop.publish([
        registered(3, paid("x")),
        registered(4, paid("x")),
        registered(5, paid("x")),
        registered(6, paid("x")),
        registered(99, paid("x")),
        registered(99, paid("x")),
        NewMessage::raw(TOPIC, Some(vec![0, 0, 7].into())),
        odd,
        registered(7, vec![1; 30]),
        registered(7, paid("last")),
    ])
    .await;
    assert_eq!(shop.after(10).await, ["last 150 USD"]);
    let letters = shop.letters();
    let expected = [
        "written by schema 3 (subject `t-value`): the field `cents` is `string` in it, and `long` in the type",
        "schema 4 (subject `t-value`) is not one of Avro",
        "schema 5 cannot be used",
        "the schema registry has no version 1 of the subject `gone`, to which schema 6 refers",
        "the schema registry has no schema 99",
        "the schema registry has no schema 99",
        "ends within its schema's id",
        "the header `__value_schema_id` has 1 bytes that name no schema of avro",
        "written by schema 7 (subject `t-value`): a length is negative",
    ];
    assert_eq!(letters.len(), expected.len(), "{letters:#?}");
    for (letter, expected) in letters.iter().zip(expected) {
        assert!(letter.contains(expected), "{letter}\nhas not\n{expected}");
    }
    assert_eq!(
        server.asked("/schemas/ids/99"),
        1,
        "that it is not there is kept too"
    );
}

#[tokio::test]
async fn while_the_registry_cannot_be_asked_messages_wait_and_none_is_given_up() {
    let server = Server::start().await;
    server.add_avro(7, "t-value", Paid::SCHEMA);
    let shop = Shop::open(&settings(&[&server.url], "timeout_ms = 200")).await;
    let troubles = [
        Trouble::Status(503),
        Trouble::Status(404),
        Trouble::Status(200),
        Trouble::Cut,
        Trouble::Silence,
    ];
    server.trouble(troubles[0]);
    shop.publish([registered(7, paid("a"))]).await;
    for trouble in troubles {
        server.trouble(trouble);
        let before = server.asked("/schemas/ids/7");
        until("it is asked again", || server.asked("/schemas/ids/7") > before).await;
        assert_eq!(
            (shop.letters().len(), shop.committed(0)),
            (0, None),
            "{trouble:?}"
        );
    }
    server.trouble(None);
    assert_eq!(shop.after(1).await, ["a 150 USD"]);
    assert_eq!(shop.letters(), [""; 0]);
}

#[tokio::test]
async fn many_messages_of_a_schema_ask_for_it_once() {
    let server = Server::start().await;
    server.add_avro(7, "t-value", Paid::SCHEMA);
    server.slow(Duration::from_millis(200));
    let shop = Shop::taking(&settings(&[&server.url], ""), 8, |_: Avro<Paid>| String::new()).await;
    shop.publish((0..80).map(|number| registered(7, paid("a")).partition(number % 8)))
        .await;
    for partition in 0..8 {
        until("all are handled", || shop.committed(partition) == Some(10)).await;
    }
    assert_eq!(server.asked("/schemas/ids/7"), 1);
}

#[tokio::test]
async fn a_server_that_is_away_is_passed_over_and_the_login_is_sent() {
    let (away, server) = (Server::start().await, Server::start().await);
    server.add_avro(7, "t-value", Paid::SCHEMA);
    server.lock("Basic c2hvcDpjYW5hcnk=");
    away.trouble(Trouble::Status(500));
    let login = "username = 'shop'\npassword = 'canary'";
    let shop = Shop::open(&settings(&[&away.url, &server.url], login)).await;
    shop.publish([registered(7, paid("a"))]).await;
    assert_eq!(shop.after(1).await, ["a 150 USD"]);
    let tokened = Shop::open(&settings(&[&server.url], "token = 'wrong'")).await;
    tokened.publish([registered(7, paid("a"))]).await;
    until("the token is sent", || {
        let login = Some("Bearer wrong".to_owned());
        server
            .questions()
            .iter()
            .filter(|question| question.login == login)
            .count()
            >= 3
    })
    .await;
    assert_eq!((tokened.letters().len(), tokened.committed(0)), (0, None));
}

#[tokio::test]
async fn what_names_no_schema_is_read_as_without_a_registry() {
    let server = Server::start().await;
    let shop = Shop::open(&settings(&[&server.url], "")).await;
    let paid = Paid {
        order: "a".to_owned(),
        cents: 150,
        currency: "USD".to_owned(),
    };
    shop.app.publisher().publish(TOPIC, &Avro(paid)).await.unwrap();
    assert_eq!(shop.after(1).await, ["a 150 USD"]);
    let numbers = Shop::taking(&settings(&[&server.url], ""), 1, |number: u32| number.to_string()).await;
    numbers
        .publish([
            registered(7, b"17".to_vec()),
            NewMessage::raw(TOPIC, Some("18".into())),
        ])
        .await;
    assert_eq!(numbers.after(2).await, ["17", "18"]);
    assert_eq!(server.asked("/schemas/ids/7"), 0, "JSON needs no schema");
}

/// A refund, as `prost` makes it of the second message of [`FILE`].
#[cfg(feature = "protobuf")]
#[derive(Clone, PartialEq, prost::Message)]
struct Refund {
    #[prost(string, tag = "1")]
    order: String,
}

#[cfg(feature = "protobuf")]
const FILE: &str = "syntax = \"proto3\"; message Paid { message Refund { string order = 1; } } \
                    message refund { string order = 1; }";

#[cfg(feature = "protobuf")]
#[tokio::test]
async fn a_protobuf_message_is_read_if_it_is_the_one_that_the_handler_takes() {
    use athomic_core::payload::Proto;
    use prost::Message as _;

    let server = Server::start().await;
    server.add(
        7,
        "t-value",
        serde_json::json!({"schemaType": "PROTOBUF", "schema": FILE}),
    );
    server.add_avro(8, "t-value", Paid::SCHEMA);
    let told = |refund: Proto<Refund>| refund.0.order;
    let shop = Shop::taking(&settings(&[&server.url], ""), 1, told).await;
    let of = |order: &str| {
        Refund {
            order: order.to_owned(),
        }
        .encode_to_vec()
    };
    let indexed = |id, indexes: &[u8], order| registered(id, [indexes, &of(order)].concat());
    shop.publish([
        indexed(7, &[2, 2], "second"),
        indexed(7, &[4, 0, 0], "within"),
        indexed(7, &[0], "first"),
        indexed(7, &[2, 6], "none"),
        indexed(7, &[0x80], "cut"),
        indexed(8, &[2, 2], "avro"),
        NewMessage::raw(TOPIC, Some(of("plain").into())),
    ])
    .await;
    assert_eq!(shop.after(7).await, ["second", "within", "plain"]);
    let letters = shop.letters();
    let expected = [
        "schema 7 (subject `t-value`) cannot be used: its message [0] is called `Paid`, and the handler takes a \
         `schema_registry::Refund`",
        "schema 7 (subject `t-value`) cannot be used: it has no message [3]",
        "schema 7 is followed by no indexes of a message",
        "schema 8 (subject `t-value`) cannot be used: it is not one of Protocol Buffers",
    ];
    assert_eq!(letters.len(), expected.len(), "{letters:#?}");
    for (letter, expected) in letters.iter().zip(expected) {
        assert!(letter.contains(expected), "{letter}\nhas not\n{expected}");
    }
}

#[test]
fn what_is_written_is_meant_and_no_secret_is_shown() {
    let settings = load(
        "[schema_registry]\nurls = ['http://a:1', 'https://b/c']\nusername = 'u'\npassword = 'canary'\n\
         ca_file = 'ca.pem'\ntimeout_ms = 9\ncache_size = 7",
    )
    .unwrap();
    let registry = &settings.schema_registry;
    assert_eq!(registry.urls, ["http://a:1", "https://b/c"]);
    let user = registry
        .user
        .as_ref()
        .map(|(user, password)| (user.as_str(), password.expose()));
    assert_eq!(user, Some(("u", "canary")));
    assert_eq!(registry.ca_file, Some("ca.pem".into()));
    assert_eq!(registry.timeout, Duration::from_millis(9));
    assert_eq!(registry.cache_size.get(), 7);
    let explained = settings.explain("schema_registry.password").unwrap();
    assert_eq!(explained.value.as_deref(), Some("\"***\""));
    let shown = format!("{settings:?} {:?}", settings.differences());
    assert!(!shown.contains("canary"), "{shown}");
}

#[test]
fn a_login_or_an_address_that_cannot_be_meant_is_refused() {
    let check = |text: &str, expected: &str| {
        let error = load(&format!("[schema_registry]\n{text}")).unwrap_err();
        assert!(error.contains(expected), "{error}\nhas not\n{expected}");
        assert!(!error.contains("canary"), "{error}");
    };
    check(
        "urls = ['http://a', 'ftp://b']",
        "item 2 is no URL of `http` or `https`",
    );
    check("urls = ['localhost:8081']", "item 1 is no URL, such as");
    check("urls = ['http://u:canary@b']", "use `schema_registry.username`");
    check("username = 'u'", "set `schema_registry.password` too");
    check("password = 'canary'", "set `schema_registry.username` too");
    check(
        "username = 'u'\npassword = 'canary'\ntoken = 'canary'",
        "there is a user as well",
    );
}

#[test]
fn certificates_that_are_not_there_stop_the_start() {
    let settings = settings(&["https://localhost"], "ca_file = '/no/such/file.pem'");
    let app = app(&settings, 1).0.build();
    let error = app.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(
        error.contains("`schema_registry.ca_file`: `/no/such/file.pem`"),
        "{error}"
    );
}
