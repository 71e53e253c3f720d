//! What the attribute macros write down about a handler: constant data, gathered by `inventory`.

use std::fmt;
use std::time::Duration;

use crate::consumer::MessageProcessor;
use crate::ordering::OrderingOptions;
use crate::payload::Format;
use crate::retry::Stages;
use crate::settings::{BackoffKind, RetryMode, RetryOrder};

/// Where the user wrote something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceLocation {
    /// The file, as the compiler names it.
    pub file: &'static str,
    /// The line, from 1.
    pub line: u32,
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Which of the topics that belong together a handler consumes, or a message is published to: a topic's name
/// stands for that of normal priority, and those of the others are named after it.
///
/// Each is a topic like any other. Handlers of different priorities differ in their topics, and so wait for
/// nothing of each other: what is urgent does not stand behind what is not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Priority {
    /// `NAME.high`.
    High,
    /// The topic itself.
    #[default]
    Normal,
    /// `NAME.low`.
    Low,
}

impl Priority {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// Return the word that attributes and settings use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// Return what follows a topic's name in that of the priority's own topic.
    #[must_use]
    pub const fn suffix(self) -> Option<&'static str> {
        match self {
            Self::High => Some(".high"),
            Self::Normal => None,
            Self::Low => Some(".low"),
        }
    }
}

/// Which of the topics that belong together a handler consumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priorities {
    /// Those of one priority.
    Only(Priority),
    /// Those of all three, the more urgent first. While these leave nothing over, 20 of 100 starts are for
    /// messages of normal priority and 5 for those of low.
    Weighted,
}

impl Priorities {
    /// All of them, in the order in which messages name them.
    pub const ALL: [Self; 4] = [
        Self::Only(Priority::Normal),
        Self::Only(Priority::High),
        Self::Only(Priority::Low),
        Self::Weighted,
    ];

    /// Return the word that attributes and settings use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Only(priority) => priority.as_str(),
            Self::Weighted => "weighted",
        }
    }

    /// Return the topics that are consumed in the place of one, the more urgent first.
    pub(crate) fn topics(self, name: &str) -> Vec<String> {
        let topic = |priority: &Priority| name.to_owned() + priority.suffix().unwrap_or_default();
        match self {
            Self::Only(priority) => vec![topic(&priority)],
            Self::Weighted => Priority::ALL.iter().map(topic).collect(),
        }
    }
}

impl Default for Priorities {
    fn default() -> Self {
        Self::Only(Priority::default())
    }
}

impl From<Priority> for Priorities {
    fn from(priority: Priority) -> Self {
        Self::Only(priority)
    }
}

/// Which messages of a partition wait for each other when a handler runs concurrently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ordering {
    /// All of them: a partition is one lane.
    Partition,
    /// Those of the same key; all that have no key share a lane.
    #[default]
    Key,
    /// None.
    None,
}

impl Ordering {
    /// Return the word that attributes use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::Key => "key",
            Self::None => "none",
        }
    }
}

/// What an attribute says about idempotency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IdempotencyOptions {
    /// Whether it is on.
    pub enabled: Option<bool>,
    /// How long a handled message is remembered.
    pub ttl: Option<Duration>,
    /// How long a message that is being handled is locked against others.
    pub lock_timeout: Option<Duration>,
}

/// What `circuit_breaker(..)` says, and an entry of `handler_tuning`; `None` leaves it to the defaults, see
/// [`CircuitBreakerPolicy`](crate::circuit_breaker::CircuitBreakerPolicy).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CircuitBreakerOptions {
    /// Whether the handler has one.
    pub enabled: Option<bool>,
    /// How many percent of the messages in the window fail when it opens.
    pub failure_percent: Option<u8>,
    /// The outcomes of this last time are looked at. One of the two windows.
    pub window: Option<Duration>,
    /// So many last outcomes are looked at. One of the two windows.
    pub window_calls: Option<u32>,
    /// How many outcomes there are at least when it opens.
    pub minimum_calls: Option<u32>,
    /// How long nothing runs.
    pub open_for: Option<Duration>,
    /// How many messages are tried then.
    pub trials: Option<u32>,
}

impl CircuitBreakerOptions {
    /// Leave all to the defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            enabled: None,
            failure_percent: None,
            window: None,
            window_calls: None,
            minimum_calls: None,
            open_for: None,
            trials: None,
        }
    }

    /// Leave what is not said here to others; the window as a whole.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        let has_window = self.window.is_some() || self.window_calls.is_some();
        let window = if has_window { self } else { others };
        Self {
            enabled: self.enabled.or(others.enabled),
            failure_percent: self.failure_percent.or(others.failure_percent),
            window: window.window,
            window_calls: window.window_calls,
            minimum_calls: self.minimum_calls.or(others.minimum_calls),
            open_for: self.open_for.or(others.open_for),
            trials: self.trials.or(others.trials),
        }
    }
}

/// What `retry(..)` says, and an entry of `handler_tuning`; `None` leaves it to the settings below `dlq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetryOptions {
    /// How often a message is tried in all; 1 is no retry.
    pub max_attempts: Option<u32>,
    /// Where a message waits for its next attempt.
    pub mode: Option<RetryMode>,
    /// What later messages of its key do meanwhile.
    pub order: Option<RetryOrder>,
    /// Which failures are tried again at all.
    pub retry_on: Option<Stages>,
    /// How waits grow.
    pub backoff: Option<BackoffKind>,
    /// The wait before the second attempt.
    pub min_delay: Option<Duration>,
    /// The longest wait.
    pub max_delay: Option<Duration>,
}

impl RetryOptions {
    /// Leave all to the settings.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_attempts: None,
            mode: None,
            order: None,
            retry_on: None,
            backoff: None,
            min_delay: None,
            max_delay: None,
        }
    }

    /// Leave what is not said here to others.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            max_attempts: self.max_attempts.or(others.max_attempts),
            mode: self.mode.or(others.mode),
            order: self.order.or(others.order),
            retry_on: self.retry_on.or(others.retry_on),
            backoff: self.backoff.or(others.backoff),
            min_delay: self.min_delay.or(others.min_delay),
            max_delay: self.max_delay.or(others.max_delay),
        }
    }
}

/// What an attribute says; `None` leaves it to the settings.
#[derive(Debug, Clone, Copy)]
pub struct SubscriptionOptions {
    /// The topics.
    pub topics: &'static [&'static str],
    /// The consumer group.
    pub group_id: Option<&'static str>,
    /// Which priority topics are consumed.
    pub priority: Priorities,
    /// How many executions at most run at once in this process.
    pub concurrency: Option<usize>,
    /// Which messages wait for each other; `None` is the default.
    pub ordering: Option<Ordering>,
    /// How many messages a batch holds at most; `None` is a handler of single messages.
    pub batch_size: Option<usize>,
    /// How long a batch waits to fill.
    pub max_batch_linger_ms: Option<u64>,
    /// How long the broker may wait for messages to send.
    pub fetch_timeout_ms: Option<u64>,
    /// Another name of `max_batch_linger_ms`.
    pub fetch_max_linger_ms: Option<u64>,
    /// How many bytes one fetch may bring.
    pub fetch_max_bytes: Option<usize>,
    /// How many messages are fetched ahead (ordered consumers).
    pub fetch_size: Option<usize>,
    /// The named connection.
    pub connection_name: Option<&'static str>,
    /// Idempotency.
    pub idempotency: Option<IdempotencyOptions>,
    /// Whether the attribute names an `idempotency_key_resolver`.
    pub has_idempotency_key_resolver: bool,
    /// The format of payloads, in the place of that of the topics.
    pub codec: Option<Format>,
    /// Whether payloads that are not encrypted are refused, also where their topics accept them.
    pub encrypted: bool,
    /// Whether lineage events are written for this handler.
    pub enable_lineage: bool,
    /// What happens when order is in danger (ordered consumers).
    pub policies: OrderingOptions,
    /// How failures are tried again.
    pub retry: RetryOptions,
    /// When the handler is left alone for a while.
    pub circuit_breaker: Option<CircuitBreakerOptions>,
}

impl SubscriptionOptions {
    /// Subscribe to topics and leave all else to the settings.
    #[must_use]
    pub const fn new(topics: &'static [&'static str]) -> Self {
        Self {
            topics,
            group_id: None,
            priority: Priorities::Only(Priority::Normal),
            concurrency: None,
            ordering: None,
            batch_size: None,
            max_batch_linger_ms: None,
            fetch_timeout_ms: None,
            fetch_max_linger_ms: None,
            fetch_max_bytes: None,
            fetch_size: None,
            connection_name: None,
            idempotency: None,
            has_idempotency_key_resolver: false,
            codec: None,
            encrypted: false,
            enable_lineage: true,
            policies: OrderingOptions::new(),
            retry: RetryOptions::new(),
            circuit_breaker: None,
        }
    }
}

/// Which attribute a handler carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandlerKind {
    /// `#[subscribe_to]`.
    Subscribed,
    /// `#[ordered_consumer]`.
    Ordered {
        /// The payload's field that names the aggregate.
        aggregate_key_field: &'static str,
        /// The payload's field that numbers the aggregate's messages.
        sequence_id_field: &'static str,
    },
}

/// A handler as its attribute describes it.
pub struct HandlerRegistration {
    /// `handler_id = "..."`, or module path and function name.
    pub handler_id: &'static str,
    /// Where the function stands.
    pub location: SourceLocation,
    /// Which attribute it carries.
    pub kind: HandlerKind,
    /// What the attribute says.
    pub options: SubscriptionOptions,
    /// The payload's type as the user wrote it.
    pub target_type: &'static str,
    /// Make the part of the runtime that knows the handler's types.
    pub processor: fn() -> MessageProcessor,
}

impl fmt::Debug for HandlerRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "handler `{}` ({})", self.handler_id, self.location)
    }
}

inventory::collect!(HandlerRegistration);
