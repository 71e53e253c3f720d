//! Spans and metrics, as they arrive at a receiver of OTLP.
#![expect(clippy::unwrap_used, reason = "the lint spares tests, but not what they call")]

mod client;
mod environment;
#[cfg(feature = "http")]
mod exporter;
mod gauges;
mod receiver;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use athomic_core::app::{App, AppBuilder, BuildError, RunningApp};
use athomic_core::context::{Context, TRACEPARENT, restore_context};
use athomic_core::dead_letter::{Filter, ReplayOptions};
use athomic_core::handler::Meta;
use athomic_core::handler::register::{HandlerDefinition, subscribe};
use athomic_core::publisher::{NewMessage, Publisher};
use athomic_core::settings::Settings;
use athomic_core::transport::memory::MemoryBroker;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use receiver::{Received, Receiver, until};

/// A broker with topics of one partition.
fn broker(topics: &[&str]) -> MemoryBroker {
    let broker = MemoryBroker::new();
    for topic in topics {
        broker.control().create_topic(topic, 1);
    }
    broker
}

/// Begin a service that tells a receiver of what it does.
fn service(name: &str, broker: &MemoryBroker, endpoint: &str, more: &str) -> AppBuilder {
    let observability = format!("tracing_enabled = true\notlp_endpoint = '{endpoint}'\n{more}");
    application(name, broker, &observability)
}

/// Begin an application with this section `observability`, and what comes after it.
fn application(name: &str, broker: &MemoryBroker, observability: &str) -> AppBuilder {
    let settings = format!("[app]\nname = '{name}'\nversion = '1.2.3'\n[observability]\n{observability}");
    let none: [(&str, &str); 0] = [];
    let loaded = Settings::loader()
        .text("test.toml", settings)
        .environment(none)
        .load();
    let app = App::builder().without_discovery().broker(broker.clone());
    app.settings(loaded.unwrap().settings)
}

async fn start(app: AppBuilder) -> RunningApp {
    app.build().unwrap().start().await.unwrap()
}

/// Counts what handlers have done.
#[derive(Clone, Default)]
struct Done(Arc<AtomicUsize>);

impl Done {
    fn one(&self) {
        self.0.fetch_add(1, SeqCst);
    }

    async fn until(&self, count: usize) {
        until(&format!("{count} messages"), || self.0.load(SeqCst) >= count).await;
    }

    /// A handler that counts and nothing else.
    fn counts(&self, topic: &str) -> HandlerDefinition {
        let done = self.clone();
        subscribe(topic).group_id("counts").handler(move |_: u64| {
            done.one();
            async {}
        })
    }
}

fn is_child(child: &Received, parent: &Received) -> bool {
    (&child.span.trace_id, &child.span.parent_span_id) == (&parent.span.trace_id, &parent.span.span_id)
}

fn links_to(from: &Received, to: &Received) -> bool {
    from.span.links.iter().any(|link| link.span_id == to.span.span_id)
}

/// Return the only span of a name.
#[track_caller]
fn only(receiver: &Receiver, name: &str) -> Received {
    let mut named = receiver.named(name);
    let all: Vec<_> = receiver
        .spans()
        .into_iter()
        .map(|received| received.span.name)
        .collect();
    assert_eq!(named.len(), 1, "{name} in {all:?}");
    named.remove(0)
}

#[tokio::test]
async fn two_services_and_a_delayed_retry_are_one_trace() {
    let receiver = Receiver::default();
    let endpoint = receiver.over_http().await;
    let broker = broker(&["orders", "invoices", "delay-1s"]);
    let republisher =
        "[integration.messaging.republisher]\nenabled = true\ndelay_topics = { 1 = 'delay-1s' }\n";
    let retries =
        "[integration.messaging.dlq.retry]\nmode = 'delay_topic'\nmin_delay_seconds = 0.5\njitter = false\n";
    let done = Done::default();
    let billing = subscribe("orders")
        .group_id("billing")
        .handler_id("bill")
        .handler(|order: u64, meta: Meta, publisher: Publisher| async move {
            if meta.attempt() == 1 {
                return Err("the bank is closed".to_owned());
            }
            let published = publisher.publish("invoices", &order).await;
            published.map(drop).map_err(|error| error.to_string())
        });
    let billing =
        start(service("billing", &broker, &endpoint, &format!("{republisher}{retries}")).register(billing))
            .await;
    let shop = start(service("shop", &broker, &endpoint, "").register(done.counts("invoices"))).await;
    let publisher = shop.publisher();
    let publish = publisher.publish("orders", &7).key("k").message_id("order-7");
    restore_context(Context::new().with_correlation_id("c-1"), publish.into_future())
        .await
        .unwrap();
    done.until(1).await;
    shop.stop().await;
    billing.stop().await;

    let sends = receiver.named("send orders");
    let [ordered, returned] = &sends[..] else {
        panic!("{sends:#?}")
    };
    let tries = receiver.named("process orders");
    let [failed, succeeded] = &tries[..] else {
        panic!("{tries:#?}")
    };
    let waits = only(&receiver, "send delay-1s");
    let (billed, received) = (
        only(&receiver, "send invoices"),
        only(&receiver, "process invoices"),
    );
    // Commits settle what many executions have done: they belong to none.
    let spans = receiver.spans().into_iter();
    for span in spans.filter(|span| !span.span.name.starts_with("commit ")) {
        assert_eq!(span.span.trace_id, ordered.span.trace_id, "{}", span.span.name);
        assert_eq!(span.schema, "https://opentelemetry.io/schemas/1.44.0");
    }
    assert!(ordered.span.parent_span_id.is_empty());
    assert!(is_child(failed, ordered) && links_to(failed, ordered));
    assert!(is_child(&waits, failed), "the retry belongs to what failed");
    assert!(is_child(returned, ordered), "by the republisher");
    assert!(is_child(succeeded, ordered) && is_child(&billed, succeeded) && is_child(&received, &billed));

    let services = [ordered, failed, &waits, &received].map(|span| span.service.as_str());
    assert_eq!(services, ["shop", "billing", "billing", "shop"]);
    assert_eq!(
        [ordered.span.kind(), failed.span.kind()],
        [SpanKind::Producer, SpanKind::Consumer]
    );
    assert_eq!(failed.span.status.as_ref().unwrap().code(), StatusCode::Error);
    assert_eq!(failed.span.status.as_ref().unwrap().message, "the bank is closed");
    assert_eq!(waits.attribute("athomic.retry.attempt"), "2");
    assert_eq!(waits.attribute("athomic.delayed"), "true");
    assert_eq!(succeeded.attribute("athomic.retry.attempt"), "2");
    let told = failed.attributes();
    let expected = [
        ("athomic.handler.id", "bill"),
        ("error.type", "text"),
        ("messaging.client.id", "billing"),
        ("messaging.consumer.group.name", "billing"),
        ("messaging.destination.name", "orders"),
        ("messaging.destination.partition.id", "0"),
        ("messaging.kafka.message.key", "k"),
        ("messaging.kafka.offset", "0"),
        ("messaging.message.conversation_id", "c-1"),
        ("messaging.message.id", "order-7"),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.system", "athomic_memory"),
    ];
    let told: Vec<_> = told
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_batch_links_to_its_messages_and_what_is_published_together_to_each() {
    let receiver = Receiver::default();
    let endpoint = receiver.over_http().await;
    let broker = broker(&["t"]);
    let app = start(service("shop", &broker, &endpoint, "")).await;
    let messages = (0..3_u64).map(|number| NewMessage::json("t", &number));
    for published in app.publisher().publish_batch(messages).await {
        published.unwrap();
    }
    app.stop().await;
    let done = Done::default();
    let counting = done.clone();
    let batch = subscribe("t")
        .group_id("g")
        .batch_handler(3, move |batch: Vec<u64>| {
            batch.iter().for_each(|_| counting.one());
            async {}
        });
    let app = start(service("shop", &broker, &endpoint, "").register(batch)).await;
    done.until(3).await;
    app.stop().await;

    let (send, process) = (only(&receiver, "send t"), only(&receiver, "process t"));
    let created = receiver.named("create t");
    assert_eq!(created.len(), 3);
    for span in &created {
        assert!(links_to(&send, span) && links_to(&process, span));
        assert_ne!(span.span.trace_id, process.span.trace_id);
    }
    assert_eq!(send.span.kind(), SpanKind::Client);
    assert!(process.span.parent_span_id.is_empty());
    assert_eq!(
        [&send, &process].map(|span| span.attribute("messaging.batch.message_count")),
        ["3", "3"]
    );
}

#[tokio::test]
async fn dead_letters_are_labelled_and_a_replay_links_to_where_its_message_came_from() {
    let receiver = Receiver::default();
    let endpoint = receiver.over_http().await;
    let broker = broker(&["t", "dlq"]);
    let dlq = "[integration.messaging.dlq]\nstrategy = 'keep'\ntopic = 'dlq'\nmax_attempts = 1\n";
    let done = Done::default();
    let counting = done.clone();
    let breaks = subscribe("t").group_id("g").handler(move |_: u64| {
        let first = counting.0.fetch_add(1, SeqCst) == 0;
        async move { if first { Err("broken") } else { Ok(()) } }
    });
    let app = start(service("shop", &broker, &endpoint, dlq).register(breaks)).await;
    app.publisher().publish("t", &1).await.unwrap();
    until("there is a letter", || {
        !broker.control().messages("dlq").unwrap().is_empty()
    })
    .await;
    let desk = app.dead_letters();
    let report = desk
        .replay("dlq", &Filter::default(), &ReplayOptions::default())
        .await;
    assert_eq!(report.unwrap().replayed, 1);
    done.until(2).await;
    app.stop().await;

    let letter = only(&receiver, "send dlq");
    let (sends, tries) = (receiver.named("send t"), receiver.named("process t"));
    let ([first, replay], [failed, again]) = (&sends[..], &tries[..]) else {
        panic!("{sends:#?} {tries:#?}")
    };
    assert!(is_child(&letter, failed));
    assert_eq!(
        letter.attribute("athomic.dlq.id"),
        replay.attribute("athomic.redrive.of")
    );
    assert!(!letter.attribute("athomic.dlq.id").is_empty());
    assert!(replay.span.parent_span_id.is_empty() && links_to(replay, first));
    assert_ne!(replay.span.trace_id, first.span.trace_id);
    assert!(is_child(again, replay));
}

#[tokio::test]
async fn an_execution_may_only_link_and_what_is_not_sampled_is_carried_on_unrecorded() {
    let receiver = Receiver::default();
    let endpoint = receiver.over_http().await;
    let broker = broker(&["linked", "unsampled"]);
    let done = Done::default();
    let linking = start(
        service("shop", &broker, &endpoint, "process_span_parent = 'link'\n").register(done.counts("linked")),
    )
    .await;
    linking.publisher().publish("linked", &1).await.unwrap();
    done.until(1).await;
    linking.stop().await;
    let (send, process) = (only(&receiver, "send linked"), only(&receiver, "process linked"));
    assert_ne!(send.span.trace_id, process.span.trace_id);
    assert!(process.span.parent_span_id.is_empty() && links_to(&process, &send));

    let silent =
        start(service("shop", &broker, &endpoint, "sampling_rate = 0\n").register(done.counts("unsampled")))
            .await;
    silent.publisher().publish("unsampled", &1).await.unwrap();
    done.until(2).await;
    silent.stop().await;
    assert!(receiver.named("send unsampled").is_empty() && receiver.named("process unsampled").is_empty());
    let headers = broker.control().messages("unsampled").unwrap()[0].headers();
    let parent = String::from_utf8_lossy(headers.get(TRACEPARENT).unwrap()).into_owned();
    assert!(parent.ends_with("-00"), "{parent}");
}

const METRICS: &str = "metrics = { enabled = true, exporters = ['prometheus', 'otlp'] }\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_and_metrics_arrive_over_grpc() {
    let receiver = Receiver::default();
    let endpoint = receiver.over_grpc().await;
    let broker = broker(&["t"]);
    let done = Done::default();
    let settings = format!("otlp_protocol = 'grpc'\n{METRICS}");
    let app = start(service("shop", &broker, &endpoint, &settings).register(done.counts("t"))).await;
    app.publisher().publish("t", &1).await.unwrap();
    done.until(1).await;
    app.stop().await;
    let (send, process) = (only(&receiver, "send t"), only(&receiver, "process t"));
    assert!(is_child(&process, &send));
    let names = receiver.metric_names();
    for name in [
        "messaging.process.duration",
        "messaging.client.sent.messages",
        "athomic.build.info",
    ] {
        assert!(names.iter().any(|arrived| arrived == name), "{name} in {names:?}");
    }
}

#[tokio::test]
async fn prometheus_gets_the_names_of_the_conventions() {
    let broker = broker(&["t", "dlq", "delay-1s"]);
    let settings = "metrics = { enabled = true }\n\
        [integration.messaging.dlq]\nstrategy = 'keep'\ntopic = 'dlq'\nmax_attempts = 2\n\
        [integration.messaging.dlq.retry]\nmode = 'in_place'\nmin_delay_seconds = 0.01\n\
        [integration.messaging.republisher]\nenabled = true\ndelay_topics = { 1 = 'delay-1s' }\n";
    let done = Done::default();
    let counting = done.clone();
    let odd = subscribe("t")
        .group_id("g")
        .handler_id("odd")
        .handler(move |number: u64| {
            counting.one();
            async move { if number == 0 { Err("zero") } else { Ok(()) } }
        });
    let app = start(application("shop", &broker, settings).register(odd)).await;
    let publisher = app.publisher();
    publisher.publish("t", &1).await.unwrap();
    publisher.publish("t", &0).await.unwrap();
    publisher
        .publish("t", &1)
        .delay(std::time::Duration::from_millis(500))
        .await
        .unwrap();
    done.until(4).await;
    until("there is a letter", || {
        !broker.control().messages("dlq").unwrap().is_empty()
    })
    .await;
    let expected = [
        r#"messaging_process_duration_seconds_count{messaging_client_id="shop",messaging_consumer_group_name="g",messaging_destination_name="t",messaging_operation_name="process",messaging_system="athomic_memory""#,
        r#"messaging_process_duration_seconds_bucket{"#,
        r#"error_type="text""#,
        r#"le="0.075""#,
        "messaging_client_sent_messages_total{",
        "messaging_client_consumed_messages_total{",
        "messaging_client_operation_duration_seconds_count{",
        r#"athomic_handler_inflight{"#,
        r#"reason="handler""#,
        r#"stage="handler""#,
        "athomic_retries_total{",
        "athomic_dlq_messages_total{",
        "athomic_delay_published_total{",
        "athomic_delay_lateness_seconds_count{",
        "athomic_rebalances_total{",
        r#"athomic_build_info{"#,
        r#"service_name="shop""#,
    ];
    for part in expected {
        until(part, || app.metrics_text().unwrap().contains(part)).await;
    }
    let inflight = |line: &&str| line.starts_with("athomic_handler_inflight{") && line.contains(r#""t""#);
    until("nothing to run", || {
        let text = app.metrics_text().unwrap();
        text.lines()
            .find(inflight)
            .is_some_and(|line| line.ends_with(" 0"))
    })
    .await;
    let text = app.metrics_text().unwrap();
    assert!(
        !text.contains("partition_id"),
        "no series for each partition unless asked for"
    );
    app.stop().await;
}

#[test]
fn grpc_without_a_runtime_is_refused() {
    let app = service(
        "shop",
        &broker(&[]),
        "http://127.0.0.1:1",
        "otlp_protocol = 'grpc'\n",
    );
    let Err(refused @ BuildError::Telemetry(_)) = app.build() else {
        panic!("it is refused")
    };
    assert!(refused.to_string().contains("tokio::main"), "{refused}");
}

/// The child of the test below, which sets its environment.
#[tokio::test]
#[ignore = "run by `the_environment_goes_before_the_settings`"]
async fn child() {
    let broker = broker(&["t"]);
    let app = start(service(
        "shop",
        &broker,
        "http://127.0.0.1:1",
        "sampling_rate = 0\n",
    ))
    .await;
    app.publisher().publish("t", &1).await.unwrap();
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_environment_goes_before_the_settings() {
    let receiver = Receiver::default();
    let endpoint = receiver.over_http().await;
    let run = |variables: Vec<(&'static str, String)>| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "child", "--ignored"]).envs(variables);
        tokio::task::spawn_blocking(move || assert!(child.output().unwrap().status.success()))
    };
    let told = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_SERVICE_NAME", "named by the environment".to_owned()),
        ("OTEL_TRACES_SAMPLER", "always_on".to_owned()),
    ];
    run(told.clone()).await.unwrap();
    assert_eq!(only(&receiver, "send t").service, "named by the environment");
    let disabled = [told, vec![("OTEL_SDK_DISABLED", "true".to_owned())]].concat();
    run(disabled).await.unwrap();
    assert_eq!(receiver.spans().len(), 1, "nothing more");
}
