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
    first_sequence = "first_seen",
    first_seen_settle = "0s",
    on_gap = skip,
    gap_timeout = "30s",
    on_late = "drop",
    on_regression = "halt",
    on_poison = "dlq_sequence",
    max_deliveries = 3,
    room_max_messages = 1_000,
    room_max_bytes = 1_048_576,
    bucket_max_messages = 100_000,
    bucket_max_bytes = 67_108_864,
    buckets = 16_384,
    durability = "redis",
    redis_ack_replicas = 1,
    redis_ack_fsync = true,
    complete = "pipelined",
    session_ttl = "3s",
    state_ttl = "30d",
    sticky = false,
    handler_id = "orders",
    crate = ::athomic
)]
async fn on_order(_order: OrderPlaced, _meta: Meta, _token: FencingToken) -> Result<(), HandlerError> {
    Ok(())
}

#[ordered_consumer(
    topic = "orders.v1",
    group_id = "others",
    aggregate_key_field = "order_id",
    sequence_id_field = "version",
    first_sequence = 0,
    on_gap = "hold",
    on_late = dlq,
    on_regression = "dlq",
    on_poison = "halt",
    durability = "kafka",
    redis_ack_replicas = 0,
    complete = sync
)]
async fn with_other_words(_order: OrderPlaced) {}

fn main() {}
