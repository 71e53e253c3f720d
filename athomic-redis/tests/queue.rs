//! A stream in Redis as a queue: groups, what is pending, what is taken over.

mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use athomic_core::queue::{EventConsumer, LoopConsumer, MessageQueueBackend as _, load_backend};
use athomic_core::store::idempotency::LockToken;
use athomic_core::testing::eventually;
use athomic_redis::RedisStreamQueue;
use serde_json::{Value, json};
use support::server::Server;

const LIMIT: Duration = Duration::from_secs(30);

type Seen = Arc<Mutex<Vec<Value>>>;

/// Return the URL of a stream that nobody else has; what is pending is taken over after a second.
fn url() -> Option<String> {
    let server = support::redis()?;
    Some(format!("{server}/queue-{:x}?idle_ms=1000", LockToken::unique().0))
}

fn open(url: &str) -> RedisStreamQueue {
    RedisStreamQueue::open(url).expect("the URL can be used")
}

fn noting(seen: &Seen) -> impl Fn(Value) -> std::future::Ready<Result<(), String>> + use<> {
    let seen = Arc::clone(seen);
    move |event| {
        seen.lock().expect("nobody panics with it").push(event);
        std::future::ready(Ok(()))
    }
}

fn seen_of(seen: &Seen) -> Vec<Value> {
    seen.lock().expect("nobody panics with it").clone()
}

/// Consume until so many events were seen, and shut down.
async fn consume(url: &str, group: &str, seen: &Seen, count: usize) {
    let consumer = LoopConsumer::new(load_backend(url).expect("redis is known")).group(group);
    let (ran, ()) = tokio::join!(consumer.run(noting(seen)), async {
        assert!(
            eventually(LIMIT, || seen_of(seen).len() >= count).await,
            "{:?}",
            seen_of(seen)
        );
        consumer.shutdown().await;
    });
    ran.expect("it ran");
}

#[tokio::test]
async fn each_group_gets_every_event_and_goes_on_where_it_was() {
    let Some(url) = url() else { return };
    let queue = open(&url);
    let events: Vec<_> = (0..40).map(|n| json!({"n": n})).collect();
    for event in &events {
        queue.publish(event).await.expect("it is added");
    }
    for group in ["one", "other"] {
        let seen = Seen::default();
        consume(&url, group, &seen, 40).await;
        assert_eq!(seen_of(&seen), events);
    }
    queue.publish(&json!("last")).await.expect("it is added");
    let seen = Seen::default();
    consume(&url, "one", &seen, 1).await;
    assert_eq!(seen_of(&seen), [json!("last")]);
}

#[tokio::test]
async fn what_a_consumer_gives_back_is_taken_over_at_once() {
    let Some(url) = url() else { return };
    let url = url.replace("idle_ms=1000", "idle_ms=3600000");
    let queue = open(&url);
    for n in 0..5 {
        queue.publish(&json!(n)).await.expect("it is added");
    }
    let mut stream = queue.consume(Some("g")).await.expect("it can be read");
    assert_eq!(stream.next().await.expect("it answers"), Some(json!(0)));
    stream.settle().await.expect("it answers");
    assert_eq!(stream.next().await.expect("it answers"), Some(json!(1)));
    stream.close().await;
    let seen = Seen::default();
    let began = Instant::now();
    consume(&url, "g", &seen, 4).await;
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(seen_of(&seen), [json!(1), json!(2), json!(3), json!(4)]);
}

#[tokio::test]
async fn what_the_dead_had_is_taken_over_and_what_the_slow_have_is_not() {
    let Some(url) = url() else { return };
    let queue = open(&url);
    for n in 0..2 {
        queue.publish(&json!(n)).await.expect("it is added");
    }
    let mut slow = queue.consume(Some("g")).await.expect("it can be read");
    assert_eq!(slow.next().await.expect("it answers"), Some(json!(0)));
    let seen = Seen::default();
    let heir = LoopConsumer::new(open(&url)).group("g");
    let (ran, ()) = tokio::join!(heir.run(noting(&seen)), async {
        // Three times as long as what is left may be idle: it is kept young.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(seen_of(&seen), [] as [Value; 0]);
        // As a process does that dies: nothing is given back.
        drop(slow);
        assert!(eventually(LIMIT, || seen_of(&seen).len() == 2).await);
        heir.shutdown().await;
    });
    ran.expect("it ran");
    assert_eq!(seen_of(&seen), [json!(0), json!(1)]);
}

#[tokio::test]
async fn entries_of_others_are_read_and_what_is_no_json_goes_to_the_dead() {
    if support::redis().is_none() {
        return;
    }
    let server = Server::start(&[]).await;
    server.cli(&["XADD", "s", "*", "order", "17", "paid", "yes"]);
    server.cli(&["XADD", "s", "*", "payload", "{broken"]);
    server.cli(&["XADD", "s", "*", "payload", "[1]"]);
    let url = format!("redis://127.0.0.1:{}/s", server.port);
    let seen = Seen::default();
    consume(&url, "g", &seen, 2).await;
    assert_eq!(
        seen_of(&seen),
        [json!({"order": "17", "paid": "yes"}), json!([1])]
    );
    let dead = server.cli(&["XRANGE", "s:dead", "-", "+"]);
    assert!(dead.contains("{broken") && dead.contains("no JSON"), "{dead}");
    let pending = server.cli(&["XPENDING", "s", "g"]);
    assert!(pending.starts_with('0'), "{pending}");
    let consumers = server.cli(&["XINFO", "CONSUMERS", "s", "g"]);
    assert_eq!(consumers.trim(), "", "who has nothing pending is forgotten");
}

#[tokio::test]
async fn a_stream_that_was_deleted_is_read_again() {
    if support::redis().is_none() {
        return;
    }
    let server = Server::start(&[]).await;
    let url = format!("redis://127.0.0.1:{}/s", server.port);
    let queue = open(&url);
    let seen = Seen::default();
    let consumer = LoopConsumer::new(open(&url)).group("g");
    let (ran, ()) = tokio::join!(consumer.run(noting(&seen)), async {
        queue.publish(&json!(1)).await.expect("it is added");
        assert!(eventually(LIMIT, || seen_of(&seen).len() == 1).await);
        server.cli(&["FLUSHALL"]);
        queue.publish(&json!(2)).await.expect("it is added");
        assert!(eventually(LIMIT, || seen_of(&seen).len() == 2).await);
        consumer.shutdown().await;
    });
    ran.expect("it ran");
}
