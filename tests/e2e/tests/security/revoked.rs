//! What is taken away while the application runs is waited for, without a flood of words.

use athomic_rig::within;

use crate::app::{Client, SOON, publish};
use crate::broker::{PASSWORD, shared};
use crate::logs;

/// Warnings and errors about a topic; librdkafka's own lines name none, and are bounded by itself.
fn complaints(topic: &str) -> usize {
    let about = |line: &&str| line.contains(topic) && (line.contains(" WARN ") || line.contains(" ERROR "));
    logs::all().lines().filter(about).count()
}

async fn a_right_that_comes_back(protocol: &str) {
    let Some(broker) = shared().await else { return };
    let topic = broker.topic("revoked").await;
    let rights: [(&[&str], [&str; 2]); 2] = [
        (&["Read", "Write"], ["--topic", &topic]),
        (&["Read"], ["--group", &topic]),
    ];
    for (operations, resource) in &rights {
        broker.allow("alice", operations, resource).await;
    }
    let client = Client::new(broker, "PASSWORD", &topic, "sasl_ssl")
        .sasl("PLAIN", "alice", PASSWORD)
        .with("integration.messaging.consumer.group_protocol", protocol);
    let (app, mut orders) = client.build();
    let app = app.start().await.expect("it starts");
    publish(&app, &topic, 1).await;
    assert_eq!(
        tokio::time::timeout(SOON, orders.recv()).await.expect("in time"),
        Some(1)
    );

    // What is not committed by then comes again later.
    within(SOON, "it is committed", async || {
        broker.has_committed(&topic).await
    })
    .await;
    broker.forbid("alice", &["Read"], &["--topic", &topic]).await;
    broker.forbid("alice", &["Read"], &["--group", &topic]).await;
    within(SOON, "the refusal is reported", async || complaints(&topic) > 0).await;
    publish(&app, &topic, 2).await;
    tokio::time::timeout(QUIET, orders.recv())
        .await
        .expect_err("nobody may read");
    let lines = complaints(&topic);
    assert!(lines <= 30, "{lines} lines");

    broker.allow("alice", &["Read"], &["--topic", &topic]).await;
    broker.allow("alice", &["Read"], &["--group", &topic]).await;
    let next = tokio::time::timeout(LATER, orders.recv()).await;
    assert_eq!(next.expect("it goes on by itself"), Some(2));
    app.stop().await;
    println!("{protocol}: {lines} lines in {QUIET:?} without rights");
}

/// How long the refusal is watched for.
const QUIET: std::time::Duration = std::time::Duration::from_secs(12);
/// The longest wait before a consumer joins again, and some time to do it.
const LATER: std::time::Duration = std::time::Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_comes_back_with_the_classic_protocol() {
    a_right_that_comes_back("classic").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_comes_back_with_the_consumer_protocol() {
    a_right_that_comes_back("consumer").await;
}
