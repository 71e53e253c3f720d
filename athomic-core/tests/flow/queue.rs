//! Queues of plain events: the loop, and topics on the embedded broker as a backend.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use athomic_core::queue::{
    EventConsumer, LoopConsumer, MessageQueueBackend, OnError, QueueError, TopicQueue, load_backend,
};
use athomic_core::testing::queue::FakeQueue;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::until;

type Seen = Arc<Mutex<Vec<Value>>>;

/// A handler that notes events when it has done with them; those with `fails` fail, those with `ms` last.
fn noting(
    seen: &Seen,
) -> impl Fn(Value) -> futures_util::future::BoxFuture<'static, Result<(), String>> + use<> {
    let seen = Arc::clone(seen);
    move |event| {
        let seen = Arc::clone(&seen);
        Box::pin(async move {
            sleep(Duration::from_millis(event["ms"].as_u64().unwrap_or_default())).await;
            assert!(event["panics"].is_null(), "told to panic");
            seen.lock().unwrap().push(event.clone());
            if event["fails"].is_null() {
                Ok(())
            } else {
                Err("told to fail".to_owned())
            }
        })
    }
}

fn numbers(seen: &Seen) -> Vec<u64> {
    let seen = seen.lock().unwrap();
    seen.iter().filter_map(|event| event["n"].as_u64()).collect()
}

fn events(numbers: impl IntoIterator<Item = u64>) -> Vec<Value> {
    numbers.into_iter().map(|n| json!({"n": n})).collect()
}

fn unavailable() -> QueueError {
    QueueError::Unavailable {
        queue: "fake".into(),
        source: "no answer".into(),
    }
}

#[tokio::test(start_paused = true)]
async fn each_event_is_handled_and_acknowledged_in_order_until_there_are_no_more() {
    let (queue, seen) = (FakeQueue::yielding(events(0..5)), Seen::default());
    let consumer = LoopConsumer::new(queue.clone()).group("g");
    consumer.run(noting(&seen)).await.unwrap();
    assert_eq!(numbers(&seen), [0, 1, 2, 3, 4]);
    assert_eq!(queue.settled(), events(0..5));
    assert_eq!(queue.groups(), [Some("g".to_owned())]);
    assert_eq!(queue.closed(), 1);
    assert!(!consumer.is_running());
}

#[tokio::test(start_paused = true)]
async fn an_error_or_a_panic_is_logged_and_does_not_end_the_loop() {
    let all = [
        json!({"n": 1, "fails": true}),
        json!({"panics": true}),
        json!({"n": 2}),
    ];
    let (queue, seen) = (FakeQueue::yielding(all.clone()), Seen::default());
    LoopConsumer::new(queue.clone()).run(noting(&seen)).await.unwrap();
    assert_eq!(numbers(&seen), [1, 2]);
    assert_eq!(queue.settled(), all);
}

#[tokio::test(start_paused = true)]
async fn an_error_ends_the_loop_where_that_is_asked_for_and_its_event_comes_again() {
    let all = [json!({"n": 1}), json!({"n": 2, "fails": true}), json!({"n": 3})];
    let (queue, seen) = (FakeQueue::yielding(all.clone()), Seen::default());
    let consumer = LoopConsumer::new(queue.clone()).on_error(OnError::Stop);
    let error = consumer.run(noting(&seen)).await.unwrap_err();
    assert!(matches!(error, QueueError::Handler { .. }), "{error}");
    assert_eq!(queue.settled(), [all[0].clone()]);
    assert!(!consumer.is_running());
    // It may run again, and gets the same event.
    consumer.run(noting(&seen)).await.unwrap_err();
    assert_eq!(numbers(&seen), [1, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_lets_the_event_in_flight_complete_and_takes_no_other() {
    let all = [json!({"n": 1, "ms": 5000}), json!({"n": 2})];
    let (queue, seen) = (FakeQueue::yielding(all.clone()).and_waiting(), Seen::default());
    let consumer = LoopConsumer::new(queue.clone());
    let (ran, ()) = tokio::join!(consumer.run(noting(&seen)), async {
        sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        consumer.shutdown().await;
        assert_eq!(began.elapsed().as_secs(), 4);
        assert!(!consumer.is_running());
    });
    ran.unwrap();
    assert_eq!(queue.settled(), [all[0].clone()]);
    assert_eq!(queue.closed(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_leaves_an_event_that_takes_too_long_and_it_comes_again() {
    let (queue, seen) = (
        FakeQueue::yielding([json!({"n": 1, "ms": 600_000})]),
        Seen::default(),
    );
    let consumer = LoopConsumer::new(queue.clone()).shutdown_timeout(Duration::from_secs(5));
    let (ran, ()) = tokio::join!(consumer.run(noting(&seen)), async {
        sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        consumer.shutdown().await;
        assert_eq!(began.elapsed().as_secs(), 5);
    });
    ran.unwrap();
    assert!(queue.settled().is_empty());
    consumer.run(noting(&seen)).await.unwrap();
    assert_eq!(numbers(&seen), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_may_be_repeated_and_made_when_nothing_runs() {
    let (queue, seen) = (FakeQueue::yielding(events(0..1)).and_waiting(), Seen::default());
    let consumer = LoopConsumer::new(queue.clone());
    consumer.shutdown().await;
    let (ran, ()) = tokio::join!(consumer.run(noting(&seen)), async {
        until("it waits", || queue.settled().len() == 1).await;
        tokio::join!(consumer.shutdown(), consumer.shutdown());
        consumer.shutdown().await;
    });
    ran.unwrap();
    let (ran, ()) = tokio::join!(consumer.run(noting(&seen)), async {
        sleep(Duration::from_secs(1)).await;
        assert!(consumer.is_running(), "its state was reset");
        consumer.shutdown().await;
    });
    ran.unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_runs_once_at_a_time() {
    let (queue, seen) = (FakeQueue::default().and_waiting(), Seen::default());
    let consumer = LoopConsumer::new(queue);
    let (ran, ()) = tokio::join!(consumer.run(noting(&seen)), async {
        sleep(Duration::from_secs(1)).await;
        let error = consumer.run(noting(&seen)).await.unwrap_err();
        assert!(matches!(error, QueueError::AlreadyRunning));
        assert!(consumer.is_running(), "the first one goes on");
        consumer.shutdown().await;
    });
    ran.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_dropped_is_cancelled_and_its_event_comes_again() {
    let (queue, seen) = (
        FakeQueue::yielding([json!({"n": 1, "ms": 5000})]),
        Seen::default(),
    );
    let consumer = LoopConsumer::new(queue.clone());
    let run = consumer.run(noting(&seen));
    tokio::time::timeout(Duration::from_secs(1), run)
        .await
        .unwrap_err();
    assert!(!consumer.is_running() && queue.settled().is_empty());
    consumer.run(noting(&seen)).await.unwrap();
    assert_eq!((numbers(&seen), queue.settled().len()), (vec![1], 1));
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_gives_no_answer_is_asked_again() {
    let (queue, seen) = (FakeQueue::default(), Seen::default());
    queue.fail(unavailable());
    queue.fail(unavailable());
    for event in events(0..2) {
        queue.push(event);
    }
    queue.fail_settling(unavailable());
    LoopConsumer::new(queue.clone()).run(noting(&seen)).await.unwrap();
    assert_eq!(
        numbers(&seen),
        [0, 1],
        "handled once, although acknowledged twice"
    );
    assert_eq!(queue.settled(), events(0..2));
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_cannot_be_read_ends_the_run() {
    let (queue, seen) = (FakeQueue::default(), Seen::default());
    queue.fail(QueueError::Failed {
        queue: "fake".into(),
        source: "broken".into(),
    });
    let consumer = LoopConsumer::new(queue.clone());
    assert!(consumer.run(noting(&seen)).await.is_err());
    assert!(!consumer.is_running() && queue.closed() == 1);
}

/// Consume until so many events were seen, and shut down.
async fn consume(queue: impl MessageQueueBackend, group: &str, seen: &Seen, count: usize) {
    let consumer = LoopConsumer::new(queue).group(group);
    let (ran, ()) = tokio::join!(consumer.run(noting(seen)), async {
        until("all are seen", || seen.lock().unwrap().len() >= count).await;
        consumer.shutdown().await;
    });
    ran.unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_group_gets_every_event_of_a_topic_and_goes_on_where_it_was() {
    let queue = Arc::new(TopicQueue::in_memory("events"));
    for event in events(0..10) {
        queue.publish(&event).await.unwrap();
    }
    let (one, other) = (Seen::default(), Seen::default());
    consume(Arc::clone(&queue), "one", &one, 10).await;
    consume(Arc::clone(&queue), "other", &other, 10).await;
    queue.publish(&json!({"n": 10})).await.unwrap();
    consume(queue, "one", &one, 11).await;
    for seen in [&one, &other] {
        let mut numbers = numbers(seen);
        numbers.sort_unstable();
        assert_eq!(
            numbers,
            (0..10 + u64::from(Arc::ptr_eq(seen, &one))).collect::<Vec<_>>()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_topic_that_is_not_acknowledged_comes_again() {
    let queue = Arc::new(TopicQueue::in_memory("events"));
    for event in events(0..6) {
        queue.publish(&event).await.unwrap();
    }
    let mut stream = queue.consume(Some("g")).await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    let began = Instant::now();
    stream.close().await;
    assert!(began.elapsed() < Duration::from_secs(1), "nothing is waited for");
    let seen = Seen::default();
    consume(Arc::clone(&queue), "g", &seen, 6).await;
    assert!(seen.lock().unwrap().contains(&first));
    let mut all = numbers(&seen);
    all.sort_unstable();
    assert_eq!(all, (0..6).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_a_topic_that_is_dropped_leaves_its_group() {
    let queue = Arc::new(TopicQueue::in_memory("events"));
    queue.publish(&json!({"n": 1})).await.unwrap();
    let mut stream = queue.consume(None).await.unwrap();
    stream.next().await.unwrap().unwrap();
    drop(stream);
    let seen = Seen::default();
    consume(queue, "default", &seen, 1).await;
    assert_eq!(numbers(&seen), [1]);
}

#[tokio::test(start_paused = true)]
async fn those_who_load_the_same_memory_queue_meet() {
    let url = "memory://meeting";
    let seen = Seen::default();
    let one = LoopConsumer::new(load_backend(url).unwrap()).group("g");
    let other = LoopConsumer::new(load_backend(url).unwrap()).group("g");
    let done = async {
        until("both run", || one.is_running() && other.is_running()).await;
        one.shutdown().await;
        other.shutdown().await;
    };
    let (one_ran, other_ran, ()) = tokio::join!(one.run(noting(&seen)), other.run(noting(&seen)), done);
    one_ran.unwrap();
    other_ran.unwrap();
    assert_eq!(one.backend().name(), "meeting");
}

#[test]
fn a_url_that_names_no_queue_says_what_to_write() {
    for (url, expected) in [
        ("orders", "no scheme"),
        ("memory://", "a topic"),
        ("memory://a/b", "a topic"),
        ("kafka://host:9092", "servers and a topic"),
        ("kafka:///topic", "servers and a topic"),
        ("amqp://user:canary@host/queue", "of the kind `amqp`"),
    ] {
        let error = load_backend(url).err().expect(url).to_string();
        assert!(
            error.contains(expected) && error.contains("write `memory://TOPIC`"),
            "{error}"
        );
        assert!(!error.contains("canary"), "{error}");
    }
}
