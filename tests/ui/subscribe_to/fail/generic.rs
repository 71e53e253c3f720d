use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = "payments.v1")]
async fn on_paid<T: Send>(_paid: T) {}

fn main() {}
