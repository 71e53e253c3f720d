//! What comes again, as a retry or as a replay: in time, as it was, and for its own group alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use athomic::dead_letter::{Filter, ReplayOptions, headers as names};
use athomic::message::{Headers, RawMessage};

use crate::field::{Seen, app, make, make_letters, publish, read, rig, start, text, until_committed};

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_retry_are_handled_by_the_group_that_failed_alone() {
    let Some(rig) = rig("dead-letters.republish").await else {
        return;
    };
    let letters = make_letters(&rig, &[]).await;
    let settings = "retry.mode = 'republish'\nretry.min_delay_seconds = 1\nretry.max_delay_seconds = 1\nretry.jitter = false\n";
    let (fails, works) = (Seen::default(), Seen::default());
    let other = format!("{}.other", rig.group);
    let bad = |message: &RawMessage| message.payload() == Some(b"bad");
    // All three stand there before the first fails, so that its copies come behind them.
    let publisher = start(app(&rig, "")).await;
    for payload in ["bad", "good", "good"] {
        publish(&publisher, &rig, payload, Headers::new().with("tenant", "acme")).await;
    }
    publisher.stop().await;
    let app = fails.handle(app(&rig, settings), (&rig.topic, &rig.group), "busy", bad);
    let app = start(works.handle(app, (&rig.topic, &other), "", |_| false)).await;
    // Two copies of the one that fails stand behind the three; both groups read past them.
    until_committed(&rig, &rig.group, 5).await;
    until_committed(&rig, &other, 5).await;
    app.stop().await;
    assert_eq!(
        fails.runs(),
        [(0, 0, 1), (0, 1, 1), (0, 2, 1), (0, 3, 2), (0, 4, 3)]
    );
    assert_eq!(works.runs(), [(0, 0, 1), (0, 1, 1), (0, 2, 1)]);
    let times: Vec<_> = fails.all().iter().map(|(time, ..)| *time).collect();
    let waited = [times[3] - times[0], times[4] - times[3]];
    assert!(
        waited.iter().all(|wait| *wait >= Duration::from_millis(990)),
        "{waited:?}"
    );
    let all = read(&rig, &letters, 1).await;
    assert_eq!((all.len(), text(&all[0], names::ERRORS_OFFSET)), (1, Some("0")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_from_a_delay_topic_is_not_early_and_as_it_was() {
    let Some(rig) = rig("dead-letters.delay").await else {
        return;
    };
    let delay = format!("{}.delay-1", rig.topic);
    let letters = make_letters(&rig, &[]).await;
    make(&rig, &delay, &[("message.timestamp.type", "LogAppendTime")]).await;
    let settings = format!(
        "retry.mode = 'delay_topic'\nretry.min_delay_seconds = 1\nretry.max_delay_seconds = 1\nretry.jitter = false\n\
         [integration.messaging.republisher]\nenabled = true\ndelay_topics = {{ 1 = '{delay}' }}\n\
         consumer.group_id = '{}.delay'\n",
        rig.group
    );
    let seen = Seen::default();
    let bad = |message: &RawMessage| message.payload() != Some(b"good");
    let app = seen.handle(app(&rig, &settings), (&rig.topic, &rig.group), "busy", bad);
    let app = start(app).await;
    let bytes = [0, 255, b'{', 10, 13, 200];
    let headers = Headers::new()
        .with("tenant", "acme")
        .with_null("checked")
        .with("tenant", vec![0, 159]);
    publish(&app, &rig, bytes, headers.clone()).await;
    publish(&app, &rig, "good", Headers::new()).await;
    until_committed(&rig, &rig.group, 4).await;
    app.stop().await;
    assert_eq!(
        seen.runs(),
        [(0, 0, 1), (0, 1, 1), (0, 2, 2), (0, 3, 3)],
        "nobody waits behind it"
    );
    let all = seen.all();
    let tries = [&all[0], &all[2], &all[3]];
    for pair in tries.windows(2) {
        let waited = pair[1].0 - pair[0].0;
        assert!(waited >= Duration::from_millis(990), "early: {waited:?}");
        println!("retried after {waited:?}, asked for 1 s");
    }
    let read = read(&rig, &letters, 1).await;
    assert_eq!((read.len(), text(&read[0], names::ERRORS_OFFSET)), (1, Some("0")));
    assert_eq!(text(&read[0], names::ERRORS_DELIVERY_COUNT), Some("3"));
    let copies = tries.map(|(.., message)| message).into_iter().chain(&read);
    for message in copies {
        assert_eq!(
            (message.key(), message.payload()),
            (Some(b"k".as_slice()), Some(bytes.as_slice()))
        );
        let came = message.headers();
        let own: Vec<_> = came
            .iter()
            .filter(|header| ["tenant", "checked"].contains(&&*header.name))
            .collect();
        assert_eq!(own, headers.iter().collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_replayed_comes_back_to_its_partition_for_its_group_alone_in_order() {
    let Some(rig) = rig("dead-letters.replay").await else {
        return;
    };
    let letters = make_letters(&rig, &[]).await;
    let (fails, works, repaired) = (Seen::default(), Seen::default(), Arc::new(AtomicBool::new(false)));
    let other = format!("{}.other", rig.group);
    let is_repaired = Arc::clone(&repaired);
    let bad = move |message: &RawMessage| message.payload() != Some(b"good") && !is_repaired.load(Relaxed);
    let app = fails.handle(
        app(&rig, "max_attempts = 1"),
        (&rig.topic, &rig.group),
        "bad",
        bad,
    );
    let app = start(works.handle(app, (&rig.topic, &other), "", |_| false)).await;
    for payload in ["one", "good", "two", "three"] {
        publish(&app, &rig, payload, Headers::new().with("tenant", "acme")).await;
    }
    until_committed(&rig, &rig.group, 4).await;
    repaired.store(true, Relaxed);
    let desk = app.dead_letters();
    let mine = Filter {
        handler: Some(rig.group.clone()),
        ..Filter::default()
    };
    let began = Instant::now();
    let report = desk
        .replay(&letters, &mine, &ReplayOptions::default())
        .await
        .expect("it is replayed");
    println!("{report:?} in {:?}", began.elapsed());
    assert_eq!((report.matched, report.replayed, report.duplicates), (3, 3, 0));
    until_committed(&rig, &rig.group, 7).await;
    until_committed(&rig, &other, 7).await;
    app.stop().await;
    assert_eq!(fails.runs()[4..], [(0, 4, 1), (0, 5, 1), (0, 6, 1)]);
    let again = fails.all().split_off(4);
    let payloads: Vec<_> = again
        .iter()
        .map(|(.., message)| message.payload().unwrap_or_default())
        .collect();
    assert_eq!(payloads, [b"one".as_slice(), b"two", b"three"]);
    assert!(
        again
            .iter()
            .all(|(.., message)| text(message, "tenant") == Some("acme"))
    );
    assert_eq!(works.runs().len(), 4, "the other group passes them by");
    assert_eq!(read(&rig, &letters, 3).await.len(), 3, "the letters stay");
}
