use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = "payments.v1", fetch_size = 10)]
async fn on_paid(_paid: Paid) {}

fn main() {}
