//! Publishes payments, some of them twice, lets the first attempt at one fail, and shows that each is booked once.
//!
//! ```sh
//! cargo run --example idempotent
//! RUST_LOG=athomic_core=debug cargo run --example idempotent    # with a line for each duplicate
//! ```
//!
//! No server is needed; with `resilience.idempotency.kvstore.provider.backend = "redis"` and the feature `redis` the
//! same holds over all instances, and after a restart.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use athomic::App;
use athomic::message::MESSAGE_ID;
use athomic::prelude::*;
use tracing_subscriber::EnvFilter;

const TOPIC: &str = "payments.v1";

#[derive(Debug, Serialize, Deserialize)]
struct Payment {
    payment_id: String,
    cents: u64,
}

/// What was booked: payment → how often.
#[derive(Debug, Clone, Default)]
struct Ledger(Arc<Mutex<BTreeMap<String, u32>>>);

/// The same payment is the same message, however often it is sent.
fn payment_key(payment: &Payment) -> String {
    payment.payment_id.clone()
}

/// Called once for each payment, by its name in the payload.
#[subscribe_to(
    topic = TOPIC,
    group_id = "ledger",
    handler_id = "book",
    concurrency = 4,
    idempotency_settings(ttl = "24h", lock_timeout = "10s"),
    idempotency_key_resolver = payment_key,
)]
async fn book(payment: Payment, meta: Meta, State(ledger): State<Ledger>) -> Result<(), HandlerError> {
    if payment.payment_id == "p3" && meta.attempt() == 1 {
        println!("  {}: the ledger is busy, to be tried again", payment.payment_id);
        return Err(HandlerError::retry_after("busy", Duration::from_millis(50)));
    }
    println!("  {}: {} cents booked", payment.payment_id, payment.cents);
    let mut booked = ledger.0.lock().expect("nobody panics with it");
    *booked.entry(payment.payment_id).or_default() += 1;
    Ok(())
}

/// Called once for each message, by the header that names it.
#[subscribe_to(
    topic = TOPIC,
    group_id = "receipts",
    handler_id = "receipt",
    idempotency_settings(ttl = "24h")
)]
async fn receipt(payment: Payment) {
    println!("  {}: receipt sent", payment.payment_id);
}

#[tokio::main]
async fn main() -> athomic::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let ledger = Ledger::default();
    let app = App::builder()
        .settings(athomic::settings::Settings::default())
        .state(ledger.clone())
        .build()?;
    let app = app.start().await?;
    let publisher = app.publisher();
    // p2 is sent again by a sender that got no answer, p1 by one who lost track of what it had sent.
    let sent = [
        ("p1", "m1"),
        ("p2", "m2"),
        ("p2", "m2"),
        ("p3", "m3"),
        ("p1", "m4"),
    ];
    for (payment_id, message_id) in sent {
        let payment = Payment {
            payment_id: payment_id.to_owned(),
            cents: 1200,
        };
        let publish = publisher.publish(TOPIC, &payment).header(MESSAGE_ID, message_id);
        publish.await?;
    }
    let monitor = app.idempotency();
    loop {
        let counts = monitor.counts();
        let seen = |id: &str| counts[id].confirmed + counts[id].duplicates;
        if seen("book") == 5 && seen("receipt") == 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    app.stop().await;
    for (handler, counts) in monitor.counts() {
        println!(
            "{handler:<8} {} handled, {} duplicates",
            counts.confirmed, counts.duplicates
        );
    }
    for (payment, times) in ledger.0.lock().expect("nobody panics with it").iter() {
        println!("{payment} booked {times} time");
    }
    Ok(())
}
