//! Context: taken from messages, seen by handlers, put on what they publish, and through every detour.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use athomic_core::app::{AppBuilder, BuildError, RunningApp};
use athomic_core::context::{
    BAGGAGE, CONTEXT, Context, ContextError, FeatureFlag, HeadersAdapter, HeadersOrchestrator, Incoming,
    LINEAGE, LineageRun, TRACEPARENT, TRACESTATE, restore_context,
};
use athomic_core::dead_letter::{Filter, ReplayOptions};
use athomic_core::handler::register::{HandlerDefinition, Subscribe, ordered, subscribe};
use athomic_core::handler::{Message, Meta};
use athomic_core::message::{Headers, OwnedRecord, RawMessage, TopicPartition};
use athomic_core::publisher::{NewMessage, PublishError, Publisher};
use athomic_core::transport::OutgoingMessage;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Cluster, GROUP, NO_JITTER, TOPIC, handler, until};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A context with something of everything.
fn full() -> Context {
    Context::new()
        .with_request_id("r-1")
        .with_tenant_id("acme")
        .with_user_id("ann")
        .with_role("admin")
        .with_locale("pt-BR")
        .with_correlation_id("c-1")
        .with_feature_flag("dark", true)
        .with_feature_flag("cart", "b")
        .with_lineage(LineageRun::new(
            "0190163d-8694-739b-aea5-966c26f8ad90",
            "shop",
            "import",
        ))
}

/// What handlers have seen, in their order.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(String, Context)>>>);

impl Seen {
    fn note(&self, who: &str, context: Context) {
        self.0.lock().unwrap().push((who.to_owned(), context));
    }

    fn all(&self) -> Vec<(String, Context)> {
        self.0.lock().unwrap().clone()
    }

    async fn until(&self, count: usize) -> Vec<(String, Context)> {
        until(&format!("{count} contexts"), || self.all().len() >= count).await;
        self.all()
    }

    /// A handler that notes the context that it takes.
    fn by(&self, from: Subscribe, who: &'static str) -> HandlerDefinition {
        let seen = self.clone();
        from.handler_id(who).handler(move |_: Value, context: Context| {
            seen.note(who, context);
            async {}
        })
    }
}

/// Say whether a context is [`full`], and says so wherever it is asked.
#[track_caller]
fn is_full(context: &Context) {
    let texts = [
        context.request_id(),
        context.tenant_id(),
        context.user_id(),
        context.role(),
        context.locale(),
        context.correlation_id(),
    ];
    assert_eq!(
        texts.map(Option::unwrap),
        ["r-1", "acme", "ann", "admin", "pt-BR", "c-1"]
    );
    assert_eq!(context.feature_flag("dark"), Some(&FeatureFlag::Switch(true)));
    assert_eq!(context.feature_flag("cart"), Some(&"b".into()));
    assert_eq!(context.lineage().unwrap().job, "import");
}

async fn start(app: AppBuilder) -> RunningApp {
    app.build().unwrap().start().await.unwrap()
}

/// Publish to a topic in a context, which is how a program without handlers gives one.
async fn publish_in(context: Context, app: &RunningApp, topic: &str) {
    let publisher = app.publisher();
    let publish = async { publisher.publish(topic, &json!({})).await };
    restore_context(context, publish).await.unwrap();
}

/// Write a record with these headers as a stranger does.
fn write(cluster: &Cluster, topic: &str, headers: Headers) {
    let record = OutgoingMessage {
        topic: topic.into(),
        payload: Some("{}".into()),
        headers,
        ..Default::default()
    };
    cluster.control.publish(record).unwrap();
}

fn headers_in(cluster: &Cluster, topic: &str) -> Headers {
    cluster.control.messages(topic).unwrap().last().unwrap().headers()
}

#[tokio::test(start_paused = true)]
async fn context_flows_from_handler_to_handler() {
    let (cluster, seen) = (Cluster::new(1), Seen::default());
    cluster.control.create_topic("next", 1);
    let (noted, inner) = (seen.clone(), seen.clone());
    let first = handler().handler_id("first");
    let first = first.handler(move |order: Value, context: Context, publisher: Publisher| {
        noted.note("argument", context);
        let seen = inner.clone();
        async move {
            seen.note("current", Context::current());
            publisher.publish("next", &order).await.map(drop)
        }
    });
    let second = seen.by(subscribe("next").group_id("h"), "second");
    let app = start(cluster.app("").register(first).register(second)).await;
    publish_in(full(), &app, TOPIC).await;
    let all = seen.until(3).await;
    for (_, context) in &all {
        is_full(context);
    }
    let who: Vec<_> = all.iter().map(|(who, _)| who.as_str()).collect();
    assert_eq!(who, ["argument", "current", "second"]);
    let told: Value = serde_json::from_slice(headers_in(&cluster, "next").get(CONTEXT).unwrap()).unwrap();
    let expected = json!({
        "request_id": "r-1", "tenant_id": "acme", "user_id": "ann", "role": "admin", "locale": "pt-BR",
        "correlation_id": "c-1", "feature_flags": { "dark": true, "cart": "b" }
    });
    assert_eq!(told, expected);
}

#[tokio::test(start_paused = true)]
async fn who_has_no_context_passes_none_on() {
    let (cluster, seen) = (Cluster::new(1), Seen::default());
    cluster.control.create_topic("next", 1);
    let noted = seen.clone();
    let relay = handler().handler(move |order: Value, publisher: Publisher| {
        let noted = noted.clone();
        async move {
            noted.note("relay", Context::current());
            publisher.publish("next", &order).await.map(drop)
        }
    });
    let app = start(cluster.app("").register(relay)).await;
    publish_in(full(), &app, TOPIC).await;
    publish_in(Context::new(), &app, TOPIC).await;
    let all = seen.until(2).await;
    is_full(&all[0].1);
    assert!(all[1].1.is_empty(), "nothing of the message before is left");
    cluster.until_committed(0, 2).await;
    let headers = headers_in(&cluster, "next");
    assert_eq!(headers.len(), 2, "the id and the content type alone: {headers:?}");
    assert!(Context::current().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_may_carry_another_context_and_never_a_forged_one() {
    let cluster = Cluster::new(1);
    let app = start(cluster.app("")).await;
    let publisher = app.publisher();
    let forged = || {
        Headers::new()
            .with(CONTEXT, r#"{"tenant_id":"forged"}"#)
            .with("mine", "1")
    };
    let publish = async {
        let other = Context::new().with_tenant_id("other");
        publisher
            .publish(TOPIC, &1)
            .headers(forged())
            .context(other)
            .await
            .unwrap();
        let other = headers_in(&cluster, TOPIC);
        publisher
            .publish(TOPIC, &2)
            .headers(forged())
            .context(Context::new())
            .await
            .unwrap();
        (other, headers_in(&cluster, TOPIC))
    };
    let (other, none) = restore_context(full(), publish).await;
    assert_eq!(other.get(CONTEXT), Some(br#"{"tenant_id":"other"}"#.as_slice()));
    assert_eq!(other.iter().filter(|header| header.name == CONTEXT).count(), 1);
    assert_eq!(
        (none.get(CONTEXT), none.get("mine")),
        (None, Some(b"1".as_slice()))
    );
}

#[tokio::test(start_paused = true)]
async fn traces_and_baggage_of_others_are_carried_on_as_they_came() {
    let (cluster, seen) = (Cluster::new(1), Seen::default());
    cluster.control.create_topic("next", 1);
    let relay = handler().handler(async |order: Value, publisher: Publisher| {
        publisher.publish("next", &order).await.map(drop)
    });
    let next = seen.by(subscribe("next").group_id("h"), "next");
    let _app = start(cluster.app("").register(relay).register(next)).await;
    let headers = Headers::new()
        .with(TRACEPARENT, PARENT)
        .with(TRACESTATE, "a=1,b=2")
        .with(BAGGAGE, "shop=7;ttl=3");
    write(&cluster, TOPIC, headers);
    let (_, context) = seen.until(1).await.remove(0);
    let trace = context.trace().unwrap();
    assert_eq!(
        (trace.traceparent().as_str(), trace.state()),
        (PARENT, Some("a=1,b=2"))
    );
    assert_eq!(context.baggage(), Some("shop=7;ttl=3"));
    assert_eq!(
        context.trace_id().as_deref(),
        Some("0af7651916cd43dd8448eb211c80319c")
    );
    assert_eq!(context.span_id().as_deref(), Some("b7ad6b7169203331"));
}

#[tokio::test(start_paused = true)]
async fn context_comes_through_a_delay_and_through_retries_by_way_of_topics() {
    for mode in ["in_place", "republish", "delay_topic"] {
        let (cluster, seen) = (Cluster::new(1), Seen::default());
        let settings = format!(
            "{NO_JITTER}mode = '{mode}'\n[integration.messaging.republisher]\nenabled = true\n\
             delay_topics = {{ 60 = 'delay-1m' }}\n[integration.messaging.topics]\ndefault_partitions = 1"
        );
        let noted = seen.clone();
        let fails_once = handler().handler(move |_: Value, meta: Meta, context: Context| {
            noted.note("attempt", context);
            async move { if meta.attempt() == 1 { Err("busy") } else { Ok(()) } }
        });
        let app = start(cluster.app(&settings).register(fails_once)).await;
        let publisher = app.publisher();
        let delayed = async {
            let publish = publisher.publish(TOPIC, &json!({}));
            publish.delay(Duration::from_secs(60)).await
        };
        assert!(restore_context(full(), delayed).await.unwrap().is_delayed());
        for (_, context) in seen.until(2).await {
            is_full(&context);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn context_comes_through_a_dead_letter_and_its_replay() {
    let (cluster, seen) = (Cluster::new(1), Seen::default());
    cluster.control.create_topic("dlq", 1);
    let settings =
        "[integration.messaging.dlq]\nstrategy = 'keep'\ntopic = 'dlq'\nmax_attempts = 1".to_owned();
    let noted = seen.clone();
    let breaks = handler().handler(move |_: Value, context: Context| {
        let first = noted.all().is_empty();
        noted.note("breaks", context);
        async move { if first { Err("broken") } else { Ok(()) } }
    });
    let app = start(cluster.app(&settings).register(breaks)).await;
    publish_in(full(), &app, TOPIC).await;
    until("there is a letter", || {
        !cluster.control.messages("dlq").unwrap().is_empty()
    })
    .await;
    let desk = app.dead_letters();
    let report = desk
        .replay("dlq", &Filter::default(), &ReplayOptions::default())
        .await;
    assert_eq!(report.unwrap().replayed, 1);
    for (_, context) in seen.until(2).await {
        is_full(&context);
    }
}

#[derive(Debug, serde::Deserialize)]
struct Event {
    of: String,
    seq: u64,
}

#[tokio::test(start_paused = true)]
async fn context_comes_out_of_a_waiting_room_with_its_message() {
    let (cluster, seen) = (Cluster::new(1), Seen::default());
    let noted = seen.clone();
    let handler = ordered(TOPIC)
        .group_id(GROUP)
        .handler_id("on_event")
        .key(|event: &Event| event.of.clone())
        .sequence(|event: &Event| event.seq)
        .handler(move |event: Event, context: Context| {
            noted.note(&event.seq.to_string(), context);
            async {}
        });
    let app = start(cluster.app(NO_JITTER).register(handler)).await;
    let publisher = app.publisher();
    let event = |seq: u64| {
        let context = full().with_user_id(format!("user-{seq}"));
        NewMessage::json(TOPIC, &json!({ "of": "a", "seq": seq })).context(context)
    };
    publisher.publish_batch([event(2), event(3)]).await;
    let desk = app.ordering();
    let desk = desk.handler("on_event").unwrap();
    loop {
        let counts = desk.report().await.unwrap().counts;
        if counts.parked == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    publisher.publish_batch([event(1)]).await;
    for (place, (who, context)) in seen.until(3).await.iter().enumerate() {
        assert_eq!(*who, (place + 1).to_string());
        assert_eq!(context.user_id(), Some(&*format!("user-{who}")));
        is_full(&context.clone().with_user_id("ann"));
    }
}

#[tokio::test(start_paused = true)]
async fn each_message_of_a_batch_has_its_own() {
    let (cluster, seen) = (Cluster::new(1), Seen::default());
    cluster.control.create_topic("next", 1);
    let noted = seen.clone();
    let batch = handler().batch_handler(10, move |batch: Vec<Message<Value>>, publisher: Publisher| {
        for message in &batch {
            noted.note("of a batch", message.meta().context());
        }
        let messages = batch.into_iter().map(|message| {
            let context = message.meta().context();
            NewMessage::json("next", message.payload()).context(context)
        });
        let messages: Vec<_> = messages.collect();
        async move {
            assert!(Context::current().is_empty(), "nobody's");
            publisher.publish_batch(messages).await;
        }
    });
    let next = seen.by(subscribe("next").group_id("h"), "next");
    let app = start(cluster.app("").register(batch).register(next)).await;
    publish_in(full().with_user_id("bob"), &app, TOPIC).await;
    publish_in(full(), &app, TOPIC).await;
    let all = seen.until(4).await;
    let of = |who: &str| -> Vec<String> {
        let of = all.iter().filter(|(by, _)| by == who);
        of.map(|(_, context)| context.user_id().unwrap().to_owned())
            .collect()
    };
    assert_eq!(of("of a batch"), ["bob", "ann"]);
    assert_eq!(of("next"), ["bob", "ann"]);
}

#[tokio::test(start_paused = true)]
async fn only_the_fields_of_the_settings_are_read_and_written() {
    let (cluster, seen) = (Cluster::new(1), Seen::default());
    let settings = "[context]\npropagate = ['tenant_id', 'trace_id']";
    let note = seen.by(handler(), "note");
    let app = start(cluster.app(settings).register(note)).await;
    write(
        &cluster,
        TOPIC,
        Headers::new().with(
            CONTEXT,
            r#"{"tenant_id":"acme","user_id":"ann","trace_id":"abc"}"#,
        ),
    );
    let (_, context) = seen.until(1).await.remove(0);
    assert_eq!((context.tenant_id(), context.user_id()), (Some("acme"), None));
    assert_eq!(
        (context.trace_id().as_deref(), context.span_id()),
        (Some("abc"), None)
    );
    publish_in(full(), &app, TOPIC).await;
    let headers = headers_in(&cluster, TOPIC);
    assert_eq!(headers.get(CONTEXT), Some(br#"{"tenant_id":"acme"}"#.as_slice()));
}

#[tokio::test(start_paused = true)]
async fn untrusted_topics_bring_no_context_by_whatever_way() {
    let (cluster, seen) = (Cluster::new(1), Seen::default());
    for topic in ["t.high", "public.a", "dlq", "public"] {
        cluster.control.create_topic(topic, 1);
    }
    let settings = "[context]\nuntrusted_topics = ['t', 'public.*']\n[integration.messaging.dlq]\n\
        strategy = 'keep'\ntopic = 'dlq'\nmax_attempts = 1";
    let noted = seen.clone();
    let fails = handler()
        .handler_id("fails")
        .handler(move |_: Value, context: Context| {
            noted.note("fails", context);
            async { Err::<(), _>("broken") }
        });
    let mut app = cluster.app(settings).register(fails);
    for topic in ["t.high", "public.a", "dlq", "public"] {
        app = app.register(seen.by(subscribe(topic).group_id("h"), topic));
    }
    let app = start(app).await;
    for topic in ["t", "t.high", "public.a", "public"] {
        publish_in(full(), &app, topic).await;
    }
    for (who, context) in seen.until(5).await {
        assert_eq!(context.is_empty(), who != "public", "{who}");
    }
    assert!(
        headers_in(&cluster, "dlq").get(CONTEXT).is_some(),
        "the letter is a copy"
    );
}

#[tokio::test(start_paused = true)]
async fn what_no_message_can_carry_is_refused_when_it_is_published() {
    let cluster = Cluster::new(1);
    let app = start(cluster.app("")).await;
    for (context, expected) in [
        (
            full().with_tenant_id("x".repeat(513)),
            "`tenant_id` has 513 bytes; 512 at most are carried",
        ),
        (
            full().with_user_id("a\r\nb"),
            "`user_id` holds a control character",
        ),
        (
            full().with_lineage(LineageRun::new("1", "a", "b")),
            "`lineage` names a run by something that is no UUID",
        ),
    ] {
        let refused = app
            .publisher()
            .publish(TOPIC, &1)
            .context(context)
            .await
            .unwrap_err();
        let PublishError::Context { topic, source } = refused else {
            panic!("{refused}")
        };
        assert_eq!(
            (topic.as_str(), source.to_string()),
            (TOPIC, format!("the context's {expected}"))
        );
    }
    assert!(cluster.control.messages(TOPIC).unwrap().is_empty());
}

#[derive(Debug, Clone, PartialEq)]
struct Shard(u16);

/// An adapter of the application's own, for a header of this name.
#[derive(Debug)]
struct ShardAdapter([&'static str; 1]);

impl HeadersAdapter for ShardAdapter {
    fn names(&self) -> &[&str] {
        &self.0
    }

    fn extract(&self, message: &Incoming<'_>, context: &mut Context) {
        match message.text(self.0[0]).map(str::parse) {
            None => {}
            Some(Ok(number)) => context.insert(Shard(number)),
            Some(Err(_)) => message.malformed(self.0[0], "is no number"),
        }
    }

    fn inject(&self, context: &Context, headers: &mut Headers) -> Result<(), ContextError> {
        if let Some(Shard(number)) = context.get() {
            headers.set(self.0[0], number.to_string());
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn an_applications_own_adapter_carries_what_it_knows() {
    let (cluster, seen) = (Cluster::new(1), Seen::default());
    cluster.control.create_topic("next", 1);
    let relay = handler().handler(async |order: Value, publisher: Publisher| {
        publisher.publish("next", &order).await.map(drop)
    });
    let next = seen.by(subscribe("next").group_id("h"), "next");
    let app = cluster.app("").headers_adapter(ShardAdapter(["shard"]));
    let _app = start(app.register(relay).register(next)).await;
    write(
        &cluster,
        TOPIC,
        Headers::new()
            .with("shard", "7")
            .with(CONTEXT, r#"{"role":"admin"}"#),
    );
    let (_, context) = seen.until(1).await.remove(0);
    assert_eq!((context.get(), context.role()), (Some(&Shard(7)), Some("admin")));
}

#[test]
fn an_adapter_that_claims_what_is_not_its_own_is_refused() {
    for (name, expected) in [
        ("athomic-shard", "claims `athomic-shard`"),
        ("__dlq.errors.topic", "are reserved"),
        ("x-retry-attempts", "are reserved"),
        (TRACEPARENT, "two headers adapters claim `traceparent`"),
    ] {
        let app = Cluster::new(1).app("").headers_adapter(ShardAdapter([name]));
        let Err(refused @ BuildError::Headers(_)) = app.build() else {
            panic!("{name} is not refused")
        };
        assert!(refused.to_string().contains(expected), "{refused}");
    }
}

fn restored(headers: Headers) -> (Context, u64) {
    let record = OwnedRecord {
        headers,
        ..OwnedRecord::new(0, "{}")
    };
    let orchestrator = HeadersOrchestrator::default();
    let message = RawMessage::from_record(TopicPartition::new("t", 0), record);
    let context = orchestrator.restore(&message);
    (context, orchestrator.dropped())
}

/// Restore one header; say whether anything of it was taken, and how much was dropped.
fn check(name: &str, value: &str, expected: (bool, u64)) {
    let (context, dropped) = restored(Headers::new().with(name, value.to_owned()));
    assert_eq!((!context.is_empty(), dropped), expected, "{name}: {value:.60}");
}

#[test]
fn what_is_malformed_is_dropped_and_counted_and_never_fatal() {
    let long = "x".repeat(513);
    let flags = |count: usize| {
        let flags: serde_json::Map<_, _> = (0..count).map(|n| (n.to_string(), Value::Bool(true))).collect();
        json!({ "feature_flags": flags }).to_string()
    };
    for (value, expected) in [
        (r#"{"tenant_id":"acme"}"#, (true, 0)),
        (r#"{"tenant_id":"acme","new":[{"a":1}]}"#, (true, 0)),
        (r#"{"tenant_id":null}"#, (false, 0)),
        (r#"{"tenant_id":7}"#, (false, 1)),
        (r#"{"tenant_id":"a\u0000b"}"#, (false, 1)),
        (r#"{"tenant_id":"acme","user_id":"a\nb"}"#, (true, 1)),
        (&format!(r#"{{"tenant_id":"{long}"}}"#), (false, 1)),
        (&format!(r#"{{"tenant_id":"{}"}}"#, "x".repeat(512)), (true, 0)),
        (r#"{"feature_flags":{"a":{"b":{}}}}"#, (false, 1)),
        (r#"{"feature_flags":["a"]}"#, (false, 1)),
        (&flags(64), (true, 0)),
        (&flags(65), (true, 1)),
        ("[]", (false, 1)),
        ("", (false, 1)),
        (&"[".repeat(20_000), (false, 1)),
        (
            &format!(r#"{{"tenant_id":"acme","x":"{}"}}"#, "x".repeat(32 * 1024)),
            (false, 1),
        ),
    ] {
        check(CONTEXT, value, expected);
    }
    for (value, expected) in [
        (PARENT, (true, 0)),
        (
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-new",
            (true, 0),
        ),
        (
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-new",
            (false, 1),
        ),
        (
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            (false, 1),
        ),
        (
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            (false, 1),
        ),
        (
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            (false, 1),
        ),
        ("00-0af7651916cd43dd8448eb211c80319c", (false, 1)),
        (
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            (false, 1),
        ),
    ] {
        check(TRACEPARENT, value, expected);
    }
    check(BAGGAGE, &"a=1,".repeat(65), (false, 1));
    check(BAGGAGE, &"a".repeat(8193), (false, 1));
    check(BAGGAGE, "a=\r\nx", (false, 1));
    check(LINEAGE, r#"{"run":"x","namespace":"a","job":"b"}"#, (false, 1));
    check(LINEAGE, "{}", (false, 1));
    let (context, dropped) = restored(Headers::new().with(CONTEXT, vec![0xff]).with(TRACEPARENT, PARENT));
    assert_eq!((context.trace().is_some(), dropped), (true, 1), "each for itself");
}

#[test]
fn a_bad_tracestate_costs_itself_alone_and_of_repeated_headers_the_last_counts() {
    let headers = Headers::new()
        .with(TRACEPARENT, "nonsense")
        .with(TRACEPARENT, PARENT)
        .with(TRACESTATE, "x".repeat(513));
    let (context, dropped) = restored(headers);
    assert_eq!((context.trace().unwrap().state(), dropped), (None, 1));
}

proptest! {
    #[test]
    fn whatever_headers_say_what_is_restored_can_be_carried_on(
        context in "\\PC{0,200}",
        json in "\\{\"tenant_id\":\"[ -~]{0,40}\",\"feature_flags\":\\{\"[a-z]{0,9}\":\"[ -~]{0,9}\"\\}\\}",
        parent in "[0-9a-f-]{0,60}",
        state in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        for told in [context, json] {
            let headers = Headers::new()
                .with(CONTEXT, told.clone())
                .with(TRACEPARENT, parent.clone())
                .with(TRACESTATE, state.clone())
                .with(BAGGAGE, state.clone())
                .with(LINEAGE, told);
            let (context, _) = restored(headers);
            let mut out = Headers::new();
            HeadersOrchestrator::default().inject(&context, &mut out).unwrap();
            let (again, dropped) = restored(out);
            prop_assert_eq!(dropped, 0);
            prop_assert_eq!(again.tenant_id(), context.tenant_id());
            prop_assert_eq!(again.feature_flags(), context.feature_flags());
        }
    }
}
