//! Several processes in a group on real Kafka: nothing is lost, keys keep their order, and only a
//! killed process leaves repeats.

use std::collections::HashSet;
use std::fmt::Write;
use std::ops::Range;
use std::time::{Duration, Instant};

use athomic_rig::{Note, Rig, Worker, ends, until};
use tokio::sync::{Mutex, Notify};

const PARTITIONS: u32 = 6;
const KEYS: u64 = 500;
const EVENTS: u64 = 100_000;

/// One test at a time: each is a load test of its own.
static ALONE: Mutex<()> = Mutex::const_new(());

async fn rig(name: &str) -> Option<Rig> {
    Rig::on_shared_broker(env!("CARGO_TARGET_TMPDIR"), name, PARTITIONS).await
}

fn worker(rig: &Rig, name: &'static str, protocol: &str) -> Worker {
    rig.worker(env!("CARGO_BIN_EXE_worker"), name, protocol, &[])
}

/// Lines for a foreign producer: sequences of all keys in turn.
fn lines(sequences: Range<u64>) -> String {
    let mut lines = String::new();
    for seq in sequences {
        for key in 0..KEYS {
            writeln!(lines, "k{key}:{{\"key\":\"k{key}\",\"seq\":{seq}}}").expect("text grows");
        }
    }
    lines
}

/// Messages that never succeed: one that cannot be decoded, two whose handler always fails.
const POISON: &str =
    "poison:not json\npoison:{\"key\":\"poison\",\"seq\":1}\npoison:{\"key\":\"poison\",\"seq\":2}\n";

fn notes(workers: &[&Worker]) -> Vec<Note> {
    workers.iter().flat_map(|worker| worker.journal()).collect()
}

fn handled(workers: &[&Worker]) -> usize {
    notes(workers)
        .iter()
        .filter(|note| note.is_end)
        .map(|note| (&note.key, note.seq))
        .collect::<HashSet<_>>()
        .len()
}

/// Each event ended, and no event of a key ended first before its predecessor did.
fn assert_complete_and_in_order(notes: &[Note], events: u64, folder: &str) {
    let ends = ends(notes);
    assert_eq!(ends.len() as u64, events, "each event ended; see {folder}");
    for ((key, seq), found) in &ends {
        let Some(predecessor) = seq.checked_sub(1).and_then(|seq| ends.get(&(key.clone(), seq))) else {
            continue;
        };
        assert!(
            predecessor[0].nanos < found[0].nanos,
            "{key} {seq} ended first at {:?}, its predecessor at {:?}; see {folder}",
            found[0],
            predecessor[0]
        );
    }
}

/// Lag is 0: the group has the end of each partition.
async fn assert_all_committed(rig: &Rig, records: u64) {
    let committed: i64 = rig.committed().await.values().sum();
    assert_eq!(
        committed,
        i64::try_from(records).expect("few"),
        "committed to the end; see {}",
        rig.folder()
    );
}

/// Two processes, a third that joins, a kill -9 under load, a SIGTERM under load.
///
/// The kill comes when the third has its share. In the middle of a rebalance of the classic protocol it
/// could hit the leader, and then the broker refuses all commits until it gives the leader up: those of
/// who stops meanwhile, too.
async fn survives_joins_kills_and_stops(protocol: &str) {
    let _alone = ALONE.lock().await;
    let Some(rig) = rig(protocol).await else {
        return;
    };
    let rounds = EVENTS / KEYS;
    let (mut first, mut second) = (worker(&rig, "first", protocol), worker(&rig, "second", protocol));
    let shared_out = Notify::new();
    let feed = async {
        rig.produce(lines(0..rounds / 2)).await;
        shared_out.notified().await;
        rig.produce(lines(rounds / 2..rounds) + POISON).await;
    };
    let steer = async {
        until("a tenth is handled", async || {
            handled(&[&first, &second]) > 10_000
        })
        .await;
        let mut third = worker(&rig, "third", protocol);
        until("the third has its share", async || third.given() == 2).await;
        shared_out.notify_one();
        until("it takes part", async || third.journal().len() > 2_000).await;
        until("the second half is handled", async || {
            handled(&[&first, &second, &third]) as u64 > EVENTS / 2 + 5_000
        })
        .await;
        let committed = rig.committed().await;
        first.kill().await;
        let before = handled(&[&first, &second, &third]);
        until("the others go on", async || {
            handled(&[&first, &second, &third]) > before + 5_000
        })
        .await;
        second.terminate().await;
        until("all is handled", async || {
            handled(&[&first, &second, &third]) as u64 == EVENTS
        })
        .await;
        third.terminate().await;
        (third, committed)
    };
    let ((), (third, committed)) = tokio::join!(feed, steer);

    let notes = notes(&[&first, &second, &third]);
    assert_complete_and_in_order(&notes, EVENTS, &rig.folder());
    let ends = ends(&notes);
    let repeated: Vec<_> = ends.values().filter(|found| found.len() > 1).collect();
    let is_the_killed_ones = |found: &&Vec<Note>| {
        let floor = committed.get(&found[0].partition).copied().unwrap_or(0);
        found.len() == 2 && found[0].worker == "first" && found[0].offset >= floor
    };
    let (allowed, other): (Vec<_>, Vec<_>) = repeated.into_iter().partition(is_the_killed_ones);
    assert!(
        other.is_empty(),
        "only the killed one leaves repeats, not below its commits {committed:?}: {} others, {:?}; see {}",
        other.len(),
        &other[..other.len().min(5)],
        rig.folder()
    );
    let repeats = allowed.len();
    println!("{protocol}: {repeats} repeats of {EVENTS} after a kill -9");
    assert_all_committed(&rig, EVENTS + 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_reordered_with_the_classic_protocol() {
    survives_joins_kills_and_stops("classic").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_reordered_with_the_consumer_protocol() {
    survives_joins_kills_and_stops("consumer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_repeats_nothing() {
    let _alone = ALONE.lock().await;
    let Some(rig) = rig("stop").await else {
        return;
    };
    let (mut first, mut second) = (
        worker(&rig, "first", "classic"),
        worker(&rig, "second", "classic"),
    );
    until("both have a share", async || {
        first.given() > 0 && second.given() > 0
    })
    .await;
    rig.produce(lines(0..60)).await;
    until("both take part", async || {
        first.journal().len() > 2_000 && second.journal().len() > 2_000
    })
    .await;
    first.terminate().await;
    until("all is handled", async || {
        handled(&[&first, &second]) as u64 == 60 * KEYS
    })
    .await;
    second.terminate().await;

    let notes = notes(&[&first, &second]);
    assert_complete_and_in_order(&notes, 60 * KEYS, &rig.folder());
    let repeats: Vec<_> = ends(&notes)
        .into_values()
        .filter(|found| found.len() > 1)
        .collect();
    assert!(repeats.is_empty(), "{repeats:?}; see {}", rig.folder());
    assert_all_committed(&rig, 60 * KEYS).await;
}

/// The classic protocol answers who joins when all members have joined, or have been silent for the
/// session time-out, and the broker reads nothing more from a connection that waits for an answer.
/// Commits must get through all the same, and so must leaving.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_group_waits_for_a_dead_member_repeats_nothing() {
    let _alone = ALONE.lock().await;
    let Some(rig) = rig("waiting").await else {
        return;
    };
    let session = [(
        "ATHOMIC_INTEGRATION__MESSAGING__CONSUMER__SESSION_TIMEOUT_MS",
        "20000",
    )];
    let worker = |name| rig.worker(env!("CARGO_BIN_EXE_worker"), name, "classic", &session);
    let (mut first, mut second) = (worker("first"), worker("second"));
    until("both have a share", async || {
        first.given() > 0 && second.given() > 0
    })
    .await;
    rig.produce(lines(0..120)).await;
    until("both take part", async || {
        first.journal().len() > 2_000 && second.journal().len() > 2_000
    })
    .await;
    first.kill().await;
    let killed = Instant::now();
    let mut third = worker("third");
    rig.produce(lines(120..130)).await;
    // Heartbeats, every three seconds, tell the second to join again; it then waits for the first.
    tokio::time::sleep_until((killed + Duration::from_secs(8)).into()).await;
    second.terminate().await;
    assert!(
        killed.elapsed() < Duration::from_secs(16),
        "it left before the first was given up"
    );
    until("the third has all partitions", async || {
        third.given() >= PARTITIONS as usize
    })
    .await;
    assert!(
        killed.elapsed() < Duration::from_secs(35),
        "the second was not waited for"
    );
    until("all is handled", async || {
        handled(&[&first, &second, &third]) as u64 == 130 * KEYS
    })
    .await;
    third.terminate().await;

    let notes = notes(&[&first, &second, &third]);
    assert_complete_and_in_order(&notes, 130 * KEYS, &rig.folder());
    for found in ends(&notes).values().filter(|found| found.len() > 1) {
        assert_eq!(found[0].worker, "first", "{found:?}; see {}", rig.folder());
    }
    assert_all_committed(&rig, 130 * KEYS).await;
}
