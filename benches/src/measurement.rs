//! What one run of a case costs.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::allocations::allocations;

/// What one run of a case cost; how a case's process reports to the bench.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// How many messages were handled.
    pub messages: u64,
    /// From the first message to the last.
    pub seconds: f64,
    /// From the start of the process's work, before it connects, to the last message.
    pub total_seconds: f64,
    /// Processor time of all threads up to the last message: reading ahead of the first one counts.
    pub cpu_seconds: f64,
    /// Rust's allocations between the first message and the last.
    pub allocations: u64,
    /// The most memory that the process had, from its start to its end.
    pub peak_rss_mb: f64,
}

impl Measurement {
    /// Return the messages a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    /// Return the seconds from the start of the process's work to the first message: connecting, joining
    /// the group, being assigned partitions, fetching.
    #[must_use]
    pub fn seconds_to_first(&self) -> f64 {
        self.total_seconds - self.seconds
    }

    /// Return the seconds of processor time for a million messages.
    #[must_use]
    pub fn cpu_per_million(&self) -> f64 {
        self.cpu_seconds / self.messages as f64 * 1e6
    }
}

/// Follows the messages of a case from the first to the last.
#[derive(Debug)]
pub struct Meter {
    goal: u64,
    seen: AtomicU64,
    started: Instant,
    first: OnceLock<Moment>,
    last: OnceLock<Moment>,
}

/// The clocks at one moment.
#[derive(Debug, Clone, Copy)]
struct Moment {
    time: Instant,
    cpu: Duration,
    allocations: u64,
}

impl Moment {
    fn now() -> Self {
        Self {
            time: Instant::now(),
            cpu: cpu_time(),
            allocations: allocations(),
        }
    }
}

impl Meter {
    /// Start the clock for so many messages.
    #[must_use]
    pub fn start(goal: u64) -> Self {
        Self {
            goal,
            seen: AtomicU64::new(0),
            started: Instant::now(),
            first: OnceLock::new(),
            last: OnceLock::new(),
        }
    }

    /// Count handled messages; `true` for the call that reaches the goal.
    pub fn count(&self, messages: u64) -> bool {
        let before = self.seen.fetch_add(messages, Relaxed);
        if before == 0 {
            self.first.get_or_init(Moment::now);
        }
        let reached = before < self.goal && before + messages >= self.goal;
        if reached {
            self.last.get_or_init(Moment::now);
        }
        reached
    }

    /// Say whether the goal was reached.
    pub fn is_reached(&self) -> bool {
        self.seen.load(Relaxed) >= self.goal
    }

    /// Return what it cost.
    ///
    /// # Errors
    /// The goal was not reached, or the system does not tell.
    pub fn measurement(&self) -> Result<Measurement> {
        let (first, last) = self
            .first
            .get()
            .zip(self.last.get())
            .with_context(|| format!("saw {} of {} messages", self.seen.load(Relaxed), self.goal))?;
        Ok(Measurement {
            messages: self.goal,
            seconds: (last.time - first.time).as_secs_f64(),
            total_seconds: (last.time - self.started).as_secs_f64(),
            cpu_seconds: last.cpu.as_secs_f64(),
            allocations: last.allocations - first.allocations,
            peak_rss_mb: peak_rss_mb()?,
        })
    }
}

/// Return the processor time of all threads of this process.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Return the most memory that this process had so far. Linux only.
pub(crate) fn peak_rss_mb() -> Result<f64> {
    Ok(status("VmHWM:")? * 1024.0 / 1e6)
}

/// Return the memory that this process has. Linux only.
pub(crate) fn rss_mb() -> Result<f64> {
    Ok(status("VmRSS:")? * 1024.0 / 1e6)
}

/// Return a number of this process's status. Linux only.
pub(crate) fn status(name: &str) -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read this process's status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    let number = number.with_context(|| format!("the status has no `{name}`"))?;
    Ok(number.parse()?)
}
