//! Metrics of what is kept elsewhere: lag, waiting rooms, circuit breakers, steps of pipelines.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use athomic_core::app::RunningApp;
use athomic_core::handler::CircuitBreakerOptions;
use athomic_core::handler::register::{ordered, subscribe};
use athomic_core::ordering::Action;
use athomic_core::payload::{PayloadContext, PayloadStep, Step, StepError};
use athomic_core::transport::OutgoingMessage;
use tokio::sync::Semaphore;

use crate::receiver::until;
use crate::{Done, application, broker, start};

/// Return the sum of the samples of a metric that have these labels; `None` if there are none.
fn sample(text: &str, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    let fits = |line: &&str| {
        line.strip_prefix(metric)
            .is_some_and(|rest| rest.starts_with('{'))
            && labels.iter().all(|label| line.contains(label.as_str()))
    };
    let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    let mut samples = text.lines().filter(fits).map(value).peekable();
    samples.peek().is_some().then(|| samples.sum())
}

/// Wait until samples of a metric are so many in sum.
async fn until_told(app: &RunningApp, metric: &str, labels: &[(&str, &str)], wanted: f64) {
    let what = format!("{metric} {labels:?} to be {wanted}");
    until(&what, || {
        let told = sample(&app.metrics_text().unwrap(), metric, labels);
        told.is_some_and(|told| (told - wanted).abs() < f64::EPSILON)
    })
    .await;
}

#[tokio::test]
async fn lag_is_told_by_partition_and_what_is_held_back_by_handler() {
    let broker = broker(&["t"]);
    let gate = Arc::new(Semaphore::new(0));
    let waiting = Arc::clone(&gate);
    let slow = subscribe("t")
        .group_id("g")
        .concurrency(4)
        .handler_id("slow")
        .handler(move |_: u64| {
            let gate = Arc::clone(&waiting);
            async move { gate.acquire().await.unwrap().forget() }
        });
    let settings = "metrics = { enabled = true }\n\
        [integration.messaging.consumer]\nmax_in_flight_messages = 2\n";
    let app = start(application("shop", &broker, settings).register(slow)).await;
    for number in 0..5_u64 {
        app.publisher().publish("t", &number).await.unwrap();
    }
    let place = [("group", "g"), ("topic", "t"), ("partition", "0")];
    let of_handler = [
        ("athomic_handler_id", "slow"),
        ("messaging_consumer_group_name", "g"),
    ];
    until_told(&app, "kafka_consumer_group_lag", &place, 5.0).await;
    until_told(&app, "kafka_consumer_group_lag_sum", &place[..2], 5.0).await;
    until_told(&app, "athomic_messages_unsettled", &of_handler, 2.0).await;
    until_told(&app, "athomic_partitions_paused", &of_handler, 1.0).await;
    until_told(&app, "athomic_partitions_assigned", &of_handler, 1.0).await;
    gate.add_permits(5);
    until_told(&app, "kafka_consumer_group_lag", &place, 0.0).await;
    until_told(&app, "athomic_messages_unsettled", &of_handler, 0.0).await;
    until_told(&app, "athomic_partitions_paused", &of_handler, 0.0).await;
    for (name, kind) in [("poll", "receive"), ("commit", "settle")] {
        let labels = [
            ("messaging_operation_name", name),
            ("messaging_operation_type", kind),
        ];
        until(name, || {
            let text = app.metrics_text().unwrap();
            sample(
                &text,
                "messaging_client_operation_duration_seconds_count",
                &labels,
            )
            .is_some()
        })
        .await;
    }
    app.stop().await;
}

#[tokio::test]
async fn waiting_rooms_are_told_as_they_fill_and_empty() {
    let broker = broker(&["t"]);
    let done = Done::default();
    let counting = done.clone();
    let on_event = ordered("t")
        .group_id("g")
        .handler_id("on_event")
        .key(|event: &(String, u64)| event.0.clone())
        .sequence(|event: &(String, u64)| event.1)
        .handler(move |_: (String, u64)| {
            counting.one();
            async {}
        });
    let settings = "metrics = { enabled = true, waiting_rooms_interval_seconds = 0.05 }\n";
    let app = start(application("shop", &broker, settings).register(on_event)).await;
    let labels = [
        ("athomic_handler_id", "on_event"),
        ("messaging_consumer_group_name", "g"),
    ];
    for (key, sequence) in [("a", 2), ("a", 3), ("b", 2)] {
        app.publisher().publish("t", &(key, sequence)).await.unwrap();
    }
    until_told(&app, "athomic_ordering_waiting", &labels, 3.0).await;
    until_told(&app, "athomic_ordering_rooms", &labels, 2.0).await;
    until_told(&app, "athomic_ordering_sessions", &labels, 1.0).await;
    until_told(&app, "athomic_ordering_halted", &labels, 0.0).await;
    until("bytes and age", || {
        let text = app.metrics_text().unwrap();
        let is_told = |metric| sample(&text, metric, &labels).is_some_and(|told| told > 0.0);
        is_told("athomic_ordering_waiting_bytes") && is_told("athomic_ordering_oldest_age_seconds")
    })
    .await;
    let parked = [("athomic_handler_id", "on_event"), ("event", "parked")];
    until_told(&app, "athomic_ordering_events_total", &parked, 3.0).await;
    let halt = Action::Halt {
        reason: "to look at it".to_owned(),
    };
    app.ordering()
        .handler("on_event")
        .unwrap()
        .act("b", halt)
        .await
        .unwrap();
    until_told(&app, "athomic_ordering_halted", &labels, 1.0).await;
    app.publisher().publish("t", &("a", 1)).await.unwrap();
    done.until(3).await;
    until_told(&app, "athomic_ordering_waiting", &labels, 1.0).await;
    until_told(&app, "athomic_ordering_rooms", &labels, 0.0).await;
    app.stop().await;
}

#[tokio::test]
async fn circuit_breakers_tell_their_state_and_how_often_they_opened() {
    const HANDLERS: [(&str, Duration); 2] = [
        ("patient", Duration::from_secs(3600)),
        ("trying", Duration::from_millis(10)),
    ];
    let broker = broker(&["t"]);
    let gate = Arc::new(Semaphore::new(0));
    let settings = "metrics = { enabled = true }\n\
        [integration.messaging.dlq]\nstrategy = 'logging_only'\nmax_attempts = 1\n";
    let mut app = application("shop", &broker, settings);
    for (name, open_for) in HANDLERS {
        let breaker = CircuitBreakerOptions {
            window_calls: Some(10),
            minimum_calls: Some(2),
            trials: Some(1),
            open_for: Some(open_for),
            ..CircuitBreakerOptions::new()
        };
        let gate = Arc::clone(&gate);
        let handler = subscribe("t").group_id(name).handler_id(name);
        app = app.register(handler.circuit_breaker(breaker).handler(move |works: bool| {
            let gate = Arc::clone(&gate);
            async move {
                if works {
                    gate.acquire().await.unwrap().forget();
                }
                works.then_some(()).ok_or("it is down")
            }
        }));
    }
    let app = start(app).await;
    let until_told = async |metric, handler: &str, wanted| {
        until_told(&app, metric, &[("athomic_handler_id", handler)], wanted).await;
    };
    const STATE: &str = "athomic_circuit_breaker_state";
    const OPENED: &str = "athomic_circuit_breaker_opened_total";
    for (name, _) in HANDLERS {
        until_told(STATE, name, 0.0).await;
        until_told(OPENED, name, 0.0).await;
    }
    for works in [false, false, true] {
        app.publisher().publish("t", &works).await.unwrap();
    }
    until_told(STATE, "patient", 2.0).await;
    // Its trial waits at the gate.
    until_told(STATE, "trying", 1.0).await;
    gate.add_permits(1);
    until_told(STATE, "trying", 0.0).await;
    for (name, _) in HANDLERS {
        until_told(OPENED, name, 1.0).await;
    }
    until_told(STATE, "patient", 2.0).await;
    app.stop().await;
}

/// A step that puts a mark before payloads.
#[derive(Debug)]
struct Mark;

impl PayloadStep for Mark {
    fn label(&self) -> Cow<'_, str> {
        "mark".into()
    }

    fn encode(&self, payload: Vec<u8>, _: &PayloadContext<'_>) -> Result<Vec<u8>, StepError> {
        Ok([b"####".to_vec(), payload].concat())
    }

    fn decode<'p>(&self, payload: Cow<'p, [u8]>, _: &PayloadContext<'_>) -> Result<Cow<'p, [u8]>, StepError> {
        let rest = payload.strip_prefix(b"####");
        rest.map(|rest| rest.to_vec().into())
            .ok_or_else(|| StepError::malformed("there is no mark"))
    }
}

#[tokio::test]
async fn steps_tell_their_bytes_both_ways_and_what_they_refuse() {
    let broker = broker(&["t"]);
    let done = Done::default();
    let settings = "metrics = { enabled = true }\n\
        [[integration.messaging.payload.pipeline]]\nstep = 'serializer'\n\
        [[integration.messaging.payload.pipeline]]\nstep = 'mark'\n";
    let app = application("shop", &broker, settings)
        .payload_step("mark", |_| Some(Step::immediate(Mark)))
        .register(done.counts("t"));
    let app = start(app).await;
    app.publisher().publish("t", &12_345_u64).await.unwrap();
    done.until(1).await;
    let foreign = OutgoingMessage {
        topic: "t".to_owned(),
        payload: Some("7".into()),
        ..OutgoingMessage::default()
    };
    broker.control().publish(foreign).unwrap();
    let of = |direction| [("step", "mark"), ("direction", direction)];
    let refused = [
        ("step", "mark"),
        ("direction", "decode"),
        ("error_type", "malformed"),
    ];
    until_told(&app, "athomic_payload_errors_total", &refused, 1.0).await;
    for (direction, flow, bytes) in [
        ("encode", "in", 5.0),
        ("encode", "out", 9.0),
        ("decode", "in", 10.0),
        ("decode", "out", 5.0),
    ] {
        let [step, direction] = of(direction);
        until_told(
            &app,
            "athomic_payload_bytes_total",
            &[step, direction, ("flow", flow)],
            bytes,
        )
        .await;
    }
    until_told(
        &app,
        "athomic_payload_step_duration_seconds_count",
        &of("encode"),
        1.0,
    )
    .await;
    until_told(
        &app,
        "athomic_payload_step_duration_seconds_count",
        &of("decode"),
        2.0,
    )
    .await;
    app.stop().await;
}
