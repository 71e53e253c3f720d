//! Context on real Kafka: from a program through a delay topic and a retry to the handler of another one.

use std::time::Duration;

use athomic::app::{AppBuilder, RunningApp};
use athomic::context::{BAGGAGE, Context, TRACEPARENT, restore_context};
use athomic::handler::Meta;
use athomic::handler::register::subscribe;
use athomic::message::Headers;
use athomic::publisher::Publisher;
use athomic::transport::NewTopic;
use athomic_rig::Rig;
use tokio::sync::mpsc;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Begin an application with a delay topic of its own.
fn app(rig: &Rig) -> AppBuilder {
    let settings = format!(
        "[integration.messaging.topics]\nauto_create = 'always'\ndefault_partitions = 1\n\
         [integration.messaging.dlq.retry]\nmode = 'delay_topic'\nmin_delay_seconds = 1\n\
         [integration.messaging.republisher]\ndelay_topics = {{ 1 = '{}.delay' }}\n\
         consumer.group_id = '{}.delay'\n",
        rig.topic, rig.group
    );
    rig.app(&settings)
}

async fn start(app: AppBuilder) -> RunningApp {
    let app = app.build().expect("it is valid");
    app.start().await.expect("it starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn context_flows_through_kafka_by_a_delayed_retry() {
    let Some(rig) = Rig::on_shared_broker(env!("CARGO_TARGET_TMPDIR"), "context", 1).await else {
        return;
    };
    let next = format!("{}.next", rig.topic);
    rig.make(&[NewTopic::new(&*next, 1)]).await;

    let to = next.clone();
    let relay = subscribe(&*rig.topic).group_id(&*rig.group).handler(
        move |order: u64, meta: Meta, publisher: Publisher| {
            let to = to.clone();
            async move {
                if meta.attempt() == 1 {
                    return Err("not the first time".to_owned());
                }
                let published = publisher.publish(to, &order).await;
                published.map(drop).map_err(|error| error.to_string())
            }
        },
    );
    let (note, mut noted) = mpsc::unbounded_channel();
    let last = subscribe(next).group_id(format!("{}.last", rig.group)).handler(
        move |order: u64, context: Context| {
            let sent = note.send((order, context));
            async { sent.map_err(|_| "the test is over") }
        },
    );
    let republishing = |app: AppBuilder| app.set("integration.messaging.republisher.enabled", true);
    let first = start(republishing(app(&rig)).register(relay)).await;
    let second = start(app(&rig).register(last)).await;

    let context = Context::new()
        .with_tenant_id("acme")
        .with_feature_flag("dark", true);
    let publisher = first.publisher();
    let headers = Headers::new().with(TRACEPARENT, PARENT).with(BAGGAGE, "shop=7");
    let publish = async { publisher.publish(&*rig.topic, &7).headers(headers).await };
    restore_context(context, publish).await.expect("acknowledged");

    let received = tokio::time::timeout(Duration::from_secs(90), noted.recv()).await;
    let (order, context) = received.expect("in time").expect("the handler lives");
    assert_eq!((order, context.tenant_id()), (7, Some("acme")));
    assert!(context.feature_flag("dark").is_some_and(|flag| flag.is_on()));
    assert_eq!(context.trace().expect("a trace").traceparent(), PARENT);
    assert_eq!(context.baggage(), Some("shop=7"));
    first.stop().await;
    second.stop().await;
}
