use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = "pay ments")]
async fn on_paid(_paid: Paid) {}

fn main() {}
