use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topics = "payments.v1", topic = "payments.v1")]
async fn on_paid(_paid: Paid) {}

fn main() {}
