use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = ["payments.v1", "refunds.v1", "payments.v1"])]
async fn on_paid(_paid: Paid) {}

fn main() {}
