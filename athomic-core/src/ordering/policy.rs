//! What an ordered consumer does when order is in danger: all policies, with their defaults.
//!
//! They are stored with the state at the first start. Those that decide what is next or what waits
//! ([`StoredPolicies`]) must be the same for all instances, and later on.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::settings::choice::choice;

/// How an ordered consumer behaves. Settings: `integration.messaging.ordering.*`, and the attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderingPolicies {
    /// Where an aggregate begins.
    pub first_sequence: FirstSequence,
    /// What follows when a sequence does not come.
    pub on_gap: OnGap,
    /// What becomes of a sequence that comes after it was skipped.
    pub on_late: OnLate,
    /// What follows when an aggregate's sequences begin anew.
    pub on_regression: OnRegression,
    /// What follows when all attempts at a message failed.
    pub on_poison: OnPoison,
    /// How often a message may be granted before it counts as the cause: each time its process died.
    pub max_deliveries: NonZeroU32,
    /// How many messages of an aggregate may wait.
    pub room_max_messages: u64,
    /// How many bytes of an aggregate may wait.
    pub room_max_bytes: u64,
    /// How many messages of a bucket may wait.
    pub bucket_max_messages: u64,
    /// How many bytes of a bucket may wait.
    pub bucket_max_bytes: u64,
    /// Into how many parts the aggregates are spread.
    pub buckets: u16,
    /// Who keeps a message that waits.
    pub durability: Durability,
    /// Whether the next message waits until the store has the completion of the one before.
    pub complete: CompleteMode,
    /// After which silence of a process its aggregates go to others.
    pub session_ttl: Duration,
    /// After which idleness an aggregate is forgotten; `None` is never.
    pub state_ttl: Option<Duration>,
    /// Whether leases are kept while nothing follows, where a topic is keyed by the aggregate.
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
