use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = "payments.v1", idempotency_settings(ttl = "1 day"))]
async fn on_paid(_paid: Paid) {}

fn main() {}
