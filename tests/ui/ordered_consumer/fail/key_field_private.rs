use athomic::prelude::*;

mod model {
    #[derive(serde::Deserialize)]
    pub struct OrderPlaced {
        order_id: String,
        pub version: u64,
    }
}
use model::OrderPlaced;

#[ordered_consumer(
    topic = "orders.v1",
    group_id = "orders",
    aggregate_key_field = "order_id",
    sequence_id_field = "version"
)]
async fn on_order(_order: OrderPlaced) {}

fn main() {}
