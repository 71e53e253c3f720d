//! The republisher: the consumer that reads the delay topics and publishes what is due.
//!
//! It is a handler of the application's own making, so that membership, rebalances, commits, health and the
//! stop are those of every consumer. Only what its lanes do is its own: where others run a handler, they
//! hold a message until it is due. Within one delay topic messages come due about in the order in which they
//! were written, so a lane waits for the first of its partition and looks at no other meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::envelope::{Envelope, MalformedEnvelope};
use super::monitor::RepublisherMonitor;
use super::{Bucket, ForbiddenDestination};
use crate::commit::Slot;
use crate::consumer::{LaneContext, LaneSource, MessageProcessor, Settlement};
use crate::dead_letter::Chain;
use crate::handler::register::{HandlerDefinition, HandlerOptions};
use crate::handler::{HandlerKind, SourceLocation};
use crate::message::{RawMessage, RecordBatch, Timestamp};
use crate::ordering::frame::FrameError;
use crate::outcome::{FailureContext, FailureStage, RetryWish};
use crate::publisher::{DelayedPublishStrategy, PublishError, Publisher};
use crate::retry::{Backoff, RetryDecision};
use crate::settings::{REPUBLISHER_CONNECTION, RepublisherSettings};
use crate::telemetry::Written;
use crate::transport::{Connection, DynTransport, OutgoingMessage, TransportError};

/// The republisher's handler id, as logs, `describe` and `handler_tuning` have it.
pub const REPUBLISHER: &str = "athomic::republisher";

/// The longest step in which a message is waited for. After each the clock is looked at again, which may
/// have been set meanwhile, or have stood still with the machine.
const STEP: Duration = Duration::from_secs(30);

/// How long a lane waits before it publishes again what the connection failed for.
pub(super) const PUBLISH_AGAIN: Backoff = Backoff {
    first: Duration::from_millis(250),
    longest: Duration::from_secs(15),
    factor: 2.0,
    jitter: true,
};

/// Define the republisher as a handler.
pub(crate) fn definition(
    settings: &RepublisherSettings,
    handler: &Arc<DelayedMessageHandler>,
) -> HandlerDefinition {
    HandlerDefinition {
        handler_id: REPUBLISHER.to_owned(),
        location: SourceLocation {
            file: file!(),
            line: line!(),
        },
        kind: HandlerKind::Subscribed,
        options: HandlerOptions {
            topics: settings.delay_topics.values().cloned().collect(),
            group_id: Some(settings.group_id.clone()),
            connection_name: Some(REPUBLISHER_CONNECTION.to_owned()),
            // What passes through is the publisher's lineage already.
            enable_lineage: Some(false),
            ..Default::default()
        },
        target_type: "Envelope".to_owned(),
        processor: MessageProcessor::delayed(Arc::clone(handler)),
    }
}

/// A delayed message was not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepublishError {
    /// Its record is none of a delayed message.
    #[error("no delayed message")]
    Malformed(#[from] MalformedEnvelope),
    /// It cannot be read.
    #[error("no delayed message")]
    Damaged(#[from] FrameError),
    /// It may not go where it says.
    #[error("a delayed message may not go where it says")]
    Forbidden(#[from] ForbiddenDestination),
    /// It has been through too many delay topics.
    #[error(
        "a delayed message has waited in {hops} delay topics, as many as `max_hops` allows, and is not due"
    )]
    TooManyHops {
        /// How many.
        hops: u32,
    },
    /// Publishing failed.
    #[error("cannot publish a delayed message")]
    Publish(#[from] PublishError),
}

impl RepublishError {
    /// Say where the message failed and what is to become of it; `None` if not the message is at fault, so
    /// that it is published again until it succeeds.
    pub(super) fn verdict(&self) -> Option<(FailureStage, RetryWish)> {
        match self {
            Self::Malformed(_) | Self::Damaged(_) | Self::Forbidden(_) | Self::TooManyHops { .. } => {
                Some((FailureStage::Decode, RetryWish::Never))
            }
            Self::Publish(error) if error.is_about_the_message() => {
                Some((FailureStage::Handler, RetryWish::ByPolicy))
            }
            Self::Publish(_) => None,
        }
    }
}

/// Handles the messages of delay topics: holds each until it is due, publishes it, and acknowledges it.
///
/// What is malformed is given up, as a message that a handler cannot decode is. What its destination refuses
/// is tried as often as the dead-letter settings say. While the broker cannot be reached it waits.
#[derive(Debug)]
pub struct DelayedMessageHandler {
    strategy: DelayedPublishStrategy,
    clock: Clock,
    publisher: Publisher,
    monitor: Arc<RepublisherMonitor>,
}

/// Tells the broker's time.
struct Clock(Arc<dyn DynTransport>);

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.system())
    }
}

/// A message that may be published now, or given up.
struct Ripe {
    slot: Slot,
    message: RawMessage,
    /// What is next for it; none if it is at fault, which is found out again when it is given up.
    next: Option<Next>,
    /// How often its destination has refused it.
    refusals: u32,
}

/// What is next for a message.
enum Next {
    /// Its destination.
    Arrive(Envelope),
    /// Another delay topic.
    Hop(Envelope, Bucket),
}

/// A message and the time until which it is held.
struct Held {
    until: Timestamp,
    envelope: Envelope,
    /// What will remain of its delay by then.
    rest: Duration,
}

impl DelayedMessageHandler {
    /// Publish over a connection what a strategy has delayed.
    pub(crate) fn new(
        strategy: DelayedPublishStrategy,
        connection: &Connection,
        monitor: Arc<RepublisherMonitor>,
    ) -> Self {
        Self {
            strategy,
            clock: Clock(connection.transport()),
            publisher: connection.publisher().clone(),
            monitor,
        }
    }

    /// Run the lane of a delay topic's partition until it stops.
    pub(crate) async fn run(
        &self,
        context: &LaneContext,
        source: &mut LaneSource,
    ) -> Result<(), TransportError> {
        while let Some(batch) = source.next(context, context.settings.fetch).await? {
            let slot = context.state.track(batch.as_ref());
            if self.pass(context, batch, slot).await == Settlement::Abandoned {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Hold and publish the messages of a fetched batch; those that are due at the same time go together.
    async fn pass(&self, context: &LaneContext, batch: Arc<dyn RecordBatch>, mut slot: Slot) -> Settlement {
        let mut ripe = Vec::new();
        for index in 0..batch.len() {
            let message = RawMessage::new(Arc::clone(&batch), index);
            let next = match self.look(&message) {
                Ok(held) => {
                    if held.until > self.clock.0.now() {
                        let due_before = std::mem::take(&mut ripe);
                        if self.settle(context, due_before).await == Settlement::Abandoned
                            || self.hold(context, held.until).await
                        {
                            return Settlement::Abandoned;
                        }
                    }
                    self.next(held).ok()
                }
                Err(_) => None,
            };
            ripe.push(Ripe {
                slot,
                message,
                next,
                refusals: 0,
            });
            slot = slot.next();
        }
        self.settle(context, ripe).await
    }

    /// Read a message's envelope and find out until when it is to be held.
    fn look(&self, message: &RawMessage) -> Result<Held, RepublishError> {
        let envelope = self.strategy.sealing().envelope_of(message)?;
        self.strategy.destinations().check(&envelope.destination)?;
        let now = self.clock.0.now();
        // A record from the future has a wrong time: it is taken to be new.
        let mut written = message.timestamp().unwrap_or(now).min(now);
        if envelope.hops > 0 {
            // A republisher sent it, by the clock that is also ours: what the way here took is no delay.
            written = written.min(Timestamp::from_millis(envelope.sent));
        }
        let remaining = envelope.remaining();
        let bucket = self.strategy.buckets().of(message.topic());
        // However far off a record says that it is due, it is held for no longer than its bucket.
        let wait = bucket.map_or(remaining, |bucket| remaining.min(bucket.delay));
        let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        Ok(Held {
            until: Timestamp::from_millis(written.as_millis().saturating_add(millis)),
            rest: remaining - wait,
            envelope,
        })
    }

    /// Wait until a time by the broker's clock; `true` if the lane is told to stop meanwhile.
    async fn hold(&self, context: &LaneContext, until: Timestamp) -> bool {
        loop {
            let left = until.as_millis().saturating_sub(self.clock.0.now().as_millis());
            let Some(left) = u64::try_from(left).ok().filter(|left| *left > 0) else {
                return context.state.is_stopping();
            };
            let step = Duration::from_millis(left).min(STEP);
            if context.pause_until(Instant::now() + step).await {
                return true;
            }
        }
    }

    /// Say where a message goes that was held.
    fn next(&self, held: Held) -> Result<Next, RepublishError> {
        let late = self
            .clock
            .0
            .now()
            .as_millis()
            .saturating_sub(held.until.as_millis());
        let rest = held
            .rest
            .saturating_sub(Duration::from_millis(u64::try_from(late).unwrap_or(0)));
        let Some(max_hops) = self.strategy.max_hops().filter(|_| !rest.is_zero()) else {
            return Ok(Next::Arrive(held.envelope));
        };
        let envelope = held.envelope.next_hop(rest, self.clock.0.now());
        if envelope.hops >= max_hops {
            return Err(RepublishError::TooManyHops { hops: envelope.hops });
        }
        Ok(Next::Hop(envelope, self.strategy.buckets().for_hop(rest).clone()))
    }

    /// Publish messages until each is published or given up, and settle them.
    async fn settle(&self, context: &LaneContext, mut ripe: Vec<Ripe>) -> Settlement {
        let mut failures = 0;
        while !ripe.is_empty() {
            let Some((again, wait)) = self.attempt(context, ripe, failures + 1).await else {
                return Settlement::Abandoned;
            };
            if !again.is_empty() && context.pause(wait).await {
                return Settlement::Abandoned;
            }
            ripe = again;
            failures += 1;
        }
        Settlement::Settled
    }

    /// Publish messages together; return those that are to be published again, and after what time. `None`
    /// if some are to be given up and the lane stops before that.
    async fn attempt(
        &self,
        context: &LaneContext,
        ripe: Vec<Ripe>,
        failures: u32,
    ) -> Option<(Vec<Ripe>, Duration)> {
        let results = self.publish(&ripe).await;
        let (mut again, mut wait, mut given_up) = (Vec::new(), Duration::ZERO, Vec::new());
        let mut trouble = None;
        for (mut ripe, result) in ripe.into_iter().zip(results) {
            let Err(error) = result else {
                self.count(ripe.next.as_ref());
                self.note_lateness(context, &ripe);
                context.state.settle(ripe.slot);
                continue;
            };
            let Some((stage, wish)) = error.verdict() else {
                trouble = Some(error);
                again.push(ripe);
                continue;
            };
            ripe.refusals += 1;
            let failure = FailureContext {
                message: ripe.message.clone(),
                stage,
                error: error.into(),
                attempt: ripe.refusals,
                wish,
                span: None,
            };
            let handler = &context.settings.failures;
            match handler.decide(&failure) {
                RetryDecision::GiveUp | RetryDecision::Ignore => given_up.push((failure, ripe.slot)),
                RetryDecision::RetryAfter(delay) => {
                    handler.retry(context.scope(), &failure, delay);
                    wait = wait.max(delay);
                    again.push(ripe);
                }
            }
        }
        if let Some(error) = trouble {
            wait = wait.max(PUBLISH_AGAIN.delay(failures));
            tracing::warn!(
                partition = %context.state.partition, messages = again.len(), failures, error = %Chain(&error),
                "cannot publish delayed messages, trying again"
            );
        }
        for (failure, slot) in given_up {
            if context.give_up(failure).await == Settlement::Abandoned {
                return None;
            }
            self.monitor.gave_up();
            context.state.settle(slot);
        }
        Some((again, wait))
    }

    /// Publish what can be published in one call; one result each, in their order.
    async fn publish(&self, ripe: &[Ripe]) -> Vec<Result<(), RepublishError>> {
        let mut records = Vec::with_capacity(ripe.len());
        let prepare = |ripe: &Ripe| {
            records.push(match &ripe.next {
                Some(next) => self.record(next, &ripe.message),
                None => self.record(&self.next(self.look(&ripe.message)?)?, &ripe.message),
            });
            Ok(())
        };
        let prepared: Vec<Result<(), RepublishError>> = ripe.iter().map(prepare).collect();
        let mut sent = self.publisher.send(records, Written::Copy).await.into_iter();
        let result = |prepared: Result<(), RepublishError>| {
            prepared?;
            let sent = sent.next().expect("each record has a result");
            Ok(sent.map(drop)?)
        };
        prepared.into_iter().map(result).collect()
    }

    /// Make the record that is written for a message.
    fn record(&self, next: &Next, message: &RawMessage) -> OutgoingMessage {
        match next {
            Next::Arrive(envelope) => envelope.unwrap(message, message.headers()),
            Next::Hop(envelope, bucket) => {
                let original = envelope.unwrap(message, message.headers());
                self.strategy.sealing().wrap(envelope, original, &bucket.topic)
            }
        }
    }

    /// Have telemetry know how much later than due a message was published to its topic.
    fn note_lateness(&self, context: &LaneContext, ripe: &Ripe) {
        if let (Some(telemetry), Some(Next::Arrive(envelope))) = (&context.scope().telemetry, &ripe.next) {
            let late = self.clock.0.now().as_millis().saturating_sub(envelope.due);
            let late = Duration::from_millis(u64::try_from(late).unwrap_or(0));
            telemetry.late(&envelope.destination, late);
        }
    }

    fn count(&self, next: Option<&Next>) {
        match next {
            Some(Next::Hop(..)) => self.monitor.passed_on(),
            _ => self.monitor.republished(),
        }
    }
}
