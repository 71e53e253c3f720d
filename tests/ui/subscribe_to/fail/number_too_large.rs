use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = "payments.v1", concurrency = 99999999999999999999999)]
async fn on_paid(_paid: Paid) {}

fn main() {}
