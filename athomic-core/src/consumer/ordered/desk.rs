//! Seeing and steering ordered consumption: what waits, where, since when, and what to do about it.
//!
//! All answers come from the store, so they are about all instances, whichever is asked; the counts are
//! this process's. Everything that is shown is ready for JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::super::lane::LaneSettings;
use super::work::give_up;
use super::{OrderedSettings, OrderingCounts};
use crate::message::{Offset, Partition};
use crate::ordering::frame;
use crate::store::StoreError;
use crate::store::ordering::{Aggregate, AggregateReport, SkippedRange, Steering};

/// How many messages of a room are given up or dropped with one look at the store.
const AT_ONCE: usize = 256;
/// How many messages of a room are shown.
const SHOWN: usize = 1000;

/// The ordered handlers of an application, to look at and to steer. Cheap to clone.
///
/// ```
/// use athomic_core::app::App;
/// use athomic_core::handler::register::ordered;
/// use athomic_core::ordering::Action;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let on_event = ordered("orders.v1")
///     .handler_id("on_event")
///     .group_id("shop")
///     .key(|event: &(String, u64)| event.0.clone())
///     .sequence(|event: &(String, u64)| event.1)
///     .handler(async |event: (String, u64)| println!("{event:?}"));
/// let app = App::builder().without_discovery().register(on_event).settings(Default::default());
/// let app = app.build()?.start().await?;
/// app.publisher().publish("orders.v1", &("order-17", 2)).await?; // 1 is missing
///
/// let handler = app.ordering().handler("on_event").expect("it is there");
/// let order = loop {
///     match handler.aggregate("order-17").await? {
///         Some(order) if order.waiting.len() == 1 => break order,
///         _ => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
///     }
/// };
/// assert_eq!((order.state.next, order.missing[0].last), (Some(1), 1));
/// handler.act("order-17", Action::Skip).await?;
/// assert_eq!(handler.aggregate("order-17").await?.and_then(|order| order.state.skipped).map(|it| it.last), Some(1));
/// app.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct OrderingDesk {
    handlers: Arc<BTreeMap<String, OrderedScope>>,
}

/// An ordered handler, to look at and to steer. Cheap to clone.
#[derive(Clone)]
pub struct OrderedScope {
    lane: Arc<LaneSettings>,
    ordered: Arc<OrderedSettings>,
}

/// What waits for a handler, over all instances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ScopeReport {
    /// The handler's id.
    pub handler_id: String,
    /// Its consumer group.
    pub group_id: String,
    /// The store, by its name in the settings.
    pub store: String,
    /// Aggregates with messages that wait and are not halted.
    pub rooms: u64,
    /// Messages that wait.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long the oldest gap is open, in milliseconds.
    pub oldest_gap_ms: Option<u64>,
    /// Processes that take part.
    pub sessions: u64,
    /// Aggregates with messages that wait, a thousand of each bucket at most.
    pub waiting: Vec<String>,
    /// Halted aggregates, a thousand of each bucket at most.
    pub halted: Vec<String>,
    /// What this process has counted.
    pub counts: OrderingCounts,
}

/// An aggregate as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AggregateView {
    /// What the store knows.
    #[serde(flatten)]
    pub state: AggregateReport,
    /// The ranges of sequences that are missing below what waits.
    pub missing: Vec<SkippedRange>,
    /// What waits, a thousand messages at most.
    pub waiting: Vec<WaitingMessage>,
}

/// A message in a waiting room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WaitingMessage {
    /// Its place in the order of its aggregate.
    pub sequence: u64,
    /// The bytes that it takes in the store.
    pub bytes: u64,
    /// Where it stands in the log.
    pub topic: String,
    /// See `topic`.
    pub partition: Partition,
    /// See `topic`.
    pub offset: Offset,
    /// The record's time, in milliseconds since the Unix epoch.
    pub timestamp: Option<i64>,
    /// Since when it waits, in milliseconds since the Unix epoch, by the clock of who parked it.
    pub since: i64,
}

/// What an operator can do to an aggregate. What runs at that moment may end, and does not count: it runs
/// again where its sequence is still expected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Expect a sequence next. Those below that were not done are late from then on. Resumes.
    ReleaseFrom(u64),
    /// Give up what is missing below the first message that waits. Resumes.
    Skip,
    /// Give up the messages that wait, up to this sequence, to the dead letters, and what is missing below
    /// them. Resumes.
    DeadLetter {
        /// The last sequence to be given up.
        through: u64,
    },
    /// As `DeadLetter`, without dead letters.
    Drop {
        /// The last sequence to be dropped.
        through: u64,
    },
    /// Run nothing more of it until it is resumed. What runs may end, and counts.
    Halt {
        /// Shown to operators.
        reason: String,
    },
    /// Undo a halt.
    Resume,
    /// Forget all that is known of it, what waits included: it begins anew with what comes next.
    Forget,
}

impl OrderingDesk {
    pub(in super::super) fn new(lanes: impl Iterator<Item = Arc<LaneSettings>>) -> Self {
        let scope = |lane: Arc<LaneSettings>| {
            let ordered = Arc::clone(lane.ordered.as_ref()?);
            Some((lane.scope.handler_id.to_string(), OrderedScope { lane, ordered }))
        };
        Self {
            handlers: Arc::new(lanes.filter_map(scope).collect()),
        }
    }

    /// Return the ids of the ordered handlers, in order.
    pub fn handlers(&self) -> impl Iterator<Item = &str> {
        self.handlers.keys().map(String::as_str)
    }

    /// Return a handler by its id.
    #[must_use]
    pub fn handler(&self, handler_id: &str) -> Option<OrderedScope> {
        self.handlers.get(handler_id).cloned()
    }
}

impl OrderedScope {
    /// Look at all that waits.
    ///
    /// # Errors
    /// The store does not answer for all buckets.
    pub async fn report(&self) -> Result<ScopeReport, StoreError> {
        let buckets: Vec<u16> = (0..self.ordered.policies.buckets).collect();
        let mut report = ScopeReport {
            handler_id: self.lane.scope.handler_id.to_string(),
            group_id: self.lane.scope.group_id.to_string(),
            store: self.ordered.store.name().to_owned(),
            counts: self.counts(),
            ..ScopeReport::default()
        };
        for bucket in self.ordered.store.survey(&buckets).await {
            let bucket = bucket?;
            report.rooms += bucket.rooms;
            report.messages += bucket.messages;
            report.bytes += bucket.bytes;
            report.oldest_gap_ms = report.oldest_gap_ms.max(bucket.oldest_gap_ms);
            report.sessions = report.sessions.max(bucket.sessions);
            report.waiting.extend(bucket.waiting);
            report.halted.extend(bucket.halted);
        }
        Ok(report)
    }

    /// Return what this process has counted.
    #[must_use]
    pub fn counts(&self) -> OrderingCounts {
        self.ordered.counters.read()
    }

    /// Look at an aggregate; `None` if nothing is known of it.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn aggregate(&self, key: &str) -> Result<Option<AggregateView>, StoreError> {
        let aggregate = self.name(key);
        let Some(state) = self.ordered.store.inspect(&aggregate, SHOWN).await? else {
            return Ok(None);
        };
        let waiting = state.room.iter().filter_map(|parked| {
            // A frame that cannot be read is shown by its absence here and its size in the state.
            let frame = frame::decode(&parked.frame).ok()?;
            Some(WaitingMessage {
                sequence: parked.sequence,
                bytes: parked.bytes,
                topic: frame.message.topic().to_owned(),
                partition: frame.message.partition(),
                offset: frame.message.offset(),
                timestamp: frame
                    .message
                    .timestamp()
                    .map(crate::message::Timestamp::as_millis),
                since: frame.parked.as_millis(),
            })
        });
        Ok(Some(AggregateView {
            waiting: waiting.collect(),
            missing: state.missing(),
            state,
        }))
    }

    /// Do something to an aggregate, and write it down as an event.
    ///
    /// # Errors
    /// The store does not answer; it may have been done. All actions may be repeated.
    pub async fn act(&self, key: &str, action: Action) -> Result<(), StoreError> {
        let aggregate = self.name(key);
        let event = format!("{aggregate}: by an operator: {action}");
        tracing::warn!(handler = %self.lane.scope.handler_id, %aggregate, "by an operator: {action}");
        let store = &self.ordered.store;
        // Written down first: what was done must not be missing, what was not may be there.
        store.record(&event).await?;
        let steering = match action {
            Action::ReleaseFrom(next) => Steering::Resume { next: Some(next) },
            Action::Skip => match store.read(&aggregate, 0, 1).await?.first() {
                Some(first) => Steering::Resume {
                    next: Some(first.sequence),
                },
                None => return Ok(()),
            },
            Action::DeadLetter { through } => {
                self.give_up(&aggregate, through).await?;
                Steering::Resume {
                    next: Some(through.saturating_add(1)),
                }
            }
            Action::Drop { through } => Steering::Resume {
                next: Some(through.saturating_add(1)),
            },
            Action::Halt { reason } => Steering::Halt { reason },
            Action::Resume => Steering::Resume { next: None },
            Action::Forget => Steering::Forget,
        };
        store.steer(&aggregate, steering).await
    }

    /// Return the latest events, the newest first: what operators did, and policies to aggregates.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn events(&self, limit: usize) -> Result<Vec<String>, StoreError> {
        self.ordered.store.events(limit).await
    }

    /// Give up the messages that wait up to a sequence.
    async fn give_up(&self, aggregate: &Aggregate, through: u64) -> Result<(), StoreError> {
        let mut from = 0;
        loop {
            let frames = self.ordered.store.read(aggregate, from, AT_ONCE).await?;
            let Some(last) = frames.last().map(|frame| frame.sequence) else {
                return Ok(());
            };
            for waiting in frames.iter().filter(|frame| frame.sequence <= through) {
                match frame::decode(&waiting.bytes) {
                    Ok(parked) => {
                        give_up(&self.lane, &parked.message, "given up by an operator".into()).await;
                    }
                    Err(error) => {
                        tracing::error!(%aggregate, sequence = waiting.sequence, %error, "a message that waited is damaged");
                    }
                }
            }
            if last >= through {
                return Ok(());
            }
            from = last + 1;
        }
    }

    fn name(&self, key: &str) -> Aggregate {
        Aggregate::new(key, self.ordered.policies.buckets)
    }
}

impl fmt::Debug for OrderedScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderedScope")
            .field("handler_id", &self.lane.scope.handler_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Action {
    /// Says what is done, as operators read it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReleaseFrom(next) => write!(f, "released from sequence {next}"),
            Self::Skip => f.write_str("what was missing is skipped"),
            Self::DeadLetter { through } => {
                write!(f, "given up through sequence {through}, to the dead letters")
            }
            Self::Drop { through } => write!(f, "dropped through sequence {through}"),
            Self::Halt { reason } => write!(f, "halted: {reason}"),
            Self::Resume => f.write_str("resumed"),
            Self::Forget => f.write_str("forgotten, with all that waited"),
        }
    }
}
