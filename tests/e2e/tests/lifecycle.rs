//! SIGTERM in each state, on real Kafka: the process ends within the drain time and two seconds, with
//! commits done where the broker answers, and its health named the state before.

use std::path::Path;
use std::time::{Duration, Instant};

use athomic::transport::NewTopic;
use athomic_rig::{Cluster, Rig, Signal, Spec, Worker, until};

/// How long the workers may drain, and the variable that says so.
const DRAIN: Duration = Duration::from_secs(5);
const SETTINGS: [(&str, &str); 3] = [
    ("ATHOMIC_LIFECYCLE__SHUTDOWN_TIMEOUT_SECONDS", "5"),
    (
        "ATHOMIC_INTEGRATION__MESSAGING__CONSUMER__MAX_IN_FLIGHT_MESSAGES",
        "50",
    ),
    ("ATHOMIC_INTEGRATION__MESSAGING__DLQ__ENABLED", "false"),
];
/// Two seconds, and what a busy machine takes to start to stop.
const GRACE: Duration = Duration::from_millis(2_500);

async fn rig(cluster: &Cluster, state: &str, protocol: &str) -> Rig {
    let topic = NewTopic::new(format!("{state}.{protocol}"), 1);
    Rig::on(cluster.bootstrap(), env!("CARGO_TARGET_TMPDIR"), &topic).await
}

fn worker(rig: &Rig, name: &'static str, protocol: &str) -> Worker {
    rig.worker(env!("CARGO_BIN_EXE_worker"), name, protocol, &SETTINGS)
}

fn says(worker: &Worker, words: &str) -> bool {
    worker.log().contains(words)
}

async fn until_said(worker: &Worker, words: &str) {
    until(words, async || says(worker, words)).await;
}

async fn until_ended(worker: &Worker, executions: usize) {
    until(&format!("{executions} executions have ended"), async || {
        worker.journal().iter().filter(|note| note.is_end).count() == executions
    })
    .await;
}

/// Stop it; return how long that took.
async fn stop(worker: &mut Worker) -> Duration {
    let began = Instant::now();
    worker.terminate().await;
    let took = began.elapsed();
    assert!(took < DRAIN + GRACE, "{} took {took:?} to end", worker.name);
    took
}

/// Return how many messages are committed.
async fn committed(rig: &Rig) -> i64 {
    rig.committed().await.values().sum()
}

fn events(key: &str, sequences: std::ops::Range<u64>) -> String {
    sequences
        .map(|seq| format!("{key}{seq}:{{\"key\":\"{key}{seq}\",\"seq\":1}}\n"))
        .collect()
}

async fn idle(cluster: &Cluster, protocol: &str) {
    let rig = rig(cluster, "idle", protocol).await;
    let mut worker = worker(&rig, "idle", protocol);
    until_said(&worker, "health: live, ready").await;
    let took = stop(&mut worker).await;
    assert!(took < DRAIN, "there is nothing to drain, and it took {took:?}");
}

async fn full(cluster: &Cluster, protocol: &str) {
    let rig = rig(cluster, "full", protocol).await;
    let mut worker = worker(&rig, "full", protocol);
    rig.produce(events("quick", 0..200) + &events("slow", 0..100))
        .await;
    until_ended(&worker, 200).await;
    until_said(&worker, "messages are in flight").await;
    assert!(says(&worker, "health: live, ready;"), "that is no fault");
    stop(&mut worker).await;
    assert_eq!(committed(&rig).await, 200, "what was handled is committed");
}

async fn retrying(cluster: &Cluster, protocol: &str) {
    let rig = rig(cluster, "retrying", protocol).await;
    let mut worker = worker(&rig, "retrying", protocol);
    let poison = "poison:{\"key\":\"poison\",\"seq\":1}\n";
    rig.produce(events("quick", 0..100) + poison + &events("late", 0..30))
        .await;
    until("it is tried again, and all others are done", async || {
        let notes = worker.journal();
        let tries = notes.iter().filter(|note| note.key == "poison").count();
        let ended = notes.iter().filter(|note| note.is_end).count();
        tries > 3 && ended == 130
    })
    .await;
    stop(&mut worker).await;
    assert_eq!(committed(&rig).await, 100, "up to what is not settled");
}

/// A member that is stopped holds the classic group up: who joins waits for it.
async fn joining(cluster: &Cluster, protocol: &str) {
    let rig = rig(cluster, "joining", protocol).await;
    let holder = worker(&rig, "holder", protocol);
    until_said(&holder, "health: live, ready").await;
    holder.signal(Signal::STOP);
    let mut joiner = worker(&rig, "joiner", protocol);
    until_said(&joiner, "INFO started").await;
    if protocol == "classic" {
        until_said(&joiner, "joining its group").await;
        assert!(!says(&joiner, "health: live, ready"));
    }
    stop(&mut joiner).await;
}

/// A worker that has handled messages, on a broker that is about to go.
async fn running(cluster: &Cluster, state: &str, protocol: &'static str) -> (Rig, Worker) {
    let rig = rig(cluster, state, protocol).await;
    let worker = worker(&rig, "running", protocol);
    rig.produce(events("quick", 0..100)).await;
    until_ended(&worker, 100).await;
    (rig, worker)
}

/// The broker does not answer, or is gone and is `known` to be.
async fn without_a_broker((rig, mut running): (Rig, Worker), protocol: &str, known: bool) {
    let mut starting = worker(&rig, "starting", protocol);
    until_said(&starting, "the application is starting").await;
    if known {
        until_said(&starting, "cannot reach a broker").await;
        until_said(&running, "no broker for").await;
    }
    tokio::join!(stop(&mut running), stop(&mut starting));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_the_process_in_time_in_each_state() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("lifecycle-cluster");
    let Some(cluster) = Cluster::start(Spec::new(folder)).await else {
        return;
    };
    let (cluster, node) = (&cluster, &cluster.nodes()[0]);
    let states = async |protocol| {
        idle(cluster, protocol).await;
        full(cluster, protocol).await;
        retrying(cluster, protocol).await;
        joining(cluster, protocol).await;
    };
    tokio::join!(states("classic"), states("consumer"));
    for state in ["paused", "killed"] {
        let (classic, consumer) = tokio::join!(
            running(cluster, state, "classic"),
            running(cluster, state, "consumer")
        );
        let is_killed = state == "killed";
        if is_killed {
            node.kill().await;
        } else {
            node.pause().await;
        }
        tokio::join!(
            without_a_broker(classic, "classic", is_killed),
            without_a_broker(consumer, "consumer", is_killed)
        );
        if !is_killed {
            node.resume().await;
            node.wait_until_ready().await;
            cluster.wait_until_in_sync().await;
        }
    }
}
