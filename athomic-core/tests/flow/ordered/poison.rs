//! Messages that fail, and messages that kill.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use athomic_core::ordering::{Action, OnPoison, OrderingOptions};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::stage::{Event, Stage, events, until_counted};

/// What runs beside a deadly message.
const NEIGHBOURS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const TWICE: &str = "[integration.messaging.dlq]\nmax_attempts = 2\n";

fn on_poison(action: OnPoison) -> impl Fn(&mut OrderingOptions) {
    move |policies| policies.on_poison = Some(action)
}

fn publish_with_poison(stage: &Stage, fails: u32) {
    stage.event(0, "a", 1);
    stage.publish(0, &format!(r#"{{"of":"a","seq":2,"fails":{fails}}}"#));
    (3..=5).for_each(|seq| stage.event(0, "a", seq));
}

#[tokio::test(start_paused = true)]
async fn a_poison_message_is_given_up_and_the_next_ones_run() {
    let stage = Stage::new(1);
    publish_with_poison(&stage, 100);
    let _app = stage.start_with(0, TWICE, |_| {}).await;
    stage.until_order("a", &[1, 3, 4, 5]).await;
    stage.until_all_committed().await;
}

#[tokio::test(start_paused = true)]
async fn all_messages_after_a_poison_one_are_given_up_where_that_is_wanted() {
    let stage = Stage::new(1);
    publish_with_poison(&stage, 100);
    let app = stage.start_with(0, TWICE, on_poison(OnPoison::DlqSequence)).await;
    stage.until_all_committed().await;
    assert_eq!(stage.order("a"), [1]);
    app.stop().await;
    stage.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_poison_message_halts_its_aggregate_and_runs_again_when_it_is_resumed() {
    let stage = Stage::new(1);
    publish_with_poison(&stage, 3);
    let app = stage.start_with(0, TWICE, on_poison(OnPoison::Halt)).await;
    until_counted(&app, "halted", |counts| counts.halted, 1).await;
    stage.event(0, "b", 1);
    stage.until_order("b", &[1]).await;
    sleep(Duration::from_secs(600)).await;
    assert_eq!(stage.order("a"), [1]);
    let handler = app.ordering().handler("on_event").unwrap();
    handler.act("a", Action::Resume).await.unwrap();
    stage.until_order("a", &[1, 2, 3, 4, 5]).await;
    stage.until_all_committed().await;
    app.stop().await;
    stage.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_keeps_the_order_and_leaves_its_slot_to_other_aggregates() {
    let stage = Stage::new(1);
    publish_with_poison(&stage, 1);
    (1..=5).for_each(|seq| stage.event(0, "b", seq));
    let handler = stage.handler(0, |events| events.concurrency(1));
    let app = stage.app(crate::support::NO_JITTER, handler).build().unwrap();
    let _app = app.start().await.unwrap();
    stage.until_order("a", &[1, 2, 3, 4, 5]).await;
    let done = stage.done();
    let place = |of: &str, seq| done.iter().position(|done| done.of == of && done.seq == seq);
    assert!(place("b", 5) < place("a", 2), "b does not wait for a");
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_process_dies_again_and_again_is_given_up() {
    let stage = Stage::new(1);
    stage.publish(0, r#"{"of":"a","seq":1,"ms":3600000}"#);
    stage.event(0, "a", 2);
    let app = stage.start(0, |policies| policies.max_deliveries = Some(3)).await;
    for lapses in 1..=3 {
        sleep(Duration::from_secs(5)).await;
        assert!(stage.done().is_empty());
        // To the store it is dead.
        stage.store().clock().shift(20_000_000);
        until_counted(&app, "lapses", |counts| counts.lapses, lapses).await;
    }
    stage.until_order("a", &[2]).await;
    stage.until_all_committed().await;
}

#[tokio::test(start_paused = true)]
async fn of_a_deadly_message_and_its_neighbours_only_the_deadly_one_is_given_up() {
    for max_deliveries in [2, 3] {
        let stage = Stage::new(1);
        for of in NEIGHBOURS {
            (1..=2).for_each(|seq| stage.publish(0, &format!(r#"{{"of":"{of}","seq":{seq},"ms":2000}}"#)));
        }
        (1..=2).for_each(|seq| stage.event(0, "deadly", seq));
        let (done, kills) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let (journal, kill) = (Arc::clone(&done), Arc::clone(&kills));
        let handler = events()
            .policies(|policies| policies.max_deliveries = Some(max_deliveries))
            .handler(move |event: Event| {
                let (done, kill) = (Arc::clone(&journal), Arc::clone(&kill));
                async move {
                    if event.of == "deadly" && event.seq == 1 {
                        // The others have begun by then.
                        sleep(Duration::from_millis(100)).await;
                        kill.notify_one();
                        std::future::pending::<()>().await;
                    }
                    sleep(Duration::from_millis(event.ms)).await;
                    done.lock().unwrap().push((event.of, event.seq));
                }
            });
        let app = stage.app(crate::support::NO_JITTER, handler).build().unwrap();
        let app = app.start().await.unwrap();
        for deaths in 1..=max_deliveries {
            kills.notified().await;
            // To the store it is dead, and all that it ran is cancelled.
            stage.store().clock().shift(20_000_000);
            until_counted(&app, "lapses", |counts| counts.lapses, deaths.into()).await;
        }
        stage.until_all_committed().await;
        let mut done = done.lock().unwrap().clone();
        done.sort();
        let neighbours = NEIGHBOURS
            .iter()
            .flat_map(|of| [((*of).to_owned(), 1), ((*of).to_owned(), 2)]);
        let mut expected: Vec<(String, u64)> = neighbours.collect();
        expected.push(("deadly".to_owned(), 2));
        expected.sort();
        assert_eq!(done, expected, "with max_deliveries = {max_deliveries}");
    }
}
