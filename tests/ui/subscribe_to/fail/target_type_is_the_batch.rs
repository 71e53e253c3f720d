use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = "payments.v1", target_type = Vec<Paid>, batch_size = 10)]
async fn on_paid(_paid: Vec<Paid>) {}

fn main() {}
