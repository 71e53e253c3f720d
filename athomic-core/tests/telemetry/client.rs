//! Spans of fetching and committing, and the events of failures.

use athomic_core::handler::register::subscribe;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::receiver::{Receiver, texts, until};
use crate::{Done, broker, links_to, only, service, start};

#[tokio::test]
async fn what_is_fetched_and_what_is_committed_are_spans_of_the_client() {
    let receiver = Receiver::default();
    let endpoint = receiver.over_http().await;
    let broker = broker(&["t"]);
    let done = Done::default();
    let app =
        start(service("shop", &broker, &endpoint, "poll_spans = true\n").register(done.counts("t"))).await;
    app.publisher().publish("t", &1).await.unwrap();
    done.until(1).await;
    app.stop().await;
    let (send, poll, commit) = (
        only(&receiver, "send t"),
        only(&receiver, "poll t"),
        only(&receiver, "commit t"),
    );
    assert!(links_to(&poll, &send) && poll.span.parent_span_id.is_empty());
    assert!(commit.span.parent_span_id.is_empty() && commit.span.links.is_empty());
    assert_eq!([poll.span.kind(), commit.span.kind()], [SpanKind::Client; 2]);
    assert_eq!(poll.attribute("messaging.batch.message_count"), "1");
    for (span, name, kind) in [(&poll, "poll", "receive"), (&commit, "commit", "settle")] {
        let told = [
            ("messaging.operation.name", name),
            ("messaging.operation.type", kind),
            ("messaging.destination.name", "t"),
            ("messaging.destination.partition.id", "0"),
            ("messaging.consumer.group.name", "counts"),
            ("messaging.system", "athomic_memory"),
        ];
        for (attribute, value) in told {
            assert_eq!(span.attribute(attribute), value, "{attribute} of {name}");
        }
    }
}

#[tokio::test]
async fn fetching_is_no_span_unless_it_is_asked_for() {
    let receiver = Receiver::default();
    let endpoint = receiver.over_http().await;
    let broker = broker(&["t"]);
    let done = Done::default();
    let app = start(service("shop", &broker, &endpoint, "").register(done.counts("t"))).await;
    app.publisher().publish("t", &1).await.unwrap();
    done.until(1).await;
    app.stop().await;
    assert_eq!(receiver.named("process t").len(), 1);
    assert!(receiver.named("poll t").is_empty());
}

#[tokio::test]
async fn a_failure_is_an_event_that_says_what_failed_and_nothing_of_the_payload() {
    let receiver = Receiver::default();
    let endpoint = receiver.over_http().await;
    let broker = broker(&["fails", "odd", "dlq"]);
    let dlq = "[integration.messaging.dlq]\nstrategy = 'keep'\ntopic = 'dlq'\nmax_attempts = 1\n";
    let fails = subscribe("fails")
        .group_id("g")
        .handler(|_: String| async { Err::<(), _>("the bank is closed") });
    let odd = subscribe("odd").group_id("g").handler(|_: u64| async {});
    let app = start(
        service("shop", &broker, &endpoint, dlq)
            .register(fails)
            .register(odd),
    )
    .await;
    for topic in ["fails", "odd"] {
        app.publisher()
            .publish(topic, &"canary-of-the-payload")
            .await
            .unwrap();
    }
    until("both letters", || {
        broker.control().messages("dlq").unwrap().len() == 2
    })
    .await;
    app.stop().await;
    for (name, message) in [
        ("process fails", "the bank is closed"),
        ("process odd", "the payload is not a `u64` in the format `json`"),
    ] {
        let process = only(&receiver, name);
        let [event] = &process.span.events[..] else {
            panic!("{:?}", process.span.events)
        };
        assert_eq!(event.name, "exception");
        let told = texts(&event.attributes);
        assert_eq!(told["exception.message"], message);
        assert_eq!(told["exception.type"], process.attribute("error.type"));
        assert!(!format!("{process:?}").contains("canary"), "{process:?}");
    }
}
