//! How much longer is a message on its way because its aggregate is in order?
//!
//! Three handlers get the same messages, each in a group of its own: one without order, one that keeps its
//! leases, and one that asks the store about each message.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use athomic::App;
use athomic::handler::Ordering;
use athomic::handler::register::{HandlerDefinition, ordered, subscribe};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::handler::{CONCURRENCY, with_redis};
use super::question::Asking;
use super::redis::Server;
use crate::statistics::quantile;
use crate::{application, child, topic};

const TOPIC: &str = "athomic-bench.ordered-latency.v1";
const PARTITIONS: i32 = 4;
/// A tenth of what an ordered handler that asks about each message does in a second.
const PER_SECOND: u64 = 1_300;
/// How many messages are measured, and how many come before.
const MESSAGES: u64 = 13_000;
const BEFORE: u64 = 2_600;
const AGGREGATES: u64 = 1_000;
const PATIENCE: Duration = Duration::from_secs(30);
/// How messages are handled.
const KINDS: [&str; 3] = ["unordered", "kept leases", "asked each time"];

/// How long messages were on their way to a handler, in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    kind: &'static str,
    p50_ms: f64,
    p99_ms: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<16} {PER_SECOND} messages a second, publish to handler: p50 {:.2} ms, p99 {:.2} ms",
            self.kind, self.p50_ms, self.p99_ms
        )
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Ping {
    /// Its run and its number there.
    of: String,
    seq: u64,
    number: u64,
    /// When it was published, in nanoseconds of this process's clock.
    published: u64,
}

type Arrivals = UnboundedSender<(usize, u64, f64)>;

fn handler(kind: usize, run: &str, arrivals: &Arrivals) -> HandlerDefinition {
    let (run, arrivals) = (run.to_owned(), arrivals.clone());
    let name = format!("{run}-{kind}");
    let on_ping = move |ping: Ping| {
        if ping.of.starts_with(&run) {
            let _nobody_waits = arrivals.send((kind, ping.number, millis_since(ping.published)));
        }
        async {}
    };
    if kind == 0 {
        let handler = subscribe(TOPIC).handler_id(&name).group_id(&name);
        return handler
            .concurrency(CONCURRENCY)
            .ordering(Ordering::Key)
            .handler(on_ping);
    }
    ordered(TOPIC)
        .handler_id(&name)
        .group_id(&name)
        .concurrency(CONCURRENCY)
        .key(|ping: &Ping| ping.of.clone())
        .sequence(|ping: &Ping| ping.seq)
        .policies(|policies| policies.sticky = Some(kind == 1))
        .handler(on_ping)
}

/// Measure in this process.
///
/// # Errors
/// A server does not answer.
pub fn here(asking: &Asking) -> Result<Vec<Figures>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(asking))
}

async fn measure(asking: &Asking) -> Result<Vec<Figures>> {
    tokio::task::block_in_place(|| topic::create_if_missing(&asking.bootstrap, TOPIC, PARTITIONS))?;
    let _emptied = Server::begin(&asking.redis).await?;
    let run = child::new_group("latency")?;
    let (sender, mut arrivals) = unbounded_channel();
    let settings = with_redis(
        application::kafka(&asking.bootstrap, &run, &asking.tuning)?,
        &asking.redis,
    );
    let mut builder = App::builder().settings(settings).without_discovery();
    for kind in 0..KINDS.len() {
        builder = builder.register(handler(kind, &run, &sender));
    }
    let app = builder.build()?.start().await?;
    let mut tick = interval(Duration::from_secs(1) / u32::try_from(PER_SECOND)?);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0..BEFORE + MESSAGES {
        tick.tick().await;
        let of = format!("{run}-{}", number % AGGREGATES);
        let publisher = app.publisher();
        let ping = Ping {
            of: of.clone(),
            seq: number / AGGREGATES + 1,
            number,
            published: now(),
        };
        tokio::spawn(async move { publisher.publish(TOPIC, &ping).key(of).await });
    }
    let ways = gather(&mut arrivals).await?;
    app.stop().await;
    let figures = KINDS.iter().zip(ways).map(|(kind, ways)| Figures {
        kind,
        p50_ms: quantile(&ways, 0.5),
        p99_ms: quantile(&ways, 0.99),
    });
    Ok(figures.collect())
}

async fn gather(arrivals: &mut UnboundedReceiver<(usize, u64, f64)>) -> Result<[Vec<f64>; KINDS.len()]> {
    let mut ways: [Vec<f64>; KINDS.len()] = Default::default();
    for _ in 0..(BEFORE + MESSAGES) * KINDS.len() as u64 {
        let (kind, number, way) = timeout(PATIENCE, arrivals.recv())
            .await?
            .context("the application ended")?;
        if number >= BEFORE {
            ways[kind].push(way);
        }
    }
    ensure!(arrivals.is_empty(), "a message arrived twice");
    Ok(ways)
}

/// Return this process's clock, in nanoseconds.
fn now() -> u64 {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    let elapsed = BEGINNING.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

fn millis_since(moment: u64) -> f64 {
    now().saturating_sub(moment) as f64 / 1e6
}
