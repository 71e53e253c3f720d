use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

fn key(id: &u64) -> String {
    id.to_string()
}

#[subscribe_to(topic = "payments.v1", idempotency_key_resolver = key)]
async fn on_paid(_paid: Paid) {}

fn main() {}
