use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = "payments.v1", on_gap = "skip")]
async fn on_paid(_paid: Paid) {}

fn main() {}
