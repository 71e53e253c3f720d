//! What operators see of an ordering store, ready for JSON.

use serde::Serialize;

/// A bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BucketReport {
    /// Its number.
    pub bucket: u16,
    /// Aggregates with messages that wait and are not halted.
    pub rooms: u64,
    /// Messages that wait.
    pub messages: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// How long the oldest gap is open, in milliseconds; nothing if there is none.
    pub oldest_gap_ms: Option<u64>,
    /// Halted aggregates, in the order of their keys, at most a thousand.
    pub halted: Vec<String>,
    /// Aggregates with messages that wait, at most a thousand.
    pub waiting: Vec<String>,
    /// Sessions that are alive.
    pub sessions: u64,
}

/// An aggregate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AggregateReport {
    /// Its key.
    pub key: String,
    /// The next expected sequence; nothing while it is not settled where to begin.
    pub next: Option<u64>,
    /// The session that has the lease, if it is alive.
    pub owner: Option<String>,
    /// The last token granted for it.
    pub token: Option<u64>,
    /// How often the next message was granted.
    pub deliveries: u32,
    /// Messages that wait.
    pub parked: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// Since when the next message is missing while others wait, in milliseconds since the Unix epoch.
    pub gap_since: Option<i64>,
    /// Why it is halted.
    pub halted: Option<String>,
    /// Why all its messages are given up.
    pub condemned: Option<String>,
    /// What was skipped last.
    pub skipped: Option<SkippedRange>,
    /// How the last attempt failed.
    pub last_error: Option<String>,
    /// The first messages that wait.
    pub room: Vec<ParkedMessage>,
}

/// Sequences that were given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SkippedRange {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParkedMessage {
    /// Its place.
    pub sequence: u64,
    /// The length of its frame.
    pub bytes: u64,
    /// The frame, for those who show more.
    #[serde(skip)]
    pub frame: bytes::Bytes,
}

impl AggregateReport {
    /// Return the ranges of sequences that are missing below what waits, as far as `room` shows.
    #[must_use]
    pub fn missing(&self) -> Vec<SkippedRange> {
        let mut missing = Vec::new();
        let Some(mut next) = self.next else { return missing };
        for message in &self.room {
            if message.sequence > next {
                missing.push(SkippedRange {
                    first: next,
                    last: message.sequence - 1,
                });
            }
            next = message.sequence.saturating_add(1).max(next);
        }
        missing
    }
}
