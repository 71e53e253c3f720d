//! What an ordered consumer does when order is in danger: all policies, with their defaults.
//!
//! They are stored with the state at the first start. Those that decide what is next or what waits
//! ([`StoredPolicies`]) must be the same for all instances, and later on.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::settings::choice::choice;

/// How an ordered consumer behaves.
///
/// Each policy may be said below `integration.messaging.ordering`, in the attribute, and for one handler in
/// `integration.messaging.handler_tuning.[].ordering`; the last that is said counts. Keys of durations carry
/// their unit in the settings (`gap_timeout_seconds`, `session_ttl_ms`) and none in the attribute
/// (`gap_timeout = "30s"`). What does not go together is refused at the start, with the key and where it
/// is written.
///
/// ```
/// use std::time::Duration;
///
/// use athomic_core::app::App;
/// use athomic_core::handler::register::ordered;
/// use athomic_core::ordering::{FirstSequenceRule, GapAction, GapRule, OnPoison};
/// # use tokio::sync::mpsc::unbounded_channel;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (done, mut order) = unbounded_channel();
/// let on_event = ordered("orders.v1")
///     .group_id("shop")
///     .key(|event: &(String, u64)| event.0.clone())
///     .sequence(|event: &(String, u64)| event.1)
///     .policies(|policies| {
///         policies.first_sequence = Some(FirstSequenceRule::Exact(1));
///         policies.on_gap = Some(GapRule::Act(GapAction::Skip));
///         policies.gap_timeout = Some(Duration::from_millis(50));
///         policies.on_poison = Some(OnPoison::Halt);
///     })
///     .handler(move |event: (String, u64)| {
///         let done = done.clone();
///         async move { done.send(event.1) }
///     });
/// let app = App::builder().without_discovery().register(on_event).settings(Default::default());
/// let app = app.build()?.start().await?;
/// for sequence in [3, 1] {
///     app.publisher().publish("orders.v1", &("order-17", sequence)).await?;
/// }
/// assert_eq!(order.recv().await, Some(1));
/// assert_eq!(order.recv().await, Some(3), "2 did not come for 50 ms");
/// app.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderingPolicies {
    /// Where an aggregate begins: `first_sequence`, a number, `"first_seen"` (with `first_seen_settle`) or
    /// `"hook"`. Default 1.
    ///
    /// With a number lower ones are invalid and go to the dead letters. It is kept with the state: a start with
    /// another is refused once messages were handled.
    pub first_sequence: FirstSequence,
    /// What follows when a sequence does not come: `on_gap`, one of `"wait"` (`"hold"` is the same), `"skip"`,
    /// `"dlq"`, `"halt"`; but for `wait` with `gap_timeout`, a duration of more than 0. Default `wait`.
    ///
    /// The clock starts when something waits behind the gap; only the one aggregate waits.
    pub on_gap: OnGap,
    /// What becomes of a sequence that comes after it was skipped: `on_late`, `"dlq"` or `"drop"`. Default `dlq`.
    pub on_late: OnLate,
    /// What follows when an aggregate's sequences begin anew, that is when a sequence that was done comes in a
    /// record that is newer than the last one done: `on_regression`, `"drop"`, `"dlq"` or `"halt"`. Default `drop`.
    pub on_regression: OnRegression,
    /// What follows when all attempts at a message failed: `on_poison`, `"dlq_and_continue"`, `"dlq_sequence"` or
    /// `"halt"`. Default `dlq_and_continue`.
    ///
    /// How many attempts there are is said by `integration.messaging.dlq` and `retry`.
    pub on_poison: OnPoison,
    /// How often a message may be begun by processes that died before it counts as the cause of that:
    /// `max_deliveries`, 1 or more. Default 5. It is given up then without being run.
    pub max_deliveries: NonZeroU32,
    /// How many messages of an aggregate may wait: `room_max_messages`, 1 to `bucket_max_messages`.
    /// Default 10,000.
    ///
    /// When a room or its bucket is full, the partition is read no further, and a gap whose policy is not `wait`
    /// is acted upon at once. The next expected message is always let in.
    pub room_max_messages: u64,
    /// How many bytes of an aggregate may wait, with what athomic adds to each message: `room_max_bytes`, 1 to
    /// `bucket_max_bytes`. Default 16 MiB.
    pub room_max_bytes: u64,
    /// How many messages of a bucket may wait: `bucket_max_messages`, 1 or more. Default 1,000,000.
    pub bucket_max_messages: u64,
    /// How many bytes of a bucket may wait: `bucket_max_bytes`, 1 or more. Default 64 MiB.
    ///
    /// All buckets together are what the store may have to hold: 4 GiB with the defaults.
    pub bucket_max_bytes: u64,
    /// Into how many parts the aggregates are spread: `buckets`, 1 to 16,384. Default 64.
    ///
    /// Each is one slot of a Redis cluster and one call of a survey. Kept with the state, as `first_sequence`.
    pub buckets: u16,
    /// Who keeps a message that waits: `durability`, `"kafka"`, or `"redis"` with `redis_ack_replicas` (a number of
    /// replicas, default 0) and `redis_ack_fsync` (default `false`). Default `kafka`. Kept with the state, as
    /// `first_sequence`.
    pub durability: Durability,
    /// Whether the next message waits until the store has the completion of the one before: `complete`, `"sync"`
    /// or `"pipelined"`. Default `sync`.
    pub complete: CompleteMode,
    /// After which silence of a process its aggregates go to others: `session_ttl`, 3 s or more. Default 10 s.
    ///
    /// Shorter takes over sooner, and takes a shorter pause of a process or its network for its death.
    pub session_ttl: Duration,
    /// After which idleness an aggregate is forgotten, so that it has to begin anew: `state_ttl`; `None`, written
    /// as 0, is never. Default never.
    ///
    /// It is to be longer than any message may come again: what a forgotten aggregate has done is not known.
    pub state_ttl: Option<Duration>,
    /// Whether leases are kept while nothing follows, where a topic is keyed by the aggregate: `sticky`. Default
    /// `true`. It saves calls of the store, and ends by itself where others want the leases.
    pub sticky: bool,
}

/// Where an aggregate begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstSequence {
    /// With this sequence. Lower ones are invalid.
    Exact(u64),
    /// With the lowest that came within the settle time after the first; zero is for topics that are
    /// keyed by the aggregate.
    FirstSeen {
        /// How long lower ones are waited for.
        settle: Duration,
    },
    /// The application is asked.
    Hook,
}

/// What follows when a sequence does not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnGap {
    /// Its aggregate waits, for ever.
    Wait,
    /// After a time something is done.
    After(Duration, GapAction),
}

/// What is done about a gap that lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapAction {
    /// Go on with the next message that is there. The missing ones are late from then on.
    Skip,
    /// Give up what waits behind the gap, and expect what follows it.
    DeadLetter,
    /// Halt the aggregate.
    Halt,
}

choice! {
    /// What becomes of a sequence that comes after it was skipped.
    pub enum OnLate {
        /// To the dead letters.
        DeadLetter = "dlq",
        /// Dropped, logged and counted.
        Drop = "drop",
    }
    not built: []
}

choice! {
    /// What follows when an aggregate's sequences begin anew: a sequence that was done, in a record that is
    /// newer than the last one done.
    pub enum OnRegression {
        /// Dropped as a duplicate, logged and counted.
        Drop = "drop",
        /// To the dead letters.
        DeadLetter = "dlq",
        /// Halt the aggregate.
        Halt = "halt",
    }
    not built: []
}

choice! {
    /// What follows when all attempts at a message failed.
    pub enum OnPoison {
        /// It goes to the dead letters and the next one is run.
        DlqAndContinue = "dlq_and_continue",
        /// It and all later ones of its aggregate go to the dead letters, in their order.
        DlqSequence = "dlq_sequence",
        /// The aggregate is halted; the message runs again when it is resumed.
        Halt = "halt",
    }
    not built: []
}

/// Who keeps a message that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Kafka: its offset is committed when it is done. Nothing is lost with the store.
    Kafka,
    /// The store: its offset is committed when it waits there.
    Redis {
        /// So many replicas must have it first.
        replicas: u32,
        /// It must be in the append-only file first.
        fsync: bool,
    },
}

choice! {
    /// Whether the next message waits until the store has the completion of the one before.
    pub enum CompleteMode {
        /// It waits.
        Sync = "sync",
        /// It starts at once, and what is done is told as a range. After a crash the messages of the last moments
        /// may run again although later ones were done.
        Pipelined = "pipelined",
    }
    not built: []
}

impl Default for OrderingPolicies {
    fn default() -> Self {
        Self {
            first_sequence: FirstSequence::Exact(1),
            on_gap: OnGap::Wait,
            on_late: OnLate::DeadLetter,
            on_regression: OnRegression::Drop,
            on_poison: OnPoison::DlqAndContinue,
            max_deliveries: const { NonZeroU32::new(5).unwrap() },
            room_max_messages: 10_000,
            room_max_bytes: 16 << 20,
            bucket_max_messages: 1_000_000,
            bucket_max_bytes: 64 << 20,
            buckets: 64,
            durability: Durability::Kafka,
            complete: CompleteMode::Sync,
            session_ttl: Duration::from_secs(10),
            state_ttl: None,
            sticky: true,
        }
    }
}

/// The policies that all instances of a handler must share, by their names in the settings. A store
/// keeps them with the state and compares them at each start.
pub type StoredPolicies = Vec<(&'static str, String)>;

impl OrderingPolicies {
    /// Return what the store keeps of the policies.
    #[must_use]
    pub fn stored(&self) -> StoredPolicies {
        let first = match self.first_sequence {
            FirstSequence::Exact(first) => first.to_string(),
            FirstSequence::FirstSeen { settle } => format!("first_seen after {} ms", settle.as_millis()),
            FirstSequence::Hook => "hook".to_owned(),
        };
        let durability = match self.durability {
            Durability::Kafka => "kafka",
            Durability::Redis { .. } => "redis",
        };
        vec![
            ("buckets", self.buckets.to_string()),
            ("first_sequence", first),
            ("durability", durability.to_owned()),
        ]
    }
}
