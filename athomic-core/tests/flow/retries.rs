//! Retries by way of the topic: nobody waits behind them, other groups pass them by, none is lost.

use std::time::Duration;

use athomic_core::dead_letter::headers as names;
use athomic_core::handler::register::{HandlerDefinition, Subscribe, subscribe};
use athomic_core::handler::{Meta, Ordering};
use athomic_core::message::{Headers, RawMessage};
use athomic_core::outcome::HandlerError;
use athomic_core::settings::RetryOrder;
use athomic_core::transport::OutgoingMessage;
use athomic_core::transport::memory::{Fault, FaultPlan, FaultRule, Operation};
use tokio::time::sleep;

use crate::support::{Cluster, GROUP, Journal, TOPIC, handler, until};

pub(crate) const REPUBLISH: &str = "[integration.messaging.dlq]\nstrategy = \"keep\"\ntopic = \"dlq\"\n\
    [integration.messaging.dlq.retry]\nmode = \"republish\"\njitter = false\n";

/// A handler that fails for all payloads but 0; each execution is in the journal.
pub(crate) fn failing(journal: &Journal, from: Subscribe) -> HandlerDefinition {
    let journal = journal.clone();
    from.handler(move |payload: u64, meta: Meta| {
        let run = journal.begin(0, &meta);
        journal.end(run);
        async move {
            match payload {
                0 => Ok(()),
                _ => Err("busy"),
            }
        }
    })
}

pub(crate) fn runs(journal: &Journal) -> Vec<(i64, u32)> {
    journal
        .runs()
        .iter()
        .map(|run| (run.offset, run.attempt))
        .collect()
}

pub(crate) fn messages(cluster: &Cluster, topic: &str) -> Vec<RawMessage> {
    cluster.control.messages(topic).unwrap_or_default()
}

pub(crate) fn text<'a>(message: &'a RawMessage, name: &str) -> &'a str {
    std::str::from_utf8(message.header(name).unwrap_or_default()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_message_that_fails_waits_at_the_end_of_its_topic_and_holds_nobody_back() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [1, 0, 0]);
    let _app = cluster.start_with(REPUBLISH, failing(&journal, handler())).await;
    cluster.until_committed(0, 5).await;
    assert_eq!(runs(&journal), [(0, 1), (1, 1), (2, 1), (3, 2), (4, 3)]);
    let times = journal.times();
    assert_eq!(times[2], 0, "nobody waited");
    assert!(times[3] >= 900 && times[4] >= 2700, "{times:?}");
    let all = messages(&cluster, TOPIC);
    assert_eq!(
        [
            text(&all[3], names::RETRY_ATTEMPTS),
            text(&all[4], names::RETRY_ATTEMPTS)
        ],
        ["1", "2"]
    );
    assert_eq!(text(&all[3], names::RETRY_GROUP), GROUP);
    assert_eq!(
        text(&all[3], names::RETRY_FIRST_AT),
        text(&all[4], names::RETRY_FIRST_AT)
    );
    assert_eq!(all[4].headers().len(), 5, "headers are replaced, not gathered");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_after_retries_names_the_place_of_the_first_failure() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [0, 1]);
    let _app = cluster.start_with(REPUBLISH, failing(&journal, handler())).await;
    cluster.until_committed(0, 4).await;
    let letter = &messages(&cluster, "dlq")[0];
    assert_eq!(text(letter, names::ERRORS_OFFSET), "1");
    assert_eq!(text(letter, names::ERRORS_DELIVERY_COUNT), "3");
    assert!(!text(letter, names::DLQ_FIRST_AT).is_empty());
    assert_eq!(letter.header(names::RETRY_GROUP), None);
}

#[tokio::test(start_paused = true)]
async fn other_groups_pass_retries_by_whatever_their_strategy() {
    let cluster = Cluster::new(1);
    let (journal, alone, batches) = (Journal::new(), Journal::new(), Journal::new());
    cluster.publish(0, Some("k"), 1);
    let named = |name: &str| subscribe(TOPIC).group_id(name).handler_id(name);
    let keyed = named("keyed").concurrency(4).handler({
        let notes = alone.clone();
        move |_: u64, meta: Meta| {
            let run = notes.begin(0, &meta);
            notes.end(run);
            async {}
        }
    });
    let batch = named("batch").batch_handler(10, {
        let notes = batches.clone();
        move |all: Vec<athomic_core::handler::Message<u64>>| {
            for message in all {
                let run = notes.begin(0, message.meta());
                notes.end(run);
            }
            async {}
        }
    });
    let app = cluster
        .app(REPUBLISH)
        .register(failing(&journal, handler()))
        .register(keyed)
        .register(batch);
    let _app = app.build().unwrap().start().await.unwrap();
    let committed = |group: &str| cluster.control.committed(group).iter().any(|it| it.offset == 3);
    until("all have read to the end", || {
        [GROUP, "keyed", "batch"].into_iter().all(committed)
    })
    .await;
    assert_eq!(runs(&journal), [(0, 1), (1, 2), (2, 3)]);
    assert_eq!((alone.offsets(), batches.offsets()), (vec![0], vec![0]));
}

#[tokio::test(start_paused = true)]
async fn a_message_is_settled_only_after_its_copy_is_acknowledged() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    let refuse = FaultRule::next(Operation::Publish, Fault::fail())
        .times(usize::MAX)
        .topic(TOPIC);
    cluster.publish_all(0, [0, 1, 0]);
    cluster.control.inject_next(refuse);
    let app = cluster.start_with(REPUBLISH, failing(&journal, handler())).await;
    sleep(Duration::from_secs(600)).await;
    assert_eq!(cluster.committed(0), Some(1));
    assert!(!app.health().check().is_ready());
    cluster.control.inject(FaultPlan::new());
    cluster.until_committed(0, 5).await;
    assert_eq!(runs(&journal), [(0, 1), (1, 1), (2, 1), (3, 2), (4, 3)]);
}

#[tokio::test(start_paused = true)]
async fn what_the_topic_does_not_take_is_retried_in_its_place() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [1, 0]);
    cluster.control.set_max_message_bytes(TOPIC, 20).unwrap();
    let _app = cluster.start_with(REPUBLISH, failing(&journal, handler())).await;
    cluster.until_committed(0, 2).await;
    assert_eq!(runs(&journal), [(0, 1), (0, 2), (0, 3), (1, 1)]);
}

#[tokio::test(start_paused = true)]
async fn attempts_from_outside_are_not_trusted() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    for attempts in ["3", "-1", "many", "2"] {
        let headers = Headers::new()
            .with(names::RETRY_GROUP, GROUP)
            .with(names::RETRY_ATTEMPTS, attempts);
        let message = OutgoingMessage {
            topic: TOPIC.into(),
            partition: Some(0),
            payload: Some("0".into()),
            headers,
            ..Default::default()
        };
        cluster.control.publish(message).unwrap();
    }
    let _app = cluster.start_with(REPUBLISH, failing(&journal, handler())).await;
    cluster.until_committed(0, 4).await;
    assert_eq!(runs(&journal), [(0, 1), (1, 1), (2, 1), (3, 3)]);
}

#[tokio::test(start_paused = true)]
async fn with_hold_later_messages_of_the_key_wait_and_other_keys_flow() {
    for (order, expected) in [
        (RetryOrder::Hold, vec![0, 2, 0, 0, 1]),
        (RetryOrder::Release, vec![0, 1, 2, 3, 4]),
    ] {
        let (cluster, journal) = (Cluster::new(1), Journal::new());
        cluster.publish(0, Some("a"), 1);
        cluster.publish(0, Some("a"), 0);
        cluster.publish(0, Some("b"), 0);
        let keyed = handler()
            .concurrency(4)
            .ordering(Ordering::Key)
            .options(|it| it.retry.order = Some(order));
        let _app = cluster.start_with(REPUBLISH, failing(&journal, keyed)).await;
        journal.until_ended(5).await;
        assert_eq!(journal.offsets(), expected, "{order}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_says_of_retries_holds_for_it_alone() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [1]);
    let twice = handler().options(|options| {
        options.retry.max_attempts = Some(2);
        options.retry.min_delay = Some(Duration::from_secs(7));
        options.retry.mode = Some(athomic_core::settings::RetryMode::InPlace);
    });
    let _app = cluster.start_with(REPUBLISH, failing(&journal, twice)).await;
    cluster.until_committed(0, 1).await;
    assert_eq!(runs(&journal), [(0, 1), (0, 2)]);
    assert_eq!(journal.times()[1], 7000);
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_a_retry_waits_leaves_it_where_it_is() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [1]);
    let later = |from: Subscribe| {
        let notes = journal.clone();
        from.handler(move |_: u64, meta: Meta| {
            let run = notes.begin(0, &meta);
            notes.end(run);
            async { Err::<(), _>(HandlerError::retry_after("busy", Duration::from_secs(600))) }
        })
    };
    let app = cluster.start_with(REPUBLISH, later(handler())).await;
    cluster.until_committed(0, 1).await;
    sleep(Duration::from_secs(5)).await;
    let began = tokio::time::Instant::now();
    app.stop().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!((cluster.committed(0), runs(&journal)), (Some(1), vec![(0, 1)]));
    let _app = cluster.start_with(REPUBLISH, later(handler())).await;
    journal.until_ended(2).await;
    assert_eq!(runs(&journal)[1], (1, 2));
}

/// Settings with delay topics and the program that takes messages out of them; the mode is left out.
pub(crate) const DELAYED: &str = "[integration.messaging.republisher]\nenabled = true\n\
    delay_topics = { 1 = 'delay-1s', 60 = 'delay-1m' }\n\
    [integration.messaging.dlq]\nstrategy = \"keep\"\ntopic = \"dlq\"\n\
    [integration.messaging.dlq.retry]\njitter = false\nmin_delay_seconds = 45\nmax_delay_seconds = 45\n";

#[tokio::test(start_paused = true)]
async fn where_the_republisher_is_on_retries_wait_in_delay_topics() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [1, 0]);
    let _app = cluster.start_with(DELAYED, failing(&journal, handler())).await;
    cluster.until_committed(0, 2).await;
    assert_eq!(messages(&cluster, "delay-1m").len(), 1, "it waits there");
    cluster.until_committed(0, 4).await;
    assert_eq!(runs(&journal), [(0, 1), (1, 1), (2, 2), (3, 3)]);
    let times = journal.times();
    assert!((45_000..62_000).contains(&(times[2] - times[0])), "{times:?}");
    let letter = &messages(&cluster, "dlq")[0];
    assert_eq!(text(letter, names::ERRORS_OFFSET), "0");
    assert_eq!(text(letter, names::ERRORS_DELIVERY_COUNT), "3");
}

#[tokio::test(start_paused = true)]
async fn a_delay_that_no_topic_has_is_waited_out_in_place() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [1]);
    let settings = DELAYED.replace("= 45", "= 600");
    let _app = cluster.start_with(&settings, failing(&journal, handler())).await;
    cluster.until_committed(0, 1).await;
    assert_eq!(runs(&journal), [(0, 1), (0, 2), (0, 3)]);
}

#[tokio::test(start_paused = true)]
async fn delay_topics_that_do_not_exist_are_asked_for_by_name() {
    let cluster = Cluster::new(1);
    let settings = "[integration.messaging.dlq.retry]\nmode = \"delay_topic\"";
    let faults = cluster
        .app(settings)
        .register(failing(&Journal::new(), handler()))
        .build();
    let faults = faults.unwrap_err().to_string();
    assert!(
        faults.contains("integration.messaging.republisher.delay_topics"),
        "{faults}"
    );
}
