use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = 5)]
async fn on_paid(_paid: Paid) {}

fn main() {}
