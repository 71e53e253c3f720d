use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[derive(Deserialize)]
struct Refunded;

#[subscribe_to(topic = "payments.v1", target_type = Refunded)]
async fn on_paid(_paid: Paid) {}

fn main() {}
