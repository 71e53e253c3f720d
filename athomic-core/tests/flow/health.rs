//! Liveness and readiness: what is wrong is named, and nothing else is said to be wrong.

use std::time::Duration;

use athomic_core::health::{Finding, Health, HealthProbe, Phase};
use athomic_core::transport::memory::{Fault, FaultRule, Operation};
use tokio::time::sleep;

use crate::support::{Cluster, GROUP, Journal, handler, until};

const SECOND: Duration = Duration::from_secs(1);

/// The one thing that is to be said.
fn finding(health: &Health) -> Option<&Finding> {
    let mut all = health.consumers.iter().flat_map(|consumer| &consumer.findings);
    let first = all.next();
    assert!(all.next().is_none(), "{health}");
    first
}

async fn until_ready(probe: &HealthProbe) {
    until("it is ready", || probe.check().is_ready()).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_from_its_first_assignment_to_its_stop() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    let app = cluster.app("").register(handler().handler(journal.worker(0)));
    let app = app.build().unwrap();
    let probe = app.health();
    assert_eq!(
        probe.check().to_string(),
        "live, not ready\n  the application has not been started"
    );
    let app = app.start().await.unwrap();
    assert!(matches!(finding(&probe.check()), Some(Finding::Joining { .. })));
    until_ready(&probe).await;
    assert_eq!(probe.check().to_string(), "live, ready");
    assert_eq!(probe.check().consumers[0].partitions, 1);
    app.stop().await;
    let health = probe.check();
    assert_eq!(
        (health.phase, health.is_live(), health.is_ready()),
        (Phase::Stopped, true, false)
    );
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_gets_no_partition_is_ready_too() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    let one = cluster.start(handler().handler(journal.worker(0))).await;
    until_ready(&one.health()).await;
    let other = cluster.start(handler().handler(journal.worker(1))).await;
    until_ready(&other.health()).await;
    assert_eq!(other.health().check().consumers[0].partitions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_without_work_is_served() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    let app = cluster.start(handler().handler(journal.worker(0))).await;
    until_ready(&app.health()).await;
    for _minute in 0..10 {
        for _second in 0..60 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(finding(&app.health().check()), None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_whose_commit_takes_long_is_served() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    let slow = FaultRule::next(Operation::Commit, Fault::delay(100 * SECOND));
    cluster.control.inject_next(slow);
    cluster.publish_all(0, [1]);
    let app = cluster.start(handler().handler(journal.worker(0))).await;
    until_ready(&app.health()).await;
    for _second in 0..90 {
        sleep(SECOND).await;
        assert_eq!(finding(&app.health().check()), None);
    }
    cluster.until_committed(0, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_waits_for_the_broker_says_so() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.control.stop();
    let app = cluster.app("").register(handler().handler(journal.worker(0)));
    let app = app.build().unwrap();
    let probe = app.health();
    let starting = tokio::spawn(app.start());
    sleep(10 * SECOND).await;
    let health = probe.check();
    assert_eq!((health.is_live(), health.is_ready()), (true, false));
    let said = health.to_string();
    assert!(said.contains("the application is starting"), "{said}");
    assert!(
        said.contains("joining its group for 10 s: cannot reach a broker"),
        "{said}"
    );
    cluster.control.start();
    let _app = starting.await.unwrap().unwrap();
    until_ready(&probe).await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_down_is_named_and_restarting_would_not_help() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    let app = cluster.start(handler().handler(journal.worker(0))).await;
    let probe = app.health();
    until_ready(&probe).await;
    // So that no commit fails, which would be said too.
    cluster.until_committed(0, 0).await;
    cluster.control.stop();
    sleep(SECOND).await;
    let seen = probe.check();
    sleep(5 * SECOND).await;
    let health = probe.check();
    assert_eq!(
        (seen.is_ready(), health.is_live(), health.is_ready()),
        (false, true, false)
    );
    match finding(&health) {
        Some(Finding::BrokerDown { lasting, error }) => {
            assert_eq!(lasting.as_secs(), 5);
            assert!(
                error
                    .as_ref()
                    .is_some_and(|error| error.contains("cannot reach a broker"))
            );
        }
        other => panic!("{other:?}"),
    }
    cluster.control.start();
    until_ready(&probe).await;
}

#[tokio::test(start_paused = true)]
async fn commits_that_fail_are_named_until_one_lands() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [1]);
    cluster
        .control
        .inject_next(FaultRule::next(Operation::Commit, Fault::fail()).times(3));
    let app = cluster.start(handler().handler(journal.worker(0))).await;
    let probe = app.health();
    until("a commit fails", || {
        matches!(finding(&probe.check()), Some(Finding::CommitsFail { .. }))
    })
    .await;
    until_ready(&probe).await;
    cluster.until_committed(0, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_cannot_be_read_is_named_until_it_can() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [1]);
    cluster
        .control
        .inject_next(FaultRule::next(Operation::Fetch, Fault::fail()).times(4));
    let app = cluster.start(handler().handler(journal.worker(0))).await;
    let probe = app.health();
    until("a fetch fails", || {
        matches!(finding(&probe.check()), Some(Finding::CannotRead { .. }))
    })
    .await;
    until_ready(&probe).await;
}

#[tokio::test(start_paused = true)]
async fn back_pressure_is_named_and_is_no_fault() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    let settings = "[integration.messaging.consumer]\nmax_in_flight_messages = 10";
    cluster.publish_all(0, [60_000; 20]);
    let app = cluster
        .start_with(settings, handler().concurrency(2).handler(journal.worker(0)))
        .await;
    let probe = app.health();
    journal.until_begun(2).await;
    sleep(30 * SECOND).await;
    let health = probe.check();
    assert!(health.is_live() && health.is_ready(), "{health}");
    let said = health.to_string();
    assert!(
        said.contains("does not read t[0] for ") && said.contains(" messages are in flight"),
        "{said}"
    );
    journal.until_ended(20).await;
    assert!(finding(&probe.check()).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_does_not_end_is_named_with_its_message() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    for payload in [10, 1_000_000, 10] {
        cluster.publish(0, Some(&payload.to_string()), payload);
    }
    let settings = "[integration.messaging.consumer]\nmax_poll_interval_ms = 60000\nrevoke_timeout_ms = 1000";
    for limit in [None, Some(3)] {
        let subscription = handler()
            .group_id(format!("g{limit:?}").replace(['(', ')'], ""))
            .options(|options| options.concurrency = limit);
        let app = cluster
            .start_with(settings, subscription.handler(journal.worker(0)))
            .await;
        let probe = app.health();
        sleep(59 * SECOND).await;
        assert!(probe.check().is_ready(), "a minute is allowed: {}", probe.check());
        sleep(3 * SECOND).await;
        let health = probe.check();
        assert!(!health.is_live());
        match finding(&health) {
            Some(Finding::HandlerStuck {
                partition,
                offset,
                lasting,
            }) => {
                assert_eq!((partition.to_string().as_str(), *offset), ("t[0]", 1));
                assert!((60..=62).contains(&lasting.as_secs()));
            }
            other => panic!("{other:?}"),
        }
        sleep(1_000 * SECOND).await;
        assert!(probe.check().is_ready(), "it did end");
        app.stop().await;
    }
}

/// How old a message is says nothing: neither retries for hours nor a long queue make it unhealthy.
#[tokio::test(start_paused = true)]
async fn a_message_that_is_tried_again_and_again_is_no_stuck_handler() {
    let (cluster, _journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, ["no number"; 3]);
    let settings = "[integration.messaging.dlq]\nenabled = false";
    let app = cluster
        .start_with(settings, handler().handler(|_: u64| async {}))
        .await;
    sleep(7_200 * SECOND).await;
    let health = app.health().check();
    assert!(health.is_live() && health.is_ready(), "{health}");
}

#[tokio::test(start_paused = true)]
async fn who_was_expelled_from_its_group_is_not_ready_until_it_is_back() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    let app = cluster.start(handler().handler(journal.worker(0))).await;
    let probe = app.health();
    until_ready(&probe).await;
    let member = cluster.control.members(GROUP)[0].id;
    cluster.control.silence(GROUP, member);
    sleep(60 * SECOND).await;
    assert!(!probe.check().is_ready());
    cluster.control.reconnect(GROUP, member);
    until_ready(&probe).await;
}

/// A real clock: the handler keeps its thread, and another one looks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_keeps_its_thread_is_named() {
    let cluster = Cluster::new(1);
    cluster.publish_all(0, [0]);
    let settings = "[integration.messaging.consumer]\nsession_timeout_ms = 1000\nmax_poll_interval_ms = 1000\nrevoke_timeout_ms = 100";
    let (blocked, free) = std::sync::mpsc::channel::<()>();
    let free = std::sync::Arc::new(std::sync::Mutex::new(free));
    let handler = handler().handler(move |_: u64| {
        let free = std::sync::Arc::clone(&free);
        async move {
            let _dropped = free.lock().unwrap().recv();
        }
    });
    let app = cluster.start_with(settings, handler).await;
    let probe = app.health();
    until("it is seen", || {
        let health = probe.check();
        health.consumers[0]
            .findings
            .iter()
            .any(|it| matches!(it, Finding::HandlerBlocks { .. }))
    })
    .await;
    assert!(!probe.check().is_live());
    drop(blocked);
    until_ready(&probe).await;
    app.stop().await;
}
