//! Circuit breakers: a handler that keeps failing is left alone for a while, and nothing is lost by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use athomic_core::app::RunningApp;
use athomic_core::circuit_breaker::{CircuitReport, CircuitState};
use athomic_core::handler::register::{HandlerDefinition, Subscribe, ordered};
use athomic_core::handler::{CircuitBreakerOptions, Message, Meta, Ordering};
use athomic_core::health::{Finding, Severity};
use athomic_core::outcome::{HandlerError, Outcome};
use tokio::time::{Instant, sleep};

use crate::retries::REPUBLISH;
use crate::support::{Cluster, Journal, MS, TOPIC, handler, until};

const SECOND: Duration = Duration::from_secs(1);

/// Retries in place, each second, for as long as it takes.
const PATIENT: &str = "[integration.messaging.dlq]\nmax_attempts = 1000000\n\
    retry = { mode = \"in_place\", backoff = \"fixed\", min_delay_seconds = 1, jitter = false }\n";

/// Opens when half of at least 4 fail, for a minute.
const BREAKER: CircuitBreakerOptions = CircuitBreakerOptions {
    window_calls: Some(10),
    minimum_calls: Some(4),
    open_for: Some(Duration::from_secs(60)),
    trials: Some(2),
    ..CircuitBreakerOptions::new()
};

/// Something that the handler needs, and that may be down.
#[derive(Clone, Default)]
struct Bank(Arc<AtomicBool>);

impl Bank {
    fn set_down(&self, down: bool) {
        self.0.store(down, Relaxed);
    }

    fn down() -> Self {
        let bank = Self::default();
        bank.set_down(true);
        bank
    }

    /// Work as many milliseconds as the payload says, and fail while it is down.
    fn handler(&self, journal: &Journal, instance: usize, from: Subscribe) -> HandlerDefinition {
        let (bank, journal) = (self.clone(), journal.clone());
        from.handler(move |millis: u64, meta: Meta| {
            let (bank, journal) = (bank.clone(), journal.clone());
            async move {
                let run = journal.begin(instance, &meta);
                sleep(Duration::from_millis(millis)).await;
                journal.end(run);
                match bank.0.load(Relaxed) {
                    true => Err("the bank does not answer"),
                    false => Ok(()),
                }
            }
        })
    }
}

fn report(app: &RunningApp) -> CircuitReport {
    let reports = app.circuit_breakers().reports();
    assert_eq!(reports.len(), 1, "{reports:?}");
    *reports.values().next().unwrap()
}

async fn until_state(app: &RunningApp, state: CircuitState) {
    until(&format!("{state:?}"), || report(app).state == state).await;
}

fn guarded() -> Subscribe {
    handler().circuit_breaker(BREAKER)
}

fn seconds(journal: &Journal) -> Vec<u128> {
    let began = journal.times()[0];
    journal.times().iter().map(|time| (time - began) / 1000).collect()
}

#[tokio::test(start_paused = true)]
async fn it_opens_tries_a_few_and_closes_and_everything_is_handled_in_its_order() {
    let (cluster, journal, bank) = (Cluster::new(1), Journal::new(), Bank::down());
    cluster.publish_all(0, [0; 20]);
    let app = cluster
        .start_with(PATIENT, bank.handler(&journal, 0, guarded()))
        .await;
    until_state(&app, CircuitState::Open).await;
    sleep(30 * SECOND).await;
    assert_eq!(seconds(&journal), [0, 1, 2, 3], "nothing runs while it is open");
    bank.set_down(false);
    cluster.until_committed(0, 20).await;
    let runs = journal.runs();
    assert_eq!(
        (seconds(&journal)[4], runs[4].offset, runs[4].attempt),
        (63, 0, 5),
        "the same message, and its next attempt"
    );
    let offsets: Vec<_> = runs[4..].iter().map(|run| run.offset).collect();
    assert_eq!(offsets, (0..20).collect::<Vec<_>>());
    let CircuitReport { state, opened, .. } = report(&app);
    assert_eq!((state, opened), (CircuitState::Closed, 1));
}

#[tokio::test(start_paused = true)]
async fn who_fails_in_its_trial_is_left_alone_again() {
    let (cluster, journal, bank) = (Cluster::new(1), Journal::new(), Bank::down());
    cluster.publish_all(0, [0; 2]);
    let app = cluster
        .start_with(PATIENT, bank.handler(&journal, 0, guarded()))
        .await;
    journal.until_ended(6).await;
    assert_eq!(
        seconds(&journal),
        [0, 1, 2, 3, 63, 123],
        "half of two trials is one"
    );
    assert_eq!(report(&app).opened, 3);
    bank.set_down(false);
    cluster.until_committed(0, 2).await;
}

#[tokio::test(start_paused = true)]
async fn side_by_side_what_runs_may_end_and_only_trials_run_until_it_closes() {
    let (cluster, journal, bank) = (Cluster::new(4), Journal::new(), Bank::down());
    (0..4).for_each(|partition| cluster.publish_all(partition, [100; 20]));
    let subscribe = guarded().concurrency(8).ordering(Ordering::None);
    let app = cluster
        .start_with(PATIENT, bank.handler(&journal, 0, subscribe))
        .await;
    until_state(&app, CircuitState::Open).await;
    sleep(50 * SECOND).await;
    assert!(
        journal.runs().iter().all(|run| run.ended.is_some()),
        "what ran has ended"
    );
    assert_eq!(journal.runs().len(), 8);
    bank.set_down(false);
    until_state(&app, CircuitState::Closed).await;
    (0..4).for_each(|partition| assert_eq!(cluster.committed(partition).unwrap_or(0), 0));
    let runs = journal.runs();
    let trials = runs[8..].iter().filter(|run| run.ended.is_some()).count();
    assert_eq!(trials, 2, "that many were tried before it closed");
    for partition in 0..4 {
        cluster.until_committed(partition, 20).await;
    }
    assert_eq!(journal.peak(), 8, "all of the executions are used again");
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_it_is_open_is_at_once_and_what_waits_comes_to_the_next_owner() {
    let by_key = |it: Subscribe| it.concurrency(8).ordering(Ordering::Key);
    let alone = |it: Subscribe| it;
    for shape in [by_key as fn(Subscribe) -> Subscribe, alone] {
        let (cluster, journal, bank) = (Cluster::new(2), Journal::new(), Bank::down());
        for partition in 0..2 {
            (0..20).for_each(|index| {
                cluster.publish(partition, Some(&format!("{}", index % 5)), 10);
            });
        }
        let first = bank.handler(&journal, 0, shape(guarded()));
        let first = cluster.start_with(PATIENT, first).await;
        until_state(&first, CircuitState::Open).await;
        sleep(5 * SECOND).await;
        let ran = journal.runs().len();
        let began = Instant::now();
        first.stop().await;
        assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
        assert_eq!(journal.runs().len(), ran, "nothing was begun for it");
        bank.set_down(false);
        let second = bank.handler(&journal, 1, shape(guarded()));
        let _second = cluster.start_with(PATIENT, second).await;
        cluster.until_committed(0, 20).await;
        cluster.until_committed(1, 20).await;
        let done = journal.runs().into_iter().filter(|run| run.instance == 1);
        let mut done: Vec<_> = done.map(|run| (run.partition, run.offset)).collect();
        done.sort_unstable();
        let all: Vec<_> = (0..2)
            .flat_map(|partition| (0..20).map(move |offset| (partition, offset)))
            .collect();
        assert_eq!(done, all, "each of them, and once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_goes_while_it_is_open_is_given_back_at_once_and_one_that_comes_waits() {
    let (cluster, journal, bank) = (Cluster::new(2), Journal::new(), Bank::down());
    (0..2).for_each(|partition| cluster.publish_all(partition, [0; 10]));
    let first = cluster
        .start_with(PATIENT, bank.handler(&journal, 0, guarded()))
        .await;
    until_state(&first, CircuitState::Open).await;
    let opened = journal.now();
    let second = cluster
        .start_with(PATIENT, Bank::default().handler(&journal, 1, guarded()))
        .await;
    until("one of them to be handled elsewhere", || {
        (0..2).any(|partition| cluster.committed(partition) == Some(10))
    })
    .await;
    assert!(journal.now() - opened < 50_000, "it was not kept");
    bank.set_down(false);
    second.stop().await;
    assert!(journal.now() - opened < 50_000);
    let ran_first = |runs: Vec<crate::support::Run>| runs.iter().filter(|run| run.instance == 0).count();
    let ran = ran_first(journal.runs());
    sleep(5 * SECOND).await;
    assert_eq!(ran_first(journal.runs()), ran, "what came back waits as well");
    for partition in 0..2 {
        cluster.until_committed(partition, 10).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_to_retry_while_it_is_open() {
    let (cluster, journal, bank) = (Cluster::new(1), Journal::new(), Bank::down());
    cluster.publish_all(0, [0; 20]);
    let app = cluster
        .start_with(REPUBLISH, bank.handler(&journal, 0, guarded()))
        .await;
    until_state(&app, CircuitState::Open).await;
    sleep(50 * SECOND).await;
    let copies = || cluster.control.messages(TOPIC).unwrap().len() - 20;
    assert_eq!((copies(), journal.runs().len()), (4, 4), "those that opened it");
    bank.set_down(false);
    cluster.until_committed(0, 24).await;
    assert_eq!(copies(), 4);
}

#[tokio::test(start_paused = true)]
async fn failures_that_tell_of_the_message_alone_do_not_count() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    (0..30).for_each(|index| {
        let payload = ["1", "2", "no number"][index % 3];
        cluster.publish(0, None, payload);
    });
    let runs = journal.clone();
    let on_message = move |payload: u64, meta: Meta| {
        let run = runs.begin(0, &meta);
        runs.end(run);
        async move {
            match payload {
                1 => Err::<(), _>(HandlerError::dead_letter("an order without an id")),
                _ => Err(HandlerError::ignore("nobody pays for tests")),
            }
        }
    };
    let app = cluster.start_with("", guarded().handler(on_message)).await;
    cluster.until_committed(0, 30).await;
    assert_eq!(report(&app).opened, 0);
}

#[tokio::test(start_paused = true)]
async fn panics_and_timeouts_count() {
    let timeout = format!("{PATIENT}[integration.messaging.consumer]\nhandler_timeout_ms = 50\n");
    for fails in [true, false] {
        let cluster = Cluster::new(1);
        cluster.publish_all(0, [0; 5]);
        let on_message = move |_: u64| async move {
            assert!(!fails, "out of order");
            sleep(SECOND).await;
        };
        let app = cluster.start_with(&timeout, guarded().handler(on_message)).await;
        until_state(&app, CircuitState::Open).await;
    }
}

#[tokio::test(start_paused = true)]
async fn batches_count_message_by_message_and_what_is_told_apart_stops_when_it_opens() {
    let cluster = Cluster::new(1);
    cluster.publish_all(0, 0..50);
    let down = Bank::down();
    let calls = Arc::new(AtomicUsize::new(0));
    let (bank, counted) = (down.clone(), Arc::clone(&calls));
    let on_batch = move |batch: Vec<Message<u64>>| {
        counted.fetch_add(1, Relaxed);
        // The first batch has one poison; what comes later fails as a whole.
        let is_first = batch.iter().any(|message| *message.payload() < 10);
        let outcome = |message: &Message<u64>| match *message.payload() {
            3 => Outcome::dead_letter("poison"),
            _ => Outcome::Ack,
        };
        let each: Vec<Outcome> = batch.iter().map(outcome).collect();
        let fails = bank.0.load(Relaxed) && !is_first;
        async move {
            match fails {
                true => Err(HandlerError::retry("the bank does not answer")),
                false => Ok(each),
            }
        }
    };
    let options = CircuitBreakerOptions {
        minimum_calls: Some(10),
        ..BREAKER
    };
    let dead_letters =
        "[integration.messaging.dlq]\nstrategy = \"keep\"\ntopic = \"dlq\"\nmax_attempts = 1\n";
    let batch = handler().circuit_breaker(options).max_batch_linger_ms(50);
    let app = cluster
        .start_with(dead_letters, batch.batch_handler(10, on_batch))
        .await;
    until_state(&app, CircuitState::Open).await;
    sleep(30 * SECOND).await;
    assert_eq!(
        calls.load(Relaxed),
        2,
        "the batch that failed is not told apart while it is open"
    );
    down.set_down(false);
    cluster.until_committed(0, 50).await;
    assert_eq!(report(&app).opened, 1);
    let letters = cluster.control.messages("dlq").unwrap();
    assert_eq!(letters.len(), 1, "the poison alone");
}

#[tokio::test(start_paused = true)]
async fn handlers_have_circuits_of_their_own() {
    let (cluster, failing, working) = (Cluster::new(1), Journal::new(), Journal::new());
    let (down, up) = (Bank::down(), Bank::default());
    cluster.publish_all(0, [0; 20]);
    let one = down.handler(&failing, 0, guarded().handler_id("one"));
    let two = up.handler(&working, 0, guarded().handler_id("two").group_id("other"));
    let app = cluster.app(PATIENT).register(one).register(two).build().unwrap();
    let app = app.start().await.unwrap();
    working.until_ended(20).await;
    until("one to open", || {
        app.circuit_breakers().reports()["one"].state == CircuitState::Open
    })
    .await;
    assert_eq!(
        app.circuit_breakers().reports()["two"].state,
        CircuitState::Closed
    );
    assert_eq!(failing.runs().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn health_names_it_until_it_closes_or_nothing_waits_for_it() {
    let (cluster, journal, bank) = (Cluster::new(1), Journal::new(), Bank::down());
    cluster.publish_all(0, [0; 2]);
    let app = cluster
        .start_with(PATIENT, bank.handler(&journal, 0, guarded()))
        .await;
    until_state(&app, CircuitState::Open).await;
    sleep(10 * SECOND).await;
    let health = app.health().check();
    assert!(health.is_live() && !health.is_ready());
    let finding = &health.consumers[0].findings[0];
    assert_eq!(finding.severity(), Severity::NotReady);
    assert!(
        matches!(
            finding,
            Finding::CircuitOpen {
                failed: 4,
                total: 4,
                ..
            }
        ),
        "{finding:?}"
    );
    let said = health.to_string();
    assert!(
        said.contains("paused by its circuit breaker since 10 s: 4 of 4 messages had failed"),
        "{said}"
    );
    bank.set_down(false);
    cluster.until_committed(0, 2).await;
    assert!(app.health().check().is_ready());
}

#[tokio::test(start_paused = true)]
async fn settings_win_over_the_attribute_and_give_handlers_one_that_have_none() {
    let (cluster, journal, bank) = (Cluster::new(1), Journal::new(), Bank::down());
    cluster.publish_all(0, [0; 2]);
    let tuning = format!(
        "{PATIENT}[[integration.messaging.handler_tuning]]\nhandler_id = \"bank\"\n\
         circuit_breaker = {{ window_seconds = 600, minimum_calls = 2, open_seconds = 5, trials = 1 }}\n"
    );
    for from in [handler(), guarded()] {
        let (seen, from) = (journal.runs().len(), from.handler_id("bank"));
        let app = cluster.start_with(&tuning, bank.handler(&journal, 0, from)).await;
        journal.until_ended(seen + 4).await;
        let times = journal.times().split_off(seen);
        let since: Vec<_> = times.iter().map(|time| (time - times[0]) / 1000).collect();
        assert_eq!(since, [0, 1, 6, 11]);
        app.stop().await;
        sleep(MS).await;
    }
    let off = format!(
        "{PATIENT}[[integration.messaging.handler_tuning]]\nhandler_id = \"bank\"\ncircuit_breaker.enabled = false\n"
    );
    let app = cluster
        .start_with(&off, bank.handler(&journal, 0, guarded().handler_id("bank")))
        .await;
    assert_eq!(app.circuit_breakers().reports().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_is_refused_with_the_handlers_name() {
    let cluster = Cluster::new(1);
    let refused = |definition: HandlerDefinition| {
        let app = cluster.app("").register(definition).build();
        app.unwrap_err().to_string()
    };
    let never = CircuitBreakerOptions {
        minimum_calls: Some(11),
        ..BREAKER
    };
    let faults = refused(handler().circuit_breaker(never).handler(async |_: u64| {}));
    assert!(
        faults.contains("would never open") && faults.contains("circuit_breaker.rs"),
        "{faults}"
    );
    let ordered = ordered(TOPIC)
        .group_id("g")
        .options(|options| options.circuit_breaker = Some(BREAKER))
        .key(|_: &(u64, u64)| "a".to_owned())
        .sequence(|payload: &(u64, u64)| payload.1)
        .handler(async |_: (u64, u64)| {});
    let faults = refused(ordered);
    assert!(
        faults.contains("a circuit breaker of an ordered consumer is not built"),
        "{faults}"
    );
}
