#![deny(warnings)]
#![allow(dead_code)]

use std::borrow::Cow;

use athomic::handler::{AggregateKey, SequenceId};
use athomic::prelude::*;

#[derive(Deserialize)]
struct Order {
    id: OrderId,
    customer: Customer,
    place: (u64, Version),
    payload: u32,
    r#type: String,
}

#[derive(Deserialize)]
struct Customer {
    id: i64,
}

#[derive(Deserialize)]
struct OrderId(String);

impl AggregateKey for OrderId {
    fn aggregate_key(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

#[derive(Deserialize)]
struct Version(u16);

impl SequenceId for Version {
    fn sequence_id(&self) -> u64 {
        self.0.into()
    }
}

macro_rules! ordered_by {
    ($name:ident, $key:literal, $sequence:literal, $payload:ty) => {
        #[ordered_consumer(
            topic = "orders.v1",
            group_id = "orders",
            aggregate_key_field = $key,
            sequence_id_field = $sequence
        )]
        async fn $name(order: $payload) {
            drop(order);
        }
    };
}

ordered_by!(dotted, "customer.id", "place.0", Order);
ordered_by!(of_own_types, "id", "place.1", Order);
ordered_by!(of_own_types_within, "id.0", "place.1.0", Order);
ordered_by!(hygienic, "customer.id", "payload", Order);
ordered_by!(raw, "type", "payload", Order);
ordered_by!(with_metadata, "id", "payload", Message<Order>);

fn main() {}
