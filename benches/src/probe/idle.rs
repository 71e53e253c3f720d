//! What do twenty handlers cost while nothing comes?

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use athomic::App;
use athomic::handler::register::subscribe;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::Setup;
use crate::application;
use crate::goal::Goal;
use crate::measurement::{cpu_time, rss_mb, status};
use crate::order::OrderEvent;
use crate::topic::{Events, Topic};

/// How many handlers there are, each with a topic and a group of its own.
const HANDLERS: usize = 20;
/// How long nothing happens before the clock is started: connections are made, offsets committed.
const SETTLING: Duration = Duration::from_secs(6);
/// How long nothing happens on the clock.
const IDLE: Duration = Duration::from_secs(20);
/// How long the handlers may take to get their first messages.
const PATIENCE: Duration = Duration::from_secs(60);

/// What it costs to have nothing to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// How many handlers waited.
    pub handlers: usize,
    /// For how long.
    pub seconds: f64,
    /// Processor time of all threads, in hundredths of a core.
    pub cpu_percent: f64,
    /// How often a second threads of the process went to sleep: how often they were woken.
    pub wakeups_per_s: f64,
    /// Threads of the process.
    pub threads: u64,
    /// Connections to the broker.
    pub connections: usize,
    /// The memory of the process.
    pub rss_mb: f64,
}

impl Figures {
    /// Return what was promised.
    #[must_use]
    pub fn goals(&self) -> Vec<Goal> {
        vec![Goal::below("idle: percent of a core", self.cpu_percent, 1.0)]
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} handlers, idle for {:.0} s: {:.2} % of a core, {:.0} wake-ups/s, {} threads, {} connections, {:.0} MB",
            self.handlers,
            self.seconds,
            self.cpu_percent,
            self.wakeups_per_s,
            self.threads,
            self.connections,
            self.rss_mb
        )
    }
}

/// Return the topics, each of a few messages: a handler that has got them has its partitions.
#[must_use]
pub fn topics() -> Vec<Topic> {
    (0..HANDLERS)
        .map(|number| Topic {
            name: format!("athomic-bench.idle-{number:02}.v1").leak(),
            partitions: 3,
            messages: 3,
            events: Events::Orders,
        })
        .collect()
}

/// Measure in this process.
///
/// # Errors
/// The broker or the system does not answer.
pub fn here(setup: &Setup) -> Result<Figures> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(setup))
}

async fn measure(setup: &Setup) -> Result<Figures> {
    let seen = Arc::new(Semaphore::new(0));
    let settings = application::kafka(&setup.bootstrap, &setup.group, &setup.tuning)?;
    let mut builder = App::builder().settings(settings).without_discovery();
    let topics = topics();
    for topic in &topics {
        let seen = Arc::clone(&seen);
        let handler = subscribe(topic.name)
            .handler_id(topic.name)
            .group_id(format!("{}-{}", setup.group, topic.name))
            .handler(move |_order: OrderEvent| {
                seen.add_permits(1);
                async {}
            });
        builder = builder.register(handler);
    }
    let app = builder.build()?.start().await?;
    let all: u64 = topics.iter().map(|topic| topic.messages).sum();
    let assigned = timeout(PATIENCE, seen.acquire_many(u32::try_from(all)?));
    let _permits = assigned
        .await
        .context("the handlers did not get their messages")??;
    sleep(SETTLING).await;
    let figures = wait_idly().await?;
    app.stop().await;
    Ok(figures)
}

async fn wait_idly() -> Result<Figures> {
    let (cpu, sleeps, begun) = (cpu_time(), sleeps()?, Instant::now());
    sleep(IDLE).await;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Figures {
        handlers: HANDLERS,
        seconds,
        cpu_percent: (cpu_time() - cpu).as_secs_f64() / seconds * 100.0,
        wakeups_per_s: self::sleeps()?.saturating_sub(sleeps) as f64 / seconds,
        threads: status("Threads:")? as u64,
        connections: connections()?,
        rss_mb: rss_mb()?,
    })
}

/// Return how often threads of this process have gone to sleep by themselves.
fn sleeps() -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir("/proc/self/task")? {
        // A thread may end meanwhile.
        let Ok(status) = fs::read_to_string(task?.path().join("status")) else {
            continue;
        };
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += line
            .context("the system counts no switches")?
            .trim()
            .parse::<u64>()?;
    }
    Ok(sum)
}

/// Return how many TCP connections this process has.
fn connections() -> Result<usize> {
    let mut established = BTreeSet::new();
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let table = fs::read_to_string(table).unwrap_or_default();
        established.extend(table.lines().skip(1).filter_map(established_inode));
    }
    // By inode: a connection may have several descriptors.
    let mut ours = BTreeSet::new();
    for descriptor in fs::read_dir("/proc/self/fd")? {
        let target = fs::read_link(descriptor?.path()).unwrap_or_default();
        let target = target.to_string_lossy();
        let inode = target
            .strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']'));
        ours.extend(inode.map(str::to_owned));
    }
    Ok(ours.intersection(&established).count())
}

/// Return the inode of a line of the system's table if its connection is established.
fn established_inode(line: &str) -> Option<String> {
    let mut fields = line.split_whitespace().skip(3);
    (fields.next()? == "01").then(|| fields.nth(5).map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::established_inode;

    #[test]
    fn only_established_connections_count() {
        let line = |state: &str| {
            format!(
                "   0: 0100007F:C350 0100007F:7AF1 {state} 00000000:00000000 00:00000000 00000000     0        0 4711 1 ffff"
            )
        };
        assert_eq!(established_inode(&line("01")).as_deref(), Some("4711"));
        assert_eq!(established_inode(&line("0A")), None);
    }
}
