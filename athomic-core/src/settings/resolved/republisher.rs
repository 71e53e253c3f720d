//! What the settings say about delayed messages.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use super::DEFAULT_KVSTORE;
use crate::settings::choice::choice;
use crate::settings::secret::Secret;

/// The connection of the republisher, which is there if it is enabled.
pub const REPUBLISHER_CONNECTION: &str = "republisher";

/// The group of the republisher if the settings name none: one for all programs with the same delay topics,
/// since each group publishes each message.
pub const DEFAULT_REPUBLISHER_GROUP: &str = "athomic-republisher";

/// Delayed messages: where they wait, and who publishes them when they are due.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepublisherSettings {
    /// Whether this program publishes what is due, over [`REPUBLISHER_CONNECTION`]. Default `false`.
    pub enabled: bool,
    /// How messages wait. Default [`DelayBackend::KafkaTopic`].
    pub strategy: DelayBackend,
    /// The delay topics by their delays, none of which is zero. Without any there are no delayed messages, but with
    /// [`DelayBackend::RedisSortedSet`]: then only what waits in them from before is published.
    pub delay_topics: BTreeMap<Duration, String>,
    /// Where delayed messages may go: topics, or beginnings of their names with `*`. Empty allows all but
    /// delay topics and the broker's own.
    pub destinations: Vec<String>,
    /// In how many delay topics in turn a message may wait, with [`DelayBackend::KafkaCascade`]. Default 100.
    pub max_hops: NonZeroU32,
    /// The store in which messages wait with [`DelayBackend::RedisSortedSet`]. Default [`DEFAULT_KVSTORE`].
    pub kvstore: String,
    /// The longest delay with [`DelayBackend::RedisSortedSet`]. Default 30 days.
    pub max_delay: Duration,
    /// Signs delayed messages, so that nothing else is republished. Default: nothing is signed or checked.
    pub envelope_key: Option<Secret>,
    /// The key of before, by which messages that still wait are signed.
    pub envelope_previous_key: Option<Secret>,
    /// The consumer group, and the name of the messages in the store. Default [`DEFAULT_REPUBLISHER_GROUP`].
    pub group_id: String,
}

impl Default for RepublisherSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            strategy: DelayBackend::KafkaTopic,
            delay_topics: BTreeMap::new(),
            destinations: Vec::new(),
            max_hops: const { NonZeroU32::new(100).expect("not zero") },
            kvstore: DEFAULT_KVSTORE.to_owned(),
            max_delay: Duration::from_secs(30 * 24 * 3600),
            envelope_key: None,
            envelope_previous_key: None,
            group_id: DEFAULT_REPUBLISHER_GROUP.to_owned(),
        }
    }
}

choice! {
    /// How delayed messages wait.
    pub enum DelayBackend {
        /// In one delay topic: the smallest that is at least the delay.
        KafkaTopic = "kafka_topic_delay_strategy",
        /// In several delay topics in turn, each the largest that fits into what remains: any delay, and
        /// late by at most the smallest.
        KafkaCascade = "kafka_cascade_delay_strategy",
        /// In a store, each until its own time: any delay up to [`RepublisherSettings::max_delay`], and late by
        /// less than a second.
        RedisSortedSet = "redis_sorted_set",
    }
    not built: []
}
