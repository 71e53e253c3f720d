use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = "payments.v1", concurrency = 4, ordering = "partition", priority = "weighted")]
async fn on_paid(_paid: Paid) {}

fn main() {}
