//! Publishes a dozen orders, consumes them one by one and in batches, prints what happened, and ends.
//!
//! ```sh
//! cargo run --example quickstart
//! RUST_LOG=info cargo run --example quickstart    # with what athomic logs
//! ```
//!
//! No server is needed: with `backend = "memory"` athomic runs its embedded broker.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use athomic::App;
use athomic::prelude::*;
use athomic::transport::memory::MemoryBroker;
use tokio::sync::Semaphore;
use tracing_subscriber::EnvFilter;

const TOPIC: &str = "orders.v1";
const ORDERS: u32 = 12;

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    id: u32,
    customer: String,
    cents: u32,
}

/// Counts what the handlers have done: one permit for each order and handler.
#[derive(Debug, Clone)]
struct Done(Arc<Semaphore>);

/// Called for each order. Up to four orders run at once; those of one customer run in order.
#[subscribe_to(topic = TOPIC, group_id = "billing", concurrency = 4)]
async fn bill(order: Order, meta: Meta, State(done): State<Done>) -> Result<(), HandlerError> {
    let Order { id, customer, cents } = &order;
    if *id == 5 && meta.attempt() == 1 {
        println!("  billing     order {id}: the bank is busy, to be tried again");
        return Err(HandlerError::retry_after(
            "the bank is busy",
            Duration::from_millis(50),
        ));
    }
    done.0.add_permits(1);
    if *cents == 0 {
        println!("  billing     order {id}: nothing to bill, to the dead letters");
        return Err(HandlerError::dead_letter("nothing to bill"));
    }
    let (partition, offset, attempt) = (meta.partition(), meta.offset(), meta.attempt());
    println!(
        "  billing     order {id}: {customer} pays {cents} (partition {partition}, offset {offset}, attempt {attempt})"
    );
    Ok(())
}

/// Called with up to four orders of a partition, or with what came within a tenth of a second.
#[subscribe_to(topic = TOPIC, group_id = "statistics", batch_size = 4, max_batch_linger_ms = 100)]
async fn add_up(orders: Vec<Order>, State(done): State<Done>) {
    let total: u32 = orders.iter().map(|order| order.cents).sum();
    println!("  statistics  {} orders together: {total}", orders.len());
    done.0.add_permits(orders.len());
}

#[tokio::main]
async fn main() -> athomic::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();

    let done = Done(Arc::new(Semaphore::new(0)));
    let app = App::builder()
        .settings_file(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/examples/quickstart/settings.toml"
        ))
        .state(done.clone())
        .build()?;
    println!("{}", app.describe());

    let embedded = (app.describe().backend == "memory").then(|| app.broker().clone());
    let publisher = app.publisher();
    app.run_until(async {
        match publish(&publisher).await {
            Ok(()) => drop(done.0.acquire_many(2 * ORDERS).await),
            Err(error) => println!("  publishing failed: {error}"),
        }
    })
    .await?;

    println!("stopped: what was in flight is drained, and the offsets are committed");
    if let Some(broker) = embedded {
        for group in ["billing", "statistics"] {
            println!(
                "  {group:<11} committed {} of {ORDERS}",
                committed(&broker, group)
            );
        }
    }
    Ok(())
}

/// Publish the orders of three customers. Each is acknowledged by the broker.
async fn publish(publisher: &Publisher) -> Result<(), athomic::publisher::PublishError> {
    println!("  publishing  {ORDERS} orders to {TOPIC}");
    for id in 1..=ORDERS {
        let customer = ["ann", "ben", "cid"][id as usize % 3].to_owned();
        let cents = if id == 9 { 0 } else { id * 100 };
        let order = Order { id, customer, cents };
        publisher
            .publish(TOPIC, &order)
            .key(order.customer.clone())
            .await?;
    }
    Ok(())
}

/// Look up how many messages a group has committed, on the embedded broker.
fn committed(broker: &MemoryBroker, group: &str) -> i64 {
    let commits = broker.control().committed(group);
    commits.iter().map(|commit| commit.offset).sum()
}
