//! Failures: what is tried again, when, how often; what is given up.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use athomic_core::app::RunningApp;
use athomic_core::handler::{ExtractError, FromMessage, Key, MessageContext, Meta};
use athomic_core::outcome::{Disposition, HandlerError, Outcome, classified};
use athomic_core::settings::BackoffKind;

use crate::support::{Cluster, Journal, NO_JITTER, handler};

/// Run a handler over messages that fails as `fails` says; each execution is in the journal.
async fn start<E>(
    cluster: &Cluster,
    settings: &str,
    journal: &Journal,
    fails: impl Fn(u64, &Meta) -> Result<(), E> + Send + Sync + 'static,
) -> RunningApp
where
    E: Into<athomic_core::outcome::BoxError> + Send + 'static,
{
    let journal = journal.clone();
    let on_message = move |payload: u64, meta: Meta| {
        let run = journal.begin(0, &meta);
        journal.end(run);
        let result = fails(payload, &meta);
        async { result }
    };
    cluster.start_with(settings, handler().handler(on_message)).await
}

/// An error that is a number.
#[derive(Debug, thiserror::Error)]
#[error("no {0}")]
struct Number(u64);

/// Return the seconds from each attempt to the next.
fn pauses(journal: &Journal) -> Vec<u128> {
    let times = journal.times();
    times.windows(2).map(|pair| (pair[1] - pair[0]) / 1000).collect()
}

#[tokio::test(start_paused = true)]
async fn a_message_is_given_up_after_its_last_attempt_and_the_next_one_comes() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [0, 1]);
    let _app = start(&cluster, "", &journal, |payload, _| match payload {
        0 => Err("never"),
        _ => Ok(()),
    })
    .await;
    cluster.until_committed(0, 2).await;
    let tried: Vec<_> = journal
        .runs()
        .iter()
        .map(|run| (run.offset, run.attempt))
        .collect();
    assert_eq!(tried, [(0, 1), (0, 2), (0, 3), (1, 1)]);
}

#[tokio::test(start_paused = true)]
async fn attempts_wait_longer_each_time_up_to_the_longest() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [0]);
    let settings = "[integration.messaging.dlq]\nmax_attempts = 6\n\
        [integration.messaging.dlq.retry]\njitter = false\nmax_delay_seconds = 10";
    let _app = start(&cluster, settings, &journal, |_, _| Err("never")).await;
    cluster.until_committed(0, 1).await;
    assert_eq!(pauses(&journal), [1, 2, 4, 8, 10]);
}

#[tokio::test(start_paused = true)]
async fn an_error_can_say_when_to_try_again() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [0]);
    let _app = start(&cluster, "", &journal, |_, _| {
        Err(HandlerError::retry_after("busy", Duration::from_secs(30)))
    })
    .await;
    cluster.until_committed(0, 1).await;
    assert_eq!(pauses(&journal), [30, 30]);
}

#[tokio::test(start_paused = true)]
async fn an_errors_class_is_what_a_function_of_its_type_says() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [0, 1, 2, 3]);
    let class = |error: &Number| match error.0 {
        0 => Disposition::RetryAfter(Duration::from_secs(20)),
        1 => Disposition::DeadLetter,
        2 => Disposition::Ignore,
        _ => Disposition::Retry,
    };
    let notes = journal.clone();
    let on_message = move |payload: u64, meta: Meta| {
        let run = notes.begin(0, &meta);
        notes.end(run);
        async move { classified(Err::<(), _>(Number(payload)), class) }
    };
    let settings = "[integration.messaging.dlq]\nstrategy = \"keep\"\ntopic = \"dlq\"\nretry.jitter = false";
    let _app = cluster.start_with(settings, handler().handler(on_message)).await;
    cluster.until_committed(0, 4).await;
    let tried: Vec<_> = journal.runs().iter().map(|run| run.offset).collect();
    assert_eq!(tried, [0, 0, 0, 1, 2, 3, 3, 3]);
    assert_eq!(pauses(&journal), [20, 20, 0, 0, 0, 1, 2]);
    assert_eq!(
        cluster.control.messages("dlq").unwrap().len(),
        3,
        "all but the one ignored"
    );
}

#[tokio::test(start_paused = true)]
async fn retries_of_a_handler_are_tuned_by_the_settings_over_its_attribute() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [0]);
    let notes = journal.clone();
    let tuned = handler().handler_id("tuned").options(|it| {
        it.retry.max_attempts = Some(2);
        it.retry.min_delay = Some(Duration::from_secs(50));
        it.retry.backoff = Some(BackoffKind::Exponential);
    });
    let tuned = tuned.handler(move |_: u64, meta: Meta| {
        let run = notes.begin(0, &meta);
        notes.end(run);
        async { Err::<(), _>("never") }
    });
    let settings = "[integration.messaging.dlq.retry]\njitter = false\nbackoff = \"fixed\"\nfactor = 3\n\
        [[integration.messaging.handler_tuning]]\nhandler_id = \"tuned\"\n\
        retry = { max_attempts = 4, min_delay_seconds = 10 }";
    let _app = cluster.start_with(settings, tuned).await;
    cluster.until_committed(0, 1).await;
    assert_eq!(pauses(&journal), [10, 30, 90]);
}

#[tokio::test(start_paused = true)]
async fn an_error_can_give_up_at_once() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [0]);
    let _app = start(&cluster, "", &journal, |_, _| {
        Err(HandlerError::dead_letter("bad"))
    })
    .await;
    cluster.until_committed(0, 1).await;
    assert_eq!(journal.offsets(), [0]);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_says_the_same_as_an_error() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [0, 1, 2]);
    let notes = journal.clone();
    let on_message = move |payload: u64, meta: Meta| {
        let run = notes.begin(0, &meta);
        notes.end(run);
        async move {
            match payload {
                0 => Outcome::dead_letter("bad"),
                1 => Outcome::retry_after("busy", Duration::from_secs(5)),
                _ => Outcome::Ack,
            }
        }
    };
    let _app = cluster.start(handler().handler(on_message)).await;
    cluster.until_committed(0, 3).await;
    assert_eq!(journal.offsets(), [0, 1, 1, 1, 2]);
    assert_eq!(pauses(&journal), [0, 5, 5, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_of_that_message_and_of_nothing_else() {
    let (cluster, journal) = (Cluster::new(2), Journal::new());
    cluster.publish_all(0, [0, 1]);
    cluster.publish_all(1, [1]);
    let mut app = start(&cluster, "", &journal, |payload, meta| {
        assert!(payload != 0 || meta.attempt() == 2, "at the first attempt");
        Ok::<_, &str>(())
    })
    .await;
    cluster.until_committed(0, 2).await;
    cluster.until_committed(1, 1).await;
    let mut places = journal.places();
    places.sort_unstable();
    assert_eq!(places, [(0, 0), (0, 0), (0, 1), (1, 0)]);
    assert!(futures_util::FutureExt::now_or_never(app.failed()).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_too_long_is_cancelled_and_tried_again() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [u64::from(u32::MAX), 5]);
    let settings = format!("[integration.messaging.consumer]\nhandler_timeout_ms = 250\n{NO_JITTER}");
    let _app = cluster
        .start_with(&settings, handler().handler(journal.worker(0)))
        .await;
    cluster.until_committed(0, 2).await;
    let runs = journal.runs();
    assert_eq!(journal.offsets(), [0, 0, 0, 1]);
    assert!(runs[..3].iter().all(|run| run.ended.is_none()) && runs[3].ended.is_some());
    assert!((1250..1255).contains(&(runs[1].began - runs[0].began)));
}

#[tokio::test(start_paused = true)]
async fn an_undecodable_message_is_given_up_without_another_attempt() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, ["no number", "1"]);
    cluster.write(0, None, None);
    cluster.publish_all(0, [2]);
    let _app = start(&cluster, "", &journal, |_, _| Ok::<_, &str>(())).await;
    journal.until_ended(2).await;
    assert_eq!(journal.offsets(), [1, 3]);
    assert_eq!(journal.times(), [0, 0], "nothing was waited for");
    cluster.until_committed(0, 4).await;
}

#[tokio::test(start_paused = true)]
async fn without_dead_letters_nothing_is_given_up() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [0, 1]);
    let settings = format!("[integration.messaging.dlq]\nenabled = false\n{NO_JITTER}");
    let _app = start(&cluster, &settings, &journal, |payload, meta| {
        match (payload, meta.attempt()) {
            (0, 1) => Err(HandlerError::dead_letter("bad")),
            (0, 2..5) => Err(HandlerError::retry("busy")),
            (0, 5..8) => Err(HandlerError::retry_after("busy", Duration::from_secs(3))),
            _ => Ok(()),
        }
    })
    .await;
    cluster.until_committed(0, 2).await;
    assert_eq!(pauses(&journal), [1, 2, 4, 8, 3, 3, 3, 0]);
}

#[tokio::test(start_paused = true)]
async fn retries_of_a_partition_hold_back_that_partition_alone() {
    let (cluster, journal) = (Cluster::new(2), Journal::new());
    cluster.publish_all(0, [0, 1]);
    cluster.publish_all(1, [1; 5]);
    let _app = start(&cluster, "", &journal, |payload, _| match payload {
        0 => Err(HandlerError::retry_after("busy", Duration::from_secs(60))),
        _ => Ok(()),
    })
    .await;
    cluster.until_committed(1, 5).await;
    assert!(!journal.places().contains(&(0, 1)));
    cluster.until_committed(0, 2).await;
}

/// An extractor that fails as the payload says.
struct Tenant;

impl FromMessage for Tenant {
    fn from_message(context: &MessageContext<'_>) -> Result<Self, ExtractError> {
        match (context.message().payload(), context.attempt()) {
            (Some(b"0"), _) => Err(ExtractError::message("Tenant", "no such header")),
            (Some(b"1"), 1) => Err(ExtractError::retry("Tenant", "not to be had now")),
            (Some(b"2"), 1) => panic!("an extractor of the user"),
            _ => Ok(Self),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_extractor_says_whether_its_failure_may_pass() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [0, 1, 2]);
    let notes = journal.clone();
    let on_message = move |_: u64, meta: Meta, _: Tenant| {
        let run = notes.begin(0, &meta);
        notes.end(run);
        async {}
    };
    let _app = cluster.start(handler().handler(on_message)).await;
    cluster.until_committed(0, 3).await;
    let tried: Vec<_> = journal
        .runs()
        .iter()
        .map(|run| (run.offset, run.attempt))
        .collect();
    assert_eq!(tried, [(1, 2), (2, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_key_of_another_type_is_given_up_at_once() {
    let cluster = Cluster::new(1);
    cluster.publish(0, None, 0);
    cluster.publish(0, Some("x"), 1);
    cluster.publish(0, Some("7"), 2);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let on_message = move |_: u64, Key(key): Key<u32>| {
        notes.lock().unwrap().push(key);
        async {}
    };
    let _app = cluster.start(handler().handler(on_message)).await;
    cluster.until_committed(0, 3).await;
    assert_eq!(*seen.lock().unwrap(), [7]);
}
