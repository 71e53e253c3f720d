//! What is wrong ends the application soon after its start, with an error that names the connection,
//! the handler, what was refused, and what to do.

use crate::app::{Client, HANDLER};
use crate::broker::{Broker, PASSWORD, shared};
use crate::logs;

async fn topic(broker: &Broker) -> String {
    broker.topic("refused").await
}

/// The application ends with all of these words in its error.
async fn refused(client: Client, words: &[&str]) {
    let error = client.fails().await;
    for word in words.iter().chain([&"`default`", &HANDLER]) {
        assert!(
            error.contains(word),
            "`{word}` is not in: {error}\n{}",
            logs::of_the_client()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password() {
    let Some(broker) = shared().await else { return };
    let topic = topic(broker).await;
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let client = Client::new(broker, "PASSWORD", &topic, "sasl_ssl");
        refused(
            client.sasl(mechanism, "alice", "wrong"),
            &["check `security.mechanism`, `security.username` and `security.password`"],
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_whose_certificate_is_not_trusted() {
    let Some(broker) = shared().await else { return };
    let topic = topic(broker).await;
    let wrong_authority = Client::new(broker, "TLS", &topic, "ssl").file("ca_file", &broker.stranger.file());
    let expired = Client::new(broker, "OUTDATED", &topic, "ssl");
    let wrong_host = Client::new(broker, "ELSEWHERE", &topic, "ssl");
    refused(
        wrong_authority,
        &["is of an authority that is not known here", "`security.ca_file`"],
    )
    .await;
    refused(expired, &["the broker's certificate has expired"]).await;
    refused(wrong_host, &["is for another host", "`bootstrap_servers`"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_ours_that_the_broker_does_not_take() {
    let Some(broker) = shared().await else { return };
    let topic = topic(broker).await;
    let none = Client::new(broker, "MUTUAL", &topic, "ssl");
    let expired = Client::new(broker, "MUTUAL", &topic, "ssl").identity(&broker.expired);
    let strange = Client::new(broker, "MUTUAL", &topic, "ssl").identity(&broker.stranger.issue("user", &[]));
    for client in [none, expired, strange] {
        refused(client, &["`security.certificate_file`"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_speaks_something_else() {
    let Some(broker) = shared().await else { return };
    let topic = topic(broker).await;
    let no_tls = Client::on(&broker.cluster.bootstrap(), &topic, "ssl");
    refused(no_tls, &["connecting to a PLAINTEXT broker listener?"]).await;
    let mechanism = Client::new(broker, "TOKEN", &topic, "sasl_ssl").sasl("PLAIN", "alice", PASSWORD);
    refused(mechanism, &["`security.mechanism`"]).await;
}

fn alice(broker: &Broker, topic: &str, protocol: &str) -> Client {
    Client::new(broker, "PASSWORD", topic, "sasl_ssl")
        .sasl("PLAIN", "alice", PASSWORD)
        .with("integration.messaging.consumer.group_protocol", protocol)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_the_user_may_not_see() {
    let Some(broker) = shared().await else { return };
    let topic = topic(broker).await;
    let right = format!("its user needs `Read` on topic `{topic}`");
    refused(alice(broker, &topic, "classic"), &[&right]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_the_user_may_see_and_not_read() {
    let Some(broker) = shared().await else { return };
    let topic = topic(broker).await;
    broker.allow("alice", &["Describe"], &["--topic", &topic]).await;
    broker.allow("alice", &["Read"], &["--group", &topic]).await;
    let right = format!("its user needs `Read` on topic `{topic}`");
    for protocol in ["classic", "consumer"] {
        refused(alice(broker, &topic, protocol), &[&right]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_the_user_may_not_join() {
    let Some(broker) = shared().await else { return };
    let topic = topic(broker).await;
    broker.allow("alice", &["Read"], &["--topic", &topic]).await;
    let right = format!("its user needs `Read` on group `{topic}`");
    for protocol in ["classic", "consumer"] {
        refused(alice(broker, &topic, protocol), &[&right]).await;
    }
    broker.allow("alice", &["Describe"], &["--group", &topic]).await;
    for protocol in ["classic", "consumer"] {
        refused(alice(broker, &topic, protocol), &[&right]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_the_user_may_not_create() {
    let Some(broker) = shared().await else { return };
    let topic = athomic_rig::unique("uncreated");
    broker.allow("alice", &["Describe"], &["--topic", &topic]).await;
    let client = alice(broker, &topic, "classic").with("integration.messaging.topics.auto_create", "always");
    refused(
        client,
        &["its user needs `Create` on the cluster or on the topics"],
    )
    .await;
}
