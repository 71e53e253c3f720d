use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = "payments.v1", idempotency_key_resolver = |_paid| String::new())]
async fn on_paid(_paid: Paid) {}

fn main() {}
