//! Building: what is refused, by which words; what an application says of itself.

use std::error::Error;
use std::time::Duration;

use athomic_core::app::{App, AppBuilder};
use athomic_core::handler::register::{HandlerDefinition, ordered, subscribe};
use athomic_core::handler::{Ordering, State};
use athomic_core::settings::Settings;
use athomic_core::store::ordering::FencingToken;

use crate::support::{Cluster, GROUP, Journal, TOPIC, handler, settings_of};

fn app(settings: &str) -> AppBuilder {
    App::builder().without_discovery().settings(settings_of(settings))
}

async fn nothing(_: u64) {}

/// A handler with an id of its own.
#[track_caller]
fn named(id: &str) -> HandlerDefinition {
    handler().handler_id(id).handler(nothing)
}

#[track_caller]
fn check(app: AppBuilder, expected: &[&str]) {
    let report = app.build().unwrap_err().to_string();
    let lines: Vec<_> = report.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{report}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected), "`{expected}` is not in `{line}`");
    }
}

/// Change one option of a handler and check why it is refused.
#[track_caller]
fn refused(change: impl FnOnce(&mut HandlerDefinition), expected: &[&str]) {
    let mut definition = named("a");
    change(&mut definition);
    check(app("").register(definition), expected);
}

#[test]
fn filters_choose_handlers_by_id_or_by_the_path_above() {
    let ids = |app: AppBuilder| {
        let all = ["shop::orders::a", "shop::orders::b", "shop::ordersx", "mail::c"];
        let app = all.into_iter().enumerate().fold(app, |app, (group, id)| {
            app.register(
                subscribe(TOPIC)
                    .handler_id(id)
                    .group_id(group.to_string())
                    .handler(nothing),
            )
        });
        let app = app.build().unwrap();
        let handlers = &app.describe().handlers;
        handlers
            .iter()
            .map(|handler| handler.handler_id.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ids(app("").only(["shop::orders"])),
        ["shop::orders::a", "shop::orders::b"]
    );
    assert_eq!(ids(app("").only(["shop"]).only(["mail::c"])).len(), 4);
    assert_eq!(ids(app("").except(["shop"])), ["mail::c"]);
    assert_eq!(
        ids(app("").only(["shop"]).except(["shop::orders::a"])),
        ["shop::orders::b", "shop::ordersx"]
    );
}

#[test]
fn a_filter_that_fits_no_handler_is_refused() {
    let app = app("").register(named("a")).only(["b"]);
    check(
        app,
        &["no handler has an id that is, or begins with, `b`; handlers: `a`"],
    );
}

#[test]
fn two_handlers_of_one_id_are_refused_with_both_places() {
    let (first, second) = (
        named("a"),
        subscribe("u").group_id(GROUP).handler_id("a").handler(nothing),
    );
    let places = [first.location, second.location];
    let report = app("")
        .register(first)
        .register(second)
        .build()
        .unwrap_err()
        .to_string();
    assert!(
        report.contains("has the same id") && report.contains("`handler_id`"),
        "{report}"
    );
    for place in places {
        assert!(report.contains(&place.to_string()), "{report}");
    }
}

#[test]
fn two_handlers_of_one_topic_and_group_are_refused_with_both_places() {
    let (first, second) = (named("a"), named("b"));
    let places = [first.location, second.location];
    let report = app("")
        .register(first)
        .register(second)
        .build()
        .unwrap_err()
        .to_string();
    assert!(
        report.contains("consumes topic `t` in the same group `g`"),
        "{report}"
    );
    for place in places {
        assert!(report.contains(&place.to_string()), "{report}");
    }
}

#[test]
fn the_group_of_the_settings_counts_too() {
    let settings = "[integration.messaging.consumer]\ngroup_id = \"g\"";
    let without = subscribe(TOPIC).handler_id("b").handler(nothing);
    check(
        app(settings).register(named("a")).register(without.clone()),
        &["in the same group `g`"],
    );
    assert_eq!(
        app(settings)
            .register(without.clone())
            .build()
            .unwrap()
            .describe()
            .handlers[0]
            .group_id,
        GROUP
    );
    check(
        app("").register(without),
        &["no consumer group is set; add `group_id = \"...\"`"],
    );
}

#[test]
fn a_missing_state_is_told_before_the_first_message() {
    let takes = |_: u64, _: State<String>| async {};
    let definition = || handler().handler(takes);
    let wanted = "no state of type `alloc::string::String`; add `.state(..)` to the builder (present: u8)";
    check(app("").state(7_u8).register(definition()), &[wanted]);
    assert!(
        app("")
            .state(String::new())
            .register(definition())
            .build()
            .is_ok()
    );
    let takes = |_: Vec<u64>, _: State<String>| async {};
    check(
        app("").register(handler().batch_handler(5, takes)),
        &["(present: none)"],
    );
}

#[test]
fn a_fencing_token_is_for_ordered_handlers() {
    let takes = |_: u64, _: FencingToken| async {};
    let expected =
        "only ordered consumers have a `FencingToken`; use `#[ordered_consumer]` or `register::ordered`";
    check(app("").register(handler().handler(takes)), &[expected]);
    let in_order = ordered(TOPIC).group_id(GROUP).key(|key: &u64| *key);
    let in_order = in_order.sequence(|number: &u64| *number).handler(takes);
    assert!(app("").register(in_order).build().is_ok());
}

#[test]
fn faults_of_order_stand_in_the_report_of_the_handlers() {
    let in_order = ordered(TOPIC).group_id(GROUP).key(|key: &u64| *key);
    let in_order = in_order.policies(|policies| policies.gap_timeout = Some(Duration::from_secs(1)));
    let in_order = in_order.sequence(|number: &u64| *number).handler(nothing);
    let tuning = "[[integration.messaging.handler_tuning]]\nhandler_id = \"a\"\nordering.sticky = false";
    let other = subscribe("u").group_id(GROUP).handler_id("a").handler(nothing);
    let expected = [
        "`integration.messaging.handler_tuning.0.ordering` (",
        "`gap_timeout` has no effect with `on_gap = \"wait\"`",
    ];
    check(app(tuning).register(in_order).register(other), &expected);
}

#[test]
fn an_unknown_connection_is_refused_with_the_nearest() {
    let settings = "[integration.messaging.connections.analytics.consumer]\nmax_poll_records = 10";
    let definition = handler().connection_name("analytic").handler(nothing);
    let expected =
        "there is no connection `analytic`; did you mean `analytics`? connections: `analytics`, `default`";
    check(app(settings).register(definition), &[expected]);
}

#[test]
fn what_is_not_built_yet_is_refused_by_name() {
    refused(
        |handler| handler.options.fetch_size = Some(5),
        &["`fetch_size` of a handler that is not ordered is not built yet"],
    );
}

#[test]
fn options_that_make_no_sense_are_refused_all_at_once() {
    refused(
        |handler| {
            handler.options.topics = vec!["a b".into(), "u".into(), "u".into()];
            handler.options.concurrency = Some(0);
            handler.options.max_batch_linger_ms = Some(5);
        },
        &[
            "topic `a b` holds a character",
            "topic `u` stands twice",
            "`concurrency` is 0",
            "`max_batch_linger_ms` is about batches",
        ],
    );
    refused(
        |handler| handler.options.topics.clear(),
        &["no topic is set; add `topic = \"...\"`"],
    );
    refused(
        |handler| handler.options.ordering = Some(Ordering::Key),
        &["`ordering = \"key\"` has no effect without `concurrency`"],
    );
    let batch = handler()
        .ordering(Ordering::None)
        .batch_handler(5, |_: Vec<u64>| async {});
    check(
        app("").register(batch),
        &["a batch holds messages of one partition"],
    );
}

#[test]
fn faults_of_all_handlers_stand_in_one_report() {
    let mut first = named("a");
    first.options.concurrency = Some(0);
    let second = subscribe("u")
        .handler_id("b")
        .group_id(GROUP)
        .connection_name("x")
        .handler(nothing);
    check(
        app("").register(first).register(second),
        &["`concurrency` is 0", "there is no connection `x`"],
    );
}

#[test]
fn tuning_wins_over_the_attribute() {
    let tuning = "[[integration.messaging.handler_tuning]]\nhandler_id = \"a\"\nconcurrency = 25";
    let mut definition = named("a");
    definition.options.ordering = Some(Ordering::None);
    let app = app(tuning).register(definition).build().unwrap();
    let handler = &app.describe().handlers[0];
    assert_eq!((handler.concurrency, handler.ordering), (Some(25), "none"));
}

#[test]
fn tuning_of_an_unknown_handler_is_refused_with_the_nearest() {
    let tuning = "[[integration.messaging.handler_tuning]]\nhandler_id = \"orders::on_ordr\"\npaused = true";
    check(
        app(tuning).register(named("orders::on_order")),
        &["names no handler of this process; did you mean `orders::on_order`?"],
    );
}

#[tokio::test(start_paused = true)]
async fn a_paused_handler_does_not_consume() {
    let (cluster, journal) = (Cluster::new(1), Journal::new());
    cluster.publish_all(0, [1]);
    let tuning = "[[integration.messaging.handler_tuning]]\nhandler_id = \"a\"\npaused = true";
    let app = cluster
        .start_with(tuning, handler().handler_id("a").handler(journal.worker(0)))
        .await;
    assert!(cluster.control.members(GROUP).is_empty());
    app.stop().await;
    assert!(journal.runs().is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_messaging_nothing_consumes() {
    let cluster = Cluster::new(1);
    let app = cluster
        .app("[integration.messaging]\nenabled = false")
        .register(named("a"));
    let app = app.build().unwrap();
    assert!(app.describe().handlers.is_empty());
    let app = app.start().await.unwrap();
    assert!(cluster.control.members(GROUP).is_empty());
    app.stop().await;
}

const NEVER: &str = "[integration.messaging.topics]\nauto_create = \"never\"";

#[tokio::test(start_paused = true)]
async fn missing_topics_are_named_with_the_setting_that_creates_them() {
    let definition = subscribe("u")
        .topic("v")
        .group_id(GROUP)
        .handler_id("a")
        .handler(nothing);
    let app = app(NEVER).register(definition).build().unwrap();
    let error = app.start().await.unwrap_err();
    assert_eq!(error.to_string(), "service `topics` did not start");
    // `RunError` shows the failure itself; what is below is its cause.
    assert_eq!(
        error.source().unwrap().to_string(),
        "topic `u` of handler `a` does not exist; topic `v` of handler `a` does not exist; \
         create them, or set `integration.messaging.topics.auto_create = \"always\"`"
    );
}

#[tokio::test(start_paused = true)]
async fn missing_topics_are_made_where_the_settings_say_so() {
    let cluster = Cluster::new(1);
    let settings = "[integration.messaging.topics]\ndefault_partitions = 5";
    let definition = subscribe("u").group_id(GROUP).handler(nothing);
    let _app = cluster.start_with(settings, definition).await;
    let last = athomic_core::message::TopicPartition::new("u", 4);
    assert_eq!(cluster.control.offsets(&last).unwrap(), 0..0);
}

#[test]
fn an_application_describes_itself_as_text_and_as_json() {
    let settings = "[app]\nname = \"shop\"\nversion = \"1.2.3\"";
    let first = handler().handler_id("a").concurrency(8).handler(nothing);
    let place = first.location;
    let second = subscribe("u").topic("v").group_id(GROUP).handler_id("b");
    let second = second.batch_handler(100, |_: Vec<u64>| async {});
    let app = app(settings).state(7u8).register(second).register(first);
    let app = app.build().unwrap();
    let text = app.describe().to_string();
    let expected = [
        "shop 1.2.3 (profile default, backend memory)\n".to_owned(),
        "handlers: 2\n".to_owned(),
        format!("  a\n    at {place}, payload `u64`\n    topics t in group g\n"),
        "    single over connection default, up to 8 at once, in order by key\n".to_owned(),
        "    topics u, v in group g\n".to_owned(),
        "    batch over connection default, up to 100 messages, each partition in order\n".to_owned(),
        "states: u8\n".to_owned(),
        "settings that differ from the defaults: 2\n".to_owned(),
        "  app.name = \"shop\" (test.toml:2:8)\n".to_owned(),
    ];
    for expected in expected {
        assert!(text.contains(&expected), "`{expected}` is not in:\n{text}");
    }
    let json = serde_json::to_value(app.describe()).unwrap();
    assert_eq!(
        (&json["name"], &json["backend"]),
        (&"shop".into(), &"memory".into())
    );
    assert_eq!(json["handlers"][0]["handler_id"], "a");
    assert_eq!(json["handlers"][0]["concurrency"], 8);
    assert_eq!(json["handlers"][1]["batch_size"], 100);
    assert_eq!(
        json["handlers"][1]["concurrency"],
        serde_json::Value::from(None::<u8>)
    );
    assert_eq!(json["settings"].as_array().map(Vec::len), Some(2));
}

#[test]
fn an_application_without_settings_has_the_defaults() {
    let app = App::builder().without_discovery().settings(Settings::default());
    assert!(app.build().unwrap().describe().settings.is_empty());
}
