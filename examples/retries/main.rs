//! Lets messages fail and shows what becomes of them: tried again in their place, tried again by way of a delay topic
//! while others go on, given up to the dead letters, and replayed from there once the fault is mended.
//!
//! ```sh
//! cargo run --example retries
//! ```
//!
//! No server is needed: with `backend = "memory"` athomic runs its embedded broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Instant;

use athomic::App;
use athomic::dead_letter::{Filter, ReplayOptions};
use athomic::prelude::*;
use tokio::sync::Semaphore;

const TOPIC: &str = "orders.v1";
const LETTERS: &str = "dlq.orders.v1";

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    id: String,
    currency: String,
}

/// What the handlers share.
#[derive(Debug, Clone)]
struct World {
    began: Instant,
    /// Whether billing knows all currencies.
    repaired: Arc<AtomicBool>,
    /// A permit for each order that a handler is done with.
    done: Arc<Semaphore>,
}

impl World {
    fn say(&self, who: &str, order: &Order, meta: &Meta, what: &str) {
        let seconds = self.began.elapsed().as_secs_f64();
        let (id, attempt) = (&order.id, meta.attempt());
        println!("  {seconds:>4.1} s  {who:<8}  {id}, attempt {attempt}: {what}");
    }
}

/// Retries in place: the orders behind one that fails wait for it.
#[subscribe_to(
    topic = TOPIC,
    group_id = "billing",
    handler_id = "charge",
    retry(mode = "in_place", max_attempts = 3, backoff = "fixed", min_delay = "200ms"),
)]
async fn charge(order: Order, meta: Meta, State(world): State<World>) -> Result<(), HandlerError> {
    if order.id == "o1" && meta.attempt() < 3 {
        world.say("billing", &order, &meta, "the bank is busy");
        return Err(HandlerError::retry("the bank is busy"));
    }
    if order.currency == "XXX" && !world.repaired.load(SeqCst) {
        world.say("billing", &order, &meta, "no such currency, to the dead letters");
        world.done.add_permits(1);
        return Err(HandlerError::dead_letter("no such currency: XXX"));
    }
    world.say("billing", &order, &meta, "charged");
    world.done.add_permits(1);
    Ok(())
}

/// Retries by way of a delay topic: the orders behind one that fails overtake it.
#[subscribe_to(
    topic = TOPIC,
    group_id = "shipping",
    handler_id = "ship",
    retry(mode = "delay_topic", max_attempts = 3, backoff = "fixed", min_delay = "1s"),
)]
async fn ship(order: Order, meta: Meta, State(world): State<World>) -> Result<(), HandlerError> {
    if order.id == "o2" && meta.attempt() == 1 {
        world.say("shipping", &order, &meta, "out of stock, again in 1 s");
        return Err(HandlerError::retry("out of stock"));
    }
    world.say("shipping", &order, &meta, "shipped");
    world.done.add_permits(1);
    Ok(())
}

#[tokio::main]
async fn main() -> athomic::Result<()> {
    let world = World {
        began: Instant::now(),
        repaired: Arc::new(AtomicBool::new(false)),
        done: Arc::new(Semaphore::new(0)),
    };
    let app = App::builder()
        .settings_file(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/examples/retries/settings.toml"
        ))
        .state(world.clone())
        .build()?;
    let app = app.start().await?;

    println!("orders come");
    for (id, currency) in [("o1", "EUR"), ("o2", "EUR"), ("o3", "XXX"), ("o4", "EUR")] {
        let order = Order {
            id: id.to_owned(),
            currency: currency.to_owned(),
        };
        app.publisher().publish(TOPIC, &order).partition(0).await?;
    }
    world.done.acquire_many(8).await?.forget();

    println!("dead letters of {LETTERS}");
    let desk = app.dead_letters();
    for letter in desk.list(LETTERS, &Filter::default()).await? {
        let told = letter.summary;
        let (handler, topic, offset) = (&told.handler, &told.topic, told.offset);
        let error = told.error.unwrap_or(told.error_type);
        println!("  {handler} gave up {topic} offset {offset}: {error}");
    }

    println!("billing is mended, its letters are replayed");
    world.repaired.store(true, SeqCst);
    let of_billing = Filter {
        handler: Some("charge".to_owned()),
        ..Filter::default()
    };
    let options = ReplayOptions {
        by: "anna".to_owned(),
        ..ReplayOptions::default()
    };
    let report = desk.replay(LETTERS, &of_billing, &options).await?;
    world.done.acquire().await?.forget();
    println!("  {} of {} replayed", report.replayed, report.matched);
    app.stop().await;
    println!("stopped");
    Ok(())
}
