//! Batches: each message for itself, in one call of the store.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use athomic_core::handler::Message;
use athomic_core::message::Offset;
use athomic_core::outcome::Outcome;
use tokio::time::sleep;

use super::stage::{Faulty, Stage, counts, guarded};
use crate::support::{NO_JITTER, until};

type Batches = Arc<Mutex<Vec<Vec<Offset>>>>;

fn noted(batches: &Batches) -> Vec<Vec<Offset>> {
    batches.lock().unwrap().clone()
}

fn note(batches: &Batches, items: &[Message<u64>]) {
    let offsets = items.iter().map(|item| item.meta().offset()).collect();
    batches.lock().unwrap().push(offsets);
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_those_run_that_are_free_and_the_others_are_acknowledged_or_wait() {
    let stage = Stage::new(1);
    stage.publish(0, "done", 0);
    let batches = Batches::default();
    let handler = {
        let batches = batches.clone();
        guarded().batch_handler(10, move |items: Vec<Message<u64>>| {
            note(&batches, &items);
            async {}
        })
    };
    let app = stage.start(handler).await;
    stage.cluster.until_committed(0, 1).await;
    stage.lock_as_the_dead("busy").await;
    for id in ["free", "done", "busy", "other"] {
        stage.publish(0, id, 0);
    }
    until("the free ones ran", || noted(&batches).len() == 2).await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(
        stage.cluster.committed(0),
        Some(3),
        "the busy one is not acknowledged"
    );
    stage.cluster.until_committed(0, 5).await;
    assert_eq!(noted(&batches), [vec![0], vec![1, 4], vec![3]]);
    assert_eq!(counts(&app).duplicates, 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_asks_for_all_its_messages_in_one_call() {
    let stage = Stage::new(1);
    let (store, settings) = Faulty::new("one-call");
    for number in 0..10 {
        stage.publish(0, &number.to_string(), 0);
    }
    let handler = guarded().batch_handler(10, |_: Vec<u64>| async {});
    let _app = stage.start_with(&settings, handler).await;
    stage.cluster.until_committed(0, 10).await;
    assert_eq!((store.calls("acquire"), store.calls("confirm")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn of_two_of_one_id_in_a_batch_one_is_handled() {
    let stage = Stage::new(1);
    for id in ["a", "a", "b"] {
        stage.publish(0, id, 0);
    }
    let batches = Batches::default();
    let handler = {
        let batches = batches.clone();
        guarded().batch_handler(3, move |items: Vec<Message<u64>>| {
            note(&batches, &items);
            async {}
        })
    };
    let app = stage.start(handler).await;
    stage.cluster.until_committed(0, 3).await;
    assert_eq!(noted(&batches), [vec![0, 2]]);
    assert_eq!(counts(&app).duplicates, 1);
}

#[tokio::test(start_paused = true)]
async fn what_failed_of_a_batch_is_given_up_and_the_rest_is_remembered() {
    let stage = Stage::new(1);
    for id in ["a", "b", "c"] {
        stage.publish(0, id, 0);
    }
    let batches = Batches::default();
    let handler = {
        let batches = batches.clone();
        guarded().batch_handler(3, move |items: Vec<Message<u64>>| {
            let is_first = batches.lock().unwrap().is_empty();
            note(&batches, &items);
            let outcome = move |item: &Message<u64>| match item.meta().offset() {
                1 if is_first => Outcome::retry("not yet"),
                _ => Outcome::Ack,
            };
            let outcomes: Vec<_> = items.iter().map(outcome).collect();
            async move { outcomes }
        })
    };
    let app = stage.start_with(NO_JITTER, handler).await;
    stage.cluster.until_committed(0, 3).await;
    assert_eq!(noted(&batches), [vec![0, 1, 2], vec![1]]);
    let counts = counts(&app);
    assert_eq!((counts.confirmed, counts.released, counts.busy), (3, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_for_another_loses_no_attempt() {
    let stage = Stage::new(1);
    stage.lock_as_the_dead("busy").await;
    for id in ["busy", "poison"] {
        stage.publish(0, id, 0);
    }
    let attempts: Arc<Mutex<Vec<(Offset, u32)>>> = Arc::default();
    let handler = {
        let attempts = Arc::clone(&attempts);
        guarded().batch_handler(2, move |items: Vec<Message<u64>>| {
            let mut attempts = attempts.lock().unwrap();
            attempts.extend(
                items
                    .iter()
                    .map(|item| (item.meta().offset(), item.meta().attempt())),
            );
            async { Err::<(), _>("never") }
        })
    };
    let _app = stage.start_with(NO_JITTER, handler).await;
    stage.cluster.until_committed(0, 2).await;
    let of = |offset| {
        let attempts = attempts.lock().unwrap();
        attempts
            .iter()
            .filter(|(of, _)| *of == offset)
            .map(|(_, attempt)| *attempt)
            .collect::<Vec<_>>()
    };
    assert_eq!((of(0), of(1)), (vec![1, 2, 3], vec![1, 2, 3]));
}
