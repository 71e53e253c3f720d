//! A dead-letter topic that cannot be written to: nothing is committed past it, and it goes on when it can.

use std::time::Duration;

use athomic::app::RunningApp;
use athomic::dead_letter::headers as names;
use athomic::health::Finding;
use athomic::message::Headers;
use athomic_rig::{Rig, Tool, Tools, until};

use crate::field::{
    Seen, app, committed, make, make_letters, publish, read, rig, start, text, until_committed,
};

/// Say whether readiness tells of letters that cannot be written.
fn tells_of_letters(app: &RunningApp) -> bool {
    let health = app.health().check();
    let mut findings = health.consumers.iter().flat_map(|consumer| &consumer.findings);
    !health.is_ready() && findings.any(|finding| matches!(finding, Finding::DeadLettersFail { .. }))
}

/// Let the dead-letter topic fail and recover, and see that nothing is committed meanwhile and nothing lost.
async fn check_outage(
    name: &str,
    breaks: impl AsyncFn(&Tools, &Rig, &str),
    mends: impl AsyncFn(&Tools, &Rig, &str),
) {
    let (Some(tools), Some(rig)) = (Tools::from_environment(), rig(name).await) else {
        return;
    };
    let letters = make_letters(&rig, &[]).await;
    let seen = Seen::default();
    let settings = "max_attempts = 1\n[integration.messaging.producer]\ndelivery_timeout_ms = 3000\n";
    let named = (&*rig.topic, &*rig.group);
    let app = seen.handle(app(&rig, settings), named, "bad", |message| {
        message.payload() == Some(b"bad")
    });
    let app = start(app).await;
    publish(&app, &rig, "good", Headers::new()).await;
    until_committed(&rig, &rig.group, 1).await;
    breaks(&tools, &rig, &letters).await;
    for payload in ["bad", "good", "good"] {
        publish(&app, &rig, payload, Headers::new()).await;
    }
    until("readiness says it", async || tells_of_letters(&app)).await;
    println!("{name}: {:?}", app.health().check().consumers[0].findings);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(
        committed(&rig, &rig.group).await,
        1,
        "nothing is committed past it"
    );
    mends(&tools, &rig, &letters).await;
    let took = until_committed(&rig, &rig.group, 4).await;
    println!("{name}: went on after {took:?}");
    until("it is ready again", async || app.health().check().is_ready()).await;
    app.stop().await;
    let runs: Vec<_> = seen.runs();
    assert_eq!(
        runs,
        [(0, 0, 1), (0, 1, 1), (0, 2, 1), (0, 3, 1)],
        "each ran once, in order"
    );
    let all = read(&rig, &letters, 1).await;
    assert_eq!(text(&all[0], names::ERRORS_OFFSET), Some("1"));
    // A write whose outcome was unknown may stand there twice, with one id.
    assert!(
        all.iter()
            .all(|letter| text(letter, names::DLQ_ID) == text(&all[0], names::DLQ_ID))
    );
}

async fn take(tools: &Tools, rig: &Rig, topic: &str, bytes: u32) {
    let config = format!("max.message.bytes={bytes}");
    let arguments = [
        "--alter",
        "--entity-type",
        "topics",
        "--entity-name",
        topic,
        "--add-config",
        &config,
    ];
    tools.run(Tool::Configs, &rig.bootstrap, &arguments).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_topic_too_small_for_any_letter_holds_back_the_commit_until_it_takes_them() {
    check_outage(
        "dead-letters.small",
        async |tools, rig, letters| take(tools, rig, letters, 100).await,
        async |tools, rig, letters| take(tools, rig, letters, 100_000).await,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_topic_that_is_deleted_holds_back_the_commit_until_it_is_back() {
    check_outage(
        "dead-letters.deleted",
        async |tools, rig, letters| {
            tools
                .run(Tool::Topics, &rig.bootstrap, &["--delete", "--topic", letters])
                .await;
        },
        async |_, rig, letters| make(rig, letters, &[]).await,
    )
    .await;
}
