//! What the environment says, which is set for children of this test.

use std::env;
use std::process::Command;

use athomic_core::app::BuildError;
use athomic_core::context::{BAGGAGE, TRACEPARENT};
use athomic_core::handler::register::subscribe;
use athomic_core::message::Headers;
use athomic_core::publisher::Publisher;
use athomic_core::transport::OutgoingMessage;

use crate::receiver::{Receiver, until};
use crate::{application, broker, only, service, start};

/// Run an ignored test of this file in a process with these variables.
async fn run(child: &str, variables: &[(&str, &str)]) {
    let mut command = Command::new(env::current_exe().unwrap());
    let name = format!("environment::{child}");
    command.args(["--exact", &name, "--ignored"]);
    command.envs(variables.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

/// Hands a message on that came in a trace, and looks at what it carries then.
#[tokio::test]
#[ignore = "run by `propagators_are_those_that_the_environment_names`"]
async fn hands_on() {
    let broker = broker(&["in", "out"]);
    let on = subscribe("in")
        .group_id("g")
        .handler(|_: u64, publisher: Publisher| async move {
            publisher
                .publish("out", &1)
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        });
    let endpoint = env::var("OTEL_EXPORTER_OTLP_ENDPOINT").unwrap();
    let app = start(service("shop", &broker, &endpoint, "").register(on)).await;
    let message = OutgoingMessage {
        topic: "in".to_owned(),
        payload: Some("1".into()),
        headers: Headers::new()
            .with(
                TRACEPARENT,
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            )
            .with(BAGGAGE, "tenant=acme"),
        ..OutgoingMessage::default()
    };
    broker.control().publish(message).unwrap();
    until("it is handed on", || {
        !broker.control().messages("out").unwrap().is_empty()
    })
    .await;
    let out = broker.control().messages("out").unwrap()[0].headers();
    let wanted = env::var("WANTED").unwrap();
    assert_eq!(
        out.get(TRACEPARENT).is_some(),
        wanted.contains("trace"),
        "{out:?}"
    );
    assert_eq!(out.get(BAGGAGE).is_some(), wanted.contains("baggage"), "{out:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn propagators_are_those_that_the_environment_names() {
    for (propagators, wanted) in [
        ("", "trace baggage"),
        ("baggage, tracecontext", "trace baggage"),
        ("tracecontext", "trace"),
        ("baggage", "baggage"),
        ("none", ""),
    ] {
        let receiver = Receiver::default();
        let endpoint = receiver.over_http().await;
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_PROPAGATORS", propagators),
            ("WANTED", wanted),
        ];
        run("hands_on", &variables).await;
        let process = only(&receiver, "process in");
        let is_child = !process.span.parent_span_id.is_empty();
        assert_eq!(is_child, wanted.contains("trace"), "{propagators}");
        assert_eq!(process.span.links.is_empty(), !is_child, "{propagators}");
    }
}

/// Is refused for what the environment says.
#[test]
#[ignore = "run by `what_the_environment_asks_for_and_is_not_there_is_refused_by_name`"]
fn is_refused() {
    let settings = "tracing_enabled = true\nmetrics = { enabled = true }\n";
    let Err(refused @ BuildError::Telemetry(_)) = application("shop", &broker(&[]), settings).build() else {
        panic!("it is refused")
    };
    let refused = refused.to_string();
    for word in env::var("WANTED").unwrap().split(' ') {
        assert!(refused.contains(word), "{refused}");
    }
}

#[tokio::test]
async fn what_the_environment_asks_for_and_is_not_there_is_refused_by_name() {
    for (name, value, wanted) in [
        ("OTEL_PROPAGATORS", "tracecontext,b3", "`b3` `tracecontext`"),
        ("OTEL_PROPAGATORS", "none,baggage", "`none`"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "`zipkin` `otlp`"),
        ("OTEL_METRICS_EXPORTER", "console", "`console` `prometheus`"),
    ] {
        run(
            "is_refused",
            &[(name, value), ("WANTED", &format!("{name} {wanted}"))],
        )
        .await;
    }
}

/// Records nothing, although the settings say so.
#[tokio::test]
#[ignore = "run by `exporters_that_the_environment_switches_off_are_off`"]
async fn is_silent() {
    let settings = "tracing_enabled = true\notlp_protocol = 'grpc'\nmetrics = { enabled = true }\n";
    let broker = broker(&["t"]);
    let app = start(application("shop", &broker, settings)).await;
    app.publisher().publish("t", &1).await.unwrap();
    assert_eq!(app.metrics_text(), None);
    let headers = broker.control().messages("t").unwrap()[0].headers();
    assert_eq!(headers.get(TRACEPARENT), None);
    app.stop().await;
}

#[tokio::test]
async fn exporters_that_the_environment_switches_off_are_off() {
    let none = [
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_METRICS_EXPORTER", "none"),
    ];
    run("is_silent", &none).await;
}
