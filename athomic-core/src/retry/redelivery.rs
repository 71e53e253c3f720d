//! Retries by way of the topic: a copy of the message, with headers that say whose retry it is, how often
//! it was tried and when it is due.
//!
//! The headers come from outside and are not trusted: they can bring a message neither past its attempts
//! nor into a circle.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::dead_letter::headers::{self as names, is_of_retry};
use crate::dead_letter::{Origin, Trouble};
use crate::handler::HandlerScope;
use crate::message::{Headers, RawMessage, Timestamp};
use crate::outcome::FailureContext;
use crate::publisher::PublishError;
use crate::settings::RetryMode;
use crate::transport::OutgoingMessage;

/// No due time is waited for longer, whatever a header says.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// What a record says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is no retry.
    Fresh,
    /// It is a retry for another consumer group.
    ForOthers,
    /// It is a retry: this is its attempt, and so long it is to wait.
    Again(u32, Duration),
}

impl Standing {
    /// Read what a record says to a group in which messages are tried so often.
    pub(crate) fn of(
        message: &RawMessage,
        group: &str,
        max_attempts: u32,
        now: impl FnOnce() -> Timestamp,
    ) -> Self {
        match message.header(names::RETRY_GROUP) {
            None => Self::Fresh,
            Some(other) if other != group.as_bytes() => Self::ForOthers,
            Some(_) => Self::again(&message.headers(), max_attempts, now()),
        }
    }

    fn again(headers: &Headers, max_attempts: u32, now: Timestamp) -> Self {
        let made = headers
            .iter()
            .rev()
            .filter(|header| header.name == names::RETRY_ATTEMPTS);
        let mut made = made.filter_map(|header| number::<u32>(header.value.as_deref()?));
        let attempts = made.find(|attempts| *attempts < max_attempts).unwrap_or(0);
        let due = headers.get(names::RETRY_NOT_BEFORE).and_then(number::<i64>);
        let wait = due.map_or(0, |due| due.saturating_sub(now.as_millis()));
        let wait = Duration::from_millis(wait.try_into().unwrap_or(0));
        Self::Again(attempts + 1, wait.min(LONGEST_WAIT))
    }
}

fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Publish a message again to its topic and partition, due after a delay, by way of a delay topic or at
/// once; returns when the broker has acknowledged.
///
/// # Errors
/// The copy cannot be published, as when it is larger than its topic takes. What passes is waited for.
pub(crate) async fn republish(
    scope: &HandlerScope,
    failure: &FailureContext,
    delay: Duration,
    mode: RetryMode,
    trouble: &Arc<Trouble>,
) -> Result<(), PublishError> {
    let mut write = trouble.begin();
    let waits = match mode {
        RetryMode::DelayTopic => delay,
        RetryMode::InPlace | RetryMode::Republish => Duration::ZERO,
    };
    loop {
        let copy = copy(scope, failure, delay);
        match scope.publisher.send_after(copy, waits).await {
            Ok(()) => {
                write.acknowledged();
                return Ok(());
            }
            Err(error) if error.is_about_the_message() => return Err(error),
            Err(error) => write.failed(scope, failure, &error).await,
        }
    }
}

fn copy(scope: &HandlerScope, failure: &FailureContext, delay: Duration) -> OutgoingMessage {
    let message = &failure.message;
    let came = message.headers();
    let origin = Origin::of(message, &came);
    let now = scope.publisher.now().as_millis();
    let first_at = came.get(names::RETRY_FIRST_AT).map(Bytes::copy_from_slice);
    let due = now.saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX));
    let kept = came.into_iter().filter(|header| !is_of_retry(&header.name));
    let headers = kept
        .collect::<Headers>()
        .with(names::RETRY_ATTEMPTS, failure.attempt.to_string())
        .with(names::RETRY_GROUP, scope.group_id.to_string())
        .with(names::RETRY_NOT_BEFORE, due.to_string())
        .with(
            names::RETRY_FIRST_AT,
            first_at.unwrap_or_else(|| now.to_string().into()),
        )
        .with(names::RETRY_ORIGIN, origin.to_string());
    OutgoingMessage {
        topic: message.topic().to_owned(),
        partition: Some(message.partition()),
        key: message.key().map(Bytes::copy_from_slice),
        payload: message.payload().map(Bytes::copy_from_slice),
        headers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{OwnedRecord, TopicPartition};

    fn standing(headers: Headers) -> Standing {
        let record = OwnedRecord {
            headers,
            ..OwnedRecord::new(0, "1")
        };
        let message = RawMessage::from_record(TopicPartition::new("t", 0), record);
        Standing::of(&message, "g", 3, Timestamp::now)
    }

    fn check(attempts: &[&str], expected: u32) {
        let group = Headers::new().with(names::RETRY_GROUP, "g");
        let add = |headers: Headers, text: &&str| headers.with(names::RETRY_ATTEMPTS, (*text).to_owned());
        let headers = attempts.iter().fold(group, add);
        assert_eq!(
            standing(headers),
            Standing::Again(expected, Duration::ZERO),
            "{attempts:?}"
        );
    }

    #[test]
    fn attempts_are_the_last_number_that_can_be_one() {
        check(&[], 1);
        check(&["0"], 1);
        check(&["2"], 3);
        check(&["1", "2"], 3);
        check(&["1", "3"], 2);
        for odd in ["3", "-1", "99999999999999999999", "two", "", "1.0", "\u{fffd}"] {
            check(&[odd], 1);
            check(&["2", odd], 3);
        }
    }

    #[test]
    fn a_retry_is_for_its_group_alone() {
        assert_eq!(
            standing(Headers::new().with(names::RETRY_ATTEMPTS, "2")),
            Standing::Fresh
        );
        assert_eq!(
            standing(Headers::new().with(names::RETRY_GROUP, "h")),
            Standing::ForOthers
        );
    }

    #[test]
    fn no_due_time_is_waited_for_longer_than_a_day() {
        let due = |text: &str| {
            Headers::new()
                .with(names::RETRY_GROUP, "g")
                .with(names::RETRY_NOT_BEFORE, text.to_owned())
        };
        assert_eq!(
            standing(due(&i64::MAX.to_string())),
            Standing::Again(1, LONGEST_WAIT)
        );
        for passed in ["0", "-5", "soon"] {
            assert_eq!(standing(due(passed)), Standing::Again(1, Duration::ZERO));
        }
    }
}
