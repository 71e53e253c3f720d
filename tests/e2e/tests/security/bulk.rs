//! The bulk publisher comes in with a password, by each mechanism that it knows.

use std::collections::BTreeSet;
use std::path::Path;

use athomic::publisher::NewMessage;
use athomic_rig::{Cluster, Listener, Spec, Tool};

use crate::app::{Client, SOON};
use crate::broker::PASSWORD;
use crate::logs;

const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
const MESSAGES: u32 = 100;
/// What is logged when the bulk publisher cannot come in, so that librdkafka publishes in its place.
const LEFT_OUT: &str = "cannot look at topics to publish in bulk";

fn spec(folder: &Path) -> Spec {
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    let plain = format!(
        "org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"{PASSWORD}\";"
    );
    let listener = Listener::new("PASSWORD", "SASL_PLAINTEXT")
        .property("sasl.enabled.mechanisms", MECHANISMS.join(","))
        .property("plain.sasl.jaas.config", plain)
        .property("scram-sha-256.sasl.jaas.config", scram)
        .property("scram-sha-512.sasl.jaas.config", scram);
    MECHANISMS[1..]
        .iter()
        .fold(Spec::new(folder).listener(listener), |spec, mechanism| {
            let user = format!("{mechanism}=[name=alice,password={PASSWORD}]");
            spec.format_argument("--add-scram").format_argument(user)
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn in_bulk_by_each_mechanism_with_a_password() {
    logs::keep();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("security-bulk");
    let Some(cluster) = Cluster::start(spec(&folder)).await else {
        return;
    };
    for mechanism in MECHANISMS {
        let topic = format!("in-bulk.{mechanism}");
        let create = ["--create", "--topic", &topic, "--partitions", "2"];
        let bootstrap = cluster.bootstrap();
        cluster.tools().run(Tool::Topics, &bootstrap, &create).await;
        let client = Client::on(&cluster.bootstrap_of("PASSWORD"), &topic, "sasl_plaintext")
            .sasl(mechanism, "alice", PASSWORD)
            .with("integration.messaging.producer.client", "rskafka");
        let (app, mut orders) = client.build();
        let app = app.start().await.expect("it starts");
        let messages = (0..MESSAGES).map(|order| NewMessage::json(&*topic, &order));
        for result in app.publisher().publish_batch(messages).await {
            result.expect("acknowledged");
        }
        let mut seen = BTreeSet::new();
        while seen.len() < MESSAGES as usize {
            let order = tokio::time::timeout(SOON, orders.recv()).await;
            seen.extend(order.expect("in time"));
        }
        app.stop().await;
    }
    let logged = logs::all();
    assert!(!logged.contains(LEFT_OUT), "librdkafka published in its place");
    cluster.stop().await;
}
