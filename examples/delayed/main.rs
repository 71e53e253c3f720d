//! Publishes messages with delays and shows where they wait, when they arrive, and what cannot be published.
//!
//! ```sh
//! cargo run --example delayed
//! ```
//!
//! No server is needed: with `backend = "memory"` athomic runs its embedded broker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use athomic::App;
use athomic::message::MESSAGE_ID;
use athomic::prelude::*;
use athomic::publisher::PublishingOutcome;
use tokio::sync::Semaphore;

const TOPIC: &str = "user.follow-ups.v1";

#[derive(Debug, Serialize, Deserialize)]
struct FollowUp {
    user: String,
    email: String,
    after: Duration,
}

/// When the program began, and one permit for each message that has arrived.
#[derive(Debug, Clone)]
struct Arrivals {
    began: Instant,
    arrived: Arc<Semaphore>,
}

/// Called when a follow-up is due. It looks like any other message: the delay has left no trace.
#[subscribe_to(topic = TOPIC, group_id = "mailer")]
async fn send(follow_up: FollowUp, meta: Meta, State(arrivals): State<Arrivals>) {
    let FollowUp { user, email, after } = follow_up;
    let waited = arrivals.began.elapsed();
    let in_time = if waited >= after { "not early" } else { "EARLY" };
    let headers: Vec<String> = meta
        .headers()
        .iter()
        .map(|header| header.name.to_string())
        .collect();
    println!(
        "  {:>4.1} s  arrives  {email} for {user}, asked for after {after:?}: {in_time}, headers {}",
        waited.as_secs_f64(),
        headers.join(", ")
    );
    arrivals.arrived.add_permits(1);
}

#[tokio::main]
async fn main() -> athomic::Result<()> {
    let arrivals = Arrivals {
        began: Instant::now(),
        arrived: Arc::new(Semaphore::new(0)),
    };
    let app = App::builder()
        .settings_file(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/examples/delayed/settings.toml"
        ))
        .state(arrivals.clone())
        .build()?;
    let app = app.start().await?;

    let delays = [("ann", 0), ("ben", 700), ("cid", 2500)];
    for (user, millis) in delays {
        publish(&app.publisher(), user, Duration::from_millis(millis)).await?;
    }
    let refused = publish(&app.publisher(), "dan", Duration::from_secs(60)).await;
    println!(
        "  refused: {}",
        refused.err().map_or_else(String::new, |error| error.to_string())
    );

    drop(arrivals.arrived.acquire_many(3).await?);
    if let Some(republisher) = app.republisher() {
        println!("  {} messages have waited", republisher.counts().republished);
    }
    app.stop().await;
    println!("stopped");
    Ok(())
}

async fn publish(
    publisher: &Publisher,
    user: &str,
    after: Duration,
) -> Result<(), athomic::publisher::PublishError> {
    let follow_up = FollowUp {
        user: user.to_owned(),
        email: "onboarding".to_owned(),
        after,
    };
    let message = publisher.publish(TOPIC, &follow_up).key(user.to_owned());
    let outcome = message
        .header(MESSAGE_ID, format!("follow-up-{user}"))
        .delay(after)
        .await?;
    match outcome {
        PublishingOutcome::Direct(delivery) => println!("  {user}: published to {}", delivery.partition),
        PublishingOutcome::Delayed { bucket, .. } => {
            println!("  {user}: waits in {} for {after:?}", bucket.topic);
        }
        PublishingOutcome::Scheduled { .. } => println!("  {user}: waits in the store for {after:?}"),
    }
    Ok(())
}
