//! Batches that fail: whose fault it is, and where those wait that are tried again.

use std::time::Duration;

use athomic_core::dead_letter::headers as names;
use athomic_core::handler::Message;
use athomic_core::handler::register::HandlerDefinition;
use athomic_core::outcome::{HandlerError, IntoBatchOutcome, Outcome};
use athomic_core::settings::{RetryMode, RetryOrder};
use athomic_core::transport::memory::{Fault, FaultPlan, FaultRule, Operation};

use crate::retries::{DELAYED, REPUBLISH, messages, runs, text};
use crate::support::{Cluster, Journal, TOPIC, handler, until};

const KEEPING: &str = "[integration.messaging.dlq]\nstrategy = \"keep\"\ntopic = \"dlq\"\n";

/// A batch handler that notes each of its messages and answers at once.
#[track_caller]
fn batches<R>(
    journal: &Journal,
    answer: impl Fn(&[Message<u64>]) -> R + Send + Sync + 'static,
) -> HandlerDefinition
where
    R: IntoBatchOutcome + Send + 'static,
{
    let journal = journal.clone();
    let on_batch = move |batch: Vec<Message<u64>>| {
        for message in &batch {
            let run = journal.begin(0, message.meta());
            journal.end(run);
        }
        let answer = answer(&batch);
        async move { answer }
    };
    handler().max_batch_linger_ms(50).batch_handler(10, on_batch)
}

fn has_poison(batch: &[Message<u64>]) -> bool {
    batch.iter().any(|message| *message.payload() == 2)
}

/// The batch fails as a whole while payload 2 is in it.
fn all_fail_with_poison(batch: &[Message<u64>]) -> Result<(), &'static str> {
    if has_poison(batch) {
        Err("2 is poison")
    } else {
        Ok(())
    }
}

/// Payload 2 fails for itself.
fn poison_fails(batch: &[Message<u64>]) -> Vec<Result<(), &'static str>> {
    let one = |message: &Message<u64>| all_fail_with_poison(std::slice::from_ref(message));
    batch.iter().map(one).collect()
}

/// Return the offsets that dead letters tell of.
fn given_up(cluster: &Cluster) -> Vec<String> {
    let letters = messages(cluster, "dlq");
    letters
        .iter()
        .map(|it| text(it, names::ERRORS_OFFSET).to_owned())
        .collect()
}

/// What becomes of 0, 1, 2 and 3 if the batch of them fails at once for good.
async fn check_told_apart(settings: &str, handler: HandlerDefinition, journal: &Journal) {
    let cluster = Cluster::new(1);
    cluster.publish_all(0, 0..4);
    let _app = cluster.start_with(&format!("{KEEPING}{settings}"), handler).await;
    cluster.until_committed(0, 4).await;
    let (together, apart) = ((0..4).map(|offset| (offset, 1)), (0..4).map(|offset| (offset, 2)));
    assert_eq!(runs(journal), together.chain(apart).collect::<Vec<_>>());
    assert_eq!(
        given_up(&cluster),
        ["2"],
        "nobody is given up for another's fault"
    );
    assert_eq!(
        journal.times()[7],
        journal.times()[0],
        "there is nothing to wait for"
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_for_the_dead_letters_is_told_apart_first() {
    let journal = Journal::new();
    let useless = |batch: &[Message<u64>]| match has_poison(batch) {
        true => Err(HandlerError::dead_letter("useless")),
        false => Ok(()),
    };
    check_told_apart("", batches(&journal, useless), &journal).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_failure_is_not_tried_again_is_told_apart_first() {
    let journal = Journal::new();
    let panics = |batch: &[Message<u64>]| assert!(!has_poison(batch), "2 is poison");
    let settings = "[integration.messaging.dlq.retry]\nretry_on = [\"handler\"]";
    check_told_apart(settings, batches(&journal, panics), &journal).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_ignored_of_a_batch_is_the_culprit_alone() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, 0..4);
    let ignores = |batch: &[Message<u64>]| match has_poison(batch) {
        true => Err(HandlerError::ignore("not ours")),
        false => Ok(()),
    };
    let _app = cluster.start_with(KEEPING, batches(&journal, ignores)).await;
    cluster.until_committed(0, 4).await;
    assert_eq!(runs(&journal).len(), 8);
    assert_eq!(given_up(&cluster), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_element_that_fails_waits_as_a_copy_and_holds_up_no_batch() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, 0..4);
    let _app = cluster
        .start_with(REPUBLISH, batches(&journal, poison_fails))
        .await;
    cluster.until_committed(0, 6).await;
    let expected = [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2), (5, 3)];
    assert_eq!(runs(&journal), expected);
    let times = journal.times();
    assert!(times[4] >= 900 && times[5] >= 2700, "{times:?}");
    assert_eq!(given_up(&cluster), ["2"]);
}

#[tokio::test(start_paused = true)]
async fn copies_that_come_back_stand_in_batches_beside_what_was_not_tried() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [2, 0]);
    let _app = cluster
        .start_with(REPUBLISH, batches(&journal, poison_fails))
        .await;
    until("there is a copy", || messages(&cluster, TOPIC).len() == 3).await;
    cluster.publish_all(0, [7]);
    cluster.until_committed(0, 5).await;
    let mut all = runs(&journal);
    assert_eq!(all[..2], [(0, 1), (1, 1)]);
    let fresh = all.iter().position(|run| *run == (3, 1)).unwrap();
    assert!(journal.times()[fresh] < 900, "{:?}", journal.runs());
    all.remove(fresh);
    assert_eq!(all[2..], [(2, 2), (4, 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_as_a_whole_is_told_apart_at_once_and_the_culprit_waits_alone() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, 0..4);
    let _app = cluster
        .start_with(DELAYED, batches(&journal, all_fail_with_poison))
        .await;
    cluster.until_committed(0, 4).await;
    let times = journal.times();
    assert_eq!(times[7], times[0], "the others do not wait: {times:?}");
    assert_eq!(messages(&cluster, "delay-1m").len(), 1, "the culprit does");
    cluster.until_committed(0, 5).await;
    let (together, apart) = ((0..4).map(|offset| (offset, 1)), (0..4).map(|offset| (offset, 2)));
    let expected: Vec<_> = together.chain(apart).chain([(4, 3)]).collect();
    assert_eq!(runs(&journal), expected);
    assert_eq!(given_up(&cluster), ["2"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_says_when_to_come_again_waits_as_copies() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, 0..3);
    let busy = |batch: &[Message<u64>]| match batch[0].meta().attempt() {
        1 => Err(HandlerError::retry_after("busy", Duration::from_secs(20))),
        _ => Ok(()),
    };
    let _app = cluster.start_with(REPUBLISH, batches(&journal, busy)).await;
    cluster.until_committed(0, 6).await;
    let expected = [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (5, 2)];
    assert_eq!(runs(&journal), expected);
    assert!(journal.times()[3] >= 19_900, "{:?}", journal.times());
}

#[tokio::test(start_paused = true)]
async fn the_last_attempt_of_copies_is_made_one_by_one() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, 0..3);
    // Each fails for itself twice, and then all of them with the poison.
    let fails = |batch: &[Message<u64>]| {
        if batch[0].meta().attempt() < 3 {
            Ok(batch.iter().map(|_| Outcome::retry("not yet")).collect())
        } else if has_poison(batch) {
            Err(HandlerError::retry("2 is poison"))
        } else {
            Ok(batch.iter().map(|_| Outcome::Ack).collect::<Vec<_>>())
        }
    };
    let _app = cluster.start_with(REPUBLISH, batches(&journal, fails)).await;
    cluster.until_committed(0, 9).await;
    assert_eq!(runs(&journal).len(), 9);
    assert_eq!(given_up(&cluster), ["2"]);
}

#[tokio::test(start_paused = true)]
async fn an_element_is_settled_only_after_its_copy_is_acknowledged() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, 0..4);
    let refuse = FaultRule::next(Operation::Publish, Fault::fail())
        .times(usize::MAX)
        .topic(TOPIC);
    cluster.control.inject_next(refuse);
    let _app = cluster
        .start_with(REPUBLISH, batches(&journal, poison_fails))
        .await;
    journal.until_ended(4).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(cluster.committed(0), Some(2));
    cluster.control.inject(FaultPlan::new());
    cluster.until_committed(0, 6).await;
    assert_eq!(runs(&journal)[4..], [(4, 2), (5, 3)]);
}

#[tokio::test(start_paused = true)]
async fn an_element_whose_copy_the_topic_does_not_take_is_retried_in_its_place() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, 0..4);
    cluster.control.set_max_message_bytes(TOPIC, 20).unwrap();
    let _app = cluster
        .start_with(REPUBLISH, batches(&journal, poison_fails))
        .await;
    cluster.until_committed(0, 4).await;
    assert_eq!(runs(&journal)[3..], [(3, 1), (2, 2), (2, 3)]);
}

#[tokio::test(start_paused = true)]
async fn an_order_by_key_is_refused_for_retries_of_batches() {
    let cluster = Cluster::new(1);
    let batch = handler().options(|it| {
        it.retry.mode = Some(RetryMode::Republish);
        it.retry.order = Some(RetryOrder::Hold);
    });
    let batch = batch.batch_handler(2, |_: Vec<u64>| async {});
    let faults = cluster.app("").register(batch).build().unwrap_err().to_string();
    assert!(faults.contains("a batch has no order by key"), "{faults}");
}
