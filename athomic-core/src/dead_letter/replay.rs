//! Dead letters listed and replayed, from their topic.
//!
//! A replay is a copy of the message as it came, published to the topic and partition where it failed,
//! for the group alone that gave it up; other groups pass it by. It begins with its first attempt. Letters
//! of a partition are replayed one after the other, each when the one before is acknowledged, so that
//! those of a key keep their order. The letter itself stays in its topic: what is replayed is chosen by a
//! [`Filter`].

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::envelope::{self, Contents};
use super::headers::{self as names, is_of_dead_letter, is_of_replay, is_of_retry};
use super::{Chain, DeadLetterIndex, IndexFilter, Summary};
use crate::message::{Headers, Partition, RawMessage, Timestamp};
use crate::publisher::{PublishError, Publisher};
use crate::retry::Backoff;
use crate::settings::OffsetReset;
use crate::transport::{
    Assignment, ConsumerEvent, DynConsumer, DynTransport, FetchLimits, FetchOverrides, Fetched,
    OutgoingMessage, PartitionStream, Subscription, TransportError,
};

/// A partition is read until its log ends. A transport need not tell that behind the last record; where nothing came
/// for so long, that is taken for the end and logged.
const QUIET: Duration = Duration::from_secs(30);

/// So long it may take to be given all partitions of the topic.
const ASSIGNED_WITHIN: Duration = Duration::from_secs(60);

/// How much is read at once.
const AT_ONCE: FetchLimits = FetchLimits {
    messages: 200,
    bytes: 4 << 20,
};

/// How a letter is tried again that was not acknowledged; after so many failures the replay ends.
const AGAIN: Backoff = Backoff {
    first: Duration::from_millis(250),
    longest: Duration::from_secs(5),
    factor: 2.0,
    jitter: true,
};
const FAILURES: u32 = 5;

/// A dead letter.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeadLetter {
    /// What its headers tell.
    pub summary: Summary,
    /// Whether its payload is there; one that was larger than the dead-letter topic takes is not.
    pub is_complete: bool,
    /// The letter that it was replayed from.
    pub replay_of: Option<String>,
    /// The record, as it stands in the dead-letter topic.
    pub record: RawMessage,
    /// The message as it was before.
    message: Contents,
}

impl DeadLetter {
    /// Read a record of a dead-letter topic; `None` if athomic has not written it.
    #[must_use]
    pub fn read(record: &RawMessage) -> Option<Self> {
        let headers = record.headers();
        let message = message(record, &headers);
        let summary = Summary::read(&headers)?;
        let replay_of = headers.get(names::REDRIVE_OF);
        Some(Self {
            summary,
            is_complete: headers.get(names::DLQ_VALUE).is_none() && message.is_some(),
            replay_of: replay_of.map(|id| String::from_utf8_lossy(id).into_owned()),
            record: record.clone(),
            message: message.unwrap_or_default(),
        })
    }

    /// Return the payload of the message that failed; `None` if it had none, or if it is not there.
    #[must_use]
    pub fn payload(&self) -> Option<&[u8]> {
        self.message.payload.as_deref()
    }

    /// Make the record by which the message comes again.
    fn again(&self, by: &str) -> OutgoingMessage {
        let Contents {
            key,
            payload,
            headers,
        } = self.message.clone();
        let own = headers.into_iter().filter(|header| {
            let name = &*header.name;
            !(is_of_retry(name) || is_of_dead_letter(name) || is_of_replay(name))
        });
        let headers = own
            .collect::<Headers>()
            .with(names::RETRY_GROUP, self.summary.group.clone())
            .with(names::REDRIVE_OF, self.summary.id.clone())
            .with(
                names::REDRIVE_COUNT,
                self.summary.replays.saturating_add(1).to_string(),
            )
            .with(names::REDRIVE_BY, by.to_owned());
        OutgoingMessage {
            topic: self.summary.topic.clone(),
            partition: Some(self.summary.partition),
            key,
            payload,
            headers,
        }
    }
}

/// Return the message that a dead letter is about; `None` if it is in a document that cannot be read.
fn message(record: &RawMessage, headers: &Headers) -> Option<Contents> {
    if envelope::is_sealed(headers) {
        return envelope::open(record.payload()?);
    }
    Some(Contents {
        key: record.key().map(Bytes::copy_from_slice),
        payload: record.payload().map(Bytes::copy_from_slice),
        headers: headers.clone(),
    })
}

/// Which dead letters are meant; what is `None` is not looked at, and the default means all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The one with this id.
    pub id: Option<String>,
    /// Those of this handler.
    pub handler: Option<String>,
    /// Those whose error is of this type.
    pub error_type: Option<String>,
    /// Those whose error's text contains this.
    pub error_contains: Option<String>,
    /// Those with this fingerprint.
    pub fingerprint: Option<String>,
    /// Those given up at this time or later.
    pub from: Option<Timestamp>,
    /// Those given up before this time.
    pub until: Option<Timestamp>,
}

impl Filter {
    /// Say whether a letter is meant.
    #[must_use]
    pub fn fits(&self, letter: &DeadLetter) -> bool {
        self.fits_summary(&letter.summary)
    }

    /// Say the same by what a letter tells.
    fn fits_summary(&self, letter: &Summary) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        let contains = |part: &String| letter.error.as_ref().is_some_and(|error| error.contains(part));
        same(&self.id, &letter.id)
            && same(&self.handler, &letter.handler)
            && same(&self.error_type, &letter.error_type)
            && same(&self.fingerprint, &letter.fingerprint)
            && self.error_contains.as_ref().is_none_or(contains)
            && self.from.is_none_or(|from| letter.failed_at >= from)
            && self.until.is_none_or(|until| letter.failed_at < until)
    }
}

/// How letters are replayed.
#[derive(Debug, Clone, Default)]
pub struct ReplayOptions {
    /// Count what would be replayed, and publish nothing.
    pub dry_run: bool,
    /// At most so many letters a second; `None` is as fast as they are acknowledged.
    pub per_second: Option<NonZeroU32>,
    /// At most so many letters.
    pub limit: Option<usize>,
    /// Who replays, for the header `athomic-redrive-by`; empty is `athomic`.
    pub by: String,
}

/// What a replay did, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayReport {
    /// Letters that are meant by the filter, each counted once.
    pub matched: usize,
    /// Letters that were published again.
    pub replayed: usize,
    /// Letters that stand in the topic more than once, and were passed by from the second time on.
    pub duplicates: usize,
    /// Letters without their payload, which are at their old place only.
    pub incomplete: usize,
}

/// Dead letters could not be read or replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The dead-letter topic cannot be read.
    #[error("cannot read dead letters from topic `{topic}`")]
    Read {
        /// The topic.
        topic: String,
        /// Why.
        #[source]
        source: TransportError,
    },
    /// The partitions of the topic were not to be had in time.
    #[error("cannot read dead letters from topic `{topic}`: no partitions were assigned in time")]
    NotAssigned {
        /// The topic.
        topic: String,
    },
    /// A letter was not published again; those before it were.
    #[error("dead letter {id} was not replayed; {} before it were", done.replayed)]
    Publish {
        /// The letter.
        id: String,
        /// What was done before.
        done: ReplayReport,
        /// Why.
        #[source]
        source: PublishError,
    },
}

/// Lists and replays the dead letters of an application's connection.
#[derive(Clone)]
pub struct DeadLetterDesk {
    transport: Arc<dyn DynTransport>,
    publisher: Publisher,
    /// The index, and the name of the connection.
    index: Option<(DeadLetterIndex, String)>,
}

impl std::fmt::Debug for DeadLetterDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetterDesk")
            .field("publisher", &self.publisher)
            .finish()
    }
}

impl DeadLetterDesk {
    pub(crate) fn new(transport: Arc<dyn DynTransport>, publisher: Publisher) -> Self {
        Self {
            transport,
            publisher,
            index: None,
        }
    }

    /// Ask the index for the letters of this connection.
    pub(crate) fn with_index(mut self, index: Option<&DeadLetterIndex>, connection: &str) -> Self {
        self.index = index.map(|index| (index.clone(), connection.to_owned()));
        self
    }

    /// List what the letters of a topic that are meant tell, each once: from the index, if there is one that answers,
    /// else by reading the topic. The index lacks what was written a moment ago, and whatever its bounds have taken.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn summaries(&self, topic: &str, filter: &Filter) -> Result<Vec<Summary>, ReplayError> {
        // The index has the beginnings of errors only.
        if let (Some((index, connection)), None) = (&self.index, &filter.error_contains) {
            let wanted = IndexFilter {
                handler: filter.handler.clone(),
                fingerprint: filter.fingerprint.clone(),
                ..IndexFilter::default()
            };
            match index.list(&wanted, usize::MAX).await {
                Ok(entries) => {
                    let here = entries
                        .into_iter()
                        .filter(|entry| entry.letter_topic == topic && entry.connection == *connection);
                    let summaries = here.map(|entry| entry.summary);
                    return Ok(summaries.filter(|summary| filter.fits_summary(summary)).collect());
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), topic, "the index of dead letters gives no answer: reading the topic");
                }
            }
        }
        let letters = self.list(topic, filter).await?;
        Ok(letters.into_iter().map(|letter| letter.summary).collect())
    }

    /// List the letters of a topic that are meant, each once, in the order of their partitions.
    ///
    /// # Errors
    /// [`ReplayError::Read`] and [`ReplayError::NotAssigned`].
    pub async fn list(&self, topic: &str, filter: &Filter) -> Result<Vec<DeadLetter>, ReplayError> {
        let (mut letters, mut seen) = (Vec::new(), HashSet::new());
        let mut scan = Scan::open(&self.transport, topic).await?;
        while let Some(letter) = scan.next(filter).await? {
            if seen.insert(letter.summary.id.clone()) {
                letters.push(letter);
            }
        }
        scan.close().await;
        Ok(letters)
    }

    /// Replay the letters of a topic that are meant.
    ///
    /// A letter that is written while this goes on, because what was replayed failed again, is not
    /// replayed a second time.
    ///
    /// # Errors
    /// See [`ReplayError`]; what was replayed before stays so.
    pub async fn replay(
        &self,
        topic: &str,
        filter: &Filter,
        options: &ReplayOptions,
    ) -> Result<ReplayReport, ReplayError> {
        let mut scan = Scan::open(&self.transport, topic).await?;
        let replayed = self.replay_all(&mut scan, filter, options).await;
        scan.close().await;
        replayed
    }

    async fn replay_all(
        &self,
        scan: &mut Scan,
        filter: &Filter,
        options: &ReplayOptions,
    ) -> Result<ReplayReport, ReplayError> {
        let (mut report, mut seen) = (ReplayReport::default(), HashSet::new());
        let mut pace = Pace::new(options.per_second);
        while options.limit.is_none_or(|limit| report.matched < limit)
            && let Some(letter) = scan.next(filter).await?
        {
            let comes_of_this = letter.replay_of.as_ref().is_some_and(|of| seen.contains(of));
            if comes_of_this || !seen.insert(letter.summary.id.clone()) {
                report.duplicates += usize::from(!comes_of_this);
                continue;
            }
            report.matched += 1;
            if !letter.is_complete {
                report.incomplete += 1;
            } else if !options.dry_run {
                pace.wait().await;
                self.publish(&letter, &options.by)
                    .await
                    .map_err(|source| ReplayError::Publish {
                        id: letter.summary.id.clone(),
                        done: report,
                        source,
                    })?;
                report.replayed += 1;
            }
        }
        Ok(report)
    }

    async fn publish(&self, letter: &DeadLetter, by: &str) -> Result<(), PublishError> {
        let by = if by.is_empty() { "athomic" } else { by };
        let mut failures = 0;
        loop {
            match self.publisher.send_after(letter.again(by), Duration::ZERO).await {
                Err(error) if error.is_retriable() && failures < FAILURES => {
                    failures += 1;
                    tokio::time::sleep(AGAIN.delay(failures)).await;
                }
                result => return result,
            }
        }
    }
}

/// Keeps to a rate.
struct Pace {
    interval: Duration,
    next: Instant,
}

impl Pace {
    fn new(per_second: Option<NonZeroU32>) -> Self {
        Self {
            interval: per_second.map_or(Duration::ZERO, |count| Duration::from_secs(1) / count.get()),
            next: Instant::now(),
        }
    }

    async fn wait(&mut self) {
        if !self.interval.is_zero() {
            tokio::time::sleep_until(self.next).await;
            self.next = Instant::now() + self.interval;
        }
    }
}

/// Reads a topic from its beginning to its end, one partition after the other, in a group of its own
/// that never commits.
struct Scan {
    topic: String,
    consumer: Box<dyn DynConsumer>,
    streams: Vec<Box<dyn PartitionStream>>,
    /// What was fetched and not looked at.
    fetched: std::vec::IntoIter<RawMessage>,
}

impl Scan {
    async fn open(transport: &Arc<dyn DynTransport>, topic: &str) -> Result<Self, ReplayError> {
        let failed = |source| ReplayError::Read {
            topic: topic.to_owned(),
            source,
        };
        let admin = transport.admin().await.map_err(failed)?;
        let counts = admin.partitions(&[topic.to_owned()]).await.map_err(failed)?;
        let Some(count) = counts.get(topic).copied() else {
            return Err(failed(TransportError::UnknownTopic {
                topic: topic.to_owned(),
            }));
        };
        let subscription = Subscription {
            topics: vec![topic.to_owned()],
            group_id: format!("athomic-replay-{:016x}", crate::retry::random_number()),
            handler_id: "athomic::dead_letter_replay".to_owned(),
            fetch: FetchOverrides {
                offset_reset: Some(OffsetReset::Earliest),
                ..FetchOverrides::default()
            },
        };
        let consumer = transport.consumer(subscription).await.map_err(failed)?;
        let assigned = tokio::time::timeout(ASSIGNED_WITHIN, assignments(consumer.as_ref(), count));
        let mut assignments = match assigned.await {
            Ok(assignments) => assignments.map_err(failed)?,
            Err(_) => {
                return Err(ReplayError::NotAssigned {
                    topic: topic.to_owned(),
                });
            }
        };
        assignments.sort_by_key(|assignment| std::cmp::Reverse(assignment.partition.partition));
        Ok(Self {
            topic: topic.to_owned(),
            consumer,
            streams: assignments
                .into_iter()
                .map(|assignment| assignment.stream)
                .collect(),
            fetched: Vec::new().into_iter(),
        })
    }

    /// Return the next letter that is meant; `None` at the end.
    async fn next(&mut self, filter: &Filter) -> Result<Option<DeadLetter>, ReplayError> {
        loop {
            let letters = self
                .fetched
                .by_ref()
                .filter_map(|record| DeadLetter::read(&record));
            if let Some(letter) = letters.into_iter().find(|letter| filter.fits(letter)) {
                return Ok(Some(letter));
            }
            let Some(stream) = self.streams.last_mut() else {
                return Ok(None);
            };
            match tokio::time::timeout(QUIET, stream.fetch(AT_ONCE)).await {
                Ok(Ok(Fetched::Records(batch))) => {
                    let records = (0..batch.len()).map(|index| RawMessage::new(Arc::clone(&batch), index));
                    self.fetched = records.collect::<Vec<_>>().into_iter();
                }
                Ok(Ok(Fetched::Position(_) | Fetched::Ended)) => drop(self.streams.pop()),
                Err(_) => {
                    tracing::warn!(
                        topic = self.topic,
                        "no answer for {QUIET:?}, taken for the end of a partition"
                    );
                    self.streams.pop();
                }
                Ok(Err(error)) if error.is_retriable() => tokio::time::sleep(AGAIN.first).await,
                Ok(Err(source)) => {
                    return Err(ReplayError::Read {
                        topic: self.topic.clone(),
                        source,
                    });
                }
            }
        }
    }

    async fn close(self) {
        drop(self.streams);
        if let Err(error) = self.consumer.close().await {
            tracing::debug!(%error, "the group of a replay could not be left; it lapses");
        }
    }
}

/// Wait until all partitions are assigned.
async fn assignments(
    consumer: &dyn DynConsumer,
    count: Partition,
) -> Result<Vec<Assignment>, TransportError> {
    let mut all: Vec<Assignment> = Vec::new();
    while Partition::try_from(all.len()).unwrap_or(Partition::MAX) < count {
        match consumer.next_event().await? {
            ConsumerEvent::Assigned(some) => all.extend(some),
            ConsumerEvent::Revoked(revocation) => {
                all.retain(|it| !revocation.partitions.contains(&it.partition));
                revocation.complete();
            }
            ConsumerEvent::Lost(lost) => all.retain(|it| !lost.contains(&it.partition)),
            ConsumerEvent::Trouble(error) => tracing::warn!(%error, "reading dead letters"),
        }
    }
    Ok(all)
}
