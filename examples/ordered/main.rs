//! Publishes the events of a few orders shuffled over the partitions of a topic, and shows how they
//! arrive, how they wait, and how they are processed: in the order of each order.
//!
//! ```sh
//! cargo run --example ordered
//! ```
//!
//! The same on real Kafka and Redis, by settings alone (`[servers]` in settings.toml):
//!
//! ```sh
//! ATHOMIC_ENV=servers cargo run --example ordered --features kafka,redis
//! ```

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use athomic::App;
use athomic::ordering::OrderedScope;
use athomic::prelude::*;
use tokio::sync::Semaphore;
use tracing_subscriber::EnvFilter;

const TOPIC: &str = "order.events.v1";
const HANDLER: &str = "ordered::on_order";
/// What happens to each order, in this order.
const EVENTS: [&str; 5] = ["placed", "paid", "packed", "shipped", "delivered"];
/// In which order the events of each order are published: those of `b` in reverse.
const SHUFFLED: [(&str, [u64; 5]); 3] = [
    ("a", [3, 2, 5, 4, 1]),
    ("b", [5, 4, 3, 2, 1]),
    ("c", [2, 3, 4, 5, 1]),
];

#[derive(Debug, Serialize, Deserialize)]
struct OrderEvent {
    order_id: String,
    event_sequence: u64,
    what: String,
}

/// Events of orders, each with the token under which it was processed.
type Events = BTreeMap<String, Vec<(OrderEvent, FencingToken)>>;

/// What the handler did, and one permit for each time it did something.
#[derive(Debug, Clone, Default)]
struct Processed {
    events: Arc<Mutex<Events>>,
    done: Arc<Counted>,
}

#[derive(Debug)]
struct Counted(Semaphore);

impl Default for Counted {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

/// Called for the events of an order one by one, by their sequence, wherever they arrive. The token rises
/// whenever an order changes hands: a database can refuse who comes too late (`WHERE fence <= :token`).
#[ordered_consumer(
    topic = TOPIC,
    group_id = "shop",
    aggregate_key_field = "order_id",
    sequence_id_field = "event_sequence"
)]
async fn on_order(
    event: OrderEvent,
    token: FencingToken,
    State(processed): State<Processed>,
) -> Result<(), HandlerError> {
    let mut events = processed
        .events
        .lock()
        .map_err(|_| HandlerError::retry("poisoned"))?;
    events
        .entry(event.order_id.clone())
        .or_default()
        .push((event, token));
    drop(events);
    processed.done.0.add_permits(1);
    Ok(())
}

#[tokio::main]
async fn main() -> athomic::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();

    let processed = Processed::default();
    let app = App::builder()
        .settings_file(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/examples/ordered/settings.toml"
        ))
        .state(processed.clone())
        .build()?;
    println!("{}", app.describe());
    let app = app.start().await?;
    let (publisher, orders) = (
        app.publisher(),
        app.ordering().handler(HANDLER).expect("it is registered"),
    );

    // Servers remember what was run before: each run has orders of its own.
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() % 100_000;
    let names = SHUFFLED.map(|(order, _)| format!("{order}-{run}"));

    println!("publishing all but the first event of each order, each to another partition");
    for place in 0..EVENTS.len() - 1 {
        for (name, (_, shuffled)) in names.iter().zip(SHUFFLED) {
            publish(&publisher, name, shuffled[place]).await?;
        }
    }
    for name in &names {
        let waiting = until_waiting(&orders, name, EVENTS.len() - 1).await?;
        println!("  order {name} waits for event 1:   {waiting}");
    }

    println!("publishing event 1 of each order");
    for name in &names {
        publish(&publisher, name, 1).await?;
    }
    let all = u32::try_from(names.len() * EVENTS.len())?;
    drop(processed.done.0.acquire_many(all).await?);

    app.stop().await;
    println!("{:<12}{:<18}{:<18}", "order", "arrived", "processed");
    let events = processed.events.lock().expect("no handler panicked");
    for (name, (_, shuffled)) in names.iter().zip(SHUFFLED) {
        let order = &events[name];
        let sequences: Vec<u64> = order.iter().map(|(event, _)| event.event_sequence).collect();
        let what: Vec<&str> = order.iter().map(|(event, _)| event.what.as_str()).collect();
        println!(
            "{name:<12}{:<18}{:<18}{}",
            joined(&shuffled),
            joined(&sequences),
            what.join(", ")
        );
    }
    println!("stopped: all is committed, nothing waits");
    Ok(())
}

async fn publish(publisher: &Publisher, order: &str, sequence: u64) -> athomic::Result<()> {
    let what = EVENTS[usize::try_from(sequence - 1)?].to_owned();
    let event = OrderEvent {
        order_id: order.to_owned(),
        event_sequence: sequence,
        what,
    };
    let partition = i32::try_from(sequence % 3)?;
    publisher.publish(TOPIC, &event).partition(partition).await?;
    Ok(())
}

/// Wait until so many events of an order are in its waiting room, and say which.
async fn until_waiting(orders: &OrderedScope, name: &str, count: usize) -> athomic::Result<String> {
    loop {
        let order = orders.aggregate(name).await?;
        if let Some(order) = order.filter(|order| order.waiting.len() == count) {
            let waiting = order.waiting.iter().map(|event| {
                format!(
                    "{} ({}[{}]@{})",
                    event.sequence, event.topic, event.partition, event.offset
                )
            });
            return Ok(waiting.collect::<Vec<_>>().join(", "));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn joined(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}
