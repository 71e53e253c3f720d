use athomic::prelude::*;

#[derive(Deserialize)]
struct OrderPlaced {
    order_id: String,
    version: u64,
}

#[ordered_consumer(
    topic = "orders.v1",
    group_id = "orders"
)]
async fn on_order(_order: OrderPlaced) {}

fn main() {}
