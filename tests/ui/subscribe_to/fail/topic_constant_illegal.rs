use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

const TOPIC: &str = "pay ments";

#[subscribe_to(topic = TOPIC)]
async fn on_paid(_paid: Paid) {}

fn main() {}
