//! Faults at random for as long as `cargo xtask soak --minutes N` says: workers and brokers are killed,
//! hung and restarted, and in the end every event was handled, in order, with bounded repeats and no lag.

mod support;

use std::collections::BTreeMap;
use std::env;
use std::time::{Duration, Instant};

use athomic_rig::{Signal, Tool};
use support::stage::Stage;

const EVENTS_PER_SECOND: u64 = 500;
/// How long after a fault and with a cluster that serves each partition must be consumed: a session of ten
/// seconds, and time to join.
const RESUMED: Duration = Duration::from_secs(60);
/// How long a fault of a worker can keep its events from being committed, for the bound of repeats: its
/// session, and the time until it hears that it is over.
const UNCOMMITTED: u64 = 30;

const SETTINGS: &[(&str, &str)] = &[(
    "ATHOMIC_INTEGRATION__MESSAGING__CONSUMER__SESSION_TIMEOUT_MS",
    "10000",
)];

/// What can go wrong, by its name in the report.
const FAULTS: [&str; 7] = [
    "worker killed",
    "worker restarted",
    "worker hung",
    "broker killed",
    "broker hung",
    "broker restarted",
    "leaders moved",
];

/// Pseudo-random numbers that a seed brings back (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn seconds(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_secs(least + self.below(most - least + 1))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_nothing_is_lost() {
    let told = |name: &str| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let Some(minutes) = told("ATHOMIC_SOAK_MINUTES") else {
        println!("skipped: ATHOMIC_SOAK_MINUTES is not set; `cargo xtask soak` sets it");
        return;
    };
    let seed = told("ATHOMIC_SOAK_SEED").unwrap_or(1);
    println!("seed {seed}, {minutes} minutes; again: cargo xtask soak --minutes {minutes} --seed {seed}");
    let Some(mut stage) = Stage::start("soak", EVENTS_PER_SECOND, SETTINGS).await else {
        return;
    };
    let mut dice = Dice(seed);
    let mut count = BTreeMap::new();
    let mut longest = Duration::ZERO;
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    while Instant::now() < end {
        let fault = FAULTS[usize::try_from(dice.below(7)).expect("few")];
        let begun = Instant::now();
        stage.strike(fault, &mut dice).await;
        longest = longest.max(stage.until_resumed(fault, begun, None, RESUMED).await);
        *count.entry(fault).or_insert(0_u64) += 1;
        // Between faults the groups run in peace for a while: that is a part of the test.
        tokio::time::sleep(dice.seconds(1, 5)).await;
    }
    println!(
        "{count:?}; the longest silence with a cluster that serves was {:.1} s",
        longest.as_secs_f64()
    );
    let harmful = ["worker killed", "worker hung"].map(|fault| count.get(fault).copied().unwrap_or(0));
    let allowed = harmful.iter().sum::<u64>() * UNCOMMITTED * EVENTS_PER_SECOND;
    stage.finish(allowed).await;
}

impl Stage {
    async fn strike(&mut self, fault: &str, dice: &mut Dice) {
        match fault {
            "worker killed" => {
                let group = self.any_group(dice);
                let mut worker = group.workers.remove(usize::try_from(dice.below(2)).expect("few"));
                worker.kill().await;
                group.start_worker();
            }
            "worker restarted" => {
                let group = self.any_group(dice);
                let mut worker = group.workers.remove(usize::try_from(dice.below(2)).expect("few"));
                worker.terminate().await;
                group.start_worker();
            }
            "worker hung" => {
                let group = self.any_group(dice);
                let worker = &group.workers[usize::try_from(dice.below(2)).expect("few")];
                worker.signal(Signal::STOP);
                tokio::time::sleep(dice.seconds(1, 20)).await;
                worker.signal(Signal::CONT);
            }
            "broker killed" => {
                let node = self.any_broker(dice);
                self.cluster.node(node).kill().await;
                tokio::time::sleep(dice.seconds(0, 10)).await;
                self.cluster.node(node).start().await;
                self.until_in_sync(node).await;
            }
            "broker hung" => {
                let node = self.any_broker(dice);
                self.cluster.node(node).pause().await;
                tokio::time::sleep(dice.seconds(1, 20)).await;
                self.cluster.node(node).resume().await;
                self.until_in_sync(node).await;
            }
            "broker restarted" => {
                let node = self.any_broker(dice);
                self.cluster.node(node).terminate().await;
                self.cluster.node(node).start().await;
                self.until_in_sync(node).await;
            }
            _ => {
                let all = ["--election-type", "preferred", "--all-topic-partitions"];
                let bootstrap = self.cluster.bootstrap();
                let tools = self.cluster.tools();
                tools.run(Tool::LeaderElection, &bootstrap, &all).await;
            }
        }
    }

    fn any_group(&mut self, dice: &mut Dice) -> &mut support::stage::Group {
        let index = usize::try_from(dice.below(self.groups.len() as u64)).expect("few");
        &mut self.groups[index]
    }

    fn any_broker(&self, dice: &mut Dice) -> u32 {
        u32::try_from(1 + dice.below(self.cluster.nodes().len() as u64)).expect("few")
    }

    async fn until_in_sync(&self, node: u32) {
        self.cluster.node(node).wait_until_ready().await;
        self.cluster.wait_until_in_sync().await;
    }
}
