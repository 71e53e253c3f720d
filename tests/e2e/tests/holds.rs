//! Keys that are held for a retry on real Kafka: a process is killed meanwhile, and its partitions move.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use athomic_rig::{Note, Rig, Worker, within};
use support::{rig, worker};

const LIMIT: Duration = Duration::from_secs(90);
/// Enough for both workers to have some of them.
const HELD: u64 = 12;
const OTHERS: u64 = 12;
const EVENTS: u64 = 40;

/// Start a worker whose failures would wait in a delay topic, if their keys were not held. The first event of a
/// held key fails until the file `gate` is there.
fn start(rig: &Rig, name: &'static str, gate: &str) -> Worker {
    let (group, delay) = (format!("{}.delay", rig.group), format!("{}.delay-1", rig.topic));
    let settings = [
        ("DLQ__MAX_ATTEMPTS", "1000000"),
        ("DLQ__RETRY__MODE", "delay_topic"),
        ("DLQ__RETRY__ORDER", "hold"),
        ("REPUBLISHER__ENABLED", "true"),
        ("REPUBLISHER__CONSUMER__GROUP_ID", &*group),
        ("REPUBLISHER__DELAY_TOPICS__1", &*delay),
        ("TOPICS__AUTO_CREATE", "always"),
        ("CONSUMER__SESSION_TIMEOUT_MS", "6000"),
    ];
    let named = settings.map(|(name, value)| (format!("ATHOMIC_INTEGRATION__MESSAGING__{name}"), value));
    let mut settings: Vec<_> = named.iter().map(|(name, value)| (&**name, *value)).collect();
    settings.push(("E2E_GATE", gate));
    worker(rig, name, "classic", &settings)
}

fn notes(workers: &[Worker]) -> Vec<Note> {
    workers.iter().flat_map(Worker::journal).collect()
}

fn is_held(note: &&Note) -> bool {
    note.key.starts_with("held")
}

/// Return the events of each key by when they ended first.
fn order(notes: &[Note]) -> BTreeMap<String, Vec<u64>> {
    let mut ends: Vec<_> = notes.iter().filter(|note| note.is_end).collect();
    ends.sort_by_key(|note| note.nanos);
    let mut order = BTreeMap::<String, Vec<u64>>::new();
    for note in ends {
        let of_key = order.entry(note.key.clone()).or_default();
        if !of_key.contains(&note.seq) {
            of_key.push(note.seq);
        }
    }
    order
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_held_stays_held_when_its_process_is_killed_and_its_partitions_move() {
    let Some(rig) = rig("holds").await else { return };
    let gate = format!("{}/gate", rig.folder());
    let mut workers = vec![start(&rig, "one", &gate), start(&rig, "other", &gate)];
    // What is there before the second joins may all be handled by the first.
    within(LIMIT, "both have a share", async || {
        workers.iter().all(|worker| worker.given() > 0)
    })
    .await;
    let mut lines = String::new();
    for seq in 0..EVENTS {
        let held = (0..HELD).map(|key| format!("held-{key}"));
        for key in held.chain((0..OTHERS).map(|key| format!("free-{key}"))) {
            writeln!(lines, "{key}:{{\"key\":\"{key}\",\"seq\":{seq}}}").expect("a string takes it");
        }
    }
    rig.produce(lines).await;
    within(LIMIT, "the other keys flow", async || {
        let order = order(&notes(&workers));
        let free = order.iter().filter(|(key, _)| key.starts_with("free"));
        free.map(|(_, ended)| ended.len() as u64).sum::<u64>() == OTHERS * EVENTS
    })
    .await;
    let begun_in = |worker: &Worker| {
        let journal = worker.journal();
        let held = journal.iter().filter(is_held).map(|note| note.key.clone());
        held.collect::<std::collections::BTreeSet<_>>()
    };
    within(LIMIT, "each held key is tried", async || {
        let begun: usize = workers.iter().map(|worker| begun_in(worker).len()).sum();
        begun as u64 >= HELD
    })
    .await;
    let orphans = begun_in(&workers[0]);
    assert!(
        !orphans.is_empty(),
        "of {HELD} keys some are in each half of the partitions"
    );
    workers[0].kill().await;
    within(LIMIT, "what the killed one held is tried elsewhere", async || {
        begun_in(&workers[1]).is_superset(&orphans)
    })
    .await;
    let overtaking: Vec<_> = notes(&workers)
        .into_iter()
        .filter(|note| is_held(&note) && note.seq > 0)
        .collect();
    assert!(overtaking.is_empty(), "{overtaking:?}");
    std::fs::write(&gate, "").expect("a file");
    let total = i64::try_from((HELD + OTHERS) * EVENTS).expect("a few hundred");
    within(
        LIMIT,
        "all is committed, and no copy was made of anything",
        async || rig.committed().await.values().sum::<i64>() == total,
    )
    .await;
    workers[1].assert_runs();
    let order = order(&notes(&workers));
    assert_eq!(order.len() as u64, HELD + OTHERS);
    for (key, ended) in order {
        assert_eq!(ended, (0..EVENTS).collect::<Vec<_>>(), "{key}");
    }
}
