use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = TOPIC)]
async fn on_paid(_paid: Paid) {}

fn main() {}
