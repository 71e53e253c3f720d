//! Members that come and go all the time: while handlers run, nothing is lost, repeated or overtaken.

mod support;

use std::time::Instant;

use athomic_rig::{Account, Feeder, until};
use support::{is_long, rig, worker};

const KEYS: u64 = 500;
const EVENTS_PER_SECOND: u64 = 1000;

/// How many members come and go, which is two rebalances each.
fn guests() -> usize {
    if is_long() { 50 } else { 10 }
}

async fn survives_rebalances(protocol: &str) {
    let Some(rig) = rig(&format!("rebalances-{protocol}")).await else {
        return;
    };
    let feeder = Feeder::start(&rig, KEYS, EVENTS_PER_SECOND).await;
    let mut account = Account::new(&rig);
    let mut steady = worker(&rig, "steady", protocol, &[]);
    account.follow(&steady);
    until("the steady member takes part", async || {
        account.update().handled_by("steady") > 500
    })
    .await;
    let begun = Instant::now();
    for number in 0..guests() {
        let name: &'static str = format!("guest-{number}").leak();
        let mut guest = worker(&rig, name, protocol, &[]);
        account.follow(&guest);
        let before = account.update().handled_by("steady");
        until(&format!("{name} and the steady member take part"), async || {
            let account = account.update();
            account.handled_by(name) > 100 && account.handled_by("steady") > before + 100
        })
        .await;
        guest.terminate().await;
    }
    let rebalances = 2 * guests();
    println!(
        "{protocol}: {rebalances} rebalances in {:.0} s",
        begun.elapsed().as_secs_f64()
    );

    let events = feeder.stop().await;
    account.until_complete(events, KEYS).await;
    steady.terminate().await;
    account.update().assert_complete(events, KEYS);
    account.assert_in_order(|_note| true);
    let repeats = account.repeats();
    assert!(
        repeats.is_empty(),
        "{} repeats, {:?} first; see {}",
        repeats.len(),
        repeats[0],
        account.folder()
    );
    let committed: i64 = rig.committed().await.values().sum();
    assert_eq!(
        u64::try_from(committed),
        Ok(events),
        "the lag is 0; see {}",
        account.folder()
    );
    println!("{protocol}: {events} events, none repeated");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rebalances_of_the_classic_protocol_lose_and_repeat_nothing() {
    survives_rebalances("classic").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rebalances_of_the_consumer_protocol_lose_and_repeat_nothing() {
    survives_rebalances("consumer").await;
}
