use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = "payments.v1", batch_size = 10, priority = "weighted")]
async fn on_paid(_paid: Vec<Paid>) {}

fn main() {}
