//! Two services and one trace: an order is placed for a tenant, billed at the second attempt, and shipped. Each
//! handler sees who it is for and in which trace, whatever way the message took.
//!
//! ```sh
//! cargo run --example tracing --features otel
//! ```
//!
//! No server is needed. To see the trace, start a collector or Jaeger with OTLP on port 4318 and run
//!
//! ```sh
//! OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 cargo run --example tracing --features otel
//! ```

use std::sync::Arc;

use athomic::App;
use athomic::app::{AppBuilder, RunningApp};
use athomic::context::restore_context;
use athomic::prelude::*;
use athomic::publisher::PublishError;
use athomic::transport::memory::MemoryBroker;
use tokio::sync::Notify;

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    id: u64,
}

/// Say what is known where a message is handled.
fn say(what: &str, context: &Context) {
    let tenant = context.tenant_id().unwrap_or("nobody");
    let trace = context.trace_id().unwrap_or_else(|| "none".to_owned());
    println!("{what} for {tenant}, trace {trace}");
}

/// Fails at first; the next attempt is in the same trace.
#[subscribe_to(topic = "orders.v1", group_id = "billing", handler_id = "billing::bill")]
async fn bill(order: Order, context: Context, meta: Meta, publisher: Publisher) -> Result<(), HandlerError> {
    say(&format!("billing: attempt {}", meta.attempt()), &context);
    if meta.attempt() == 1 {
        return Err(HandlerError::retry("the bank is closed"));
    }
    let published = publisher.publish("bills.v1", &order).await;
    published.map(drop).map_err(HandlerError::retry)
}

#[subscribe_to(topic = "bills.v1", group_id = "shipping", handler_id = "shipping::ship")]
async fn ship(order: Order, shipped: State<Arc<Notify>>) {
    say(&format!("shipping: order {}", order.id), &Context::current());
    shipped.0.notify_one();
}

/// Put a service together: its handlers, its name in the traces, the broker that both share.
fn service(name: &str, broker: &MemoryBroker) -> AppBuilder {
    let collector = std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some();
    App::builder()
        .only([name])
        .broker(broker.clone())
        .set("app.name", name)
        .set("observability.tracing_enabled", collector)
        .set("observability.metrics.enabled", true)
        .set("integration.messaging.dlq.retry.min_delay_seconds", 0.2)
}

async fn place(order: &Order, app: &RunningApp) -> Result<(), PublishError> {
    let context = Context::new().with_tenant_id("acme").with_user_id("ann");
    let publisher = app.publisher();
    let publish = async {
        let message = publisher.publish("orders.v1", order);
        // What an HTTP server would have got; without a collector nobody else makes one.
        message
            .header(
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            )
            .await
    };
    restore_context(context, publish).await.map(drop)
}

#[tokio::main]
async fn main() -> athomic::Result<()> {
    let broker = MemoryBroker::new();
    let shipped = Arc::new(Notify::new());
    let billing = service("billing", &broker).build()?.start().await?;
    let shipping = service("shipping", &broker)
        .state(Arc::clone(&shipped))
        .build()?
        .start()
        .await?;

    place(&Order { id: 7 }, &billing).await?;
    shipped.notified().await;

    let metrics = billing.metrics_text().unwrap_or_default();
    println!("some metrics of billing:");
    for line in metrics
        .lines()
        .filter(|line| line.starts_with("athomic_retries_total"))
    {
        println!("  {line}");
    }
    billing.stop().await;
    shipping.stop().await;
    Ok(())
}
