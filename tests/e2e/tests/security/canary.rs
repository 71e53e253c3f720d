//! No secret shows: not in a log, however much is logged, and not in an error, a description, or what a
//! process prints.

use std::path::Path;
use std::process::Command;

use athomic::settings::Settings;
use athomic::transport::NewTopic;
use athomic_rig::{Rig, until};

use crate::app::{Client, HANDLER, chain};
use crate::broker::{Broker, PASSWORD, shared};
use crate::logs;
use crate::pki::Identity;

const KEY_PASSWORD: &str = "canary-of-the-key";
/// All secrets of these tests have it in them.
const CANARY: &str = "canary-of-the";
const DEBUG: &str = "integration.messaging.consumer.librdkafka.\"debug\"";

fn assert_hidden(what: &str, text: &str) {
    let lines: Vec<_> = text.lines().filter(|line| line.contains(CANARY)).collect();
    assert!(lines.is_empty(), "{what} shows a secret: {lines:?}");
}

/// Encrypt the key of a certificate.
fn with_password(identity: &Identity) -> Identity {
    let key = identity.key.with_extension("encrypted.key");
    let mut openssl = Command::new("openssl");
    openssl.args([
        "pkcs8",
        "-topk8",
        "-passout",
        &format!("pass:{KEY_PASSWORD}"),
        "-in",
    ]);
    let status = openssl.arg(&identity.key).arg("-out").arg(&key).status();
    assert!(status.expect("openssl is installed").success());
    Identity {
        key,
        ..identity.clone()
    }
}

/// Log all that librdkafka can log.
fn loud(client: Client) -> Client {
    client
        .with(DEBUG, "all")
        .with("integration.messaging.producer.librdkafka.\"debug\"", "all")
}

fn alice(broker: &Broker, mechanism: &str, topic: &str) -> Client {
    loud(Client::new(broker, "PASSWORD", topic, "sasl_ssl")).sasl(mechanism, "alice", PASSWORD)
}

async fn allowed_topic(broker: &Broker, user: &str) -> String {
    let topic = broker.topic("canary").await;
    broker.allow(user, &["Read", "Write"], &["--topic", &topic]).await;
    broker.allow(user, &["Read"], &["--group", &topic]).await;
    topic
}

#[tokio::test(flavor = "multi_thread")]
async fn in_no_log_while_it_works() {
    let Some(broker) = shared().await else { return };
    let topic = allowed_topic(broker, "alice").await;
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        alice(broker, mechanism, &topic).works().await;
    }
    let topic = allowed_topic(broker, "CN=user").await;
    let mutual = loud(Client::new(broker, "MUTUAL", &topic, "ssl"));
    let mutual = mutual
        .identity(&with_password(&broker.user))
        .set("key_password", KEY_PASSWORD);
    mutual.works().await;
    let logged = logs::all();
    assert!(
        logged.contains("SaslHandshakeRequest"),
        "librdkafka says all that it can"
    );
    assert_hidden("the log", &logged);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_no_error_and_no_log_of_a_refusal() {
    let Some(broker) = shared().await else { return };
    let topic = broker.topic("canary").await;
    let wrong = |mechanism| {
        let client = loud(Client::new(broker, "PASSWORD", &topic, "sasl_ssl"));
        client.sasl(mechanism, "alice", "canary-of-the-wrong-password")
    };
    let strange_key = Client::new(broker, "MUTUAL", &topic, "ssl")
        .identity(&with_password(&broker.user))
        .set("key_password", "canary-of-the-wrong-key");
    for client in [wrong("PLAIN"), wrong("SCRAM-SHA-256"), loud(strange_key)] {
        let error = client.fails().await;
        assert!(error.contains(HANDLER) || error.contains("key"), "{error}");
        assert_hidden("the error", &error);
    }
    assert_hidden("the log", &logs::all());
}

#[tokio::test(flavor = "multi_thread")]
async fn in_no_description() {
    let Some(broker) = shared().await else { return };
    let topic = allowed_topic(broker, "alice").await;
    let (app, _orders) = alice(broker, "PLAIN", &topic).build();
    assert_hidden("describe()", &app.describe().to_string());
    assert_hidden("describe() in detail", &format!("{:#?}", app.describe()));
    assert_hidden("the application", &format!("{app:#?}"));
    let app = app.start().await.expect("it starts");
    assert_hidden("the running application", &format!("{app:#?}"));
    assert_hidden("the publisher", &format!("{:#?}", app.publisher()));
    app.stop().await;
}

#[test]
fn in_no_settings() {
    let key = |name: &str| format!("integration.messaging.security.{name}");
    let loader = Settings::loader()
        .environment([("", ""); 0])
        .text("test.toml", "integration.messaging.provider.backend = \"kafka\"")
        .set(key("protocol"), "sasl_ssl")
        .set(key("mechanism"), "PLAIN")
        .set(key("username"), "alice")
        .set(key("password"), PASSWORD);
    assert_hidden("the loader", &format!("{loader:#?}"));
    let wrong = loader.clone().set(key("mechanism"), "NONE");
    assert_hidden("a fault", &chain(&wrong.load().expect_err("no such mechanism")));
    let settings = loader.load().expect("settings").settings;
    assert_eq!(
        settings.messaging.connections["default"]
            .security
            .password
            .as_ref()
            .map(|it| it.expose()),
        Some(PASSWORD)
    );
    assert_hidden("the settings", &format!("{settings:#?}"));
    let explained = settings.explain(&key("password")).expect("a key");
    assert_hidden(
        "explain()",
        &format!("{explained} {explained:?} {:?}", settings.differences()),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn in_nothing_that_a_process_prints() {
    let Some(broker) = shared().await else { return };
    let rig = Rig::on(
        broker.cluster.bootstrap(),
        env!("CARGO_TARGET_TMPDIR"),
        &NewTopic::new("canary", 1),
    )
    .await;
    broker.allow("alice", &["Read"], &["--topic", &rig.topic]).await;
    broker.allow("alice", &["Read"], &["--group", &rig.group]).await;
    rig.produce("a:{\"key\":\"a\",\"seq\":0}\n".to_owned()).await;
    let authority = text(&broker.authority.file());
    let (address, password) = (broker.cluster.bootstrap_of("PASSWORD"), PASSWORD);
    let key = |name: &str| format!("ATHOMIC_INTEGRATION__MESSAGING__{name}");
    let variables = [
        ("E2E_DEBUG".to_owned(), "1"),
        ("E2E_BOOTSTRAP".to_owned(), &*address),
        ("KAFKA_PASSWORD".to_owned(), password),
        (key("SECURITY__PROTOCOL"), "sasl_ssl"),
        (key("SECURITY__MECHANISM"), "SCRAM-SHA-512"),
        (key("SECURITY__USERNAME"), "alice"),
        (key("SECURITY__PASSWORD"), "{ env = \"KAFKA_PASSWORD\" }"),
        (key("SECURITY__CA_FILE"), &authority),
        (key("CONSUMER__LIBRDKAFKA"), "{ debug = \"all\" }"),
    ];
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    let mut worker = rig.worker(env!("CARGO_BIN_EXE_worker"), "canary", "classic", &variables);
    until("it has handled the event", async || {
        worker.journal().iter().any(|note| note.is_end)
    })
    .await;
    worker.terminate().await;
    let printed = worker.log();
    assert!(
        printed.contains("SaslHandshakeRequest"),
        "it says all that it can"
    );
    assert_hidden("the process", &printed);
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
