//! Seeing and steering: what waits is shown, what is done about it is done and written down.

use athomic_core::app::RunningApp;
use athomic_core::ordering::{Action, AggregateView, OrderedScope};
use athomic_core::store::memory::MemoryStores;

use super::stage::Stage;
use crate::support::MS;

fn desk(app: &RunningApp) -> OrderedScope {
    app.ordering().handler("on_event").expect("it is registered")
}

/// Wait until an aggregate is as it is wanted.
async fn until(desk: &OrderedScope, key: &str, wanted: impl Fn(&AggregateView) -> bool) -> AggregateView {
    for _ in 0..100_000 {
        if let Some(view) = desk.aggregate(key).await.unwrap().filter(&wanted) {
            return view;
        }
        tokio::time::sleep(MS).await;
    }
    panic!(
        "`{key}` never came to be as wanted: {:?}",
        desk.aggregate(key).await
    );
}

/// An aggregate that waits for its first event, with what came of it.
async fn waiting(sequences: &[u64]) -> (Stage, RunningApp, OrderedScope) {
    let stage = Stage::new(1);
    sequences.iter().for_each(|seq| stage.event(0, "a", *seq));
    let app = stage.start(0, |_| {}).await;
    let desk = desk(&app);
    until(&desk, "a", |view| view.waiting.len() == sequences.len()).await;
    (stage, app, desk)
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_shown_with_its_source_and_what_is_missing() {
    let (_stage, _app, desk) = waiting(&[2, 3, 6]).await;
    let view = desk.aggregate("a").await.unwrap().unwrap();
    assert_eq!(view.state.next, Some(1));
    let missing: Vec<_> = view
        .missing
        .iter()
        .map(|range| (range.first, range.last))
        .collect();
    assert_eq!(missing, [(1, 1), (4, 5)]);
    let places: Vec<_> = view
        .waiting
        .iter()
        .map(|event| (event.sequence, event.offset))
        .collect();
    assert_eq!(places, [(2, 0), (3, 1), (6, 2)]);
    assert!(view.state.gap_since.is_some());

    let report = desk.report().await.unwrap();
    assert_eq!((report.rooms, report.messages, report.sessions), (1, 3, 1));
    assert_eq!(report.waiting, ["a"]);
    assert_eq!(report.counts.parked, 3);
    assert_eq!(
        report.bytes,
        view.waiting.iter().map(|event| event.bytes).sum::<u64>()
    );
    let json = serde_json::to_value(&view).unwrap();
    assert_eq!(
        (&json["next"], &json["waiting"][0]["sequence"]),
        (&1.into(), &2.into())
    );
    assert_eq!(desk.aggregate("unknown").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn skipping_goes_on_with_what_is_there_and_the_late_one_is_no_duplicate() {
    let (stage, _app, desk) = waiting(&[2, 3]).await;
    desk.act("a", Action::Skip).await.unwrap();
    stage.until_done(2).await;
    stage.event(0, "a", 1);
    stage.until_all_committed().await;
    assert_eq!(stage.order("a"), [2, 3]);
    assert_eq!((desk.counts().late, desk.counts().duplicates), (1, 0));
    assert_eq!((desk.counts().claims, desk.counts().takeovers), (1, 0));
    assert!(desk.events(10).await.unwrap()[0].contains("by an operator: what was missing is skipped"));
}

#[tokio::test(start_paused = true)]
async fn releasing_from_a_sequence_leaves_those_below_out() {
    let (stage, _app, desk) = waiting(&[2, 3, 4, 6]).await;
    desk.act("a", Action::ReleaseFrom(4)).await.unwrap();
    stage.until_done(1).await;
    stage.event(0, "a", 5);
    stage.until_all_committed().await;
    assert_eq!(stage.order("a"), [4, 5, 6]);
}

#[tokio::test(start_paused = true)]
async fn dead_letters_and_drops_go_on_behind_what_was_given_up() {
    for action in [Action::DeadLetter { through: 3 }, Action::Drop { through: 3 }] {
        let (stage, _app, desk) = waiting(&[2, 3, 4]).await;
        desk.act("a", action).await.unwrap();
        stage.until_all_committed().await;
        assert_eq!(stage.order("a"), [4]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_halted_aggregate_runs_nothing_until_it_is_resumed_and_others_go_on() {
    let stage = Stage::new(1);
    let app = stage.start(0, |_| {}).await;
    let desk = desk(&app);
    let reason = "under repair".to_owned();
    desk.act(
        "a",
        Action::Halt {
            reason: reason.clone(),
        },
    )
    .await
    .unwrap();
    (1..=3).for_each(|seq| stage.event(0, "a", seq));
    (1..=3).for_each(|seq| stage.event(0, "b", seq));
    stage.until_done(3).await;
    let view = until(&desk, "a", |view| view.waiting.len() == 3).await;
    assert_eq!(view.state.halted, Some(reason));
    assert_eq!(desk.report().await.unwrap().halted, ["a"]);
    assert_eq!(stage.order("a"), [0; 0]);

    desk.act("a", Action::Resume).await.unwrap();
    stage.until_all_committed().await;
    assert_eq!(stage.order("a"), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_begins_anew() {
    let (stage, _app, desk) = waiting(&[2]).await;
    desk.act("a", Action::Forget).await.unwrap();
    assert_eq!(desk.aggregate("a").await.unwrap(), None);
    stage.event(0, "a", 1);
    stage.until_done(1).await;
    assert_eq!(stage.order("a"), [1]);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_last_attempt_is_shown() {
    let stage = Stage::new(1);
    stage.publish(0, r#"{"of":"a","seq":1,"fails":1}"#);
    let app = stage.start(0, |_| {}).await;
    let view = until(&desk(&app), "a", |view| view.state.last_error.is_some()).await;
    assert_eq!(view.state.last_error.as_deref(), Some("not yet"));
    assert_eq!(view.state.deliveries, 1);
    assert!(view.state.owner.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_store_without_the_groups_history_halts_what_it_cannot_know() {
    let mut stage = Stage::new(1);
    (1..=3).for_each(|seq| stage.event(0, "a", seq));
    let app = stage.start(0, |_| {}).await;
    stage.until_all_committed().await;
    app.stop().await;

    stage.stores = MemoryStores::default();
    let app = stage.start(1, |_| {}).await;
    let desk = desk(&app);
    stage.event(0, "a", 4);
    stage.event(0, "b", 1);
    stage.until_done(4).await;
    let view = until(&desk, "a", |view| view.state.halted.is_some()).await;
    assert!(view.state.halted.unwrap().contains("lost state"));
    assert_eq!(stage.order("b"), [1], "what begins now is not held up");
    desk.act("a", Action::ReleaseFrom(4)).await.unwrap();
    stage.until_all_committed().await;
    assert_eq!(stage.order("a"), [1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn the_application_says_where_an_aggregate_stands() {
    let stage = Stage::new(1);
    let handler = stage.handler(0, |events| {
        events.policies(|policies| {
            policies.first_sequence = Some(athomic_core::ordering::FirstSequenceRule::Hook)
        })
    });
    let known = |order: String| async move { Ok::<_, std::io::Error>((order == "a").then_some(41)) };
    let app = stage.app("", handler).resync("on_event", known).build().unwrap();
    let _app = app.start().await.unwrap();
    stage.event(0, "a", 41);
    stage.event(0, "a", 42);
    stage.event(0, "b", 1);
    stage.until_all_committed().await;
    assert_eq!((stage.order("a"), stage.order("b")), (vec![42], vec![1]));
}
