use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

const TOPIC: u8 = 5;

#[subscribe_to(topic = TOPIC)]
async fn on_paid(_paid: Paid) {}

fn main() {}
