//! What is right connects, publishes and consumes.

use crate::app::Client;
use crate::broker::{PASSWORD, shared};

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_a_private_authority() {
    let Some(broker) = shared().await else { return };
    let topic = broker.topic("tls").await;
    Client::new(broker, "TLS", &topic, "ssl").works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mutual_tls() {
    let Some(broker) = shared().await else { return };
    let topic = broker.topic("mutual").await;
    broker
        .allow("CN=user", &["Read", "Write"], &["--topic", &topic])
        .await;
    broker.allow("CN=user", &["Read"], &["--group", &topic]).await;
    Client::new(broker, "MUTUAL", &topic, "ssl")
        .identity(&broker.user)
        .works()
        .await;
}

async fn sasl(mechanism: &str) {
    let Some(broker) = shared().await else { return };
    let topic = broker.topic(&mechanism.to_lowercase()).await;
    broker
        .allow("alice", &["Read", "Write"], &["--topic", &topic])
        .await;
    broker.allow("alice", &["Read"], &["--group", &topic]).await;
    Client::new(broker, "PASSWORD", &topic, "sasl_ssl")
        .sasl(mechanism, "alice", PASSWORD)
        .works()
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sasl_plain() {
    sasl("PLAIN").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sasl_scram_sha_256() {
    sasl("SCRAM-SHA-256").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sasl_scram_sha_512() {
    sasl("SCRAM-SHA-512").await;
}
