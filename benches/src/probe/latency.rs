//! How long is a message on its way from the call that publishes it to its handler?

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use athomic::App;
use athomic::handler::register::subscribe;
use athomic::publisher::{PublishError, Publisher};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::Setup;
use crate::application;
use crate::goal::Goal;
use crate::statistics::quantile;

/// The topic's name.
pub const TOPIC: &str = "athomic-bench.latency.v1";
/// How many partitions it has.
pub const PARTITIONS: i32 = 4;
/// How many messages are measured.
const MESSAGES: u64 = 1500;
/// The time between two of them: 100 a second.
const TICK: Duration = Duration::from_millis(10);
/// How long the first one, and the last, may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long messages were on their way, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// How many messages.
    pub messages: usize,
    /// From the call to the handler: half of them at most so long.
    pub p50_ms: f64,
    /// 99 of 100 at most so long.
    pub p99_ms: f64,
    /// All of them.
    pub longest_ms: f64,
    /// From the call to its return with the acknowledgement: half of them.
    pub acknowledged_p50_ms: f64,
}

impl Figures {
    /// Return what was promised.
    #[must_use]
    pub fn goals(&self) -> Vec<Goal> {
        vec![Goal::below("latency: median in ms", self.p50_ms, 5.0)]
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} messages, 100 a second, publish to handler: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms; acknowledged: p50 {:.2} ms",
            self.messages, self.p50_ms, self.p99_ms, self.longest_ms, self.acknowledged_p50_ms
        )
    }
}

/// A message that knows when it was published.
#[derive(Debug, Serialize, Deserialize)]
struct Ping {
    /// Tells the pings of this process from those of earlier ones.
    run: String,
    /// `None` before the measurement.
    number: Option<u64>,
    /// When it was published, in nanoseconds of this process's clock.
    published: u64,
}

/// Measure in this process.
///
/// # Errors
/// The broker does not answer.
pub fn here(setup: &Setup) -> Result<Figures> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(setup))
}

async fn measure(setup: &Setup) -> Result<Figures> {
    let (sender, mut arrivals) = unbounded_channel();
    let run = setup.group.clone();
    let handler = subscribe(TOPIC).handler_id("latency").handler(move |ping: Ping| {
        if ping.run == run {
            let _nobody_waits = sender.send((ping.number, millis_since(ping.published)));
        }
        async {}
    });
    let settings = application::kafka(&setup.bootstrap, &setup.group, &setup.tuning)?;
    let builder = App::builder().settings(settings).without_discovery();
    let app = builder.register(handler).build()?.start().await?;
    let publisher = app.publisher();
    warm_up(&publisher, &setup.group, &mut arrivals).await?;
    let acknowledged = publish_all(&publisher, &setup.group).await?;
    let ways = gather(&mut arrivals).await?;
    app.stop().await;
    Ok(Figures {
        messages: ways.len(),
        p50_ms: quantile(&ways, 0.5),
        p99_ms: quantile(&ways, 0.99),
        longest_ms: quantile(&ways, 1.0),
        acknowledged_p50_ms: quantile(&acknowledged, 0.5),
    })
}

type Arrivals = UnboundedReceiver<(Option<u64>, f64)>;

/// Publish until messages arrive from all partitions: then connections are made and partitions assigned.
async fn warm_up(publisher: &Publisher, run: &str, arrivals: &mut Arrivals) -> Result<()> {
    for partition in 0..PARTITIONS {
        let ping = publisher.publish(TOPIC, &ping(run, None));
        ping.partition(partition).await?;
    }
    for _ in 0..PARTITIONS {
        let first = timeout(PATIENCE, arrivals.recv()).await;
        first
            .context("no message arrived")?
            .context("the application ended")?;
    }
    Ok(())
}

/// Publish at a steady pace, without waiting for one to be acknowledged before the next.
async fn publish_all(publisher: &Publisher, run: &str) -> Result<Vec<f64>> {
    let mut tick = interval(TICK);
    let mut calls = JoinSet::<Result<f64, PublishError>>::new();
    for number in 0..MESSAGES {
        tick.tick().await;
        let (publisher, ping) = (publisher.clone(), ping(run, Some(number)));
        calls.spawn(async move {
            let key = format!("key-{number}");
            publisher.publish(TOPIC, &ping).key(key).await?;
            Ok(millis_since(ping.published))
        });
    }
    calls.join_all().await.into_iter().map(|call| Ok(call?)).collect()
}

async fn gather(arrivals: &mut Arrivals) -> Result<Vec<f64>> {
    let mut ways = Vec::new();
    while (ways.len() as u64) < MESSAGES {
        let Some((number, way)) = timeout(PATIENCE, arrivals.recv()).await? else {
            bail!("the application ended");
        };
        if number.is_some() {
            ways.push(way);
        }
    }
    ensure!(arrivals.is_empty(), "a message arrived twice");
    Ok(ways)
}

fn ping(run: &str, number: Option<u64>) -> Ping {
    Ping {
        run: run.to_owned(),
        number,
        published: now(),
    }
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
