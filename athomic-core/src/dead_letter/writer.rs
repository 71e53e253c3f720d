//! Strategies `keep` and `republish_to_parking_lot`: dead letters are records.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::headers::{DLQ_ID, REDRIVE_COUNT};
use super::letter::{Contents, Detail, Letter};
use super::trouble::Trouble;
use super::{DeadLetterIndex, Routes, Summary, log_only};
use crate::handler::HandlerScope;
use crate::message::{Headers, Partition};
use crate::outcome::FailureContext;
use crate::publisher::{PublishError, Publisher};
use crate::settings::DlqSettings;
use crate::telemetry::Written;
use crate::transport::OutgoingMessage;

/// How long the number of a topic's partitions is taken for true.
const KNOWN_FOR: Duration = Duration::from_secs(60);

/// Writes dead letters and waits until they are acknowledged.
#[derive(Debug)]
pub(super) struct Writer {
    routes: Routes,
    max_replays: u32,
    contents: Contents,
    index: Option<DeadLetterIndex>,
    /// How many partitions topics have, and since when that is known.
    partitions: Mutex<HashMap<String, (Partition, Instant)>>,
}

/// Where a message that is given up goes.
#[derive(Debug, PartialEq, Eq)]
enum Destination {
    /// To a topic, as a letter about its failure.
    Letter(String),
    /// To the parking lot as it is, since it is a dead letter already.
    Copy(String, String),
    /// It stays where it is: in the parking lot.
    Stays,
}

impl Writer {
    pub(super) fn new(settings: &DlqSettings, routes: Routes, index: Option<DeadLetterIndex>) -> Self {
        Self {
            routes,
            index,
            max_replays: settings.max_replays,
            contents: Contents {
                format: settings.format,
                sets: settings.header_sets.clone(),
                error_max_bytes: settings.error_max_bytes,
                error_redact: settings.error_redact,
            },
            partitions: Mutex::default(),
        }
    }

    /// Write a dead letter until it is acknowledged.
    pub(super) async fn write(&self, scope: &HandlerScope, failure: &FailureContext, trouble: &Arc<Trouble>) {
        let headers = failure.message.headers();
        let destination = self.destination(scope, failure, &headers);
        if destination == Destination::Stays {
            return log_only::dead_letter(scope, failure, "it stays in the parking lot");
        }
        let (mut write, mut detail) = (trouble.begin(), Detail::Full);
        loop {
            let sent = self.send(scope, failure, &destination, &headers, detail).await;
            let error = match sent {
                Ok(written) => {
                    write.acknowledged();
                    return log_only::dead_letter(scope, failure, &written);
                }
                Err(error) => error,
            };
            if let (true, Some(less)) = (error.is_too_large(), less(detail)) {
                detail = less;
                continue;
            }
            write.failed(scope, failure, &error).await;
        }
    }

    /// Send a dead letter once; returns what to log of it.
    async fn send(
        &self,
        scope: &HandlerScope,
        failure: &FailureContext,
        destination: &Destination,
        headers: &Headers,
        detail: Detail,
    ) -> Result<String, PublishError> {
        let (topic, letter) = match destination {
            Destination::Letter(topic) => (topic, Letter::new(scope, failure, &self.contents, detail)),
            Destination::Copy(topic, id) => {
                let copy = Letter::copy(&failure.message, headers.clone(), id.clone());
                (topic, copy)
            }
            Destination::Stays => unreachable!("nothing is written then"),
        };
        let partition = failure.message.partition();
        let count = self.count(&scope.publisher, topic).await?;
        let summary = self.index.as_ref().and_then(|_| Summary::read(&letter.headers));
        let record = OutgoingMessage {
            topic: topic.clone(),
            partition: (partition < count).then_some(partition),
            key: letter.key,
            payload: letter.payload,
            headers: letter.headers,
        };
        let sent = scope.publisher.send(vec![record], Written::Copy).await.pop();
        match sent.expect("one message has one result") {
            Ok(delivery) => {
                if let (Some(index), Some(summary)) = (&self.index, summary) {
                    index.note(summary, &delivery);
                }
                Ok(format!(
                    "dead letter {} at {}@{}",
                    letter.id, delivery.partition, delivery.offset
                ))
            }
            Err(error) => {
                // The topic may have been made anew, with fewer partitions.
                self.lock().remove(topic);
                Err(error)
            }
        }
    }

    fn destination(&self, scope: &HandlerScope, failure: &FailureContext, headers: &Headers) -> Destination {
        let came_from = failure.message.topic();
        let Routes { topic, parking_lot } = &self.routes;
        let topic = topic
            .as_ref()
            .map(|topic| topic.expand(came_from, &scope.group_id));
        let parking_lot = parking_lot.expand(came_from, &scope.group_id);
        if came_from == parking_lot {
            return Destination::Stays;
        }
        if let Some(id) = text(headers, DLQ_ID) {
            return Destination::Copy(parking_lot, id.to_owned());
        }
        let replays = text(headers, REDRIVE_COUNT).and_then(|count| count.parse().ok());
        let is_worn = replays.is_some_and(|replays: u32| replays >= self.max_replays);
        let topic = topic.filter(|topic| !is_worn && came_from != topic.as_str());
        Destination::Letter(topic.unwrap_or(parking_lot))
    }

    /// Return how many partitions a topic has.
    async fn count(&self, publisher: &Publisher, topic: &str) -> Result<Partition, PublishError> {
        let known = self.lock().get(topic).copied();
        if let Some((count, _)) = known.filter(|(_, since)| since.elapsed() < KNOWN_FOR) {
            return Ok(count);
        }
        let count = publisher.partitions(topic).await?;
        self.lock().insert(topic.to_owned(), (count, Instant::now()));
        Ok(count)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Partition, Instant)>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    std::str::from_utf8(headers.get(name)?).ok()
}

/// Return how a letter is written that was too large; `None` if there is nothing left to leave out.
fn less(detail: Detail) -> Option<Detail> {
    match detail {
        Detail::Full => Some(Detail::Brief),
        Detail::Brief => Some(Detail::Bare),
        Detail::Bare => None,
    }
}
