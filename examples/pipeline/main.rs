//! Sends orders through every step of a payload pipeline, and shows what stands in the record beside what the handler is
//! given: MessagePack, compressed by zstd, encrypted, and kept beside the log if it is still large.
//!
//! ```sh
//! cargo run --example pipeline --features msgpack,zstd,crypto,claim-check
//! ```
//!
//! No server is needed. Neither the handler nor the call of `publish` says a word of the steps: they are in
//! `settings.toml` beside this file.

use std::sync::Arc;

use athomic::App;
use athomic::payload::PIPELINE;
use athomic::prelude::*;
use tokio::sync::Semaphore;

const TOPIC: &str = "orders.v1";

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    id: String,
    note: String,
}

/// `RawMessage` is the record as it stands in the topic.
#[subscribe_to(topic = TOPIC, group_id = "shop", handler_id = "on_order", encrypted = true)]
async fn on_order(order: Order, record: RawMessage, State(done): State<Arc<Semaphore>>) {
    let bytes = record.payload().unwrap_or_default();
    let steps = record.header(PIPELINE).unwrap_or_default();
    let readable = bytes.windows(5).any(|part| part == b"heavy");
    println!(
        "  {}: a note of {} bytes, in the record {} bytes ({}), readable: {readable}",
        order.id,
        order.note.len(),
        bytes.len(),
        String::from_utf8_lossy(steps),
    );
    done.add_permits(1);
}

/// Make text that no compression makes small.
fn noise(length: usize) -> String {
    let mut number = 1_u64;
    let digits = std::iter::repeat_with(|| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("{:04x}", number >> 48)
    });
    digits.take(length / 4).collect()
}

#[tokio::main]
async fn main() -> athomic::Result<()> {
    let done = Arc::new(Semaphore::new(0));
    let app = App::builder()
        .settings_file(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/examples/pipeline/settings.toml"
        ))
        .state(Arc::clone(&done))
        .build()?;
    let app = app.start().await?;

    println!("orders come");
    let notes = [
        ("small", "heavy".to_owned()),
        ("repeated", "heavy ".repeat(1000)),
        ("large", noise(40_000)),
    ];
    for (id, note) in notes {
        let order = Order {
            id: id.to_owned(),
            note,
        };
        app.publisher()
            .publish(TOPIC, &order)
            .key(order.id.clone())
            .await?;
        // One after the other, so that they are shown in this order.
        done.acquire().await?.forget();
    }
    app.stop().await;
    println!("stopped");
    Ok(())
}
