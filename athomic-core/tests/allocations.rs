//! What a message costs in allocations when its handler is ready at once and its payload owns
//! nothing. A program of its own, since the counter is the program's allocator.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use athomic_core::app::App;
use athomic_core::context::Context;
use athomic_core::handler::register::{HandlerDefinition, Subscribe, ordered, subscribe};
use athomic_core::ordering::CompleteMode;
use athomic_core::settings::Settings;
use athomic_core::transport::OutgoingMessage;
use athomic_core::transport::memory::MemoryBroker;
use tokio::sync::Notify;

/// Counts messages and tells when all are there.
struct Counter {
    left: AtomicU64,
    all_done: Notify,
}

impl Counter {
    fn done(&self, messages: u64) {
        if self.left.fetch_sub(messages, SeqCst) == messages {
            self.all_done.notify_one();
        }
    }
}

/// Consume so many messages and return how many allocations that took, start and stop included.
fn allocations(
    messages: u64,
    settings: &Settings,
    handler: fn(Subscribe, Arc<Counter>) -> HandlerDefinition,
) -> u64 {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime
        .enable_time()
        .build()
        .expect("it needs nothing of the system");
    let counter = Arc::new(Counter {
        left: AtomicU64::new(messages),
        all_done: Notify::new(),
    });
    let app = runtime.block_on(async {
        let broker = filled(messages);
        let handler = handler(subscribe("t").group_id("g"), Arc::clone(&counter));
        let app = App::builder().without_discovery().settings(settings.clone());
        app.broker(broker).register(handler).build().expect("it is valid")
    });
    let measured = allocation_counter::measure(|| {
        runtime.block_on(async {
            let app = app.start().await.expect("it starts");
            counter.all_done.notified().await;
            app.stop().await;
        });
    });
    measured.count_total
}

/// Make a broker with one partition that holds so many messages of a hundred keys.
fn filled(messages: u64) -> MemoryBroker {
    let broker = MemoryBroker::new();
    let control = broker.control();
    control.create_topic("t", 1);
    for message in 0..messages {
        let message = OutgoingMessage {
            topic: "t".into(),
            key: Some((message % 100).to_string().into()),
            payload: Some(message.to_string().into()),
            ..Default::default()
        };
        control.publish(message).expect("the topic is there");
    }
    broker
}

/// Check that messages cost next to nothing: what a fetched batch costs is shared by hundreds.
fn check(handler: fn(Subscribe, Arc<Counter>) -> HandlerDefinition) {
    check_with(&Settings::default(), 0, handler);
}

/// Check that messages cost next to nothing beside so many allocations each of the test's own.
fn check_with(settings: &Settings, own: u64, handler: fn(Subscribe, Arc<Counter>) -> HandlerDefinition) {
    const FEW: u64 = 1_000;
    const MANY: u64 = 21_000;
    // The first run also pays for what is made once in a program.
    allocations(FEW, settings, handler);
    let (few, many) = (
        allocations(FEW, settings, handler),
        allocations(MANY, settings, handler),
    );
    let each = (many - few) * 1000 / (MANY - FEW);
    assert!(
        each <= own * 1000 + 60,
        "{each} allocations for 1000 messages ({few}, {many})"
    );
}

#[test]
fn a_single_message_costs_no_allocation() {
    check(|subscribe, counter| {
        subscribe.handler(move |_: u64| {
            counter.done(1);
            async {}
        })
    });
}

#[test]
fn a_message_in_key_order_costs_no_allocation() {
    check(|subscribe, counter| {
        subscribe.concurrency(64).handler(move |_: u64| {
            counter.done(1);
            async {}
        })
    });
}

#[test]
fn a_message_in_a_batch_costs_no_allocation() {
    check(|subscribe, counter| {
        subscribe.batch_handler(500, move |batch: Vec<u64>| {
            counter.done(batch.len() as u64);
            async {}
        })
    });
}

#[test]
fn a_message_without_context_costs_no_allocation_though_its_handler_asks_for_it() {
    check(|subscribe, counter| {
        subscribe.handler(move |_: u64, context: Context| {
            assert!(context.is_empty());
            counter.done(1);
            async { assert!(Context::current().tenant_id().is_none()) }
        })
    });
}

#[cfg(feature = "otel")]
#[test]
fn with_metrics_a_message_costs_no_allocation_more() {
    let mut settings = Settings::default();
    settings.observability.metrics.enabled = true;
    check_with(&settings, 0, |subscribe, counter| {
        subscribe.handler(move |_: u64| {
            counter.done(1);
            async {}
        })
    });
}

// A key that a function makes for its caller is one allocation.
#[test]
fn a_message_in_the_order_of_its_aggregate_costs_no_allocation_but_its_key() {
    check_with(&Settings::default(), 1, |_, counter| {
        ordered("t")
            .group_id("g")
            .concurrency(64)
            .key(|message: &u64| message % 100)
            .sequence(|message: &u64| message / 100 + 1)
            .policies(|policies| policies.complete = Some(CompleteMode::Pipelined))
            .handler(move |_: u64| {
                counter.done(1);
                async {}
            })
    });
}
