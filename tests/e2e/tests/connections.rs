//! Named connections on real Kafka: each has its own servers, and one that nobody uses is not needed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use athomic::App;
use athomic::handler::register::subscribe;
use tokio::sync::mpsc::unbounded_channel;

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_consumes_over_the_connection_that_it_names() {
    let Ok(bootstrap) = std::env::var("ATHOMIC_TEST_KAFKA") else {
        println!("skipped: ATHOMIC_TEST_KAFKA is not set; `cargo xtask test` sets it");
        return;
    };
    let unique = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_nanos();
    let topic = format!("e2e.connections.{unique}");
    let (seen, mut orders) = unbounded_channel();
    let handler = subscribe(&*topic)
        .group_id(&*topic)
        .connection_name("analytics")
        .handler(move |order: u32| {
            let seen = seen.clone();
            async move { seen.send(order) }
        });
    let app = App::builder()
        .loader(|loader| {
            loader.text("test.toml", SETTINGS).set(
                "integration.messaging.connections.analytics.consumer.bootstrap_servers",
                vec![bootstrap],
            )
        })
        .without_discovery()
        .register(handler)
        .build()
        .expect("an application");
    let app = app.start().await.expect("the default connection is not used");
    let publisher = app.publisher_for("analytics").expect("the settings have it");
    publisher.publish(&*topic, &42).await.expect("acknowledged");
    let order = tokio::time::timeout(Duration::from_secs(30), orders.recv()).await;
    assert_eq!(order.expect("in time"), Some(42));
    app.stop().await;
}

/// The default connection leads nowhere.
const SETTINGS: &str = r#"
[integration.messaging.provider]
backend = "kafka"

[integration.messaging.consumer]
bootstrap_servers = ["127.0.0.1:1"]

[integration.messaging.topics]
auto_create = "always"
"#;
