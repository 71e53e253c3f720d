use athomic::prelude::*;

#[derive(Deserialize)]
struct OrderPlaced {
    order_id: String,
    version: u64,
}

#[ordered_consumer(
    topic = "orders.v1",
    group_id = "orders",
    aggregate_key_field = "order_id",
    sequence_id_field = "version",
    circuit_breaker(trials = 3)
)]
async fn on_order(_order: OrderPlaced) {}

fn main() {}
