//! A store that does not answer.

use std::error::Error as _;
use std::time::Duration;

use athomic_core::ordering::{CompleteMode, GapAction, GapRule};
use tokio::time::{Instant, sleep};

use super::stage::{Stage, counts};
use crate::support::{GROUP, NO_JITTER, until};

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_at_the_start_is_waited_for() {
    let stage = Stage::new(2);
    stage.shuffled(&["a", "b"], 10, 2, 3);
    stage.stores.set_available(false);
    let (app, ()) = tokio::join!(stage.start(0, |_| {}), async {
        sleep(Duration::from_secs(10)).await;
        assert!(stage.done().is_empty());
        assert_eq!(stage.cluster.committed(0).unwrap_or(0), 0);
        stage.stores.set_available(true);
    });
    stage.until_done(20).await;
    for of in ["a", "b"] {
        assert_eq!(stage.order(of), (1..=10).collect::<Vec<_>>(), "{of}");
    }
    stage.until_all_committed().await;
    app.stop().await;
    stage.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_without_its_store_says_which_and_looks_again_soon() {
    let stage = Stage::new(1);
    stage.event(0, "a", 1);
    stage.stores.set_available(false);
    let start = |seconds| {
        let handler = stage.handler(0, |events| events);
        let settings = format!("{NO_JITTER}[lifecycle]\nstartup_timeout_seconds = {seconds}\n");
        stage.app(&settings, handler).build().unwrap()
    };
    let app = start(20);
    let probe = app.health();
    let (failed, ()) = tokio::join!(app.start(), async {
        sleep(Duration::from_secs(10)).await;
        let readiness = probe.check().to_string();
        assert!(readiness.contains("`database.kvstore.ordering`"), "{readiness}");
    });
    let failed = failed.unwrap_err();
    let causes = std::iter::successors(failed.source(), |cause| (*cause).source());
    let text = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    assert!(
        text.contains("its ordering store `memory`, set by `database.kvstore.ordering`, is not there"),
        "{text}"
    );
    // However long it was down, it is found within a few seconds.
    let (app, ended) = tokio::join!(start(4000).start(), async {
        sleep(Duration::from_secs(3000)).await;
        stage.stores.set_available(true);
        Instant::now()
    });
    let _app = app.unwrap();
    assert!(ended.elapsed() < Duration::from_secs(5), "{:?}", ended.elapsed());
    stage.until_order("a", &[1]).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_for_a_while_costs_repeats_and_no_order() {
    for complete in [CompleteMode::Sync, CompleteMode::Pipelined] {
        let stage = Stage::new(1);
        for seq in 1..=40 {
            stage.publish(0, &format!(r#"{{"of":"a","seq":{seq},"ms":500}}"#));
        }
        let app = stage
            .start(0, |policies| policies.complete = Some(complete))
            .await;
        stage.until_done(5).await;
        stage.stores.set_available(false);
        sleep(Duration::from_secs(30)).await;
        let committed = stage.cluster.committed(0).unwrap_or(0);
        assert!(
            committed <= 6,
            "{committed} is committed and the store cannot know it"
        );
        stage.stores.set_available(true);
        stage.until_all_committed().await;
        let runs = stage.order("a");
        let mut first: Vec<u64> = Vec::new();
        for &seq in &runs {
            if !first.contains(&seq) {
                first.push(seq);
            }
        }
        assert_eq!(first, (1..=40).collect::<Vec<_>>(), "{complete:?}");
        // What was done before the session was over counts, since nobody else had the aggregate.
        let repeated = runs.len() - first.len();
        assert!(repeated <= 1, "{complete:?}: {repeated} were repeated");
        assert!(counts(&app).lapses > 0);
        app.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_the_store_is_down_ends_in_time_and_loses_nothing() {
    let stage = Stage::new(1);
    for seq in 1..=20 {
        stage.publish(0, &format!(r#"{{"of":"a","seq":{seq},"ms":500}}"#));
    }
    let app = stage.start(0, |_| {}).await;
    stage.until_done(5).await;
    stage.stores.set_available(false);
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    app.stop().await;
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    assert!(stage.cluster.committed(0).unwrap_or(0) <= 6);
    stage.stores.set_available(true);
    let next = stage.start(1, |_| {}).await;
    until("the last one to be done", || stage.order("a").last() == Some(&20)).await;
    stage.until_all_committed().await;
    next.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_a_message_waits_for_its_next_attempt_ends_in_time_and_leaves_it_to_others() {
    let stage = Stage::new(1);
    stage.publish(0, r#"{"of":"a","seq":1,"fails":9}"#);
    stage.event(0, "a", 2);
    stage.event(0, "b", 1);
    let attempts = "[integration.messaging.dlq]\nmax_attempts = 30\n";
    let app = stage.start_with(0, attempts, |_| {}).await;
    stage.until_order("b", &[1]).await;
    sleep(Duration::from_secs(40)).await;
    let began = Instant::now();
    app.stop().await;
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    assert_eq!(stage.order("a"), [0; 0]);
    let next = stage.start_with(1, attempts, |_| {}).await;
    stage.until_order("a", &[1, 2]).await;
    stage.until_all_committed().await;
    next.stop().await;
    stage.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_done_too_late_to_count_is_read_again() {
    let stage = Stage::new(2);
    let pipelined = |policies: &mut athomic_core::ordering::OrderingOptions| {
        policies.complete = Some(CompleteMode::Pipelined);
    };
    let way = stage.stores.another_way();
    let handler = stage.handler(0, |events| events.policies(pipelined));
    let app = stage.app(crate::support::NO_JITTER, handler).stores(way.clone());
    let cut_off = app.build().unwrap().start().await.unwrap();
    sleep(Duration::from_secs(5)).await;
    let member = stage.cluster.control.members(GROUP)[0].id;
    let other = stage.start(1, pipelined).await;
    sleep(Duration::from_secs(5)).await;
    let members = stage.cluster.control.members(GROUP);
    let its = members.iter().find(|info| info.id == member).unwrap().partitions[0].partition;
    stage.event(its, "a", 1);
    stage.until_order("a", &[1]).await;
    sleep(Duration::from_secs(2)).await;
    // It goes on under its lease, which then ends without the store knowing of it.
    way.set_available(false);
    stage.event(its, "a", 2);
    stage.event(its, "a", 3);
    stage.until_order("a", &[1, 2, 3]).await;
    sleep(Duration::from_secs(20)).await;
    stage.event(1 - its, "a", 2);
    stage.until_order("a", &[1, 2, 3, 2]).await;
    way.set_available(true);
    stage.until_order("a", &[1, 2, 3, 2, 3]).await;
    stage.until_all_committed().await;
    assert!(counts(&cut_off).fenced > 0);
    cut_off.stop().await;
    other.stop().await;
    stage.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn what_ran_in_a_process_that_died_is_not_taken_for_missing() {
    let stage = Stage::new(2);
    let gap = |policies: &mut athomic_core::ordering::OrderingOptions| {
        policies.on_gap = Some(GapRule::Act(GapAction::Skip));
        policies.gap_timeout = Some(Duration::from_secs(60));
    };
    let way = stage.stores.another_way();
    let handler = stage.handler(0, |events| events.policies(gap));
    let app = stage.app(crate::support::NO_JITTER, handler).stores(way.clone());
    let dies = app.build().unwrap().start().await.unwrap();
    sleep(Duration::from_secs(5)).await;
    let member = stage.cluster.control.members(GROUP)[0].id;
    let other = stage.start(1, gap).await;
    sleep(Duration::from_secs(5)).await;
    let members = stage.cluster.control.members(GROUP);
    let its = members.iter().find(|info| info.id == member).unwrap().partitions[0].partition;
    // The first runs, the second waits for longer than a gap may last.
    stage.publish(its, r#"{"of":"a","seq":1,"ms":200000}"#);
    sleep(Duration::from_secs(1)).await;
    stage.event(1 - its, "a", 2);
    sleep(Duration::from_secs(100)).await;
    way.set_available(false);
    stage.cluster.control.silence(GROUP, member);
    stage.until_order("a", &[1, 2]).await;
    assert!(stage.done().iter().all(|done| done.instance == 1));
    assert_eq!((counts(&other).skipped, counts(&other).takeovers), (0, 1));
    stage.until_all_committed().await;
    drop(dies);
}
