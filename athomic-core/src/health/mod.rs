//! Whether an application lives and is ready, and what keeps it from that, by name.
//!
//! A [`HealthProbe`] looks at the consumers when it is asked. What runs writes down what happens seldom,
//! and of executions those that have to wait for something: one that ends at its first poll leaves no
//! trace. An HTTP endpoint calls [`HealthProbe::check`].
//!
//! - *Live* means that a restart would not help. Only a handler that does not end, or a consumer that
//!   is not served any more, makes an application dead.
//! - *Ready* means that every consumer is a member of its group, has heard which partitions it gets
//!   (perhaps none), and reaches a broker.
//!
//! How old a message is, or how many wait, says nothing of either.

mod finding;
mod outage;
mod pulse;

pub use finding::{Finding, Severity};
pub(crate) use outage::Outage;
pub(crate) use pulse::Pulse;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::Serialize;

use crate::delay::RepublisherMonitor;

/// Looks at an application's health. Cheap to clone; outlives the application.
///
/// ```
/// use athomic_core::app::App;
/// use athomic_core::handler::register::subscribe;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let on_order = subscribe("orders.v1").group_id("shop").handler(|_: u32| async {});
/// let app = App::builder().register(on_order).settings(Default::default()).build()?;
/// let health = app.health();
/// assert!(health.check().is_live());
/// assert!(!health.check().is_ready(), "not started yet");
/// let app = app.start().await?;
/// while !health.check().is_ready() {
///     tokio::task::yield_now().await;
/// }
/// app.stop().await;
/// assert_eq!(health.check().to_string(), "live, not ready\n  the application has stopped");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HealthProbe {
    phase: Arc<PhaseCell>,
    pulses: Arc<[Arc<Pulse>]>,
    /// The republisher of a delay store, and the store's name; that of delay topics is a consumer.
    delays: Option<(Arc<RepublisherMonitor>, Arc<str>)>,
}

impl HealthProbe {
    pub(crate) fn new(pulses: Vec<Arc<Pulse>>) -> Self {
        Self {
            phase: Arc::default(),
            pulses: pulses.into(),
            delays: None,
        }
    }

    /// Look at the republisher of a delay store too.
    pub(crate) fn with_delays(self, monitor: Arc<RepublisherMonitor>, store: &str) -> Self {
        Self {
            delays: Some((monitor, store.into())),
            ..self
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.0.store(phase as u8, Ordering::Relaxed);
    }

    /// Look at everything now. Does not wait.
    #[must_use]
    pub fn check(&self) -> Health {
        let phase = self.phase.get();
        let consumers = match phase {
            Phase::Starting | Phase::Running => {
                let pulses = self.pulses.iter().map(|pulse| pulse.check());
                let delays = self.delays.iter().map(|(monitor, store)| monitor.check(store));
                pulses.chain(delays).collect()
            }
            _ => Vec::new(),
        };
        Health { phase, consumers }
    }
}

impl fmt::Debug for HealthProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthProbe")
            .field("phase", &self.phase.get())
            .finish_non_exhaustive()
    }
}

/// Where an application stands between its beginning and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// It was built and not started.
    Built,
    /// Its services start.
    Starting,
    /// All services have started.
    Running,
    /// It drains.
    Stopping,
    /// It has stopped.
    Stopped,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Built => "has not been started",
            Self::Starting => "is starting",
            Self::Running => "is running",
            Self::Stopping => "is stopping",
            Self::Stopped => "has stopped",
        })
    }
}

#[derive(Debug, Default)]
struct PhaseCell(AtomicU8);

impl PhaseCell {
    fn get(&self) -> Phase {
        const ALL: [Phase; 5] = [
            Phase::Built,
            Phase::Starting,
            Phase::Running,
            Phase::Stopping,
            Phase::Stopped,
        ];
        ALL[usize::from(self.0.load(Ordering::Relaxed))]
    }
}

/// What a look at an application found.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Where the application stands.
    pub phase: Phase,
    /// Its consumers, while it starts or runs.
    pub consumers: Vec<ConsumerHealth>,
}

impl Health {
    /// Say whether a restart would not help.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.worst() < Some(Severity::Dead)
    }

    /// Say whether all consumers do, or could do, their work.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Running && self.worst() < Some(Severity::NotReady)
    }

    fn worst(&self) -> Option<Severity> {
        let findings = self.consumers.iter().flat_map(|consumer| &consumer.findings);
        findings.map(Finding::severity).max()
    }
}

/// A line for each cause, under a line with the verdict.
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_live() { "live, " } else { "not live, " })?;
        f.write_str(if self.is_ready() { "ready" } else { "not ready" })?;
        if self.phase != Phase::Running {
            write!(f, "\n  the application {}", self.phase)?;
        }
        for consumer in &self.consumers {
            for finding in &consumer.findings {
                write!(f, "\n  {}: {finding}", consumer.handler)?;
            }
        }
        Ok(())
    }
}

/// How one handler's consumer does.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ConsumerHealth {
    /// The handler, with its place in the source.
    pub handler: String,
    /// How many partitions it has.
    pub partitions: usize,
    /// What is to be said; nothing if all is well.
    pub findings: Vec<Finding>,
}
