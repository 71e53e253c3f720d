//! Consumes plain events from a queue that a URL names, lets one fail, and shuts down gracefully.
//!
//! ```sh
//! cargo run --example queue
//! cargo run --example queue --features redis -- redis://localhost:6379/orders
//! ```
//!
//! Without a URL it takes `memory://orders`, and no server is needed.

use std::time::Duration;

use athomic::queue::{EventConsumer, LoopConsumer, TopicQueue, load_backend};
use serde_json::{Value, json};

async fn on_event(event: Value) -> Result<(), String> {
    println!("  event {event}");
    match event["order"].as_u64() {
        Some(2) => Err("order 2 cannot be handled".to_owned()),
        _ => Ok(()),
    }
}

#[tokio::main]
async fn main() -> athomic::Result<()> {
    if let Some(url) = std::env::args().nth(1) {
        let consumer = LoopConsumer::new(load_backend(&url)?).group("billing");
        println!("consuming from {url} until Ctrl+C");
        let (ran, _) = tokio::join!(consumer.run(on_event), async {
            let _signal = tokio::signal::ctrl_c().await;
            consumer.shutdown().await;
        });
        return Ok(ran?);
    }
    let queue = TopicQueue::in_memory("orders");
    for order in 1..=3 {
        queue.publish(&json!({ "order": order })).await?;
    }
    let (seen, mut handled) = tokio::sync::mpsc::unbounded_channel();
    let consumer = LoopConsumer::new(queue).group("billing");
    let handler = move |event: Value| {
        let seen = seen.clone();
        async move {
            let result = on_event(event).await;
            let _nobody_waits = seen.send(());
            result
        }
    };
    let (ran, ()) = tokio::join!(consumer.run(handler), async {
        for _ in 0..3 {
            handled.recv().await;
        }
        tokio::time::timeout(Duration::from_secs(5), consumer.shutdown())
            .await
            .expect("nothing is in flight");
    });
    ran?;
    println!("shut down: runs = {}", consumer.is_running());
    Ok(())
}
