use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topics = "payments.v1", concurrency = 0, priority = "urgent")]
fn on_paid(_paid: &Paid) {}

fn main() {}
