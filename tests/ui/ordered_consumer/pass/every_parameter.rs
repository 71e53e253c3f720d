#![deny(warnings)]
#![forbid(unsafe_code)]

use athomic::prelude::*;

#[derive(Deserialize)]
struct OrderPlaced {
    order_id: String,
    version: u64,
}

fn order_key(order: &OrderPlaced) -> String {
    format!("{}-{}", order.order_id, order.version)
}

#[ordered_consumer(
    topic = ["orders.v1", "orders.v2"],
    group_id = "orders",
    aggregate_key_field = "order_id",
    sequence_id_field = "version",
    target_type = OrderPlaced,
    priority = "normal",
    concurrency = 16,
    fetch_size = 500,
    idempotency_settings(ttl = "7d"),
    idempotency_key_resolver = order_key,
    handler_id = "orders",
    crate = ::athomic
)]
async fn on_order(_order: OrderPlaced, _meta: Meta) -> Result<(), HandlerError> {
    Ok(())
}

fn main() {}
