//! Strategies: where a message goes first, and what its acknowledgement means.

use std::fmt;
use std::time::Duration;

use super::error::PublishError;
use super::outcome::PublishingOutcome;
use crate::delay::{Bucket, Buckets, DelayScheduler, Destinations, Envelope, Sealing};
use crate::message::Timestamp;
use crate::settings::{DelayBackend, RepublisherSettings};
use crate::transport::{Delivery, OutgoingMessage};

/// Turns a message into the record that is written for it.
pub trait PublishingStrategy: fmt::Debug + Send + Sync {
    /// Prepare a message that is to be published after a delay, which is zero for most.
    ///
    /// # Errors
    /// The strategy cannot publish it.
    fn prepare(
        &self,
        message: OutgoingMessage,
        delay: Duration,
        now: Timestamp,
    ) -> Result<Prepared, PublishError>;
}

/// A record that is ready to be written.
#[derive(Debug)]
pub struct Prepared {
    /// The record.
    pub record: OutgoingMessage,
    /// Where the message waits and until when; `None` if the record is the message itself.
    pub waits: Option<(Bucket, Timestamp)>,
}

/// What becomes of an acknowledgement.
pub(super) fn outcome(waits: Option<(Bucket, Timestamp)>, delivery: Delivery) -> PublishingOutcome {
    match waits {
        None => PublishingOutcome::Direct(delivery),
        Some((bucket, due)) => PublishingOutcome::Delayed {
            bucket,
            due,
            delivery,
        },
    }
}

/// Publishes to the destination at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct DirectPublishStrategy;

impl PublishingStrategy for DirectPublishStrategy {
    fn prepare(&self, record: OutgoingMessage, _: Duration, _: Timestamp) -> Result<Prepared, PublishError> {
        Ok(Prepared { record, waits: None })
    }
}

/// Where messages wait that are published with a delay.
#[derive(Debug, Clone)]
pub(crate) enum Delays {
    /// In delay topics.
    Topics(DelayedPublishStrategy),
    /// In a store.
    Store(DelayScheduler),
}

/// Publishes to a delay topic, from which the republisher takes the message when it is due.
#[derive(Debug, Clone)]
pub struct DelayedPublishStrategy {
    buckets: Buckets,
    destinations: Destinations,
    /// In how many buckets a message may wait in turn; `None` is one, the plain strategy.
    max_hops: Option<u32>,
    sealing: Sealing,
}

impl DelayedPublishStrategy {
    /// Publish by these settings; `None` if they name no delay topics.
    #[must_use]
    pub fn new(settings: &RepublisherSettings) -> Option<Self> {
        let topics = settings.delay_topics.iter();
        let buckets = Buckets::new(topics.map(|(delay, topic)| (*delay, topic.as_str())))?;
        Some(Self {
            destinations: Destinations::new(&settings.destinations, settings.delay_topics.values().cloned()),
            buckets,
            sealing: Sealing::new(settings),
            max_hops: match settings.strategy {
                DelayBackend::KafkaTopic => None,
                // What waits in topics from before there was a store may be on its way through several.
                DelayBackend::KafkaCascade | DelayBackend::RedisSortedSet => Some(settings.max_hops.get()),
            },
        })
    }

    /// Return the delay topics.
    #[must_use]
    pub fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// Return where messages may go.
    #[must_use]
    pub fn destinations(&self) -> &Destinations {
        &self.destinations
    }

    /// Return in how many buckets a message may wait in turn; `None` is one.
    #[must_use]
    pub fn max_hops(&self) -> Option<u32> {
        self.max_hops
    }

    /// Return what puts envelopes on messages.
    pub(crate) fn sealing(&self) -> &Sealing {
        &self.sealing
    }

    fn bucket(&self, topic: &str, delay: Duration) -> Result<&Bucket, PublishError> {
        let too_long = |limit| PublishError::DelayTooLong {
            topic: topic.to_owned(),
            delay,
            limit,
        };
        let Some(max_hops) = self.max_hops else {
            let bucket = self.buckets.at_least(delay);
            return bucket.ok_or_else(|| {
                too_long(format!(
                    "is longer than the longest of `integration.messaging.republisher.delay_topics` ({}); add a \
                     longer one, or set `delay_strategy_backend = \"{}\"`, which goes through several",
                    self.buckets,
                    DelayBackend::KafkaCascade
                ))
            });
        };
        let hops = self.buckets.hops(delay);
        if hops > u128::from(max_hops) {
            return Err(too_long(format!(
                "takes {hops} hops through `integration.messaging.republisher.delay_topics` ({}), more than \
                 `max_hops` = {max_hops}; add a longer bucket, or raise it",
                self.buckets
            )));
        }
        Ok(self.buckets.for_hop(delay))
    }
}

impl PublishingStrategy for DelayedPublishStrategy {
    fn prepare(
        &self,
        message: OutgoingMessage,
        delay: Duration,
        now: Timestamp,
    ) -> Result<Prepared, PublishError> {
        self.destinations.check(&message.topic)?;
        let bucket = self.bucket(&message.topic, delay)?;
        let envelope = Envelope::new(&message, delay, now);
        Ok(Prepared {
            record: self.sealing.wrap(&envelope, message, &bucket.topic),
            waits: Some((bucket.clone(), envelope.due())),
        })
    }
}
