use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = "payments.v1", idempotency_settings(tll = "24h"))]
async fn on_paid(_paid: Paid) {}

fn main() {}
