//! Start and stop: order, all or nothing, drain, and what fails on the way.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use athomic_core::app::RunError;
use athomic_core::lifecycle::{Lifecycle, OrderError, Service, ServiceError, ServiceFailure, ServiceHandle};
use athomic_core::transport::memory::{Fault, FaultRule, Operation};
use tokio::time::{Instant, sleep};

use crate::support::{Cluster, GROUP, Journal, handler};

const SECOND: Duration = Duration::from_secs(1);

/// What services did, in order.
type Log = Arc<Mutex<Vec<String>>>;

/// A service that writes down when it starts and stops, and does one more thing.
struct Probe {
    name: &'static str,
    priority: i32,
    depends_on: Vec<String>,
    does: Does,
    log: Log,
}

#[derive(Clone, Copy, PartialEq)]
enum Does {
    Nothing,
    FailToStart,
    PanicAtStart,
    NeverStart,
    FailLater,
    PanicLater,
    NeverStop,
}

impl Probe {
    fn new(name: &'static str, log: &Log) -> Self {
        Self {
            name,
            priority: 0,
            depends_on: Vec::new(),
            does: Does::Nothing,
            log: Arc::clone(log),
        }
    }

    fn priority(self, priority: i32) -> Self {
        Self { priority, ..self }
    }

    fn depends_on(mut self, name: &str) -> Self {
        self.depends_on.push(name.to_owned());
        self
    }

    fn does(self, does: Does) -> Self {
        Self { does, ..self }
    }
}

impl Service for Probe {
    fn name(&self) -> &str {
        self.name
    }

    fn priority(&self) -> i32 {
        self.priority
    }

    fn depends_on(&self) -> &[String] {
        &self.depends_on
    }

    async fn start(&self, handle: ServiceHandle) -> Result<(), ServiceError> {
        let (name, log, does) = (self.name, Arc::clone(&self.log), self.does);
        log.lock().unwrap().push(format!("+{name}"));
        let stopping = handle.clone();
        handle.spawn(async move {
            match does {
                Does::FailLater => return Err("no more".into()),
                Does::PanicLater => panic!("no more"),
                _ => stopping.stopping().await,
            }
            log.lock().unwrap().push(format!("-{name}"));
            if does == Does::NeverStop {
                std::future::pending::<()>().await;
            }
            Ok(())
        });
        match does {
            Does::FailToStart => Err("no luck".into()),
            Does::PanicAtStart => panic!("no luck"),
            Does::NeverStart => std::future::pending().await,
            _ => Ok(()),
        }
    }
}

fn lifecycle_of(services: impl IntoIterator<Item = Probe>) -> Lifecycle {
    let mut lifecycle = Lifecycle::default();
    for service in services {
        lifecycle.register(service);
    }
    lifecycle
}

fn written(log: &Log) -> String {
    log.lock().unwrap().join(" ")
}

#[tokio::test(start_paused = true)]
async fn services_start_by_dependency_then_priority_and_stop_in_reverse() {
    let log = Log::default();
    let services = [
        Probe::new("late", &log).priority(5),
        Probe::new("first", &log).priority(-5),
        Probe::new("needs-late", &log).priority(-9).depends_on("late"),
        Probe::new("second", &log),
    ];
    let lifecycle = lifecycle_of(services);
    assert_eq!(
        lifecycle.stages().unwrap(),
        [["first"], ["second"], ["late"], ["needs-late"]]
    );
    lifecycle
        .start(10 * SECOND, 10 * SECOND)
        .await
        .unwrap()
        .stop()
        .await;
    assert_eq!(
        written(&log),
        "+first +second +late +needs-late -needs-late -late -second -first"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_undoes_what_was_started_in_reverse_and_tells_the_cause() {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    for (step, failing) in NAMES.into_iter().enumerate() {
        let log = Log::default();
        let services = NAMES.into_iter().zip(1..).map(|(name, priority)| {
            let service = Probe::new(name, &log).priority(priority);
            if name == failing {
                service.does(Does::FailToStart)
            } else {
                service
            }
        });
        let failure = lifecycle_of(services)
            .start(10 * SECOND, 10 * SECOND)
            .await
            .unwrap_err();
        assert_eq!(failure.to_string(), format!("service `{failing}` did not start"));
        assert_eq!(
            std::error::Error::source(&failure).unwrap().to_string(),
            "no luck"
        );
        let begun = NAMES[..=step].iter().map(|name| format!("+{name}"));
        let undone = NAMES[..=step].iter().rev().map(|name| format!("-{name}"));
        let expected: Vec<_> = begun.chain(undone).collect();
        assert_eq!(written(&log), expected.join(" "));
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_at_the_start_undoes_what_was_started() {
    let log = Log::default();
    let services = [
        Probe::new("a", &log).priority(1),
        Probe::new("b", &log).priority(2).does(Does::PanicAtStart),
    ];
    let failure = lifecycle_of(services)
        .start(10 * SECOND, 10 * SECOND)
        .await
        .unwrap_err();
    assert_eq!(failure.to_string(), "a task of service `b` panicked: no luck");
    assert_eq!(written(&log), "+a +b -b -a");
}

#[tokio::test(start_paused = true)]
async fn a_start_has_an_end() {
    let log = Log::default();
    let began = Instant::now();
    let services = [Probe::new("a", &log).does(Does::NeverStart)];
    let failure = lifecycle_of(services)
        .start(10 * SECOND, 10 * SECOND)
        .await
        .unwrap_err();
    assert!(matches!(failure, ServiceFailure::StartTimeout { .. }));
    assert_eq!((began.elapsed().as_secs(), written(&log).as_str()), (10, "+a -a"));
}

#[tokio::test(start_paused = true)]
async fn a_stop_has_an_end() {
    let log = Log::default();
    let services = [
        Probe::new("a", &log),
        Probe::new("b", &log).priority(1).does(Does::NeverStop),
    ];
    let running = lifecycle_of(services)
        .start(10 * SECOND, 10 * SECOND)
        .await
        .unwrap();
    let began = Instant::now();
    running.stop().await;
    assert!((10..=13).contains(&began.elapsed().as_secs()));
    assert_eq!(written(&log), "+a +b -b -a");
}

#[tokio::test(start_paused = true)]
async fn orders_that_cannot_be_are_told() {
    let log = Log::default();
    let check = |services: Vec<Probe>, expected: &str| {
        let error: OrderError = lifecycle_of(services).stages().unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check(
        vec![Probe::new("a", &log), Probe::new("a", &log)],
        "two services are named `a`",
    );
    check(
        vec![Probe::new("a", &log).depends_on("b")],
        "service `a` depends on `b`, which is not registered",
    );
    let circle = vec![
        Probe::new("a", &log).depends_on("b"),
        Probe::new("b", &log).depends_on("a"),
    ];
    check(circle, "services depend on each other in a circle: a, b");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_or_panics_stops_the_application() {
    for (does, expected) in [
        (Does::FailLater, "service `bad` failed"),
        (Does::PanicLater, "a task of service `bad` panicked: no more"),
    ] {
        let (cluster, journal, log) = (Cluster::new(1), Journal::new(), Log::default());
        let app = cluster
            .app("")
            .register(handler().handler(journal.worker(0)))
            .service(Probe::new("good", &log).priority(9))
            .service(Probe::new("bad", &log).priority(10).does(does));
        let ended = app.build().unwrap().run_until(std::future::pending()).await;
        assert_eq!(ended.unwrap_err().to_string(), expected);
        assert_eq!(written(&log), "+good +bad -good");
        assert!(cluster.control.members(GROUP).is_empty(), "it left the group");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_drains_commits_and_leaves_the_group() {
    for limit in [None, Some(4)] {
        let (cluster, journal) = (Cluster::new(1), Journal::new());
        for key in 0..100 {
            cluster.publish(0, Some(&key.to_string()), 1_000);
        }
        let subscription = handler().options(|options| options.concurrency = limit);
        let app = cluster.start(subscription.handler(journal.worker(0))).await;
        sleep(SECOND / 2).await;
        let began = Instant::now();
        app.stop().await;
        let runs = journal.runs();
        assert_eq!(runs.len(), limit.unwrap_or(1), "nothing new begins");
        assert!(runs.iter().all(|run| run.ended.is_some()), "what runs may end");
        assert!(
            began.elapsed() < SECOND,
            "and nothing else is waited for: {:?}",
            began.elapsed()
        );
        assert_eq!(cluster.committed(0), Some(runs.len() as i64));
        assert!(cluster.control.members(GROUP).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_outlasts_the_drain_is_cancelled_and_the_rest_is_committed() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish(0, Some("a"), 10);
    cluster.publish(0, Some("b"), 1_000_000);
    let settings = "[lifecycle]\nshutdown_timeout_seconds = 5";
    let app = cluster
        .start_with(settings, handler().concurrency(2).handler(journal.worker(0)))
        .await;
    sleep(SECOND / 2).await;
    let began = Instant::now();
    app.stop().await;
    assert!((5_000..7_000).contains(&began.elapsed().as_millis()));
    assert_eq!(cluster.committed(0), Some(1));
    assert_eq!(journal.runs()[1].ended, None);
    assert!(cluster.control.members(GROUP).is_empty(), "it left the group");
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_in_time_in_each_state() {
    let settings = "[lifecycle]\nshutdown_timeout_seconds = 5";
    for state in ["idle", "full", "retrying", "broker down"] {
        let (cluster, journal) = (Cluster::new(1), Journal::new());
        if state == "full" {
            cluster.publish_all(0, [100; 5_000]);
        }
        if state == "retrying" {
            cluster.publish_all(0, ["no number for long"; 3]);
        }
        let settings = match state {
            "retrying" => format!("{settings}\n[integration.messaging.dlq]\nenabled = false"),
            _ => settings.to_owned(),
        };
        let app = cluster
            .start_with(&settings, handler().handler(journal.worker(0)))
            .await;
        sleep(3 * SECOND).await;
        if state == "broker down" {
            cluster.publish_all(0, [0]);
            cluster.control.stop();
        }
        let began = Instant::now();
        app.stop().await;
        assert!(
            began.elapsed() <= 8 * SECOND,
            "{state} took {:?}",
            began.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_starting_stops_what_has_started() {
    let (cluster, journal, log) = (Cluster::new(1), Journal::new(), Log::default());
    cluster.publish_all(0, [1; 3]);
    let app = cluster
        .app("")
        .register(handler().handler(journal.worker(0)))
        .service(Probe::new("early", &log).priority(-1))
        .service(Probe::new("slow", &log).priority(1).does(Does::NeverStart));
    let ended = app.build().unwrap().run_until(sleep(SECOND / 2)).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(written(&log), "+early +slow -slow -early");
    assert_eq!(cluster.committed(0), Some(3));
    assert!(cluster.control.members(GROUP).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_start_waits_for_a_broker_that_comes_up() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [1; 3]);
    cluster.control.stop();
    cluster
        .control
        .inject_next(FaultRule::next(Operation::Join, Fault::fail()).times(2));
    let control = cluster.control.clone();
    tokio::spawn(async move {
        sleep(10 * SECOND).await;
        control.start();
    });
    let _app = cluster.start(handler().handler(journal.worker(0))).await;
    cluster.until_committed(0, 3).await;
}

/// A topic that was just made is not known to every broker at once.
#[tokio::test(start_paused = true)]
async fn a_start_asks_again_for_a_topic_that_is_missing() {
    let settings = "[integration.messaging.topics]\nauto_create = \"never\"";
    for (made_after, starts) in [(SECOND, true), (10 * SECOND, false)] {
        let cluster = Cluster::new(1);
        let control = cluster.control.clone();
        tokio::spawn(async move {
            sleep(made_after).await;
            control.create_topic("late", 1);
        });
        let on_late = athomic_core::handler::register::subscribe("late").group_id(GROUP);
        let app = cluster.app(settings).register(on_late.handler(|_: u64| async {}));
        let began = Instant::now();
        assert_eq!(app.build().unwrap().start().await.is_ok(), starts);
        assert!(began.elapsed() < 5 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_without_a_broker_fails_in_time_and_says_what_it_waited_for() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.control.stop();
    let app = cluster.app("").register(handler().handler(journal.worker(0)));
    let began = Instant::now();
    let error: RunError = app.build().unwrap().start().await.unwrap_err();
    assert!((40..60).contains(&began.elapsed().as_secs()));
    assert!(
        error.to_string().starts_with("service `topics` did not start"),
        "{error}"
    );
    let causes = std::iter::successors(std::error::Error::source(&error), |error| error.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    assert!(
        causes.iter().any(|cause| cause.contains("cannot reach a broker")),
        "{causes:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_missing_at_the_start_ends_the_application() {
    for operation in [Operation::Admin, Operation::Join, Operation::Fetch] {
        let (cluster, journal) = (Cluster::new(1), Journal::new());
        cluster
            .control
            .inject_next(FaultRule::next(operation, Fault::refuse()).times(usize::MAX));
        let app = cluster.app("").register(handler().handler(journal.worker(0)));
        let error = app.build().unwrap().run().await.unwrap_err();
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let text: String = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        for word in ["not allowed to", "its user needs", "handler"] {
            assert!(text.contains(word), "{operation:?}: {text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_taken_away_later_is_waited_for() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [1]);
    let _app = cluster.start(handler().handler(journal.worker(0))).await;
    cluster.until_committed(0, 1).await;
    cluster
        .control
        .inject_next(FaultRule::next(Operation::Fetch, Fault::refuse()).times(3));
    cluster.publish_all(0, [1; 2]);
    cluster.until_committed(0, 3).await;
    assert_eq!(journal.runs().len(), 3, "nothing ran twice");
}
