use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to("payments.v1")]
async fn on_paid(_paid: Paid) {}

fn main() {}
