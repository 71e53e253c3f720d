use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

fn key(_paid: Paid) -> String {
    String::new()
}

#[subscribe_to(topic = "payments.v1", idempotency_key_resolver = key)]
async fn on_paid(_paid: Paid) {}

fn main() {}
