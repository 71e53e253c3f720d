//! Priorities: each has a topic of its own, and handlers that wait for nothing of the others.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use athomic_core::handler::register::HandlerDefinition;
use athomic_core::handler::{Meta, Priority};

use crate::support::{Cluster, GROUP, TOPIC, handler, until};

/// What handlers have seen: which of them, from which topic, what.
type Seen = Arc<Mutex<Vec<(String, String, u32)>>>;

fn recording(id: &str, priority: Priority, seen: &Seen) -> HandlerDefinition {
    let (name, seen) = (id.to_owned(), Arc::clone(seen));
    let record = move |payload: u32, meta: Meta| {
        let (name, seen) = (name.clone(), Arc::clone(&seen));
        async move {
            // What is not urgent takes its time.
            let slow = payload >= 100;
            tokio::time::sleep(Duration::from_secs(if slow { 3600 } else { 0 })).await;
            seen.lock()
                .unwrap()
                .push((name, meta.topic().to_owned(), payload));
        }
    };
    let described = handler().handler_id(id).group_id(GROUP);
    described
        .options(|options| options.priority = priority)
        .handler(record)
}

async fn until_seen(seen: &Seen, count: usize) -> Vec<(String, String, u32)> {
    until(&format!("{count} messages"), || {
        seen.lock().unwrap().len() >= count
    })
    .await;
    seen.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn what_is_urgent_does_not_stand_behind_what_is_not() {
    let (cluster, seen) = (Cluster::new(1), Seen::default());
    let mut app = cluster.app("");
    for (id, priority) in [
        ("normal", Priority::Normal),
        ("urgent", Priority::High),
        ("idle", Priority::Low),
    ] {
        app = app.register(recording(id, priority, &seen));
    }
    let app = app.build().unwrap();
    let described = app.describe().to_string();
    for topics in [
        "topics t in group g",
        "topics t.high in group g",
        "topics t.low in group g",
    ] {
        assert!(described.contains(topics), "{described}");
    }
    let app = app.start().await.unwrap();
    let publisher = app.publisher();
    publisher.publish(TOPIC, &100).await.unwrap();
    publisher.publish(TOPIC, &101).await.unwrap();
    publisher
        .publish(TOPIC, &1)
        .priority(Priority::High)
        .await
        .unwrap();
    publisher
        .publish(TOPIC, &2)
        .priority(Priority::Low)
        .await
        .unwrap();
    let mut first = until_seen(&seen, 2).await;
    first.sort();
    let expected = [("idle", "t.low", 2), ("urgent", "t.high", 1)];
    let expected = expected.map(|(id, topic, payload)| (id.to_owned(), topic.to_owned(), payload));
    assert_eq!(first, expected);
}

#[tokio::test(start_paused = true)]
async fn the_settings_change_a_handlers_priority_without_a_rebuild() {
    let (cluster, seen) = (Cluster::new(1), Seen::default());
    let tuning = "[[integration.messaging.handler_tuning]]\nhandler_id = 'tuned'\npriority = 'low'";
    let app = cluster
        .app(tuning)
        .register(recording("tuned", Priority::High, &seen));
    let app = app.build().unwrap().start().await.unwrap();
    app.publisher()
        .publish(TOPIC, &7)
        .priority(Priority::Low)
        .await
        .unwrap();
    let seen = until_seen(&seen, 1).await;
    assert_eq!(seen, [("tuned".to_owned(), "t.low".to_owned(), 7)]);
}

#[test]
fn handlers_of_one_priority_topic_and_group_are_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let (cluster, seen) = (Cluster::new(1), Seen::default());
        let app = cluster.app("").register(recording("a", Priority::High, &seen));
        let refused = app.register(recording("b", Priority::High, &seen)).build();
        let report = refused.unwrap_err().to_string();
        assert!(
            report.contains("consumes topic `t.high` in the same group"),
            "{report}"
        );
    });
}
