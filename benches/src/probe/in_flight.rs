//! How much memory do messages in flight take, and is there never more than the settings allow?

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Result, ensure};
use athomic::App;
use athomic::handler::Ordering;
use athomic::handler::register::subscribe;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Setup;
use crate::application;
use crate::goal::Goal;
use crate::measurement::rss_mb;
use crate::order::OrderEvent;
use crate::topic::{self, Topic};

/// The cases: each a topic, and what is tried for `max_in_flight_messages`, which holds for each partition.
pub const CASES: [(&str, Topic, &[usize]); 2] = [
    ("in-flight", topic::ORDERS, &[1, 1_000, 10_000, 100_000]),
    ("in-flight-256", topic::ORDERS_256, &[1, 1_000]),
];

/// What was promised, in megabytes, of an application with next to nothing in flight: nearly all of it was
/// fetched ahead. If it were not bounded, all of the topic would be, which is twice as much.
const AHEAD_MB: f64 = 200.0;

/// How long nothing more may begin for the handlers to count as full.
const QUIET: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);

/// The memory of a process with so many messages in flight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// How many may be in flight by the settings.
    pub allowed: u64,
    /// How many are.
    pub in_flight: u64,
    /// The memory of the process, with what is fetched ahead.
    pub rss_mb: f64,
}

impl Figures {
    /// Return what was promised.
    #[must_use]
    pub fn goals(&self) -> Vec<Goal> {
        let what = format!("memory: in flight of {} allowed", self.allowed);
        let mut goals = vec![
            Goal::at_least(&what, self.in_flight as f64, self.allowed as f64),
            Goal::below(&what, self.in_flight as f64, self.allowed as f64 + 1.0),
        ];
        if self.allowed < 1_000 {
            let what = format!("memory: MB with {} in flight", self.in_flight);
            goals.push(Goal::below(&what, self.rss_mb, AHEAD_MB));
        }
        goals
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} messages in flight: {:.0} MB", self.in_flight, self.rss_mb)
    }
}

/// Measure in this process, at the window that the settings say.
///
/// # Errors
/// The broker or the system does not answer.
pub fn here(setup: &Setup, topic: &Topic) -> Result<Figures> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(setup, topic))
}

async fn measure(setup: &Setup, topic: &Topic) -> Result<Figures> {
    let mut settings = application::kafka(&setup.bootstrap, &setup.group, &setup.tuning)?;
    let connection = application::connection(&mut settings)?;
    // Bytes are not what bounds it here.
    connection.consumer.max_in_flight_bytes = usize::MAX;
    let window = connection.consumer.max_in_flight_messages.get() as u64;
    let allowed = (window * u64::try_from(topic.partitions)?).min(topic.messages);
    let (begun, end) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
    let (counted, ended) = (Arc::clone(&begun), end.clone());
    let handler = subscribe(topic.name)
        .handler_id("in-flight")
        .concurrency(usize::try_from(allowed)?)
        .ordering(Ordering::None)
        .handler(move |order: OrderEvent| {
            counted.fetch_add(1, SeqCst);
            let ended = ended.clone();
            async move {
                ended.cancelled().await;
                drop(order);
            }
        });
    let builder = App::builder().settings(settings).without_discovery();
    let app = builder.register(handler).build()?.start().await?;
    let in_flight = until_full(&begun, allowed).await?;
    let figures = Figures {
        allowed,
        in_flight,
        rss_mb: rss_mb()?,
    };
    end.cancel();
    app.stop().await;
    Ok(figures)
}

/// Wait until as many have begun as may, and see whether more do.
async fn until_full(begun: &AtomicU64, allowed: u64) -> Result<u64> {
    let deadline = Instant::now() + PATIENCE;
    while begun.load(SeqCst) < allowed {
        ensure!(Instant::now() < deadline, "{begun:?} of {allowed} messages began");
        sleep(Duration::from_millis(20)).await;
    }
    sleep(QUIET).await;
    Ok(begun.load(SeqCst))
}
