//! Strategies: where a message goes first, and what its acknowledgement means.

use std::fmt;
use std::time::Duration;

use super::error::PublishError;
use super::outcome::PublishingOutcome;
use crate::delay::{Bucket, Buckets, Destinations, Envelope, MalformedEnvelope, SIGNATURE, Seal, Sealed};
use crate::message::{RawMessage, Timestamp};
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

/// Publishes to a delay topic, from which the republisher takes the message when it is due.
#[derive(Debug, Clone)]
pub struct DelayedPublishStrategy {
    buckets: Buckets,
    destinations: Destinations,
    /// In how many buckets a message may wait in turn; `None` is one, the plain strategy.
    max_hops: Option<u32>,
    /// Signs envelopes, if the settings have a key.
    seal: Option<Seal>,
}

impl DelayedPublishStrategy {
    /// Publish by these settings; `None` if they name no delay topics.
    #[must_use]
    pub fn new(settings: &RepublisherSettings) -> Option<Self> {
        let topics = settings.delay_topics.iter();
        let buckets = Buckets::new(topics.map(|(delay, topic)| (*delay, topic.as_str())))?;
        Some(Self {
            destinations: Destinations::new(&settings.destinations, &buckets),
            buckets,
            seal: settings
                .envelope_key
                .as_ref()
                .map(|key| Seal::new(key, settings.envelope_previous_key.as_ref())),
            max_hops: match settings.strategy {
                DelayBackend::KafkaTopic => None,
                DelayBackend::KafkaCascade => Some(settings.max_hops.get()),
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

    /// Put a message into a delay topic, signed if the settings have a key.
    pub(crate) fn wrap(
        &self,
        envelope: &Envelope,
        message: OutgoingMessage,
        bucket: &Bucket,
    ) -> OutgoingMessage {
        let mut record = envelope.wrap(message, &bucket.topic);
        if let Some(seal) = &self.seal {
            let signature = seal.sign(&Sealed {
                key: record.key.as_deref(),
                payload: record.payload.as_deref(),
                headers: &record.headers,
            });
            record.headers.push(SIGNATURE, Some(signature));
        }
        record
    }

    /// Read the envelope of a record, and check its signature if the settings have a key.
    pub(crate) fn envelope_of(&self, record: &RawMessage) -> Result<Envelope, MalformedEnvelope> {
        let headers = record.headers();
        if let Some(seal) = &self.seal {
            seal.check(&Sealed {
                key: record.key(),
                payload: record.payload(),
                headers: &headers,
            })?;
        }
        Envelope::of(&headers)
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
            record: self.wrap(&envelope, message, bucket),
            waits: Some((bucket.clone(), envelope.due())),
        })
    }
}
