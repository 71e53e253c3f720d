//! A key that is held for a retry stays held, whoever has its partition.

use std::time::Duration;

use athomic_core::app::RunningApp;
use athomic_core::handler::{Meta, Ordering};
use athomic_core::outcome::HandlerError;

use crate::retries::REPUBLISH;
use crate::support::{Cluster, GROUP, Journal, handler};

/// Run one of the instances; what fails in the first one is to come again in an hour.
async fn start(cluster: &Cluster, journal: &Journal, instance: usize) -> RunningApp {
    let journal = journal.clone();
    let keyed = handler().concurrency(4).ordering(Ordering::Key);
    let on_message = move |payload: u64, meta: Meta| {
        let run = journal.begin(instance, &meta);
        journal.end(run);
        async move {
            match (payload, instance) {
                (1, 0) => Err(HandlerError::retry_after("busy", Duration::from_secs(3600))),
                _ => Ok(()),
            }
        }
    };
    cluster.start_with(REPUBLISH, keyed.handler(on_message)).await
}

/// Hold key `a` in one instance.
async fn hold(cluster: &Cluster, journal: &Journal) -> RunningApp {
    cluster.publish(0, Some("a"), 1);
    cluster.publish(0, Some("a"), 0);
    cluster.publish(0, Some("b"), 0);
    let first = start(cluster, journal, 0).await;
    journal.until_ended(2).await;
    assert_eq!(journal.offsets(), [0, 2], "the other key flows");
    first
}

/// Look at the order in which the other one has run the key.
async fn check(cluster: &Cluster, journal: &Journal) {
    cluster.until_committed(0, 3).await;
    let runs = journal.runs().into_iter().skip(2);
    let of_key: Vec<_> = runs
        .filter(|run| run.key.as_deref() == Some("a"))
        .map(|run| (run.instance, run.offset, run.attempt))
        .collect();
    assert_eq!(of_key, [(1, 0, 1), (1, 1, 1)], "in their order, and only there");
}

#[tokio::test(start_paused = true)]
async fn a_held_key_stays_held_when_its_partition_moves() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    let first = hold(&cluster, &journal).await;
    let _second = start(&cluster, &journal, 1).await;
    first.stop().await;
    check(&cluster, &journal).await;
}

#[tokio::test(start_paused = true)]
async fn a_held_key_stays_held_when_its_process_dies() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    let _first = hold(&cluster, &journal).await;
    let owner = cluster.control.members(GROUP)[0].id;
    cluster.control.silence(GROUP, owner);
    let _second = start(&cluster, &journal, 1).await;
    check(&cluster, &journal).await;
}
