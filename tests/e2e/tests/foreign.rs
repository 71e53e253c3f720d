//! A group shared with members that are not ours: each takes its part, nothing is lost, and whoever
//! takes over goes on exactly where the one before left off.

mod support;

use athomic_rig::{Account, Feeder, Foreign, Rig, Tool, Tools, until};
use support::{rig, worker};

const KEYS: u64 = 500;
const EVENTS_PER_SECOND: u64 = 1000;
/// What a member must have handled to have taken part.
const A_PART: u64 = 300;

/// What Kafka's own client is told, so that it can be in our groups.
fn java_options(protocol: &str) -> &'static [&'static str] {
    match protocol {
        "consumer" => &["group.protocol=consumer"],
        _ => &["partition.assignment.strategy=org.apache.kafka.clients.consumer.CooperativeStickyAssignor"],
    }
}

/// Wait until each of these members has handled a part more than it has now.
async fn all_take_part(account: &mut Account, members: &[&str]) {
    account.update();
    let before: Vec<_> = members.iter().map(|name| account.handled_by(name)).collect();
    until(&format!("{members:?} take part"), async || {
        account.update();
        let now = members.iter().map(|name| account.handled_by(name));
        now.zip(&before).all(|(now, before)| now > before + A_PART)
    })
    .await;
}

async fn shares_a_group(name: &str, protocol: &str, java: &[&str], with_kcat: bool) {
    let (Some(rig), Some(tools)) = (rig(name).await, Tools::from_environment()) else {
        return;
    };
    let feeder = Feeder::start(&rig, KEYS, EVENTS_PER_SECOND).await;
    let mut account = Account::new(&rig);
    let mut first = worker(&rig, "first", protocol, &[]);
    let mut java = Foreign::java(&rig, &tools, "java", java);
    let mut kcat = with_kcat.then(|| Foreign::kcat(&rig, "kcat"));
    account.follow(&first);
    account.follow_foreign(&java);
    kcat.iter().for_each(|kcat| account.follow_foreign(kcat));
    let foreign: Vec<_> = ["java"].into_iter().chain(with_kcat.then_some("kcat")).collect();
    all_take_part(&mut account, &[&["first"], &*foreign].concat()).await;

    first.terminate().await;
    all_take_part(&mut account, &foreign).await;
    let mut second = worker(&rig, "second", protocol, &[]);
    account.follow(&second);
    all_take_part(&mut account, &[&["second"], &*foreign].concat()).await;
    java.terminate().await;
    if let Some(kcat) = &mut kcat {
        // A record that kcat is given between the signal and its end is committed and never printed, so it
        // leaves when there are none.
        feeder.pause();
        until("nothing is left to handle", async || {
            account.update().handled() == feeder.acknowledged()
        })
        .await;
        kcat.terminate().await;
        feeder.resume();
    }
    all_take_part(&mut account, &["second"]).await;
    let described = describe_group(&tools, &rig).await;
    assert_eq!(
        lags(&described, &rig.topic).len(),
        6,
        "the lag can be seen: {described}"
    );

    let events = feeder.stop().await;
    account.until_complete(events, KEYS).await;
    second.terminate().await;
    account.update().assert_complete(events, KEYS);
    account.assert_in_order(|note| note.worker != "kcat");
    let repeats = account.repeats();
    assert!(
        repeats.is_empty(),
        "whoever takes over goes on at the commit; {} repeats, {:?} first; see {}",
        repeats.len(),
        repeats[0],
        account.folder()
    );
    let described = describe_group(&tools, &rig).await;
    assert_eq!(lags(&described, &rig.topic), [0; 6], "{described}");
    println!("{name}: {events} events, none repeated");
}

/// Return what `kafka-consumer-groups` prints about the group.
async fn describe_group(tools: &Tools, rig: &Rig) -> String {
    let arguments = ["--describe", "--group", &rig.group];
    tools.run(Tool::ConsumerGroups, &rig.bootstrap, &arguments).await
}

/// Read the lag of each partition from what `kafka-consumer-groups --describe` prints.
fn lags(described: &str, topic: &str) -> Vec<u64> {
    let mut rows = described
        .lines()
        .map(|row| row.split_whitespace().collect::<Vec<_>>());
    let head = rows.find(|row| row.first() == Some(&"GROUP")).unwrap_or_default();
    let lag = head.iter().position(|column| *column == "LAG");
    rows.filter(|row| row.get(1) == Some(&topic))
        .filter_map(|row| row.get(lag?)?.parse().ok())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn java_and_kcat_share_a_group_of_the_classic_protocol() {
    shares_a_group("foreign-classic", "classic", java_options("classic"), true).await;
}

/// Java's defaults are range and cooperative-sticky, which makes it an eager member of our groups.
#[tokio::test(flavor = "multi_thread")]
async fn java_shares_a_group_with_its_default_settings() {
    shares_a_group("foreign-default", "classic", &[], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn java_shares_a_group_of_the_consumer_protocol() {
    shares_a_group("foreign-consumer", "consumer", java_options("consumer"), false).await;
}
