use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = "payments.v1", max_batch_linger_ms = 100)]
async fn on_paid(_paid: Paid) {}

fn main() {}
