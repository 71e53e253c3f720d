//! What is said about one handler's order: by its attribute, by hand, or in the settings.
//!
//! Each key stands by itself here, under its name in the settings (without the unit). What they mean
//! together is for `resolve`.

use std::time::Duration;

use super::{
    CompleteMode, Durability, FirstSequence, GapAction, OnGap, OnLate, OnPoison, OnRegression,
    OrderingPolicies,
};
use crate::settings::choice::{Choice, Words, choice};

/// What is said about ordered consumption; `None` leaves it to the settings, and those to the defaults.
///
/// Constant data: `#[ordered_consumer]` writes it down at compile time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OrderingOptions {
    /// Where an aggregate begins.
    pub first_sequence: Option<FirstSequenceRule>,
    /// With [`FirstSequenceRule::FirstSeen`]: how long lower sequences are waited for.
    pub first_seen_settle: Option<Duration>,
    /// What follows when a sequence does not come.
    pub on_gap: Option<GapRule>,
    /// After which time that follows; zero is never.
    pub gap_timeout: Option<Duration>,
    /// What becomes of a sequence that comes after it was skipped.
    pub on_late: Option<OnLate>,
    /// What follows when an aggregate's sequences begin anew.
    pub on_regression: Option<OnRegression>,
    /// What follows when all attempts at a message failed.
    pub on_poison: Option<OnPoison>,
    /// How often a message may be granted before it counts as the cause.
    pub max_deliveries: Option<u32>,
    /// How many messages of an aggregate may wait.
    pub room_max_messages: Option<u64>,
    /// How many bytes of an aggregate may wait.
    pub room_max_bytes: Option<u64>,
    /// How many messages of a bucket may wait.
    pub bucket_max_messages: Option<u64>,
    /// How many bytes of a bucket may wait.
    pub bucket_max_bytes: Option<u64>,
    /// Into how many parts the aggregates are spread.
    pub buckets: Option<u16>,
    /// Who keeps a message that waits.
    pub durability: Option<DurabilityRule>,
    /// With [`DurabilityRule::Redis`]: so many replicas must have a message first.
    pub redis_ack_replicas: Option<u32>,
    /// With [`DurabilityRule::Redis`]: a message must be in the append-only file first.
    pub redis_ack_fsync: Option<bool>,
    /// Whether the next message waits until the store has the completion of the one before.
    pub complete: Option<CompleteMode>,
    /// After which silence of a process its aggregates go to others.
    pub session_ttl: Option<Duration>,
    /// After which idleness an aggregate is forgotten; zero is never.
    pub state_ttl: Option<Duration>,
    /// Whether leases are kept while nothing follows.
    pub sticky: Option<bool>,
}

/// Where an aggregate begins, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstSequenceRule {
    /// With this sequence.
    Exact(u64),
    /// `first_seen`: with the lowest that came within the settle time.
    FirstSeen,
    /// `hook`: the application is asked.
    Hook,
}

impl FirstSequenceRule {
    /// The words that may stand in the place of a number.
    pub(crate) const WORDS: &[&str] = &["first_seen", "hook"];

    /// Read a word.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        match word {
            "first_seen" => Some(Self::FirstSeen),
            "hook" => Some(Self::Hook),
            _ => None,
        }
    }
}

/// What follows when a sequence does not come, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapRule {
    /// `wait`, or `hold`: its aggregate waits, for ever.
    Wait,
    /// After the time-out something is done.
    Act(GapAction),
}

impl GapRule {
    /// Return the word that stands for this value in settings and attributes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Act(GapAction::Skip) => "skip",
            Self::Act(GapAction::DeadLetter) => "dlq",
            Self::Act(GapAction::Halt) => "halt",
        }
    }
}

impl Choice for GapRule {
    const WORDS: Words = Words {
        known: &["wait", "hold", "skip", "dlq", "halt"],
        not_built: &[],
    };

    fn from_word(word: &str) -> Option<Self> {
        match word {
            "wait" | "hold" => Some(Self::Wait),
            "skip" => Some(Self::Act(GapAction::Skip)),
            "dlq" => Some(Self::Act(GapAction::DeadLetter)),
            "halt" => Some(Self::Act(GapAction::Halt)),
            _ => None,
        }
    }
}

choice! {
    /// Who keeps a message that waits, as it is written.
    pub enum DurabilityRule {
        /// Kafka.
        Kafka = "kafka",
        /// The store.
        Redis = "redis",
    }
    not built: []
}

/// How long lower sequences are waited for, if nothing is said.
pub(super) const SETTLE: Duration = Duration::from_secs(5);

impl OrderingOptions {
    /// Say nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            first_sequence: None,
            first_seen_settle: None,
            on_gap: None,
            gap_timeout: None,
            on_late: None,
            on_regression: None,
            on_poison: None,
            max_deliveries: None,
            room_max_messages: None,
            room_max_bytes: None,
            bucket_max_messages: None,
            bucket_max_bytes: None,
            buckets: None,
            durability: None,
            redis_ack_replicas: None,
            redis_ack_fsync: None,
            complete: None,
            session_ttl: None,
            state_ttl: None,
            sticky: None,
        }
    }

    /// Say whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::new()
    }
}

/// Writes down every policy, key by key.
impl From<&OrderingPolicies> for OrderingOptions {
    fn from(policies: &OrderingPolicies) -> Self {
        let (first_sequence, settle) = match policies.first_sequence {
            FirstSequence::Exact(first) => (FirstSequenceRule::Exact(first), None),
            FirstSequence::FirstSeen { settle } => (FirstSequenceRule::FirstSeen, Some(settle)),
            FirstSequence::Hook => (FirstSequenceRule::Hook, None),
        };
        let (on_gap, gap_timeout) = match policies.on_gap {
            OnGap::Wait => (GapRule::Wait, Duration::ZERO),
            OnGap::After(timeout, action) => (GapRule::Act(action), timeout),
        };
        let (durability, replicas, fsync) = match policies.durability {
            Durability::Kafka => (DurabilityRule::Kafka, 0, false),
            Durability::Redis { replicas, fsync } => (DurabilityRule::Redis, replicas, fsync),
        };
        Self {
            first_sequence: Some(first_sequence),
            first_seen_settle: settle,
            on_gap: Some(on_gap),
            gap_timeout: Some(gap_timeout),
            on_late: Some(policies.on_late),
            on_regression: Some(policies.on_regression),
            on_poison: Some(policies.on_poison),
            max_deliveries: Some(policies.max_deliveries.get()),
            room_max_messages: Some(policies.room_max_messages),
            room_max_bytes: Some(policies.room_max_bytes),
            bucket_max_messages: Some(policies.bucket_max_messages),
            bucket_max_bytes: Some(policies.bucket_max_bytes),
            buckets: Some(policies.buckets),
            durability: Some(durability),
            redis_ack_replicas: Some(replicas),
            redis_ack_fsync: Some(fsync),
            complete: Some(policies.complete),
            session_ttl: Some(policies.session_ttl),
            state_ttl: Some(policies.state_ttl.unwrap_or_default()),
            sticky: Some(policies.sticky),
        }
    }
}
