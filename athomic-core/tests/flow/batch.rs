//! Batches: put together by size, time and bytes; settled message by message.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use athomic_core::handler::Message;
use athomic_core::handler::register::HandlerDefinition;
use athomic_core::message::Offset;
use athomic_core::outcome::{HandlerError, IntoBatchOutcome, Outcome};
use proptest::prelude::*;
use tokio::time::Instant;

use crate::support::{Cluster, MS, NO_JITTER, handler, until};

/// What a batch handler was called with, and when.
#[derive(Clone)]
struct Calls {
    opened: Instant,
    calls: Arc<Mutex<Vec<Call>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    at: Duration,
    attempt: u32,
    offsets: Vec<Offset>,
}

impl Calls {
    fn new() -> Self {
        Self {
            opened: Instant::now(),
            calls: Arc::default(),
        }
    }

    fn note(&self, batch: &[Message<u64>]) {
        self.calls.lock().unwrap().push(Call {
            at: self.opened.elapsed(),
            attempt: batch[0].meta().attempt(),
            offsets: batch.iter().map(|message| message.meta().offset()).collect(),
        });
    }

    fn all(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    fn sizes(&self) -> Vec<usize> {
        self.all().iter().map(|call| call.offsets.len()).collect()
    }

    /// Return attempt and offsets of each call.
    fn tried(&self) -> Vec<(u32, Vec<Offset>)> {
        let calls = self.all().into_iter();
        calls.map(|call| (call.attempt, call.offsets)).collect()
    }

    async fn until(&self, count: usize) {
        until(&format!("{count} batches"), || self.all().len() >= count).await;
    }

    /// Make a batch handler that notes its calls and returns what `answer` says.
    #[track_caller]
    fn handler<R, Fut>(
        &self,
        size: usize,
        linger: u64,
        answer: impl Fn(Vec<Message<u64>>) -> Fut + Send + Sync + 'static,
    ) -> HandlerDefinition
    where
        R: IntoBatchOutcome + Send + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        let calls = self.clone();
        let on_batch = move |batch: Vec<Message<u64>>| {
            calls.note(&batch);
            answer(batch)
        };
        handler()
            .max_batch_linger_ms(linger)
            .batch_handler(size, on_batch)
    }

    #[track_caller]
    fn accepting(&self, size: usize, linger: u64) -> HandlerDefinition {
        self.handler(size, linger, |_| async {})
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_full_or_has_waited() {
    let (cluster, calls) = (Cluster::new(1), Calls::new());
    cluster.publish_all(0, 0..10);
    let _app = cluster.start(calls.accepting(4, 200)).await;
    calls.until(3).await;
    let all = calls.all();
    assert_eq!(calls.sizes(), [4, 4, 2]);
    assert_eq!(all[1].at, all[0].at);
    let lingered = all[2].at - all[1].at;
    assert!((200..=202).contains(&lingered.as_millis()), "{lingered:?}");
    cluster.until_committed(0, 10).await;
}

#[tokio::test(start_paused = true)]
async fn the_linger_time_runs_from_the_first_message() {
    let (cluster, calls) = (Cluster::new(1), Calls::new());
    let _app = cluster.start(calls.accepting(100, 500)).await;
    tokio::time::advance(Duration::from_secs(5)).await;
    let mut first = None;
    for payload in 0..4 {
        cluster.publish(0, None, payload);
        first.get_or_insert_with(|| calls.opened.elapsed());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    calls.until(2).await;
    let all = calls.all();
    assert_eq!(calls.sizes(), [3, 1]);
    let lingered = all[0].at - first.unwrap();
    assert!((500..=502).contains(&lingered.as_millis()), "{lingered:?}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_bounded_in_bytes() {
    let (cluster, calls) = (Cluster::new(1), Calls::new());
    cluster.publish_all(0, (0..10).map(|payload| format!("{payload:>1000}")));
    let settings = "[integration.messaging.consumer]\nfetch_max_bytes = 3000";
    let _app = cluster.start_with(settings, calls.accepting(100, 100)).await;
    calls.until(4).await;
    assert_eq!(calls.sizes(), [3, 3, 3, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_holds_messages_of_one_partition() {
    let (cluster, calls) = (Cluster::new(2), Calls::new());
    cluster.publish_all(0, 0..3);
    cluster.publish_all(1, 0..2);
    let _app = cluster.start(calls.accepting(100, 50)).await;
    calls.until(2).await;
    let mut sizes = calls.sizes();
    sizes.sort_unstable();
    assert_eq!(sizes, [2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_settled_message_by_message() {
    let (cluster, calls) = (Cluster::new(1), Calls::new());
    cluster.publish_all(0, 0..4);
    let second_fails_once = |batch: Vec<Message<u64>>| async move {
        let outcome = |message: &Message<u64>| match (*message.payload(), message.meta().attempt()) {
            (1, 1) => Outcome::retry_after("busy", Duration::from_secs(60)),
            _ => Outcome::Ack,
        };
        batch.iter().map(outcome).collect::<Vec<_>>()
    };
    let _app = cluster.start(calls.handler(4, 50, second_fails_once)).await;
    cluster.until_committed(0, 1).await;
    calls.until(2).await;
    assert_eq!(calls.tried(), [(1, vec![0, 1, 2, 3]), (2, vec![1])]);
    cluster.until_committed(0, 4).await;
}

#[tokio::test(start_paused = true)]
async fn messages_without_an_outcome_are_tried_again() {
    let (cluster, calls) = (Cluster::new(1), Calls::new());
    cluster.publish_all(0, 0..4);
    let answers_for_two = |_| async { vec![Outcome::Ack, Outcome::Ack] };
    let _app = cluster.start(calls.handler(4, 50, answers_for_two)).await;
    cluster.until_committed(0, 4).await;
    assert_eq!(calls.tried(), [(1, vec![0, 1, 2, 3]), (2, vec![2, 3])]);
}

#[tokio::test(start_paused = true)]
async fn outcomes_beyond_the_batch_are_ignored() {
    let (cluster, calls) = (Cluster::new(1), Calls::new());
    cluster.publish_all(0, 0..2);
    let answers_for_three = |_| async { vec![Outcome::Ack, Outcome::Ack, Outcome::retry("nobody")] };
    let _app = cluster.start(calls.handler(4, 50, answers_for_three)).await;
    cluster.until_committed(0, 2).await;
    assert_eq!(calls.sizes(), [2]);
}

/// A handler's answer: the batch as a whole fails while payload 2 is in it.
async fn fails_with_two(batch: Vec<Message<u64>>) -> Result<(), &'static str> {
    match batch.iter().any(|message| *message.payload() == 2) {
        true => Err("2 is poison"),
        false => Ok(()),
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_as_a_whole_gives_up_the_poison_alone() {
    let (cluster, calls) = (Cluster::new(1), Calls::new());
    cluster.publish_all(0, 0..4);
    let _app = cluster
        .start_with(NO_JITTER, calls.handler(4, 50, fails_with_two))
        .await;
    cluster.until_committed(0, 4).await;
    let all = vec![0, 1, 2, 3];
    let apart = (0..4).map(|offset| (3, vec![offset]));
    let expected: Vec<_> = [(1, all.clone()), (2, all)].into_iter().chain(apart).collect();
    assert_eq!(calls.tried(), expected);
}

#[tokio::test(start_paused = true)]
async fn with_one_attempt_the_poison_is_still_told_apart() {
    let (cluster, calls) = (Cluster::new(1), Calls::new());
    cluster.publish_all(0, 0..3);
    let settings = "[integration.messaging.dlq]\nmax_attempts = 1";
    let _app = cluster
        .start_with(settings, calls.handler(4, 50, fails_with_two))
        .await;
    cluster.until_committed(0, 3).await;
    let expected = [(1, vec![0, 1, 2]), (2, vec![0]), (2, vec![1]), (2, vec![2])];
    assert_eq!(calls.tried(), expected);
}

#[tokio::test(start_paused = true)]
async fn no_message_of_a_batch_is_tried_more_often_than_allowed() {
    let (cluster, calls) = (Cluster::new(1), Calls::new());
    cluster.publish_all(0, 0..2);
    // Each fails for itself, and then all of them together.
    let fails = |batch: Vec<Message<u64>>| async move {
        assert!(batch[0].meta().attempt() < 3, "the last attempt panics");
        batch
            .iter()
            .map(|_| Outcome::retry("not yet"))
            .collect::<Vec<_>>()
    };
    let _app = cluster.start_with(NO_JITTER, calls.handler(4, 50, fails)).await;
    cluster.until_committed(0, 2).await;
    let expected = [(1, vec![0, 1]), (2, vec![0, 1]), (3, vec![0]), (3, vec![1])];
    assert_eq!(calls.tried(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_batch_gives_up_the_poison_alone() {
    let (cluster, calls) = (Cluster::new(1), Calls::new());
    cluster.publish_all(0, 0..4);
    let panics = |batch: Vec<Message<u64>>| async move {
        assert!(batch.iter().all(|message| *message.payload() != 2), "2 is poison");
    };
    let _app = cluster.start(calls.handler(4, 50, panics)).await;
    cluster.until_committed(0, 4).await;
    assert_eq!(calls.sizes(), [4, 4, 1, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn an_undecodable_message_is_given_up_and_the_batch_goes_on_without_it() {
    let (cluster, calls) = (Cluster::new(1), Calls::new());
    cluster.publish_all(0, ["0", "no number", "2"]);
    let _app = cluster.start(calls.accepting(4, 50)).await;
    cluster.until_committed(0, 3).await;
    assert_eq!(calls.tried(), [(1, vec![0, 2])]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_undecodable_messages_reaches_no_handler() {
    let (cluster, calls) = (Cluster::new(1), Calls::new());
    cluster.publish_all(0, ["x", "y"]);
    let _app = cluster.start(calls.accepting(4, 50)).await;
    cluster.until_committed(0, 2).await;
    assert_eq!(calls.sizes(), [0_usize; 0]);
}

#[tokio::test(start_paused = true)]
async fn tombstones_reach_a_batch_of_options() {
    let cluster = Cluster::new(1);
    cluster.publish(0, Some("a"), 1);
    cluster.write(0, Some("a"), None);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let on_batch = {
        let seen = Arc::clone(&seen);
        move |batch: Vec<Option<u64>>| {
            seen.lock().unwrap().extend(batch);
            async {}
        }
    };
    let _app = cluster
        .start(handler().max_batch_linger_ms(10).batch_handler(10, on_batch))
        .await;
    cluster.until_committed(0, 2).await;
    assert_eq!(*seen.lock().unwrap(), [Some(1), None]);
}

#[tokio::test(start_paused = true)]
async fn the_limit_counts_batches_of_the_process() {
    let cluster = Cluster::new(4);
    for partition in 0..4 {
        cluster.publish_all(partition, 0..4);
    }
    let running = Arc::new(Mutex::new((0, 0)));
    let on_batch = {
        let running = Arc::clone(&running);
        move |_: Vec<u64>| {
            let running = Arc::clone(&running);
            async move {
                {
                    let mut running = running.lock().unwrap();
                    running.0 += 1;
                    running.1 = running.1.max(running.0);
                }
                tokio::time::sleep(10 * MS).await;
                running.lock().unwrap().0 -= 1;
            }
        }
    };
    let _app = cluster
        .start(handler().concurrency(2).batch_handler(2, on_batch))
        .await;
    for partition in 0..4 {
        cluster.until_committed(partition, 4).await;
    }
    assert_eq!(running.lock().unwrap().1, 2);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_waits_for_its_next_attempt_lets_others_run() {
    let (cluster, calls) = (Cluster::new(2), Calls::new());
    cluster.publish_all(0, [0]);
    cluster.publish_all(1, [1]);
    let first_fails = |batch: Vec<Message<u64>>| async move {
        match batch[0].meta().attempt() {
            1 => Err("busy"),
            _ => Ok(()),
        }
    };
    let mut limited = calls.handler(1, 10, first_fails);
    limited.options.concurrency = Some(1);
    let _app = cluster.start_with(NO_JITTER, limited).await;
    calls.until(4).await;
    let attempts: Vec<_> = calls.all().iter().map(|call| call.attempt).collect();
    assert_eq!(attempts, [1, 1, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn half_a_batch_is_left_unsettled_at_the_stop() {
    let (cluster, calls) = (Cluster::new(1), Calls::new());
    cluster.publish_all(0, 0..3);
    let app = cluster.start(calls.accepting(10, 60_000)).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let began = Instant::now();
    app.stop().await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!((calls.sizes(), cluster.committed(0)), (vec![], None));
    let _again = cluster.start(calls.accepting(10, 10)).await;
    cluster.until_committed(0, 3).await;
    assert_eq!(calls.tried(), [(1, vec![0, 1, 2])]);
}

/// What becomes of a message: how many attempts fail, and whether alone or with its whole batch.
type Plan = (u32, bool);

/// Handle messages by a plan; return how often each payload was tried in the end.
async fn run_plans(plans: Vec<Plan>, size: usize) -> BTreeMap<u64, u32> {
    let (cluster, calls) = (Cluster::new(1), Calls::new());
    cluster.publish_all(0, 0..plans.len());
    let count = i64::try_from(plans.len()).unwrap();
    let plans = Arc::new(plans);
    let answer = move |batch: Vec<Message<u64>>| {
        let plans = Arc::clone(&plans);
        async move {
            let fails = |message: &Message<u64>| {
                let (failures, whole) = plans[usize::try_from(*message.payload()).unwrap()];
                (message.meta().attempt() <= failures).then_some(whole)
            };
            if batch.iter().any(|message| fails(message) == Some(true)) {
                return Err(HandlerError::retry("all of you"));
            }
            let outcome = |message| fails(message).map_or(Outcome::Ack, |_| Outcome::retry("you"));
            Ok(batch.iter().map(outcome).collect::<Vec<_>>())
        }
    };
    let app = cluster.start(calls.handler(size, 10, answer)).await;
    cluster.until_committed(0, count).await;
    app.stop().await;
    let mut tried = BTreeMap::new();
    for call in calls.all() {
        assert!(call.offsets.is_sorted() && call.offsets.len() <= size);
        for offset in call.offsets {
            let attempts = tried.entry(u64::try_from(offset).unwrap()).or_insert(0);
            assert_eq!(call.attempt, *attempts + 1, "offset {offset}");
            *attempts += 1;
        }
    }
    tried
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_fails_each_message_is_tried_in_turn_and_settled(
        plans in proptest::collection::vec((0..5u32, any::<bool>()), 1..40),
        size in 1..12usize,
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        let count = plans.len();
        let tried = runtime.block_on(run_plans(plans.clone(), size));
        prop_assert_eq!(tried.keys().copied().collect::<BTreeSet<_>>().len(), count);
        for (payload, attempts) in tried {
            let (failures, _) = plans[usize::try_from(payload).unwrap()];
            prop_assert!(attempts <= 3 && attempts >= (failures + 1).min(3), "{} tried {}", payload, attempts);
        }
    }
}
