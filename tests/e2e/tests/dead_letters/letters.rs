//! Letters are written before anything is committed, and they fit their topic.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use athomic::dead_letter::{DeadLetter, Filter, ReplayOptions, headers as names};
use athomic::handler::Ordering;
use athomic::handler::register::subscribe;
use athomic::message::{Headers, RawMessage};
use athomic::publisher::NewMessage;
use athomic_rig::{Rig, until, within};

use crate::field::{
    SOON, Seen, Whole, app, make_letters, parking_lot_of, publish, read, rig, start, text, until_committed,
};
use crate::support::worker;

#[tokio::test(flavor = "multi_thread")]
async fn who_is_killed_between_a_letter_and_its_commit_leaves_it_twice_under_one_id_and_loses_none() {
    const BAD: usize = 300;
    let Some(rig) = rig("dead-letters.kill").await else {
        return;
    };
    let letters = make_letters(&rig, &[]).await;
    let parked = parking_lot_of(&rig);
    let settings = [
        ("ATHOMIC_INTEGRATION__MESSAGING__DLQ__STRATEGY", "keep"),
        ("ATHOMIC_INTEGRATION__MESSAGING__DLQ__TOPIC", &letters),
        ("ATHOMIC_INTEGRATION__MESSAGING__DLQ__PARKING_LOT_TOPIC", &parked),
        ("ATHOMIC_INTEGRATION__MESSAGING__DLQ__MAX_ATTEMPTS", "2"),
        (
            "ATHOMIC_INTEGRATION__MESSAGING__CONSUMER__SESSION_TIMEOUT_MS",
            "6000",
        ),
    ];
    // It is killed long before it commits.
    let never = (
        "ATHOMIC_INTEGRATION__MESSAGING__CONSUMER__COMMIT_INTERVAL_MS",
        "60000",
    );
    let mut first = worker(&rig, "first", "classic", &[&settings[..], &[never]].concat());
    let mut lines = String::new();
    for seq in 0..2 * BAD {
        let key = if seq % 2 == 0 { "poison" } else { "good" };
        writeln!(lines, "{key}-{seq}:{{\"key\":\"{key}\",\"seq\":{seq}}}").expect("a string takes it");
    }
    rig.produce(lines).await;
    let written = async || read_so_far(&rig, &letters).await;
    until("the first has written letters", async || {
        written().await > BAD / 3
    })
    .await;
    first.kill().await;
    assert_eq!(
        rig.committed().await.values().sum::<i64>(),
        0,
        "it died before it committed"
    );
    let by_first = written().await;

    let mut second = worker(&rig, "second", "classic", &settings);
    within(SOON, "all is committed", async || {
        rig.committed().await.values().sum::<i64>() == 2 * BAD as i64
    })
    .await;
    second.terminate().await;
    let mut places = BTreeMap::<String, Vec<String>>::new();
    for letter in read(&rig, &letters, BAD + by_first).await {
        let letter = DeadLetter::read(&letter).expect("athomic wrote it").summary;
        assert_eq!(letter.topic, rig.topic);
        places
            .entry(letter.id)
            .or_default()
            .push(format!("{}@{}", letter.partition, letter.offset));
    }
    assert_eq!(places.len(), BAD, "nothing is lost");
    assert!(
        places
            .values()
            .all(|all| all.len() <= 2 && all[0] == all[all.len() - 1]),
        "{places:?}"
    );
    let twice = places.values().filter(|all| all.len() == 2).count();
    assert!(twice >= by_first, "{twice} of {by_first}");
    println!("{twice} of {BAD} letters stand twice after a kill, each under its one id");
}

/// Count what stands in the one partition of a topic, by athomic's own reader of letters.
async fn read_so_far(rig: &Rig, letters: &str) -> usize {
    let desk = app(rig, "").build().expect("it is valid");
    let dry = ReplayOptions {
        dry_run: true,
        ..ReplayOptions::default()
    };
    let report = desk
        .dead_letters()
        .replay(letters, &Filter::default(), &dry)
        .await;
    let report = report.expect("it can be read");
    report.matched + report.duplicates
}

/// Return text that no compression makes small.
fn noise(length: usize) -> String {
    let mut state = 7_u64;
    let letter = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + u8::try_from((state >> 33) % 26).expect("small"))
    };
    (0..length).map(letter).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_larger_than_its_topic_takes_loses_texts_then_its_payload_and_is_written_once() {
    let Some(rig) = rig("dead-letters.large").await else {
        return;
    };
    let letters = make_letters(&rig, &[("max.message.bytes", "3000")]).await;
    let seen = Seen::default();
    let named = (&*rig.topic, &*rig.group);
    let app = seen.handle(app(&rig, "max_attempts = 1"), named, &noise(2000), |message| {
        message.payload() != Some(b"good")
    });
    let app = start(app).await;
    for payload in ["short".to_owned(), noise(5000), "good".to_owned()] {
        publish(&app, &rig, payload, Headers::new().with("tenant", "acme")).await;
    }
    let took = until_committed(&rig, &rig.group, 3).await;
    assert!(
        took < Duration::from_secs(20),
        "it is not tried for ever: {took:?}"
    );
    app.stop().await;
    let all = read(&rig, &letters, 2).await;
    assert_eq!(all.len(), 2, "each once");
    let [brief, bare] = [&all[0], &all[1]].map(|letter| DeadLetter::read(letter).expect("a letter"));
    assert_eq!(
        (brief.summary.offset, brief.summary.error, brief.is_complete),
        (0, None, true)
    );
    assert_eq!(all[0].payload(), Some(b"short".as_slice()));
    let told = bare.summary;
    assert_eq!((told.offset, told.error, bare.is_complete), (1, None, false));
    assert_eq!(
        (told.topic, told.partition, told.group),
        (rig.topic.clone(), 0, rig.group.clone())
    );
    assert_eq!((all[1].payload(), all[1].key()), (None, Some(b"k".as_slice())));
    assert_eq!(text(&all[1], "tenant"), Some("acme"));
    assert_eq!(text(&all[1], names::DLQ_VALUE), Some("omitted"));
    assert_eq!(seen.runs().len(), 3, "no handler runs again for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_that_are_too_large_only_together_keep_their_payloads() {
    const LETTERS: usize = 60;
    let Some(rig) = rig("dead-letters.together").await else {
        return;
    };
    let letters = make_letters(&rig, &[("max.message.bytes", "3000")]).await;
    let app = start(
        app(&rig, "max_attempts = 1").register(
            subscribe(&*rig.topic)
                .group_id(&*rig.group)
                .concurrency(16)
                .ordering(Ordering::None)
                .handler(|Whole(_): Whole| async { Err::<(), _>("bad") }),
        ),
    )
    .await;
    let messages = (0..LETTERS).map(|number| {
        let payload = format!("{number} {}", noise(1200));
        NewMessage::raw(&*rig.topic, Some(payload.into())).partition(0)
    });
    for sent in app.publisher().publish_batch(messages).await {
        sent.expect("acknowledged");
    }
    until_committed(&rig, &rig.group, LETTERS as i64).await;
    app.stop().await;
    let all = read(&rig, &letters, LETTERS).await;
    assert_eq!(all.len(), LETTERS);
    let bare = all.iter().filter(|letter| letter.payload().is_none()).count();
    assert_eq!(bare, 0, "each of them has room");
    let told = |letter: &RawMessage| text(letter, names::DLQ_ERROR_CHAIN) == Some("bad");
    assert!(all.iter().all(told), "and for what was wrong");
}
