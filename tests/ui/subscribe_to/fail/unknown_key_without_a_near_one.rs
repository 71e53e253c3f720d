use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = "payments.v1", colour = "red")]
async fn on_paid(_paid: Paid) {}

fn main() {}
