use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

const TOPIC: &str = "payments.v1";

#[subscribe_to(topic = ["payments.v1", TOPIC])]
async fn on_paid(_paid: Paid) {}

fn main() {}
